// One operation on inodes each: what doors and `Process` have in common.

public import CairnBase

/// Who asks a VFS operation, and by which door.
public struct Caller: Sendable {
    public let credentials: Credentials
    /// The observer that is told by the answer itself, as far as it asked.
    public let origin: (any ChangeObserver)?
    /// The mount through which it asked, by its identity.
    public let originMount: UInt64

    @inlinable
    public init(
        _ credentials: Credentials, origin: (any ChangeObserver)? = nil, through mount: UInt64 = 0
    ) {
        self.credentials = credentials
        self.origin = origin
        self.originMount = mount
    }
}

extension VFS {
    // MARK: Names

    /// The inode that a name in a directory leads to, from the dentry cache where it is there;
    /// nil: no such name. Does not cross mounts; never asked for "." or "..".
    public func lookup(_ name: Name, in directory: Inode) throws(Pause) -> Inode? {
        switch dentries.find(name, in: directory) {
        case .inode(let inode):
            if inode.isWatched { inode.noteFound(in: directory, as: name) }
            return inode
        case .absent: return nil
        case .unknown: break
        }
        let state = directory.currentNamesState
        let found = try directory.lookup(name)
        if let found {
            found.noteFound(in: directory, as: name)
        }
        if directory.hasCacheableNames {
            dentries.insert(name, in: directory, found, ifStateIs: state)
        }
        return found
    }

    /// Makes a node. EEXIST if the name is taken.
    public func create(
        _ name: Name, in directory: Inode, _ node: NewNode, by caller: Caller
    ) throws(Pause) -> Inode {
        var change = dentries.beginChange(of: name, in: directory)
        defer { change.end() }
        let inode = try directory.create(name, node, by: caller.credentials)
        inode.noteFound(in: directory, as: name)
        change.leads(to: inode)
        notify(.create, inode, in: directory, as: name)
        directory.announce(by: caller) {
            $0.nameChanged(name, in: directory, through: $1)
        }
        return inode
    }

    /// O_TMPFILE. The inode is held once for the caller.
    public func createTemporary(
        in directory: Inode, _ node: NewNode, by caller: Caller
    ) throws(Pause) -> Inode {
        try directory.createTemporary(node, by: caller.credentials)
    }

    /// A further name for a file. EXDEV across filesystems.
    public func link(
        _ inode: Inode, as name: Name, in directory: Inode, by caller: Caller
    ) throws(Pause) {
        guard inode.fileSystem === directory.fileSystem else { throw .failed(.EXDEV) }
        guard !inode.isDirectory else { throw .failed(.EPERM) }
        var change = dentries.beginChange(of: name, in: directory)
        defer { change.end() }
        try directory.link(inode, as: name, by: caller.credentials)
        change.leads(to: inode)
        notify(.linked, inode)
        notify(.create, inode, in: directory, as: name)
        directory.announce(by: caller) {
            $0.nameChanged(name, in: directory, through: $1)
            $0.attributesChanged(inode, through: $1)
        }
    }

    /// unlink(2), or rmdir(2) when `directory`. `expected`: what the caller may remove; ESTALE if
    /// the name leads elsewhere by now. Nil: whatever it leads to.
    public func remove(
        _ name: Name, in directory: Inode, directory isDirectory: Bool,
        expecting expected: Inode? = nil, by caller: Caller
    ) throws(Pause) {
        let found = expected != nil ? expected : try lookup(name, in: directory)
        guard let victim = found else { throw .failed(.ENOENT) }
        if victim.isDirectory != isDirectory {
            throw .failed(isDirectory ? .ENOTDIR : .EISDIR)
        }
        guard victim.mountsHere.load(ordering: .acquiring) == 0 else { throw .failed(.EBUSY) }
        var change = dentries.beginChange(of: name, in: directory)
        defer { change.end() }
        do throws(Pause) {
            try directory.remove(
                name, directory: isDirectory, expecting: victim, by: caller.credentials)
        } catch {
            if expected == nil, case .failed(.ESTALE) = error {
                change.end()
                return try remove(name, in: directory, directory: isDirectory, by: caller)
            }
            throw error
        }
        change.leads(to: nil)
        notify(.delete, victim, in: directory, as: name)
        directory.announce(by: caller) {
            $0.nameChanged(name, in: directory, through: $1)
            $0.attributesChanged(victim, through: $1)
        }
    }

    /// renameat2(2). EXDEV across filesystems. `expected` as in `remove`: what the two names led
    /// to when access was checked.
    public func rename(
        _ name: Name, in source: Inode, to newName: Name, in target: Inode, flags: RenameFlags,
        expecting expected: (moved: Inode, replaced: Inode?)? = nil, by caller: Caller
    ) throws(Pause) {
        guard source.fileSystem === target.fileSystem else { throw .failed(.EXDEV) }
        let moved: Inode
        let replaced: Inode?
        if let expected {
            (moved, replaced) = expected
        } else {
            guard let found = try lookup(name, in: source) else { throw .failed(.ENOENT) }
            moved = found
            replaced = try lookup(newName, in: target)
        }
        guard moved.mountsHere.load(ordering: .acquiring) == 0,
            replaced?.mountsHere.load(ordering: .acquiring) ?? 0 == 0
        else { throw .failed(.EBUSY) }
        var sourceChange = dentries.beginChange(of: name, in: source)
        defer { sourceChange.end() }
        var targetChange = dentries.beginChange(of: newName, in: target)
        defer { targetChange.end() }
        do throws(Pause) {
            try source.rename(
                name, expecting: moved, to: target, newName, replacing: replaced, flags: flags,
                by: caller.credentials)
        } catch {
            if expected == nil, case .failed(.ESTALE) = error {
                targetChange.end()
                sourceChange.end()
                return try rename(
                    name, in: source, to: newName, in: target, flags: flags, by: caller)
            }
            throw error
        }
        moved.noteFound(in: target, as: newName)
        if flags.contains(.exchange), let replaced {
            replaced.noteFound(in: source, as: name)
        }
        notifyMove(
            moved, from: source, name, to: target, newName, replaced: replaced, flags: flags)
        source.announce(by: caller) {
            $0.nameChanged(name, in: source, through: $1)
            $0.nameChanged(newName, in: target, through: $1)
            $0.attributesChanged(moved, through: $1)
            if let replaced { $0.attributesChanged(replaced, through: $1) }
        }
    }

    // MARK: Attributes

    /// chmod, chown, truncate, utimensat and flags, as one step.
    @discardableResult
    public func setAttributes(
        of inode: Inode, _ change: AttributeChange, by caller: Caller
    ) throws(Pause) -> Attributes {
        let result = try inode.setAttributes(change, by: caller.credentials)
        notify(change.size != nil ? .modify : .attributes, inode)
        inode.announce(by: caller) {
            $0.attributesChanged(inode, through: $1)
            if let size = change.size {
                $0.dataChanged(inode, offset: size, length: nil, through: $1)
            }
        }
        return result
    }

    /// setxattr(2); a nil value is removexattr(2).
    public func setExtendedAttribute(
        _ name: Name, of inode: Inode, to value: UnsafeRawBufferPointer?,
        mode: ExtendedAttributeMode = .any, by caller: Caller
    ) throws(Pause) {
        try inode.setExtendedAttribute(name, to: value, mode: mode, by: caller.credentials)
        notify(.attributes, inode)
        inode.announce(by: caller) { $0.attributesChanged(inode, through: $1) }
    }

    // MARK: Data

    public func write(
        _ bytes: UnsafeRawBufferPointer, to inode: Inode, at position: WritePosition,
        options: WriteOptions, by caller: Caller
    ) throws(Pause) -> Written {
        let written = try inode.write(bytes, at: position, options: options)
        dataChanged(inode, offset: written.offset, length: UInt64(written.count), by: caller)
        return written
    }

    /// fallocate(2).
    public func allocate(
        _ mode: AllocateMode, of inode: Inode, offset: UInt64, length: UInt64,
        options: WriteOptions, by caller: Caller
    ) throws(Pause) {
        try inode.allocate(mode, offset: offset, length: length, options: options)
        dataChanged(inode, offset: offset, length: nil, by: caller)
    }

    /// copy_file_range(2) between two files of one filesystem. Gives the number of bytes copied;
    /// EXDEV or EOPNOTSUPP where the filesystem cannot.
    public func copyRange(
        from source: Inode, at sourceOffset: UInt64, to inode: Inode, at offset: UInt64,
        length: UInt64, options: WriteOptions, by caller: Caller
    ) throws(Pause) -> Int {
        guard source.fileSystem === inode.fileSystem else { throw .failed(.EXDEV) }
        let count = try inode.copyRange(
            from: source, at: sourceOffset, to: offset, length: length, options: options)
        dataChanged(inode, offset: offset, length: UInt64(count), by: caller)
        return count
    }

    func dataChanged(_ inode: Inode, offset: UInt64, length: UInt64, by caller: Caller) {
        dataChanged(inode, offset: offset, length: Optional(length), by: caller)
    }

    private func dataChanged(
        _ inode: Inode, offset: UInt64, length: UInt64?, by caller: Caller
    ) {
        notify(.modify, inode)
        inode.announce(by: caller) {
            $0.dataChanged(inode, offset: offset, length: length, through: $1)
            $0.attributesChanged(inode, through: $1)
        }
    }

    // MARK: Another door

    /// A filesystem whose names changed by themselves (another machine, a hidden thread) says so.
    public func nameChanged(_ name: Name, in directory: Inode) {
        var change = dentries.beginChange(of: name, in: directory)
        change.end()
        directory.announce(by: nil) { $0.nameChanged(name, in: directory, through: $1) }
    }
}
