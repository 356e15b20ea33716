// Inode: one file, directory or other node of a filesystem, in memory.
//
// The class is open: a filesystem subclasses it and overrides the hooks that its nodes can do.
// The default of each hook gives the error that Linux gives for a node that cannot do it.
//
// Rules for hooks:
//  - Each is an attempt (Wait.swift): synchronous, never blocks, safe from any thread, all or
//    nothing. What has to be fetched first is thrown as `Pause.wait`.
//  - Access is already granted: the VFS checks permissions, read-only mounts, sticky
//    directories, name lengths and the kind of the directory before it calls. Effects of POSIX
//    on the node itself (times, set-group-id inheritance, link counts, umask and default ACLs)
//    are the hook's.
//  - Filesystem users never call hooks; they call `Process`, and doors call `VFS`, which keep the
//    dentry cache, notifications and observers true.
//
// Lifetime. Swift's reference counting keeps the object. `holds` counts what keeps the *file*:
// open descriptions, working directories, mounts, a kernel's references. A file without links
// and without holds is given back to its filesystem (`released`).

public import CairnBase
public import Synchronization

open class Inode: @unchecked Sendable {
    // Sendable: immutable, or atomic, or guarded by `stateLock`; subclasses say theirs.

    /// Never used again in this process, unlike `number`.
    public let identity: UInt64
    /// st_ino.
    public let number: UInt64
    public let kind: FileKind
    public let fileSystem: FileSystem
    /// The same, for checks that count no reference on what all inodes share.
    @usableFromInline let borrowedFileSystem: Unmanaged<FileSystem>

    /// Everyone may search this directory (mode has a+x and no ACL): path walk asks nothing more.
    /// The filesystem keeps it true; false is always safe.
    public let isSearchableByAll = Atomic<Bool>(false)
    /// It has the flag S: what changes it, or the names in it, is durable before it is answered. The
    /// filesystem keeps it true.
    public let isSynchronous = Atomic<Bool>(false)

    /// Names of this directory that are being changed (low 16 bits) and a count of changes so far
    /// (above): what decides whether a lookup's result may be kept. See DentryCache.swift.
    let namesState = Atomic<UInt64>(0)
    /// How many mounts, in all namespaces, stand on this inode.
    let mountsHere = Atomic<Int>(0)
    /// Bit 31: released. Below: holds.
    private let holdState = Atomic<UInt32>(0)

    let stateLock = Lock()
    /// Where this directory was last found; guarded by stateLock.
    var placeStorage: Place?
    /// Locks and watches, made when first needed; guarded by stateLock.
    var attachmentStorage: InodeAttachment?

    public init(number: UInt64, kind: FileKind, fileSystem: FileSystem) {
        self.identity = Identity.next()
        self.number = number
        self.kind = kind
        self.fileSystem = fileSystem
        self.borrowedFileSystem = .passUnretained(fileSystem)
    }

    deinit {
        if placeStorage != nil {
            let place = placeStorage
            placeStorage = nil
            Place.release(place)
        }
    }

    @inlinable public final var isDirectory: Bool { kind == .directory }

    // MARK: Asking the filesystem

    /// Calls the body with `fileSystem`, without counting a reference: every thread that calls something in
    /// the same filesystem would change that count.
    @inlinable @inline(__always)
    public final func withFileSystem<Value, Failure>(
        _ body: (FileSystem) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try borrowedFileSystem._withUnsafeGuaranteedRef { fileSystem -> Result<Value, Failure> in
            do throws(Failure) {
                return .success(try body(fileSystem))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    /// Somebody watches an inode of its filesystem.
    @inline(__always)
    final var isWatched: Bool { withFileSystem { $0.isWatched } }

    final var hasCacheableNames: Bool {
        withFileSystem { $0.namesAreCacheable }
    }

    /// See `FileSystem.announce`.
    @inline(__always)
    final func announce(by caller: Caller?, _ tell: (any ChangeObserver, UInt64?) -> Void) {
        withFileSystem { $0.announce(by: caller, tell) }
    }

    // MARK: Holds

    /// Keeps the file although it may lose its last name. False if it is gone, or is just going:
    /// look the name up again.
    public final func hold() -> Bool {
        let old = holdState.add(1, ordering: .acquiringAndReleasing).oldValue
        if old & Self.releasedFlag != 0 {
            holdState.subtract(1, ordering: .relaxed)
            return false
        }
        return true
    }

    /// Takes one `hold` back. With the last one, the filesystem hears of it.
    public final func drop() {
        let left = holdState.subtract(1, ordering: .acquiringAndReleasing).newValue
        if left == 0 {
            unused()
            endWatchesIfUnlinked()
        }
    }

    public final var isHeld: Bool { holdState.load(ordering: .acquiring) & ~Self.releasedFlag != 0 }

    /// For a filesystem that wants to free a file without links: true if nobody holds it, and then
    /// nobody can any more.
    public final func release() -> Bool {
        holdState.compareExchange(
            expected: 0, desired: Self.releasedFlag, ordering: .acquiringAndReleasing
        ).exchanged
    }

    /// Takes a `release` back that said yes, because the file could not be freed after all. A `hold`
    /// in between has failed.
    public final func takeBackRelease() {
        holdState.bitwiseAnd(~Self.releasedFlag, ordering: .acquiringAndReleasing)
    }

    public final var isReleased: Bool {
        holdState.load(ordering: .acquiring) & Self.releasedFlag != 0
    }

    private static var releasedFlag: UInt32 { 1 << 31 }

    /// Hook: the last hold went. A file without links should now be freed, after `release` said
    /// yes. Called with no lock held.
    open func unused() {}

    // MARK: Hooks for every kind

    open func attributes() throws(Pause) -> Attributes { throw .failed(.ENOSYS) }

    /// Applies the change as one step and gives the attributes after it.
    open func setAttributes(
        _ change: AttributeChange, by credentials: Credentials
    ) throws(Pause) -> Attributes { throw .failed(.EPERM) }

    /// A file is being opened. Filesystems whose files differ from open to open (generated text,
    /// streams) give an `Opening`; then data goes through it and not through this inode.
    open func open(writing: Bool, by credentials: Credentials) throws(Pause) -> Opening? { nil }

    /// fsync, or fdatasync when `dataOnly`: waits until this file and the names that lead to it
    /// would survive a crash. `point` is the call's own.
    open func sync(dataOnly: Bool, _ point: inout SyncPoint) throws(Pause) {}

    /// Where an open description starts to hear of data that was accepted and could not be written.
    /// Nil: that does not happen here.
    open var writeErrors: ErrorSequence.Position? { nil }

    /// What could not be written since the position, which moves on: each description is told once.
    open func writeError(since position: inout ErrorSequence.Position) -> Errno? { nil }

    /// The time of a read, if the policy asks for it to be kept now. A filesystem that is
    /// read-only keeps none.
    open func noteAccess(_ policy: AccessTimePolicy) {}

    // MARK: Hooks for extended attributes

    /// The value's size; copied into `buffer` if that is not empty (ERANGE if it does not fit).
    /// ENODATA if there is none.
    open func extendedAttribute(
        _ name: Name, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int { throw .failed(.EOPNOTSUPP) }

    /// The size of the list of names, each ended by NUL; copied likewise.
    open func extendedAttributeNames(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int { 0 }

    /// A nil value removes.
    open func setExtendedAttribute(
        _ name: Name, to value: UnsafeRawBufferPointer?, mode: ExtendedAttributeMode,
        by credentials: Credentials
    ) throws(Pause) { throw .failed(.EOPNOTSUPP) }

    /// The ACL, parsed; nil where the mode says it all.
    open func accessControlList(_ kind: AccessControlList.Kind) throws(Pause) -> AccessControlList?
    { nil }

    // MARK: Hooks for directories

    /// The inode that the name leads to; nil: no such name. Never asked for "." or "..".
    open func lookup(_ name: Name) throws(Pause) -> Inode? { throw .failed(.ENOTDIR) }

    /// The directory above, if the filesystem knows better than where this was last found.
    /// A root gives itself.
    open func parentDirectory() throws(Pause) -> Inode? { nil }

    /// Lists from after `cookie` (0: the start) until `body` gives false, which leaves that entry
    /// for the next call. Without "." and "..". Cookies are 1 … Int64.max - 2, stay right while
    /// entries come and go: an entry that is there throughout appears exactly once. `body` is
    /// called under the directory's lock and must not call into the filesystem.
    open func readDirectory(
        after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) { throw .failed(.ENOTDIR) }

    /// Makes a node. EEXIST if the name is taken.
    open func create(
        _ name: Name, _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode { throw .failed(isDirectory ? .EPERM : .ENOTDIR) }

    /// O_TMPFILE: a regular file without a name in the filesystem of this directory, held once
    /// for the caller.
    open func createTemporary(
        _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode { throw .failed(.EOPNOTSUPP) }

    /// A further name for a node of this filesystem.
    open func link(
        _ inode: Inode, as name: Name, by credentials: Credentials
    ) throws(Pause) { throw .failed(isDirectory ? .EPERM : .ENOTDIR) }

    /// unlink(2), or rmdir(2) when `directory`. `expected` is what the caller was allowed to
    /// remove: ESTALE if the name leads elsewhere by now, and the caller looks again.
    open func remove(
        _ name: Name, directory: Bool, expecting expected: Inode, by credentials: Credentials
    ) throws(Pause) { throw .failed(isDirectory ? .EPERM : .ENOTDIR) }

    /// renameat2(2), with both directories in this filesystem. `expected` and `replaced` are what
    /// the names led to when access was checked (`replaced` nil: nothing): ESTALE if that changed.
    open func rename(
        _ name: Name, expecting expected: Inode, to target: Inode, _ newName: Name,
        replacing replaced: Inode?, flags: RenameFlags, by credentials: Credentials
    ) throws(Pause) { throw .failed(isDirectory ? .EPERM : .ENOTDIR) }

    // MARK: Hook for symbolic links

    open func readLink() throws(Pause) -> [UInt8] { throw .failed(.EINVAL) }

    // MARK: Hooks for data

    /// Bytes read; 0 at the end. Fewer than asked for only at the end, or when a further part
    /// must be waited for: callers go on with the rest (`inSteps`).
    open func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int { throw .failed(isDirectory ? .EISDIR : .EINVAL) }

    /// Writes at the offset, or at the end (as one step with finding the end). Fewer bytes than
    /// asked for only when a further part must be waited for or does not fit.
    open func write(
        _ bytes: UnsafeRawBufferPointer, at position: WritePosition, options: WriteOptions
    ) throws(Pause) -> Written { throw .failed(isDirectory ? .EISDIR : .EINVAL) }

    /// fallocate(2).
    open func allocate(
        _ mode: AllocateMode, offset: UInt64, length: UInt64, options: WriteOptions
    ) throws(Pause) { throw .failed(isDirectory ? .EISDIR : .EOPNOTSUPP) }

    /// The first offset not before `offset` that is data (or a hole, the end being one).
    /// ENXIO if there is none, or `offset` is at or after the end.
    open func seek(_ target: SeekTarget, from offset: UInt64) throws(Pause) -> UInt64 {
        throw .failed(.EINVAL)
    }

    /// mmap(2): a mapping of the file, with its pages in memory as far as they lie within the file.
    /// `mapping` is what an attempt before has made of the same request, or an earlier call, and
    /// shall be brought up to date. ENODEV where files cannot be mapped.
    open func map(
        _ request: MappingRequest, _ mapping: inout (any MappedMemory)?
    ) throws(Pause) { throw .failed(.ENODEV) }

    /// copy_file_range(2) within this filesystem; EXDEV or EOPNOTSUPP: the caller copies itself.
    open func copyRange(
        from source: Inode, at sourceOffset: UInt64, to offset: UInt64, length: UInt64,
        options: WriteOptions
    ) throws(Pause) -> Int { throw .failed(.EOPNOTSUPP) }
}

/// The state of one opening of a file whose data goes through it. Subclassed by filesystems.
/// Hooks are attempts, with the meaning of the inode's of the same name.
open class Opening: @unchecked Sendable {
    public init() {}

    open func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int { throw .failed(.EINVAL) }

    open func write(
        _ bytes: UnsafeRawBufferPointer, at position: WritePosition, options: WriteOptions
    ) throws(Pause) -> Written { throw .failed(.EINVAL) }

    /// False for pipes and terminals: lseek and pread give ESPIPE.
    open var isSeekable: Bool { true }

    /// The last descriptor of this opening is closed.
    open func close() {}
}

/// One entry of a directory, valid during the call that shows it.
public struct DirectoryEntry: Sendable {
    public var name: Name
    public var number: UInt64
    public var kind: FileKind
    /// Where to go on after this entry.
    public var cookie: UInt64

    @inlinable
    public init(name: Name, number: UInt64, kind: FileKind, cookie: UInt64) {
        self.name = name
        self.number = number
        self.kind = kind
        self.cookie = cookie
    }
}

/// Flags of renameat2(2).
public struct RenameFlags: OptionSet, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// RENAME_NOREPLACE
    @inlinable public static var noReplace: RenameFlags { RenameFlags(rawValue: 1) }
    /// RENAME_EXCHANGE
    @inlinable public static var exchange: RenameFlags { RenameFlags(rawValue: 2) }
}

/// XATTR_CREATE and XATTR_REPLACE of setxattr(2).
public enum ExtendedAttributeMode: UInt32, Sendable {
    case any = 0
    /// EEXIST if there is one.
    case create = 1
    /// ENODATA if there is none.
    case replace = 2
}

public enum WritePosition: Sendable {
    case offset(UInt64)
    /// O_APPEND.
    case end
    /// The same, and no byte at this offset or beyond: the rest is not written, and EFBIG says that
    /// all would be (RLIMIT_FSIZE).
    case endBelow(UInt64)
}

public struct WriteOptions: OptionSet, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// The writer may not keep set-id bits: clear them (see AttributeChange.clearsPrivileges).
    @inlinable public static var clearPrivileges: WriteOptions { WriteOptions(rawValue: 1) }
    /// The data comes from a cache that keeps times itself: leave mtime and ctime alone.
    @inlinable public static var keepTimes: WriteOptions { WriteOptions(rawValue: 2) }
    /// Bytes that would lie behind the file's end are dropped: they come from a mapping.
    @inlinable public static var withinFile: WriteOptions { WriteOptions(rawValue: 8) }
    /// The writer may use space that is reserved for the system (CAP_SYS_RESOURCE).
    @inlinable public static var useReserve: WriteOptions { WriteOptions(rawValue: 4) }
}

/// What a write did.
public struct Written: Sendable {
    /// Where the first byte went.
    public var offset: UInt64
    public var count: Int

    @inlinable
    public init(offset: UInt64, count: Int) {
        self.offset = offset
        self.count = count
    }
}

/// What fallocate(2) does to the range.
public enum AllocateMode: Sendable {
    /// Reserve; the file grows to the range's end unless `keepSize`.
    case reserve(keepSize: Bool)
    /// FALLOC_FL_PUNCH_HOLE (with KEEP_SIZE, as it must be).
    case punchHole
    /// FALLOC_FL_ZERO_RANGE.
    case zero(keepSize: Bool)
    /// FALLOC_FL_COLLAPSE_RANGE.
    case collapse
    /// FALLOC_FL_INSERT_RANGE.
    case insert
}

public enum SeekTarget: Sendable {
    case data
    case hole
}

/// When a read sets the access time (mount(8)).
public enum AccessTimePolicy: UInt8, Sendable {
    /// noatime
    case never
    /// relatime: if it is not after the last change, or a day old.
    case relative
    /// strictatime
    case strict

    /// Whether a read at `now` has to be noted on a file with these times.
    @inlinable
    public func wantsUpdate(_ attributes: Attributes, now: Timestamp) -> Bool {
        switch self {
        case .never: return false
        case .strict: return true
        case .relative:
            let access = attributes.accessTime
            return access <= attributes.modificationTime || access <= attributes.changeTime
                || now.seconds.subtractingReportingOverflow(access.seconds).partialValue >= 86_400
        }
    }
}
