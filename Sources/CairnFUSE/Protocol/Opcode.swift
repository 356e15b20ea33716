// The requests of the kernel's FUSE protocol.
//
// Source: the kernel's include/uapi/linux/fuse.h, protocol 7.45. Numbers and sizes are the
// kernel's contract; nothing here is ours to choose.

/// What the kernel asks for (enum fuse_opcode).
enum Opcode: UInt32, CaseIterable, Sendable {
    case lookup = 1
    case forget = 2
    case getAttributes = 3
    case setAttributes = 4
    case readLink = 5
    case makeSymbolicLink = 6
    case makeNode = 8
    case makeDirectory = 9
    case unlink = 10
    case removeDirectory = 11
    case rename = 12
    case link = 13
    case open = 14
    case read = 15
    case write = 16
    case statistics = 17
    case release = 18
    case sync = 20
    case setExtendedAttribute = 21
    case getExtendedAttribute = 22
    case listExtendedAttributes = 23
    case removeExtendedAttribute = 24
    case flush = 25
    case initialize = 26
    case openDirectory = 27
    case readDirectory = 28
    case releaseDirectory = 29
    case syncDirectory = 30
    case getLock = 31
    case setLock = 32
    case setLockWaiting = 33
    case access = 34
    case create = 35
    case interrupt = 36
    case mapBlock = 37
    case destroy = 38
    case control = 39
    case poll = 40
    case notifyReply = 41
    case forgetMany = 42
    case allocate = 43
    case readDirectoryPlus = 44
    case rename2 = 45
    case seek = 46
    case copyRange = 47
    case syncFileSystem = 50
    case createTemporary = 51
    case extendedStatus = 52
    case copyRange64 = 53

    /// One more than the largest raw value.
    static let limit = 54

    /// Bytes of the fixed structure that a request begins with, after its header. What follows
    /// are names or data. A request that is shorter is malformed.
    var argumentSize: Int {
        switch self {
        case .lookup, .readLink, .makeSymbolicLink, .unlink, .removeDirectory, .statistics,
            .removeExtendedAttribute, .destroy:
            return 0
        case .forget, .makeDirectory, .rename, .link, .open, .openDirectory,
            .getExtendedAttribute, .listExtendedAttributes, .access, .interrupt, .forgetMany,
            .syncFileSystem:
            return 8
        case .initialize, .getAttributes, .makeNode, .sync, .syncDirectory,
            .setExtendedAttribute, .create, .createTemporary, .mapBlock, .rename2:
            return 16
        case .release, .releaseDirectory, .flush, .poll, .seek, .extendedStatus:
            return 24
        case .control, .allocate:
            return 32
        case .read, .write, .readDirectory, .readDirectoryPlus, .notifyReply:
            return 40
        case .getLock, .setLock, .setLockWaiting:
            return 48
        case .copyRange, .copyRange64:
            return 56
        case .setAttributes:
            return 88
        }
    }

    /// Changes names, attributes or space. (Of WRITE, its own flags say how durable it must be.)
    var changesMetadata: Bool {
        switch self {
        case .setAttributes, .makeSymbolicLink, .makeNode, .makeDirectory, .unlink,
            .removeDirectory, .rename,
            .rename2, .link, .create, .createTemporary, .setExtendedAttribute,
            .removeExtendedAttribute,
            .control, .allocate, .copyRange, .copyRange64:
            return true
        default: return false
        }
    }

    /// Its reply begins with struct fuse_entry_out: the kernel was told of a node.
    var givesEntry: Bool {
        switch self {
        case .makeSymbolicLink, .makeNode, .makeDirectory, .link, .create, .createTemporary:
            return true
        default: return false
        }
    }

    /// Sent because of what a program did, and nobody waits for the answer.
    var isNotAwaited: Bool {
        switch self {
        case .forget, .forgetMany, .release, .releaseDirectory, .interrupt, .notifyReply:
            return true
        default: return false
        }
    }

    /// For statistics: the kernel's name, in lower case.
    var name: String {
        switch self {
        case .lookup: return "lookup"
        case .forget: return "forget"
        case .getAttributes: return "getattr"
        case .setAttributes: return "setattr"
        case .readLink: return "readlink"
        case .makeSymbolicLink: return "symlink"
        case .makeNode: return "mknod"
        case .makeDirectory: return "mkdir"
        case .unlink: return "unlink"
        case .removeDirectory: return "rmdir"
        case .rename: return "rename"
        case .link: return "link"
        case .open: return "open"
        case .read: return "read"
        case .write: return "write"
        case .statistics: return "statfs"
        case .release: return "release"
        case .sync: return "fsync"
        case .setExtendedAttribute: return "setxattr"
        case .getExtendedAttribute: return "getxattr"
        case .listExtendedAttributes: return "listxattr"
        case .removeExtendedAttribute: return "removexattr"
        case .flush: return "flush"
        case .initialize: return "init"
        case .openDirectory: return "opendir"
        case .readDirectory: return "readdir"
        case .releaseDirectory: return "releasedir"
        case .syncDirectory: return "fsyncdir"
        case .getLock: return "getlk"
        case .setLock: return "setlk"
        case .setLockWaiting: return "setlkw"
        case .access: return "access"
        case .create: return "create"
        case .interrupt: return "interrupt"
        case .mapBlock: return "bmap"
        case .destroy: return "destroy"
        case .control: return "ioctl"
        case .poll: return "poll"
        case .notifyReply: return "notify_reply"
        case .forgetMany: return "batch_forget"
        case .allocate: return "fallocate"
        case .readDirectoryPlus: return "readdirplus"
        case .rename2: return "rename2"
        case .seek: return "lseek"
        case .copyRange: return "copy_file_range"
        case .syncFileSystem: return "syncfs"
        case .createTemporary: return "tmpfile"
        case .extendedStatus: return "statx"
        case .copyRange64: return "copy_file_range_64"
        }
    }
}
