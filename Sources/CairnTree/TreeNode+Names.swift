// Names: lookup, listing, and everything that adds one.
//
// A node that is just being made is known to nobody else, so it needs no lock; it becomes known
// with its entry, under the directory's exclusive lock.

import CairnBase
import CairnVFS

extension TreeNode {
    // MARK: Reading

    @inline(__always)
    final func find(_ name: Name) throws(Pause) -> Inode? {
        guard kind == .directory else { throw .failed(.ENOTDIR) }
        try lockShared()
        defer { lock.unlockShared() }
        guard stored.linkCount > 0, let target = try findEntry(name) else {
            return nil
        }
        return try tree.node(target)
    }

    final func listNames(
        after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        guard kind == .directory else { throw .failed(.ENOTDIR) }
        try lockShared()
        defer { lock.unlockShared() }
        guard stored.linkCount > 0 else { throw .failed(.ENOENT) }
        try tree.store.readDirectory(self, after: cookie, body)
    }

    /// Nil for a directory that was removed: the number above may stand for another by now.
    final func directoryAboveThis() throws(Pause) -> Inode? {
        guard kind == .directory else { throw .failed(.ENOTDIR) }
        try lockShared()
        defer { lock.unlockShared() }
        let above = parentNumber.load(ordering: .relaxed)
        if above == number { return self }
        guard stored.linkCount > 0, above != 0 else { return nil }
        return try tree.node(above)
    }

    // MARK: Making nodes

    final func makeNode(
        _ name: Name, _ new: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode {
        let tree = self.tree
        try lockExclusively()
        defer { lock.unlock() }
        try requireAddable()
        guard try findEntry(name) == nil else { throw .failed(.EEXIST) }
        let isDirectory = new.kind == .directory
        if isDirectory, stored.linkCount >= tree.maximumLinkCount {
            throw .failed(.EMLINK)
        }
        let now = self.now()
        let birth = try birth(of: new, by: credentials, at: now)
        let node = try tree.prepareNode(birth.attributes)
        var attributes = birth.attributes
        attributes.number = node.number

        var above = stored
        if isDirectory { above.linkCount += 1 }
        above.modificationTime = now
        above.changeTime = now
        try applyBirth(name, node, attributes, birth.lists, target: new.target, above: above)

        node.begin(with: attributes, lists: birth.lists, below: isDirectory ? number : 0)
        keep(above)
        tree.insertNew(node)
        return node
    }

    @inline(__always)
    private func applyBirth(
        _ name: Name, _ node: TreeNode, _ attributes: Attributes, _ lists: AccessLists?,
        target: [UInt8], above: Attributes
    ) throws(Pause) {
        if target.isEmpty {
            let none = UnsafeRawBufferPointer(start: nil, count: 0)
            return try applyBirth(name, node, attributes, lists, target: none, above: above)
        }
        try withBytes(of: target, []) { target, _ throws(Pause) in
            try applyBirth(name, node, attributes, lists, target: target, above: above)
        }
    }

    private func applyBirth(
        _ name: Name, _ node: TreeNode, _ attributes: Attributes, _ lists: AccessLists?,
        target: UnsafeRawBufferPointer, above: Attributes
    ) throws(Pause) {
        var change = Change()
        change.append(.create(node.edited, attributes, target: target))
        change.append(.insert(name, in: self.edited, to: node.edited))
        change.append(.attributes(self.edited, above))
        try apply(&change, inheriting: lists, to: node)
    }

    /// The node is held once, for the caller.
    final func makeTemporary(
        _ new: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode {
        let tree = self.tree
        guard new.kind == .regular else { throw .failed(.EINVAL) }
        // Nothing of the directory changes; its mode and default ACL must hold still.
        try lockExclusively()
        defer { lock.unlock() }
        try requireDirectory()
        let now = self.now()
        let birth = try birth(of: new, by: credentials, at: now)
        let node = try tree.prepareNode(birth.attributes)
        var attributes = birth.attributes
        attributes.number = node.number
        attributes.linkCount = 0
        var change = Change()
        change.append(
            .create(node.edited, attributes, target: UnsafeRawBufferPointer(start: nil, count: 0)))
        change.append(.orphan(node.edited))
        try apply(&change, inheriting: birth.lists, to: node)

        node.begin(with: attributes, lists: birth.lists, below: 0)
        if new.mayBeNamed { node.condition.insert(.mayBeNamed) }
        let isHeld = node.hold()
        precondition(isHeld, "a node that nobody knows cannot have been released")
        tree.insertNew(node)
        return node
    }

    /// A further name. ENOENT for a file that lost its last one, unless O_TMPFILE made it (without
    /// O_EXCL).
    final func addName(_ name: Name, for inode: Inode) throws(Pause) {
        let tree = self.tree
        let node = try sibling(inode)
        guard !node.isDirectory else { throw .failed(.EPERM) }
        let locked = try LockedNodes(self, node)
        defer { withExtendedLifetime(locked) {} }
        try requireAddable()
        guard try findEntry(name) == nil else { throw .failed(.EEXIST) }
        // Released: it is about to be freed, as soon as its store is ready.
        guard !node.condition.contains(.freed), !node.isReleased else { throw .failed(.ENOENT) }
        guard node.stored.flags.isDisjoint(with: [.immutable, .appendOnly]) else {
            throw .failed(.EPERM)
        }
        guard node.stored.linkCount > 0 || node.condition.contains(.mayBeNamed) else {
            throw .failed(.ENOENT)
        }
        guard node.stored.linkCount < tree.maximumLinkCount else { throw .failed(.EMLINK) }

        let now = self.now()
        var linked = node.stored
        linked.linkCount += 1
        linked.changeTime = now
        var above = stored
        above.modificationTime = now
        above.changeTime = now
        var change = Change()
        if linked.linkCount == 1 { change.append(.adopt(node.edited)) }
        change.append(.attributes(node.edited, linked))
        change.append(.insert(name, in: self.edited, to: node.edited))
        change.append(.attributes(self.edited, above))
        try apply(change)

        node.keep(linked)
        node.condition.remove(.mayBeNamed)
        keep(above)
    }

    // MARK: What a new node is

    struct Birth {
        var attributes: Attributes
        var lists: AccessLists?
    }

    /// Mode, owner and ACLs of a new node in this directory, which is locked (Linux's
    /// inode_init_owner, mode_strip_sgid and posix_acl_create).
    private func birth(
        of new: NewNode, by credentials: Credentials, at now: Timestamp
    ) throws(Pause) -> Birth {
        var permissions = new.permissions.intersection(.all)
        if new.kind == .directory {
            permissions.subtract([.setUserID, .setGroupID])
        }
        var group = credentials.group
        if stored.permissions.contains(.setGroupID) {
            group = stored.group
            if new.kind != .directory,
                permissions.isSuperset(of: [.setGroupID, .groupExecute]),
                !credentials.isMember(of: group), !credentials.has(.keepSetID)
            {
                permissions.remove(.setGroupID)
            }
        }
        var lists: AccessLists?
        if new.kind == .symbolicLink {
            permissions = Permissions(rawValue: 0o777)
        } else if let inherited = try knownLists()?.default {
            let own = inherited.inherited(by: permissions)
            permissions = own.permissions
            lists = AccessLists(
                access: own.list.isMinimal ? nil : own.list,
                default: new.kind == .directory ? inherited : nil)
        } else {
            permissions.subtract(new.umask)
        }
        if new.kind == .directory, stored.permissions.contains(.setGroupID) {
            permissions.insert(.setGroupID)
        }
        var attributes = Attributes(
            number: 0, kind: new.kind, permissions: permissions,
            linkCount: new.kind == .directory ? 2 : 1, user: credentials.user, group: group,
            size: new.kind == .symbolicLink ? UInt64(new.target.count) : 0,
            blockSize: tree.store.blockSize, device: new.kind.isDevice ? new.device : 0, time: now)
        if new.kind == .regular || new.kind == .directory {
            // How data is kept is said of a directory for what comes to be in it, as with btrfs and
            // ext4.
            attributes.flags = stored.flags.intersection([.compress, .sync, .noCopyOnWrite])
        }
        return Birth(attributes: attributes, lists: lists)
    }

    /// The node came to be with these. Nobody else knows it yet.
    private func begin(with attributes: Attributes, lists: AccessLists?, below above: UInt64) {
        keep(attributes)
        self.lists = lists
        condition.insert(.listsAreKnown)
        parentNumber.store(above, ordering: .relaxed)
        updateHints()
    }

    /// Applies a change that makes `node`, with the ACLs that it inherits.
    @inline(__always)
    private func apply(
        _ change: inout Change, inheriting lists: AccessLists?, to node: TreeNode
    ) throws(Pause) {
        guard let lists else { return try apply(change) }
        try applyInheriting(&change, lists, to: node)
    }

    private func applyInheriting(
        _ change: inout Change, _ lists: AccessLists, to node: TreeNode
    ) throws(Pause) {
        let access = lists.access?.encoded() ?? []
        let inherited = lists.default?.encoded() ?? []
        try withBytes(of: access, inherited) { access, inherited throws(Pause) in
            if !access.isEmpty {
                change.append(.extendedAttribute(AttributeNames.access, of: node.edited, access))
            }
            if !inherited.isEmpty {
                change.append(
                    .extendedAttribute(AttributeNames.default, of: node.edited, inherited))
            }
            try node.apply(change)
        }
    }

    /// A node of this very filesystem, or EXDEV.
    @inline(__always)
    final func sibling(_ inode: Inode) throws(Pause) -> TreeNode {
        guard inode.fileSystem === fileSystem else { throw .failed(.EXDEV) }
        return unsafeDowncast(inode, to: TreeNode.self)
    }
}

extension TreeFileSystem {
    /// A node that was just made becomes known.
    @inline(never)
    final func insertNew(_ node: TreeNode) {
        var evicted: [TreeNode] = []
        nodes.insert(node, evicting: &evicted)
        for node in evicted {
            store.evicted(node)
        }
    }
}
