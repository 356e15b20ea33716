// POSIX ACLs (acl(5)): the rules of access, of chmod, and of what a new file inherits, and the
// form in which system.posix_acl_access and system.posix_acl_default carry them.
//
// Source: IEEE 1003.1e draft 17, and Linux's linux/posix_acl_xattr.h for the bytes.

public import CairnBase

public struct AccessControlList: Hashable, Sendable {
    public enum Kind: Sendable {
        /// system.posix_acl_access
        case access
        /// system.posix_acl_default: what new files in a directory inherit.
        case `default`

        public var attributeName: String {
            self == .access ? "system.posix_acl_access" : "system.posix_acl_default"
        }
    }

    /// ACL_USER_OBJ and so on; raw values as in the attribute.
    public enum Tag: UInt16, Sendable {
        case owner = 0x01
        case user = 0x02
        case owningGroup = 0x04
        case group = 0x08
        case mask = 0x10
        case others = 0x20
    }

    public struct Entry: Hashable, Sendable {
        public var tag: Tag
        /// rwx as 4, 2, 1.
        public var access: UInt32
        /// User or group; of no meaning for other tags.
        public var qualifier: UInt32

        public init(_ tag: Tag, access: UInt32, qualifier: UInt32 = .max) {
            self.tag = tag
            self.access = access
            self.qualifier = qualifier
        }
    }

    /// In the order of the draft: owner, users, owning group, groups, mask, others.
    public private(set) var entries: [Entry]

    // MARK: The attribute's bytes

    private static var version: UInt32 { 2 }
    private static var headerSize: Int { 4 }
    private static var entrySize: Int { 8 }

    /// Parses an attribute's value. EINVAL for what is no valid ACL, EOPNOTSUPP for another
    /// version. Nil for a list without entries, which stands for "none".
    public static func parse(
        _ bytes: UnsafeRawBufferPointer
    ) throws(Errno) -> AccessControlList? {
        guard bytes.count >= headerSize, (bytes.count - headerSize) % entrySize == 0 else {
            throw .EINVAL
        }
        guard bytes.loadUnaligned(as: UInt32.self).littleEndian == version else {
            throw .EOPNOTSUPP
        }
        var entries: [Entry] = []
        for start in stride(from: headerSize, to: bytes.count, by: entrySize) {
            func number<N: FixedWidthInteger>(_ offset: Int, as type: N.Type) -> N {
                N(littleEndian: bytes.loadUnaligned(fromByteOffset: start + offset, as: N.self))
            }
            guard let tag = Tag(rawValue: number(0, as: UInt16.self)) else { throw .EINVAL }
            let access = UInt32(number(2, as: UInt16.self))
            guard access <= 7 else { throw .EINVAL }
            entries.append(Entry(tag, access: access, qualifier: number(4, as: UInt32.self)))
        }
        if entries.isEmpty { return nil }
        return try AccessControlList(entries)
    }

    /// Checks the rules of acl_valid(3). EINVAL where they do not hold.
    public init(_ entries: [Entry]) throws(Errno) {
        var counts: [Tag: Int] = [:]
        var last: Entry?
        for entry in entries {
            counts[entry.tag, default: 0] += 1
            if let last {
                guard last.tag.rawValue <= entry.tag.rawValue else { throw .EINVAL }
            }
            if entry.tag == .user || entry.tag == .group, entry.qualifier == .max { throw .EINVAL }
            last = entry
        }
        guard counts[.owner] == 1, counts[.owningGroup] == 1, counts[.others] == 1,
            counts[.mask, default: 0] <= 1
        else { throw .EINVAL }
        if counts[.user] != nil || counts[.group] != nil, counts[.mask] == nil { throw .EINVAL }
        self.entries = entries
    }

    public func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        func append<N: FixedWidthInteger>(_ number: N) {
            withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
        }
        append(Self.version)
        for entry in entries {
            append(entry.tag.rawValue)
            append(UInt16(entry.access))
            append(entry.tag == .user || entry.tag == .group ? entry.qualifier : UInt32.max)
        }
        return bytes
    }

    // MARK: Mode and list

    /// The list that says no more than the mode does.
    public init(permissions: Permissions) {
        let bits = permissions.rawValue
        entries = [
            Entry(.owner, access: bits >> 6 & 7), Entry(.owningGroup, access: bits >> 3 & 7),
            Entry(.others, access: bits & 7),
        ]
    }

    /// The nine mode bits that go with this access list: the group's are the mask's where there
    /// is a mask.
    public var permissions: Permissions {
        var owner: UInt32 = 0
        var group: UInt32 = 0
        var others: UInt32 = 0
        var mask: UInt32?
        for entry in entries {
            switch entry.tag {
            case .owner: owner = entry.access
            case .owningGroup: group = entry.access
            case .others: others = entry.access
            case .mask: mask = entry.access
            case .user, .group: break
            }
        }
        return Permissions(rawValue: owner << 6 | (mask ?? group) << 3 | others)
    }

    /// Whether the nine mode bits say all that this list says.
    public var isMinimal: Bool { entries.count == 3 }

    /// After chmod(2): owner, others, and the mask (or the owning group, without one) follow.
    public func changed(to permissions: Permissions) -> AccessControlList {
        let hasMask = entries.contains { $0.tag == .mask }
        let bits = permissions.rawValue
        var result = self
        for index in result.entries.indices {
            switch result.entries[index].tag {
            case .owner: result.entries[index].access = bits >> 6 & 7
            case .others: result.entries[index].access = bits & 7
            case .mask: result.entries[index].access = bits >> 3 & 7
            case .owningGroup where !hasMask: result.entries[index].access = bits >> 3 & 7
            default: break
            }
        }
        return result
    }

    /// What a new file gets from this default list when it is made with `permissions`: its own
    /// access list and mode (posix_acl_create).
    public func inherited(
        by permissions: Permissions
    ) -> (list: AccessControlList, permissions: Permissions) {
        let hasMask = entries.contains { $0.tag == .mask }
        let bits = permissions.rawValue
        var result = self
        for index in result.entries.indices {
            switch result.entries[index].tag {
            case .owner: result.entries[index].access &= bits >> 6 & 7
            case .others: result.entries[index].access &= bits & 7
            case .mask: result.entries[index].access &= bits >> 3 & 7
            case .owningGroup where !hasMask: result.entries[index].access &= bits >> 3 & 7
            default: break
            }
        }
        let high = Permissions(rawValue: bits & ~0o777)
        return (result, result.permissions.union(high))
    }

    // MARK: Access

    /// Whether the list grants all of `wanted` (rwx as 4, 2, 1) to a caller without capabilities.
    public func grants(
        _ wanted: UInt32, to credentials: Credentials, owner: UInt32, group: UInt32
    ) -> Bool {
        let mask = entries.first { $0.tag == .mask }?.access ?? 7
        var isInGroup = false
        for entry in entries {
            switch entry.tag {
            case .owner where credentials.user == owner:
                return entry.access & wanted == wanted
            case .user where credentials.user == entry.qualifier:
                return entry.access & mask & wanted == wanted
            case .owningGroup where credentials.isMember(of: group),
                .group where credentials.isMember(of: entry.qualifier):
                isInGroup = true
                if entry.access & mask & wanted == wanted { return true }
            case .others:
                return !isInGroup && entry.access & wanted == wanted
            default:
                break
            }
        }
        return false
    }
}
