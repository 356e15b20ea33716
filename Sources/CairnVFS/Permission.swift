// Who may do what to an inode: the rules of path_resolution(7), capabilities(7) and acl(5).

import CairnBase

/// What is asked for; values are those of access(2).
public struct Access: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// X_OK. For a directory: search.
    @inlinable public static var execute: Access { Access(rawValue: 1) }
    /// W_OK
    @inlinable public static var write: Access { Access(rawValue: 2) }
    /// R_OK
    @inlinable public static var read: Access { Access(rawValue: 4) }
}

extension Inode {
    /// EACCES unless the caller has all of `wanted`. Of mounts (read-only, noexec) it knows
    /// nothing; EPERM for writing to an immutable file.
    func requireAccess(_ wanted: Access, by credentials: Credentials) throws(Pause) {
        if wanted == .execute, isDirectory, isSearchableByAll.load(ordering: .acquiring) {
            return
        }
        let attributes = try attributes()
        if wanted.contains(.write), attributes.flags.contains(.immutable) { throw .failed(.EPERM) }
        if try grants(wanted, attributes, to: credentials) { return }
        if isOverridden(wanted, attributes, by: credentials) { return }
        throw .failed(.EACCES)
    }

    private func grants(
        _ wanted: Access, _ attributes: Attributes, to credentials: Credentials
    ) throws(Pause) -> Bool {
        let bits = attributes.permissions.rawValue
        if credentials.user == attributes.user {
            return bits >> 6 & wanted.rawValue == wanted.rawValue
        }
        // The group bits of a file with an ACL are its mask: without them no entry grants more.
        if bits & 0o070 != 0, let list = try accessControlList(.access) {
            return list.grants(
                wanted.rawValue, to: credentials, owner: attributes.user, group: attributes.group)
        }
        let shift: UInt32 = credentials.isMember(of: attributes.group) ? 3 : 0
        return bits >> shift & wanted.rawValue == wanted.rawValue
    }

    private func isOverridden(
        _ wanted: Access, _ attributes: Attributes, by credentials: Credentials
    ) -> Bool {
        if attributes.isDirectory {
            if credentials.has(.overrideAccess) { return true }
            return !wanted.contains(.write) && credentials.has(.readAndSearch)
        }
        if credentials.has(.overrideAccess) {
            return !wanted.contains(.execute)
                || !attributes.permissions.isDisjoint(with: .executeAll)
        }
        return wanted == .read && credentials.has(.readAndSearch)
    }

    /// Whether the caller owns the file, or may act as its owner.
    func isOwned(_ attributes: Attributes, by credentials: Credentials) -> Bool {
        credentials.user == attributes.user || credentials.has(.actAsOwner)
    }

    /// Whether `victim` may be unlinked from, or renamed out of, this directory (may_delete).
    func requireRemoval(of victim: Inode, by credentials: Credentials) throws(Pause) {
        try requireAccess([.write, .execute], by: credentials)
        let directory = try attributes()
        if directory.flags.contains(.appendOnly) { throw .failed(.EPERM) }
        let file = try victim.attributes()
        if directory.permissions.contains(.sticky), credentials.user != file.user,
            credentials.user != directory.user, !credentials.has(.actAsOwner)
        {
            throw .failed(.EPERM)
        }
        if !file.flags.isDisjoint(with: [.appendOnly, .immutable]) { throw .failed(.EPERM) }
    }

    /// Whether the caller may set these attributes (setattr_prepare), with the change made to
    /// say what POSIX adds: set-id bits that go.
    func requireChange(
        _ change: inout AttributeChange, by credentials: Credentials
    ) throws(Pause) {
        let now = try attributes()
        if now.flags.contains(.immutable), change.flags == nil { throw .failed(.EPERM) }
        if now.flags.contains(.appendOnly),
            change.permissions != nil || change.user != nil || change.group != nil
                || change.size != nil || change.accessTime.isSet
                || change.modificationTime.isSet
        {
            throw .failed(.EPERM)
        }
        let isOwner = isOwned(now, by: credentials)
        if let user = change.user {
            guard
                credentials.has(.changeOwner)
                    || credentials.user == now.user && user == now.user
            else { throw .failed(.EPERM) }
        }
        if let group = change.group {
            guard
                credentials.has(.changeOwner)
                    || credentials.user == now.user
                        && (group == now.group || credentials.isMember(of: group))
            else { throw .failed(.EPERM) }
        }
        if change.user != nil || change.group != nil, !isDirectory {
            // Linux clears the bits for privileged callers too.
            change.clearsPrivileges = true
        }
        if let permissions = change.permissions {
            guard isOwner else { throw .failed(.EPERM) }
            let group = change.group ?? now.group
            if permissions.contains(.setGroupID), !credentials.isMember(of: group),
                !credentials.has(.keepSetID)
            {
                change.permissions = permissions.subtracting(.setGroupID)
            }
        }
        try requireTimes(change, isOwner: isOwner, by: credentials)
        if let flags = change.flags {
            guard isOwner else { throw .failed(.EPERM) }
            let guarded: FileFlags = [.immutable, .appendOnly]
            if !flags.symmetricDifference(now.flags).isDisjoint(with: guarded),
                !credentials.has(.changeImmutable)
            {
                throw .failed(.EPERM)
            }
        }
        if change.size != nil, !credentials.has(.keepSetID) {
            change.clearsPrivileges = true
        }
    }

    private func requireTimes(
        _ change: AttributeChange, isOwner: Bool, by credentials: Credentials
    ) throws(Pause) {
        if change.accessTime.isSet || change.modificationTime.isSet {
            guard isOwner else { throw .failed(.EPERM) }
        } else if change.accessTime == .now || change.modificationTime == .now, !isOwner {
            // Both to now is what a writer may do; one of them alone is the owner's.
            guard change.accessTime == .now, change.modificationTime == .now else {
                throw .failed(.EPERM)
            }
            try requireAccess(.write, by: credentials)
        }
    }
}

extension TimeChange {
    /// A time of the caller's choice, which only the owner may set.
    var isSet: Bool {
        if case .set = self { return true }
        return false
    }
}
