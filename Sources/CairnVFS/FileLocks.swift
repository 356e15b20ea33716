// File locks: what a lock is and who owns it. The calls on an inode are in FileLocks+Inode.swift,
// the table of one file in FileLockTable.swift.
//
// Three kinds of advisory lock (fcntl(2), flock(2)):
//
//   kind        covers       owner                     ends when
//   POSIX       byte range   process                   any descriptor of the file is closed by it
//   OFD         byte range   open file description     the last descriptor of it is closed
//   flock       whole file   open file description     the last descriptor of it is closed
//
// POSIX and OFD locks exclude one another, being in one table; flock's have a table of their own,
// and the two never meet, as on Linux.

/// Who holds a lock. The three kinds never equal one another, whatever their numbers.
public struct LockOwner: Hashable, Sendable {
    public enum Kind: UInt8, Sendable {
        /// A process, by its descriptor table: POSIX locks.
        case process
        /// An open file description: OFD locks and flock.
        case description
        /// What the far side of a door names: the kernel's lock_owner over FUSE.
        case remote
    }

    public let kind: Kind
    /// Who names the owner: tells apart the owners of several doors. 0 in this process.
    public let door: UInt64
    public let identity: UInt64

    public static func process(_ identity: UInt64) -> LockOwner {
        LockOwner(kind: .process, door: 0, identity: identity)
    }

    public static func description(_ identity: UInt64) -> LockOwner {
        LockOwner(kind: .description, door: 0, identity: identity)
    }

    public static func remote(door: UInt64, _ identity: UInt64) -> LockOwner {
        LockOwner(kind: .remote, door: door, identity: identity)
    }

    /// Whether a wait of this owner can end in EDEADLK. As on Linux not for descriptions: whoever
    /// shares one can still unlock it while a thread waits through another.
    var canDeadlock: Bool { kind != .description }
}

/// Bytes of a file, from the first to the last one, both included.
public struct LockRange: Hashable, Sendable {
    public let start: UInt64
    public let end: UInt64

    /// Nil if the end lies before the start.
    public init?(start: UInt64, end: UInt64) {
        guard start <= end else { return nil }
        self.start = start
        self.end = end
    }

    /// As in struct flock: a length of 0 goes to the end, however far the file grows; a negative
    /// one goes backwards. Nil (EINVAL) where that leaves the range 0 … Int64.max.
    public init?(offset: Int64, length: Int64) {
        guard offset >= 0 else { return nil }
        if length > 0 {
            let (end, overflow) = offset.addingReportingOverflow(length - 1)
            guard !overflow else { return nil }
            self.init(start: UInt64(offset), end: UInt64(end))
        } else if length == 0 {
            self.init(start: UInt64(offset), end: LockRange.whole.end)
        } else {
            let start = offset.addingReportingOverflow(length)
            guard !start.overflow, start.partialValue >= 0 else { return nil }
            self.init(start: UInt64(start.partialValue), end: UInt64(offset - 1))
        }
    }

    private init(all: Void) {
        start = 0
        end = UInt64.max
    }

    /// Every byte: what flock covers.
    public static let whole = LockRange(all: ())

    public func overlaps(_ other: LockRange) -> Bool {
        start <= other.end && other.start <= end
    }

    /// l_len of struct flock: 0 for "to the end".
    public var length: UInt64 { end >= UInt64(Int64.max) ? 0 : end - start + 1 }
}

/// One lock, as it is asked for and as it is reported.
public struct FileLock: Hashable, Sendable {
    public enum Kind: UInt8, Sendable {
        /// F_RDLCK, LOCK_SH.
        case read
        /// F_WRLCK, LOCK_EX.
        case write
    }

    public var kind: Kind
    public var range: LockRange
    /// Who took it, for people; F_GETLK gives -1 for a lock of a description.
    public var processID: Int32

    public init(_ kind: Kind, _ range: LockRange, processID: Int32) {
        self.kind = kind
        self.range = range
        self.processID = processID
    }
}

/// What flock(2) is asked to do.
public enum FlockOperation: Sendable {
    /// LOCK_SH
    case shared
    /// LOCK_EX
    case exclusive
    /// LOCK_UN
    case unlock
}

/// A lock that is held or waited for, as /proc/locks shows it.
public struct ListedLock: Sendable {
    public var lock: FileLock
    public var owner: LockOwner
    public var isFlock: Bool
    public var isWaiting: Bool
    public var fileSystem: UInt64
    public var inodeNumber: UInt64
}
