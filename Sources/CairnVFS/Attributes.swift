// What stat(2) tells of a file, and what chmod, chown, truncate and utimensat change.

public import CairnBase

/// The kinds of file; raw values are Linux's DT_* (dirent.h).
public enum FileKind: UInt8, Sendable {
    case fifo = 1
    case characterDevice = 2
    case directory = 4
    case blockDevice = 6
    case regular = 8
    case symbolicLink = 10
    case socket = 12

    /// S_IFMT's bits of st_mode.
    @inlinable public var modeBits: UInt32 { UInt32(rawValue) << 12 }

    /// The kind that st_mode's S_IFMT bits name.
    @inlinable
    public init?(mode: UInt32) {
        self.init(rawValue: UInt8(truncatingIfNeeded: (mode & 0o170000) >> 12))
    }

    @inlinable public var isDevice: Bool { self == .characterDevice || self == .blockDevice }
}

/// Bits of st_mode below the kind.
public struct Permissions: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable public static var setUserID: Permissions { Permissions(rawValue: 0o4000) }
    @inlinable public static var setGroupID: Permissions { Permissions(rawValue: 0o2000) }
    @inlinable public static var sticky: Permissions { Permissions(rawValue: 0o1000) }
    @inlinable public static var groupExecute: Permissions { Permissions(rawValue: 0o010) }
    /// Execute (search) for owner, group and others.
    @inlinable public static var executeAll: Permissions { Permissions(rawValue: 0o111) }
    /// All that chmod(2) can set.
    @inlinable public static var all: Permissions { Permissions(rawValue: 0o7777) }
}

/// Flags of FS_IOC_GETFLAGS (chattr(1)) that the VFS itself enforces or keeps.
public struct FileFlags: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// FS_COMPR_FL
    @inlinable public static var compress: FileFlags { FileFlags(rawValue: 0x4) }
    /// FS_SYNC_FL
    @inlinable public static var sync: FileFlags { FileFlags(rawValue: 0x8) }
    /// FS_IMMUTABLE_FL: nothing may change.
    @inlinable public static var immutable: FileFlags { FileFlags(rawValue: 0x10) }
    /// FS_APPEND_FL: data may only be added.
    @inlinable public static var appendOnly: FileFlags { FileFlags(rawValue: 0x20) }
    /// FS_NODUMP_FL
    @inlinable public static var noDump: FileFlags { FileFlags(rawValue: 0x40) }
    /// FS_NOATIME_FL
    @inlinable public static var noAccessTime: FileFlags { FileFlags(rawValue: 0x80) }
    /// FS_NOCOW_FL
    @inlinable public static var noCopyOnWrite: FileFlags { FileFlags(rawValue: 0x80_0000) }
    /// What a user can set at all.
    @inlinable public static var settable: FileFlags {
        [.compress, .sync, .immutable, .appendOnly, .noDump, .noAccessTime, .noCopyOnWrite]
    }
}

/// What a filesystem knows of one inode (stat(2), statx(2)).
public struct Attributes: Hashable, Sendable {
    public var number: UInt64
    public var kind: FileKind
    public var permissions: Permissions
    public var linkCount: UInt32
    public var user: UInt32
    public var group: UInt32
    /// Bytes. Of a symbolic link: the length of its target.
    public var size: UInt64
    /// Units of 512 bytes that are really held.
    public var blocks: UInt64
    /// The size that I/O is best done in, in bytes (st_blksize).
    public var blockSize: UInt32
    /// For device nodes: (major << 32) | minor.
    public var device: UInt64
    public var accessTime: Timestamp
    public var modificationTime: Timestamp
    public var changeTime: Timestamp
    public var birthTime: Timestamp
    public var flags: FileFlags

    public init(
        number: UInt64, kind: FileKind, permissions: Permissions, linkCount: UInt32 = 1,
        user: UInt32 = 0, group: UInt32 = 0, size: UInt64 = 0, blocks: UInt64 = 0,
        blockSize: UInt32 = 4096, device: UInt64 = 0, time: Timestamp
    ) {
        self.number = number
        self.kind = kind
        self.permissions = permissions
        self.linkCount = linkCount
        self.user = user
        self.group = group
        self.size = size
        self.blocks = blocks
        self.blockSize = blockSize
        self.device = device
        self.accessTime = time
        self.modificationTime = time
        self.changeTime = time
        self.birthTime = time
        self.flags = []
    }

    /// st_mode: kind and permissions.
    @inlinable public var mode: UInt32 { kind.modeBits | permissions.rawValue }

    @inlinable public var isDirectory: Bool { kind == .directory }
}

/// What utimensat(2) can say of a time.
public enum TimeChange: Hashable, Sendable {
    /// UTIME_OMIT
    case keep
    /// UTIME_NOW
    case now
    case set(Timestamp)
}

/// A change of attributes; what is nil or `.keep` stays. Applied as one step.
public struct AttributeChange: Sendable {
    public var permissions: Permissions?
    public var user: UInt32?
    public var group: UInt32?
    /// A new length: what is cut is gone, what is added reads as zeros.
    public var size: UInt64?
    public var accessTime: TimeChange = .keep
    public var modificationTime: TimeChange = .keep
    /// Nil: now, because something changed. A door whose client keeps times itself sets it.
    public var changeTime: Timestamp?
    public var flags: FileFlags?
    /// Clear set-user-id, and set-group-id where the group may execute, as a change of size or
    /// owner by an unprivileged caller does (Linux's file_remove_privs and setattr_prepare).
    public var clearsPrivileges = false

    public init() {}
}

/// A node to be made.
public struct NewNode: Sendable {
    public var kind: FileKind
    /// As asked for, before umask. A default ACL on the directory replaces the umask.
    public var permissions: Permissions
    public var umask: Permissions
    /// For device nodes: (major << 32) | minor.
    public var device: UInt64
    /// For symbolic links.
    public var target: [UInt8]
    /// For a file that has no name: whether link(2) may give it one. Not with O_TMPFILE|O_EXCL.
    public var mayBeNamed = true

    public init(
        kind: FileKind, permissions: Permissions, umask: Permissions = [], device: UInt64 = 0,
        target: [UInt8] = []
    ) {
        self.kind = kind
        self.permissions = permissions
        self.umask = umask
        self.device = device
        self.target = target
    }
}

/// statfs(2).
public struct FileSystemStatistics: Hashable, Sendable {
    /// Bytes.
    public var blockSize: UInt32
    public var totalBlocks: UInt64
    public var freeBlocks: UInt64
    /// Free to unprivileged users.
    public var availableBlocks: UInt64
    public var totalNodes: UInt64
    public var freeNodes: UInt64
    public var maximumNameLength: UInt32

    public init(
        blockSize: UInt32 = 4096, totalBlocks: UInt64 = 0, freeBlocks: UInt64 = 0,
        availableBlocks: UInt64 = 0, totalNodes: UInt64 = 0, freeNodes: UInt64 = 0,
        maximumNameLength: UInt32 = 255
    ) {
        self.blockSize = blockSize
        self.totalBlocks = totalBlocks
        self.freeBlocks = freeBlocks
        self.availableBlocks = availableBlocks
        self.totalNodes = totalNodes
        self.freeNodes = freeNodes
        self.maximumNameLength = maximumNameLength
    }
}
