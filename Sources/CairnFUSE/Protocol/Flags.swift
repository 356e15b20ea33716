// The flag words of the FUSE protocol. Names of the kernel's constants stand beside ours.

/// What the two sides agree on in INIT. Bits 32 and up travel in a second word (flags2).
struct InitFlags: OptionSet, Sendable {
    var rawValue: UInt64

    /// FUSE_ASYNC_READ
    static let asynchronousRead = InitFlags(rawValue: 1 << 0)
    /// FUSE_POSIX_LOCKS
    static let posixLocks = InitFlags(rawValue: 1 << 1)
    /// FUSE_ATOMIC_O_TRUNC
    static let atomicTruncate = InitFlags(rawValue: 1 << 3)
    /// FUSE_BIG_WRITES
    static let bigWrites = InitFlags(rawValue: 1 << 5)
    /// FUSE_DONT_MASK
    static let doNotMask = InitFlags(rawValue: 1 << 6)
    /// FUSE_FLOCK_LOCKS
    static let wholeFileLocks = InitFlags(rawValue: 1 << 10)
    /// FUSE_HAS_IOCTL_DIR
    static let controlOnDirectories = InitFlags(rawValue: 1 << 11)
    /// FUSE_DO_READDIRPLUS
    static let readDirectoryPlus = InitFlags(rawValue: 1 << 13)
    /// FUSE_READDIRPLUS_AUTO
    static let readDirectoryPlusAdaptive = InitFlags(rawValue: 1 << 14)
    /// FUSE_ASYNC_DIO
    static let asynchronousDirect = InitFlags(rawValue: 1 << 15)
    /// FUSE_WRITEBACK_CACHE
    static let writebackCache = InitFlags(rawValue: 1 << 16)
    /// FUSE_NO_OPEN_SUPPORT
    static let openless = InitFlags(rawValue: 1 << 17)
    /// FUSE_PARALLEL_DIROPS
    static let parallelDirectoryOperations = InitFlags(rawValue: 1 << 18)
    /// FUSE_POSIX_ACL
    static let posixACL = InitFlags(rawValue: 1 << 20)
    /// FUSE_MAX_PAGES
    static let maximumPages = InitFlags(rawValue: 1 << 22)
    /// FUSE_CACHE_SYMLINKS
    static let cacheSymbolicLinks = InitFlags(rawValue: 1 << 23)
    /// FUSE_NO_OPENDIR_SUPPORT
    static let openlessDirectories = InitFlags(rawValue: 1 << 24)
    /// FUSE_EXPLICIT_INVAL_DATA
    static let explicitInvalidation = InitFlags(rawValue: 1 << 25)
    /// FUSE_HANDLE_KILLPRIV_V2
    static let clearsPrivileges = InitFlags(rawValue: 1 << 28)
    /// FUSE_SETXATTR_EXT
    static let longSetExtendedAttribute = InitFlags(rawValue: 1 << 29)
    /// FUSE_INIT_EXT
    static let extended = InitFlags(rawValue: 1 << 30)
    /// FUSE_CREATE_SUPP_GROUP
    static let supplementaryGroup = InitFlags(rawValue: 1 << 34)
    /// FUSE_HAS_EXPIRE_ONLY
    static let expireOnly = InitFlags(rawValue: 1 << 35)
    /// FUSE_DIRECT_IO_ALLOW_MMAP
    static let mapsDirectFiles = InitFlags(rawValue: 1 << 36)
    /// FUSE_NO_EXPORT_SUPPORT
    static let noExport = InitFlags(rawValue: 1 << 38)
    /// FUSE_OVER_IO_URING
    static let overRing = InitFlags(rawValue: 1 << 41)
}

/// fuse_setattr_in.valid (FATTR_*).
struct SetAttributesMask: OptionSet, Sendable {
    var rawValue: UInt32

    static let mode = SetAttributesMask(rawValue: 1 << 0)
    static let user = SetAttributesMask(rawValue: 1 << 1)
    static let group = SetAttributesMask(rawValue: 1 << 2)
    static let size = SetAttributesMask(rawValue: 1 << 3)
    static let accessTime = SetAttributesMask(rawValue: 1 << 4)
    static let modificationTime = SetAttributesMask(rawValue: 1 << 5)
    static let accessTimeNow = SetAttributesMask(rawValue: 1 << 7)
    static let modificationTimeNow = SetAttributesMask(rawValue: 1 << 8)
    static let changeTime = SetAttributesMask(rawValue: 1 << 10)
    /// FATTR_KILL_SUIDGID
    static let clearPrivileges = SetAttributesMask(rawValue: 1 << 11)
}

/// fuse_open_out.open_flags (FOPEN_*).
struct OpenReplyFlags: OptionSet, Sendable {
    var rawValue: UInt32

    static let directIO = OpenReplyFlags(rawValue: 1 << 0)
    static let keepCache = OpenReplyFlags(rawValue: 1 << 1)
    static let cacheDirectory = OpenReplyFlags(rawValue: 1 << 3)
    static let stream = OpenReplyFlags(rawValue: 1 << 4)
    static let noFlush = OpenReplyFlags(rawValue: 1 << 5)
}

/// Single flags of other words.
enum WireFlag {
    /// fuse_write_in.write_flags, FUSE_WRITE_CACHE: from the page cache, late.
    static let writeFromCache: UInt32 = 1 << 0
    /// FUSE_WRITE_KILL_SUIDGID
    static let writeClearsPrivileges: UInt32 = 1 << 2
    /// fuse_fsync_in.fsync_flags, FUSE_FSYNC_FDATASYNC
    static let syncDataOnly: UInt32 = 1 << 0
    /// fuse_release_in.release_flags, FUSE_RELEASE_FLOCK_UNLOCK
    static let releaseUnlocks: UInt32 = 1 << 1
    /// fuse_lk_in.lk_flags, FUSE_LK_FLOCK
    static let lockWholeFile: UInt32 = 1 << 0
    /// fuse_open_in.open_flags, FUSE_OPEN_KILL_SUIDGID
    static let openClearsPrivileges: UInt32 = 1 << 0
    /// fuse_setxattr_in.setxattr_flags, FUSE_SETXATTR_ACL_KILL_SGID
    static let attributeClearsSetGroupID: UInt32 = 1 << 0
    /// fuse_notify_inval_entry_out.flags, FUSE_EXPIRE_ONLY
    static let entryExpires: UInt32 = 1 << 0
}

/// open(2) flags as they travel in requests.
enum OpenFlag {
    static let accessMask: UInt32 = 0o3
    static let writeOnly: UInt32 = 0o1
    /// __FMODE_EXEC: the file is opened to be run.
    static let execute: UInt32 = 0o40
    static let create: UInt32 = 0o100
    static let exclusive: UInt32 = 0o200
    static let truncate: UInt32 = 0o1000
    static let synchronousData: UInt32 = 0o10000
    static let synchronous: UInt32 = 0o4010000
}

/// What the server tells without being asked (enum fuse_notify_code).
enum NotificationCode: Int32, Sendable {
    case invalidateInode = 2
    case invalidateEntry = 3
    /// FUSE_NOTIFY_STORE: these are the file's bytes.
    case store = 4
    /// FUSE_NOTIFY_INC_EPOCH: every name is to be asked for again.
    case incrementEpoch = 8
    /// FUSE_NOTIFY_PRUNE: nodes that nobody uses are to be forgotten.
    case prune = 9

    /// The protocol's minor versions that brought the last two.
    static let epochMinor: UInt32 = 44
    static let pruneMinor: UInt32 = 45
}
