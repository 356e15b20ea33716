// Mount: a filesystem, or a part of one, put at a place in a namespace.

import CairnBase
import Synchronization

/// What a mount allows, per mount(8). A filesystem that is bound in two places can have
/// different flags in each.
public struct MountFlags: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable public static var readOnly: MountFlags { MountFlags(rawValue: 1) }
    /// Set-id bits have no effect on exec.
    @inlinable public static var noSetID: MountFlags { MountFlags(rawValue: 2) }
    /// Device nodes cannot be opened.
    @inlinable public static var noDevices: MountFlags { MountFlags(rawValue: 4) }
    @inlinable public static var noExecute: MountFlags { MountFlags(rawValue: 8) }
    /// Every write is durable before it returns.
    @inlinable public static var synchronous: MountFlags { MountFlags(rawValue: 16) }
    @inlinable public static var noAccessTime: MountFlags { MountFlags(rawValue: 1024) }
    @inlinable public static var noDirectoryAccessTime: MountFlags { MountFlags(rawValue: 2048) }
    @inlinable public static var strictAccessTime: MountFlags { MountFlags(rawValue: 1 << 24) }

    public func accessTimePolicy(for kind: FileKind) -> AccessTimePolicy {
        if contains(.noAccessTime) { return .never }
        if kind == .directory, contains(.noDirectoryAccessTime) { return .never }
        return contains(.strictAccessTime) ? .strict : .relative
    }

    /// Takes `ro`, `nosuid`, `relatime` and so on from a list; the last of two that exclude one
    /// another counts.
    public static func take(
        from options: inout MountOptionList
    ) throws(MountFailure) -> MountFlags {
        var flags: MountFlags = []
        let choices: [(MountFlags, String, String)] = [
            (.readOnly, "ro", "rw"), (.noSetID, "nosuid", "suid"), (.noDevices, "nodev", "dev"),
            (.noExecute, "noexec", "exec"), (.synchronous, "sync", "async"),
            (.noDirectoryAccessTime, "nodiratime", "diratime"),
        ]
        for (flag, on, off) in choices where try options.takeLast(of: [on, off]) == on {
            flags.insert(flag)
        }
        switch try options.takeLast(of: ["noatime", "relatime", "strictatime", "atime"]) {
        case "noatime": flags.insert(.noAccessTime)
        case "strictatime": flags.insert(.strictAccessTime)
        default: break
        }
        return flags
    }

    /// As in /proc/mounts: "rw,nosuid,relatime".
    public var description: String {
        var words = [contains(.readOnly) ? "ro" : "rw"]
        if contains(.synchronous) { words.append("sync") }
        if contains(.noSetID) { words.append("nosuid") }
        if contains(.noDevices) { words.append("nodev") }
        if contains(.noExecute) { words.append("noexec") }
        if contains(.noDirectoryAccessTime) { words.append("nodiratime") }
        if contains(.noAccessTime) {
            words.append("noatime")
        } else if !contains(.strictAccessTime) {
            words.append("relatime")
        }
        return words.joined(separator: ",")
    }
}

/// One mount: Linux's struct mount. `root` is what stands at the mount point; for a bind mount it
/// need not be the filesystem's own root.
public final class Mount: @unchecked Sendable {
    // Sendable: immutable, atomic, or guarded by the namespace's lock.

    /// Never used again in this process.
    public let identity: UInt64
    public let fileSystem: FileSystem
    public let root: Inode
    private let vfs: VFS
    /// What was mounted, for listings: a path or "none".
    public let source: String

    private let flagBits: Atomic<UInt32>

    /// The place that this mount covers; nil for the root of a namespace and for what is detached.
    /// Guarded by the namespace's lock.
    var cover: Location?

    /// Holds, and `closedFlag` once nobody may take a new one.
    private let useState = Atomic<UInt32>(0)
    private static var closedFlag: UInt32 { 1 << 31 }
    private let isDetached = Atomic<Bool>(false)
    private let isAborted = Atomic<Bool>(false)

    private let waitsLock = Lock()
    /// What operations on this mount wait for; guarded by waitsLock.
    private var waits: [ObjectIdentifier: WeakWait] = [:]
    private var sweepAt = 64

    private struct WeakWait {
        weak var wait: OperationWait?
    }

    /// Nil if the filesystem is being closed.
    init?(vfs: VFS, root: Inode, source: String, flags: MountFlags) {
        guard root.fileSystem.attach() else { return nil }
        self.vfs = vfs
        self.identity = Mount.nextIdentity.add(1, ordering: .relaxed).newValue
        self.fileSystem = root.fileSystem
        self.root = root
        self.source = source
        self.flagBits = Atomic(flags.rawValue)
        guard root.hold() else {
            root.fileSystem.undoAttach()
            return nil
        }
    }

    private static let nextIdentity = Atomic<UInt64>(0)

    public var flags: MountFlags {
        get { MountFlags(rawValue: flagBits.load(ordering: .relaxed)) }
        /// As `mount -o remount` does.
        set { flagBits.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// Writes to it are refused (EROFS): by this mount or by the filesystem itself.
    public var isReadOnly: Bool { flags.contains(.readOnly) || fileSystem.isReadOnly }

    /// `umount -f` was asked for: every operation gives EIO.
    @inline(__always)
    public var hasFailed: Bool { isAborted.load(ordering: .relaxed) }

    // MARK: Uses

    /// Counts one who stays on this mount: an open description, a working directory, a mount on
    /// top of it. False when the mount is gone.
    public func hold() -> Bool {
        let old = useState.add(1, ordering: .acquiringAndReleasing).oldValue
        if old & Self.closedFlag != 0 {
            useState.subtract(1, ordering: .relaxed)
            return false
        }
        return true
    }

    public func drop() {
        let left = useState.subtract(1, ordering: .acquiringAndReleasing).newValue
        if left == 0, isDetached.load(ordering: .acquiring) {
            // Closing waits for open sections, and may run anything.
            Epoch.afterSection { self.closeDetached() }
        }
    }

    /// Somebody holds it.
    public var isHeld: Bool { useState.load(ordering: .acquiring) & ~Self.closedFlag != 0 }

    /// No new holds from now on. False if somebody holds it now (nothing is changed then).
    func closeIfUnused() -> Bool {
        useState.compareExchange(
            expected: 0, desired: Self.closedFlag, ordering: .acquiringAndReleasing
        ).exchanged
    }

    /// Lazily unmounted: the last `drop` ends the mount; with nobody there, it ends now.
    func detachLazily() {
        _ = hold()
        isDetached.store(true, ordering: .releasing)
        drop()
    }

    private func closeDetached() {
        guard closeIfUnused() else { return }
        MountClosing(self, in: vfs).start()
    }

    // MARK: Failing what is in flight

    /// An operation on this mount is about to wait: gives what it shall wait for instead, which
    /// `abort` can end without touching others that wait for the same.
    public func registered(_ wait: Wait) -> OperationWait {
        let own = OperationWait(wait)
        waitsLock.withLock {
            if waits.count >= sweepAt {
                waits = waits.filter { $0.value.wait != nil }
                sweepAt = max(64, 2 * waits.count)
            }
            waits[ObjectIdentifier(own)] = WeakWait(wait: own)
        }
        if hasFailed { Epoch.afterSection { own.fail(.EIO) } }
        return own
    }

    /// Every operation that waits, and every one that comes until `endAbort`, fails with EIO.
    func abort() {
        isAborted.store(true, ordering: .sequentiallyConsistent)
        let waiting = waitsLock.withLock { waits.values.compactMap(\.wait) }
        for wait in waiting {
            wait.fail(.EIO)
        }
    }

    /// The mount stays after all: what comes is served again.
    func endAbort() {
        isAborted.store(false, ordering: .sequentiallyConsistent)
    }
}

/// The end of a mount that nobody can reach any more: the last mount of a filesystem closes it.
/// Once started it goes on to its end, whoever waits for it.
final class MountClosing: @unchecked Sendable {
    // Sendable: used by one driver.
    private let mount: Mount
    private let vfs: VFS
    private var isLast: Bool?

    init(_ mount: Mount, in vfs: VFS) {
        self.mount = mount
        self.vfs = vfs
    }

    /// Drives the closing by itself. The wait finishes with it, and with its error.
    @discardableResult
    func start() -> Wait {
        let ended = Wait()
        callingBack { () throws(Pause) in
            try self.attempt()
        } completion: { result in
            if case .failure(let errno) = result { ended.finish(errno) } else { ended.finish() }
        }
        return ended
    }

    private func attempt() throws(Pause) {
        if isLast == nil {
            mount.root.drop()
            isLast = mount.fileSystem.detach()
            // Sections that still saw the mount end before anything is closed.
            Epoch.synchronize()
            if isLast == true {
                mount.fileSystem.endWatches()
                mount.fileSystem.tellObserversOfEnd()
                vfs.dentries.purge(mount.fileSystem)
            }
        }
        if isLast == true {
            try mount.fileSystem.close()
        }
    }
}

/// A place in a namespace: an inode as seen through a mount (Linux's struct path).
public struct Location: Sendable {
    public var mount: Mount
    public var inode: Inode

    @inlinable
    public init(mount: Mount, inode: Inode) {
        self.mount = mount
        self.inode = inode
    }

    @inlinable
    public static func == (left: Location, right: Location) -> Bool {
        left.mount === right.mount && left.inode === right.inode
    }
}
