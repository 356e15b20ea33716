// OpenFile: an open file description (open(2)).
//
// Descriptors refer to it; `dup` and `fork` share it, with its offset and status flags.
// `references` counts descriptors. With the last one, what it held is let go of at once, although
// a call that is still running may keep the object for a moment longer.

import CairnBase
import Synchronization

/// Flags of open(2); values are Linux's on x86-64 and arm64 alike where they agree, and those of
/// x86-64 (asm-generic/fcntl.h) otherwise.
public struct OpenFlags: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// O_RDONLY: no bit at all.
    @inlinable public static var readOnly: OpenFlags { [] }
    /// O_WRONLY
    @inlinable public static var writeOnly: OpenFlags { OpenFlags(rawValue: 0o1) }
    /// O_RDWR
    @inlinable public static var readWrite: OpenFlags { OpenFlags(rawValue: 0o2) }
    /// O_CREAT
    @inlinable public static var create: OpenFlags { OpenFlags(rawValue: 0o100) }
    /// O_EXCL
    @inlinable public static var exclusive: OpenFlags { OpenFlags(rawValue: 0o200) }
    /// O_TRUNC
    @inlinable public static var truncate: OpenFlags { OpenFlags(rawValue: 0o1000) }
    /// O_APPEND
    @inlinable public static var append: OpenFlags { OpenFlags(rawValue: 0o2000) }
    /// O_NONBLOCK
    @inlinable public static var nonBlocking: OpenFlags { OpenFlags(rawValue: 0o4000) }
    /// O_DSYNC
    @inlinable public static var dataSync: OpenFlags { OpenFlags(rawValue: 0o10000) }
    /// O_DIRECTORY
    @inlinable public static var directory: OpenFlags { OpenFlags(rawValue: 0o200000) }
    /// O_NOFOLLOW
    @inlinable public static var noFollow: OpenFlags { OpenFlags(rawValue: 0o400000) }
    /// O_NOATIME
    @inlinable public static var noAccessTime: OpenFlags { OpenFlags(rawValue: 0o1000000) }
    /// O_CLOEXEC
    @inlinable public static var closeOnExec: OpenFlags { OpenFlags(rawValue: 0o2000000) }
    /// O_SYNC, which contains O_DSYNC
    @inlinable public static var sync: OpenFlags { OpenFlags(rawValue: 0o4010000) }
    /// O_PATH
    @inlinable public static var path: OpenFlags { OpenFlags(rawValue: 0o10000000) }
    /// O_TMPFILE, which contains O_DIRECTORY. With O_EXCL, the file can never get a name.
    @inlinable public static var temporary: OpenFlags { OpenFlags(rawValue: 0o20200000) }

    /// O_ACCMODE
    @inlinable var accessMode: UInt32 { rawValue & 3 }
    /// What F_SETFL can change.
    @inlinable static var changeable: OpenFlags { [.append, .nonBlocking, .noAccessTime] }
}

/// What a handle may be used for. A handle can be handed on with fewer rights, never with more
/// (requirement V15).
public struct Rights: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Read data or list a directory.
    @inlinable public static var read: Rights { Rights(rawValue: 1) }
    /// Change data: write, truncate, allocate.
    @inlinable public static var write: Rights { Rights(rawValue: 2) }
    /// Change mode, owner, times, extended attributes.
    @inlinable public static var changeAttributes: Rights { Rights(rawValue: 4) }
    /// Use a directory as the base of a path.
    @inlinable public static var lookup: Rights { Rights(rawValue: 8) }
    /// Make, remove and rename names below a directory, with this handle as the base.
    @inlinable public static var changeNames: Rights { Rights(rawValue: 16) }
    /// Take locks.
    @inlinable public static var lock: Rights { Rights(rawValue: 32) }
    /// Wait for durability.
    @inlinable public static var sync: Rights { Rights(rawValue: 64) }
    @inlinable public static var all: Rights { Rights(rawValue: 127) }
}

public final class OpenFile: @unchecked Sendable {
    // Sendable: immutable, or atomic, or guarded by `offsetLock`.
    public let location: Location
    public let inode: Inode
    /// The location's mount, without counting references.
    let mount: Unmanaged<Mount>
    /// Never used again in this process: the owner of flock and OFD locks.
    public let identity: UInt64
    let accessMode: UInt32
    /// Only O_PATH: a place, not a file to read.
    let isPathOnly: Bool
    let canRead: Bool
    let canWrite: Bool
    public let opening: Opening?
    public let rights: Rights
    /// The name it was opened by, for procfs; nil for directories, which know their place.
    let openedAs: (directory: Inode, name: FileName)?
    /// The description whose offset and flags this handle shares, if it is one with fewer rights.
    private let origin: OpenFile?

    private let statusBits: Atomic<UInt32>
    private let references = Atomic<Int>(1)

    /// Held over a whole attempt that reads or writes at the offset, so that it moves in one step
    /// with the data.
    let offsetLock = Lock()
    var offsetStorage: UInt64 = 0  // guarded by offsetLock
    /// Up to where fsync has told what could not be written; nil: the file has no such errors.
    private var toldErrors: ErrorSequence.Position?  // guarded by offsetLock

    /// The location is held by the caller (mount and inode), and passes over to this object.
    init(
        holding location: Location, flags: OpenFlags, opening: Opening?,
        openedAs: (directory: Inode, name: FileName)?, rights: Rights
    ) {
        self.location = location
        self.inode = location.inode
        self.mount = .passUnretained(location.mount)
        self.identity = Identity.next()
        self.isPathOnly = flags.contains(.path)
        self.accessMode = isPathOnly ? 0 : flags.accessMode
        self.canRead = !isPathOnly && accessMode != 1 && rights.contains(.read)
        self.canWrite = !isPathOnly && accessMode != 0 && rights.contains(.write)
        self.opening = opening
        self.rights = rights
        self.openedAs = openedAs
        self.origin = nil
        self.toldErrors = isPathOnly ? nil : inode.writeErrors
        self.statusBits = Atomic(
            flags.subtracting([.create, .exclusive, .truncate, .noFollow, .closeOnExec]).rawValue)
    }

    /// A handle on the same description with fewer rights. The origin gets one reference more.
    /// EBADF if it is closed.
    init(_ origin: OpenFile, rights: Rights) throws(Errno) {
        let whole = origin.shared
        try whole.retain()
        self.location = origin.location
        self.mount = origin.mount
        self.inode = origin.inode
        self.identity = whole.identity
        self.accessMode = origin.accessMode
        self.isPathOnly = origin.isPathOnly
        self.canRead = origin.canRead && rights.contains(.read)
        self.canWrite = origin.canWrite && rights.contains(.write)
        self.opening = origin.opening
        self.rights = origin.rights.intersection(rights)
        self.openedAs = origin.openedAs
        self.origin = whole
        self.statusBits = Atomic(0)
    }

    /// The description that has the offset and the flags.
    var shared: OpenFile { origin ?? self }

    /// O_APPEND, O_NONBLOCK, O_SYNC, O_DSYNC, O_NOATIME and the access mode.
    public var status: OpenFlags {
        let bits =
            origin == nil
            ? statusBits.load(ordering: .relaxed) : shared.statusBits.load(ordering: .relaxed)
        return OpenFlags(rawValue: bits)
    }

    /// F_SETFL.
    func setStatus(_ flags: OpenFlags) {
        let kept = status.subtracting(.changeable)
        shared.statusBits.store(
            kept.union(flags.intersection(.changeable)).rawValue, ordering: .relaxed)
    }

    /// The offset, at some moment.
    public var offset: UInt64 { shared.offsetLock.withLock { shared.offsetStorage } }

    /// What could not be written of the file's data since this description was asked last.
    func takeWriteError() -> Errno? {
        let shared = shared
        return shared.offsetLock.withLock {
            guard var position = shared.toldErrors else { return nil }
            defer { shared.toldErrors = position }
            return shared.inode.writeError(since: &position)
        }
    }

    /// EACCES unless the handle has the right.
    @inline(__always)
    func require(_ right: Rights) throws(Errno) {
        guard rights.contains(right) else { throw .EACCES }
    }

    /// Tells those who watch the file or its directory, by the name it was opened by.
    func tellWatchers(_ event: FileEvent) {
        guard inode.isWatched else { return }
        guard let openedAs else { return inode.tellWatchers(event) }
        openedAs.name.withName { inode.tellWatchers(event, in: openedAs.directory, as: $0) }
    }

    /// Before a change through this description: those who watch the directory are told the name
    /// that it was opened by, unless the file has been found under another since.
    @inline(__always)
    func noteNameIfWatched() {
        if inode.isWatched { noteName() }
    }

    @inline(never)
    private func noteName() {
        guard let openedAs, inode.place == nil else { return }
        openedAs.name.withName { inode.noteFound(in: openedAs.directory, as: $0) }
    }

    // MARK: References

    /// One descriptor more, or a call that waits. EBADF if the last is closed.
    func retain() throws(Errno) {
        var count = references.load(ordering: .relaxed)
        while count > 0 {
            let (done, seen) = references.compareExchange(
                expected: count, desired: count + 1, ordering: .acquiringAndReleasing)
            if done { return }
            count = seen
        }
        throw .EBADF
    }

    /// The last descriptor is closed, and nobody waits on it.
    var isClosed: Bool { shared.references.load(ordering: .acquiring) <= 0 }

    /// One descriptor less; the last lets go of everything.
    func release() {
        guard references.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        if let origin {
            origin.release()
            return
        }
        inode.releaseLocks(of: .description(identity))
        if !isPathOnly { tellWatchers(canWrite ? .closeWrite : .closeNoWrite) }
        opening?.close()
        inode.drop()
        location.mount.drop()
    }
}

/// An open file that a waiting call keeps: its last descriptor may be closed meanwhile, but the
/// file, its locks and its mount stay until the call is done.
final class KeptFile: Sendable {
    let file: OpenFile

    /// EBADF if it is closed already.
    init(_ file: OpenFile) throws(Errno) {
        try file.retain()
        self.file = file
    }

    deinit {
        let file = file
        Epoch.afterSection { file.release() }
    }
}
