// A mounted filesystem, and the types that can be mounted (requirement V1).

public import CairnBase
public import Synchronization

/// One filesystem that is open: Linux's struct super_block. It can be mounted in many places and
/// namespaces at once. Subclasses override the hooks; each is an attempt (see Wait.swift), must be
/// safe to call from any thread, and must not block.
open class FileSystem: @unchecked Sendable {
    // Sendable: immutable, or atomic, or guarded by `observersLock`.

    /// Differs from that of every other filesystem in this process, and is never used again.
    public let identity: UInt64
    /// The name of its type, such as "mfs_ram".
    public let typeName: String
    public let time: any TimeSource

    /// Mounts of it, in all namespaces; -1 once it is being closed.
    @usableFromInline let mountCount = Atomic<Int>(0)
    private let wasMounted = Atomic<Bool>(false)
    /// Locks and watches on its inodes.
    let attachments = FileAttachments()

    private let observersLock = Lock()
    private var observers: [any ChangeObserver] = []
    @usableFromInline let observerCount = Atomic<Int>(0)

    public init(typeName: String, time: any TimeSource) {
        self.identity = FileSystem.nextIdentity.add(1, ordering: .relaxed).newValue
        self.typeName = typeName
        self.time = time
    }

    private static let nextIdentity = Atomic<UInt64>(0)

    // MARK: Hooks

    /// The root directory: always resident.
    open var root: Inode { preconditionFailure("a filesystem must override root") }

    /// Nothing on it can change, whatever the mount says.
    open var isReadOnly: Bool { false }

    /// Names change only through the VFS (or are announced by `nameChanged`), so lookups of them,
    /// found or not, may be kept. False for what makes its names up as it is asked (procfs).
    open var namesAreCacheable: Bool { true }

    /// Sizes and data change only through the VFS (or are announced), so a client such as a
    /// kernel may keep pages of them.
    open var dataIsCacheable: Bool { true }

    /// A client such as a kernel may gather writes and send them late, though running out of space is
    /// then told late, too: nobody chose how much space there is, or there is always enough.
    open var acceptsLateWrites: Bool { false }

    /// Options as /proc/mounts shows them, after the mount's own.
    open var optionsDescription: String { "" }

    /// Figures of its caches, commits and queues, as they are now. Must not wait.
    open var figures: [FigureGroup] { [] }

    open func statistics() throws(Pause) -> FileSystemStatistics { FileSystemStatistics() }

    /// syncfs(2): waits until all is durable that was acknowledged before the call, whose own
    /// `point` is.
    open func sync(_ point: inout SyncPoint) throws(Pause) {}

    /// The last mount of it is gone and nothing uses it: make all durable and let go of devices.
    /// Called once to its end.
    open func close() throws(Pause) {}

    // MARK: Mounts

    /// Counts one more mount. False once it is being closed.
    final func attach() -> Bool {
        var count = mountCount.load(ordering: .relaxed)
        while count >= 0 {
            let (done, seen) = mountCount.compareExchange(
                expected: count, desired: count + 1, ordering: .acquiringAndReleasing)
            if done { return true }
            count = seen
        }
        return false
    }

    /// A mount stands.
    final func noteMounted() {
        wasMounted.store(true, ordering: .releasing)
    }

    /// A mount could not be made after all. A filesystem that was never mounted can be mounted
    /// still; of one whose last mount went meanwhile, this was the last.
    final func undoAttach() {
        if detach() {
            callingBack { () throws(Pause) in
                try self.close()
            } completion: { _ in
            }
        }
    }

    /// Counts one mount less. True if it was the last: the caller closes the filesystem.
    final func detach() -> Bool {
        let left = mountCount.subtract(1, ordering: .acquiringAndReleasing).newValue
        return left == 0 && wasMounted.load(ordering: .acquiring)
            && mountCount.compareExchange(
                expected: 0, desired: -1, ordering: .acquiringAndReleasing
            ).exchanged
    }

    // MARK: Observers

    /// Whoever keeps copies of what is here and must hear when it changes by another door.
    public final func addObserver(_ observer: any ChangeObserver) {
        observersLock.withLock {
            observers.append(observer)
            observerCount.store(observers.count, ordering: .releasing)
        }
    }

    public final func removeObserver(_ observer: any ChangeObserver) {
        observersLock.withLock {
            observers.removeAll { $0 === observer }
            observerCount.store(observers.count, ordering: .releasing)
        }
    }

    /// Tells every observer of a change. The one that asked for it knows of it as seen through the
    /// mount that it asked through (`tell` gets that mount's identity), so it needs not be told
    /// where the filesystem is mounted once.
    @inlinable
    public final func announce(
        by caller: Caller?, _ tell: (any ChangeObserver, UInt64?) -> Void
    ) {
        let isOwn = caller?.origin != nil
        let isSeenOnce = mountCount.load(ordering: .relaxed) <= 1
        guard observerCount.load(ordering: .acquiring) > (isOwn && isSeenOnce ? 1 : 0) else {
            return
        }
        for observer in observerList {
            if observer !== caller?.origin {
                tell(observer, nil)
            } else if !isSeenOnce {
                tell(observer, caller?.originMount)
            }
        }
    }

    @usableFromInline var observerList: [any ChangeObserver] {
        observersLock.withLock { observers }
    }

    /// The filesystem is being closed: there is nothing to observe any more.
    final func tellObserversOfEnd() {
        for observer in observerList {
            observer.ended(self)
        }
    }
}

/// Hears of changes that others made. Called after the change, with no lock held, on the thread
/// that made it: must be quick and must not call back into the filesystem.
///
/// `mount`: the observer asked for the change itself, through the mount with this identity, and
/// knows of it as seen through that mount; nil: it did not ask.
public protocol ChangeObserver: AnyObject, Sendable {
    /// The name in the directory leads to something else than before.
    func nameChanged(_ name: Name, in directory: Inode, through mount: UInt64?)
    /// stat(2) of the inode gives something else than before.
    func attributesChanged(_ inode: Inode, through mount: UInt64?)
    /// Data changed, from `offset` for `length` bytes; nil: to the end and beyond.
    func dataChanged(_ inode: Inode, offset: UInt64, length: UInt64?, through mount: UInt64?)
    /// The last mount of the filesystem is gone.
    func ended(_ fileSystem: FileSystem)
}

/// A type of filesystem that `mount` knows by name.
public protocol FileSystemType: Sendable {
    /// As in `-t NAME`.
    var name: String { get }

    /// Opens one. `source` is what stood before the mount point ("none" where there is none).
    /// Options that it knows must be taken (`take`) from `options`; what remains is the caller's
    /// to refuse.
    func open(
        source: String, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem

    /// The same for a mount that may be read-only: nothing of the source is changed then. By default
    /// that makes no difference.
    func open(
        source: String, isReadOnly: Bool, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem
}

extension FileSystemType {
    public func open(
        source: String, isReadOnly: Bool, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        try open(source: source, options: &options, in: vfs)
    }
}

/// Why a filesystem cannot be mounted, for people: `WHAT: WHY`, and what Linux would answer.
public struct MountFailure: Error, Sendable, CustomStringConvertible {
    public let errno: Errno
    public let what: String
    public let why: String

    public init(_ errno: Errno, _ what: String, _ why: String) {
        self.errno = errno
        self.what = what
        self.why = why
    }

    public var description: String { "\(what): \(why)" }
}
