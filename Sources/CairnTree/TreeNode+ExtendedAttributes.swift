// Extended attributes and ACLs (xattr(7), acl(5)).
//
// Who may see and set which attribute is the VFS's to say; here stand the rules of names, sizes
// and kinds of file, and what an ACL does to the mode.

import CairnBase
import CairnVFS

/// XATTR_SIZE_MAX
private let maximumValueSize = 65536

extension TreeNode {
    /// What a name means.
    private enum Space {
        case plain
        case list(AccessControlList.Kind)
    }

    // MARK: Reading

    final func readExtendedAttribute(
        _ name: Name, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        guard try space(of: name, changing: false) != nil else { throw .failed(.ENODATA) }
        try lockSharedUnlessFreed()
        defer { lock.unlockShared() }
        return try tree.store.extendedAttribute(name, of: self, into: buffer)
    }

    final func listExtendedAttributes(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        try lockSharedUnlessFreed()
        defer { lock.unlockShared() }
        return try tree.store.extendedAttributeNames(of: self, into: buffer)
    }

    final func list(_ kind: AccessControlList.Kind) throws(Pause) -> AccessControlList? {
        try lockShared()
        if condition.contains(.listsAreKnown) {
            defer { lock.unlockShared() }
            return lists?[kind]
        }
        lock.unlockShared()
        try lockExclusively()
        defer { lock.unlock() }
        return try knownLists()?[kind]
    }

    /// The ACLs, read from the store if that was not done yet. The caller holds the lock
    /// exclusively.
    @inline(__always)
    final func knownLists() throws(Pause) -> AccessLists? {
        if !condition.contains(.listsAreKnown) { try readLists() }
        return lists
    }

    private func readLists() throws(Pause) {
        if kind != .symbolicLink, !condition.contains(.freed) {
            lists = AccessLists.of(
                access: try storedList(.access),
                default: kind == .directory ? try storedList(.default) : nil)
        }
        condition.insert(.listsAreKnown)
        updateHints()
    }

    private func storedList(
        _ kind: AccessControlList.Kind
    ) throws(Pause) -> AccessControlList? {
        let name = AttributeNames.of(kind)
        do throws(Pause) {
            let size = try tree.store.extendedAttribute(
                name, of: self, into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
            var bytes = [UInt8](repeating: 0, count: size)
            var failure: Pause?
            bytes.withUnsafeMutableBytes { buffer in
                do throws(Pause) {
                    _ = try tree.store.extendedAttribute(name, of: self, into: buffer)
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            return try parsedList(bytes)
        } catch {
            if case .failed(.ENODATA) = error { return nil }
            throw error
        }
    }

    /// What is stored was valid when it was set; if it no longer is, that is damage.
    private func parsedList(_ bytes: [UInt8]) throws(Pause) -> AccessControlList? {
        var result: Result<AccessControlList?, Errno>?
        bytes.withUnsafeBytes { buffer in
            do throws(Errno) {
                result = .success(try AccessControlList.parse(buffer))
            } catch {
                result = .failure(error)
            }
        }
        guard case .success(let list)? = result else { throw .failed(.EIO) }
        return list
    }

    // MARK: Changing

    final func changeExtendedAttribute(
        _ name: Name, to value: UnsafeRawBufferPointer?, mode: ExtendedAttributeMode,
        by credentials: Credentials
    ) throws(Pause) {
        if let value, value.count > maximumValueSize { throw .failed(.E2BIG) }
        guard let space = try space(of: name, changing: true) else { throw .failed(.EPERM) }
        try lockExclusivelyUnlessFreed()
        defer { lock.unlock() }
        guard stored.flags.isDisjoint(with: [.immutable, .appendOnly]) else {
            throw .failed(.EPERM)
        }
        switch space {
        case .plain: try changePlainAttribute(name, to: value, mode: mode)
        case .list(let kind): try changeList(kind, to: value, by: credentials)
        }
    }

    private func changePlainAttribute(
        _ name: Name, to value: UnsafeRawBufferPointer?, mode: ExtendedAttributeMode
    ) throws(Pause) {
        let exists = try hasStoredAttribute(name)
        if value == nil, !exists { throw .failed(.ENODATA) }
        if mode == .create, exists, value != nil { throw .failed(.EEXIST) }
        if mode == .replace, !exists { throw .failed(.ENODATA) }
        var after = stored
        after.changeTime = now()
        var change = Change()
        change.append(.extendedAttribute(name, of: self.edited, value))
        change.append(.attributes(self.edited, after))
        try apply(change)
        keep(after)
    }

    final func hasStoredAttribute(_ name: Name) throws(Pause) -> Bool {
        do throws(Pause) {
            _ = try tree.store.extendedAttribute(
                name, of: self, into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
            return true
        } catch {
            if case .failed(.ENODATA) = error { return false }
            throw error
        }
    }

    /// Sets or removes an ACL (Linux's set_posix_acl and posix_acl_update_mode).
    private func changeList(
        _ kind: AccessControlList.Kind, to value: UnsafeRawBufferPointer?,
        by credentials: Credentials
    ) throws(Pause) {
        var list: AccessControlList?
        if let value {
            do throws(Errno) {
                list = try AccessControlList.parse(value)
            } catch {
                throw .failed(error)
            }
        }
        let old = try knownLists()
        var after = stored
        after.changeTime = now()
        let updated: AccessLists?
        switch kind {
        case .default:
            guard isDirectory else {
                if list == nil { return }
                throw .failed(.EACCES)
            }
            updated = AccessLists.of(access: old?.access, default: list)
        case .access:
            if let given = list {
                after.permissions = given.permissions.union(
                    after.permissions.subtracting(Permissions(rawValue: 0o777)))
                if !credentials.isMember(of: after.group), !credentials.has(.keepSetID) {
                    after.permissions.remove(.setGroupID)
                }
                if given.isMinimal { list = nil }
            }
            updated = AccessLists.of(access: list, default: old?.default)
        }
        guard list != nil || old?[kind] != nil || after.permissions != stored.permissions else {
            return
        }
        try applyLists(kind, list, hadList: old?[kind] != nil, with: after)
        lists = updated
        keep(after)
    }

    /// Stores an ACL and the attributes that go with it.
    final func applyLists(
        _ kind: AccessControlList.Kind, _ list: AccessControlList?, hadList: Bool,
        with after: Attributes
    ) throws(Pause) {
        let encoded = list?.encoded() ?? []
        try withBytes(of: encoded, []) { bytes, _ throws(Pause) in
            var change = Change()
            if list != nil || hadList {
                change.append(
                    .extendedAttribute(
                        AttributeNames.of(kind), of: self.edited, list == nil ? nil : bytes))
            }
            change.append(.attributes(self.edited, after))
            try apply(change)
        }
    }

    // MARK: Names

    /// What the name means; nil: a user attribute on what cannot have one.
    private func space(of name: Name, changing: Bool) throws(Pause) -> Space? {
        guard name.count > 0, name.count <= Name.maximumLength else { throw .failed(.ERANGE) }
        if AttributeNames.hasPrefix(name, "user.") {
            guard name.count > 5 else { throw .failed(.EINVAL) }
            return kind == .regular || kind == .directory ? .plain : nil
        }
        if AttributeNames.hasPrefix(name, "trusted.") {
            guard name.count > 8 else { throw .failed(.EINVAL) }
            return .plain
        }
        if AttributeNames.hasPrefix(name, "security.") {
            guard name.count > 9 else { throw .failed(.EINVAL) }
            return .plain
        }
        if kind != .symbolicLink {
            if name == AttributeNames.access { return .list(.access) }
            if name == AttributeNames.default { return .list(.default) }
        }
        throw .failed(.EOPNOTSUPP)
    }
}
