// Who asks: user, groups and capabilities (credentials(7), capabilities(7)).

/// The capabilities that a filesystem looks at; bit numbers are Linux's (linux/capability.h).
public struct Capabilities: OptionSet, Hashable, Sendable {
    public var rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// CAP_CHOWN
    @inlinable public static var changeOwner: Capabilities { Capabilities(rawValue: 1 << 0) }
    /// CAP_DAC_OVERRIDE
    @inlinable public static var overrideAccess: Capabilities { Capabilities(rawValue: 1 << 1) }
    /// CAP_DAC_READ_SEARCH
    @inlinable public static var readAndSearch: Capabilities { Capabilities(rawValue: 1 << 2) }
    /// CAP_FOWNER
    @inlinable public static var actAsOwner: Capabilities { Capabilities(rawValue: 1 << 3) }
    /// CAP_FSETID
    @inlinable public static var keepSetID: Capabilities { Capabilities(rawValue: 1 << 4) }
    /// CAP_LINUX_IMMUTABLE
    @inlinable public static var changeImmutable: Capabilities { Capabilities(rawValue: 1 << 9) }
    /// CAP_SYS_ADMIN
    @inlinable public static var administer: Capabilities { Capabilities(rawValue: 1 << 21) }
    /// CAP_SYS_RESOURCE
    @inlinable public static var useReserve: Capabilities { Capabilities(rawValue: 1 << 24) }
    /// CAP_MKNOD
    @inlinable public static var makeDevices: Capabilities { Capabilities(rawValue: 1 << 27) }
    @inlinable public static var all: Capabilities { Capabilities(rawValue: .max) }
}

/// Who asks for an operation. Immutable.
public final class Credentials: Sendable {
    public let user: UInt32
    public let group: UInt32
    /// Supplementary groups.
    public let groups: [UInt32]
    public let capabilities: Capabilities

    /// Capabilities nil: all for user 0, none for others.
    public init(
        user: UInt32, group: UInt32, groups: [UInt32] = [], capabilities: Capabilities? = nil
    ) {
        self.user = user
        self.group = group
        self.groups = groups
        self.capabilities = capabilities ?? (user == 0 ? .all : [])
    }

    /// User and group 0 with every capability.
    public static let root = Credentials(user: 0, group: 0)

    @inlinable
    public func has(_ capability: Capabilities) -> Bool {
        capabilities.contains(capability)
    }

    @inlinable
    public func isMember(of group: UInt32) -> Bool {
        self.group == group || groups.contains(group)
    }
}
