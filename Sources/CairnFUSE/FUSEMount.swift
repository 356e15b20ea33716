// FUSEMount: a namespace that the kernel has mounted.
//
//     init       mounts, and answers INIT
//     serve      answers requests until the kernel lets go; on the calling thread and own ones
//     unmount    asks the kernel to let go; `serve` then returns
//
// Threading: safe from any thread. `serve` is called once. The thread that calls `unmount` or
// uses files below the mount point must not be one that serves.

import CSystem
import CairnBase
public import CairnVFS

public final class FUSEMount: @unchecked Sendable {
    // Sendable: immutable after init.

    /// Where it is mounted: absolute, without symbolic links.
    public var mountPoint: String { kernel.path }

    private let session: Session
    private let notifier: Notifier
    private let observed: ObservedFileSystems
    private let kernel: KernelMount
    private let options: FUSEMountOptions
    private let usesRing: Bool
    /// A namespace that is closed while it is mounted closes when this is let go.
    private let holdsRoot: Bool

    /// Mounts the namespace. When this returns, the kernel has been answered and keeps requests
    /// until `serve` is called.
    public init(
        namespace: Namespace, at mountPoint: String, options: FUSEMountOptions = .init()
    ) throws(MountFailure) {
        self.options = options
        let root = namespace.crossed(namespace.root)
        let notifier = Notifier()
        self.notifier = notifier
        let ring = try Self.ringIsWanted(options)
        let flags = options.flags.union(Self.kernelFlags(of: namespace, root.mount))
        session = Session(
            namespace: namespace,
            options: Self.sessionOptions(options, namespace, flags, wantsRing: ring),
            notifier: notifier)
        observed = session.observed
        let type = options.subtype ?? "cairn.\(root.mount.fileSystem.typeName)"
        kernel = try KernelMount(
            at: mountPoint, type: type, root: root.inode,
            flags: flags, options: options)
        usesRing = session.awaitInit(kernel.descriptor)
        holdsRoot = session.root.mount.hold()
        let isUnderstood = session.negotiated.minor > 0
        guard isUnderstood, notifier.start(session, descriptor: kernel.descriptor) else {
            try? kernel.unmount(lazy: true, force: true)
            if holdsRoot { session.root.mount.drop() }
            _ = cairn_close(kernel.descriptor)
            if isUnderstood {
                throw MountFailure(.EAGAIN, mountPoint, "there is no thread to be had")
            }
            throw MountFailure(
                .EPROTO, mountPoint,
                "the kernel's FUSE protocol is too old: Linux 5.17 or newer is needed")
        }
        observed.addAll(of: namespace)
        namespace.addObserver(notifier)
        kernel.raiseReadAhead(to: options.readAheadKiB)
        if session.negotiated.writebackCache { kernel.liftDirtyLimit() }
    }

    /// All mounts of the namespace are one to the kernel. It may refuse only what every one of them
    /// refuses; the rest is refused here (`Session.writable`, `Session.open`). But who runs a
    /// set-id program or opens a device never asks us: one mount that forbids it forbids it for all.
    private static func kernelFlags(of namespace: Namespace, _ root: Mount) -> MountFlags {
        let mounts = namespace.mounts
        var flags = root.flags
        if !mounts.allSatisfy(\.isReadOnly) { flags.remove(.readOnly) }
        if !mounts.allSatisfy({ $0.flags.contains(.noExecute) }) { flags.remove(.noExecute) }
        for flag: MountFlags in [.noSetID, .noDevices]
        where mounts.contains(where: { $0.flags.contains(flag) }) {
            flags.insert(flag)
        }
        return flags
    }

    /// Whether the kernel refuses to open what this mount wants refused.
    private static func refusals(of mount: Mount, areIn flags: MountFlags) -> Bool {
        (flags.contains(.readOnly) || !mount.isReadOnly)
            && (flags.contains(.noExecute) || !mount.flags.contains(.noExecute))
    }

    private static func sessionOptions(
        _ options: FUSEMountOptions, _ namespace: Namespace, _ flags: MountFlags, wantsRing: Bool
    ) -> SessionOptions {
        let openless: Bool
        switch options.openless {
        case .on: openless = !options.sharesLocks
        case .off: openless = false
        case .automatic:
            openless =
                !options.sharesLocks
                && namespace.mounts.allSatisfy {
                    $0.fileSystem.dataIsCacheable && refusals(of: $0, areIn: flags)
                }
        }
        return SessionOptions(
            entryTimeout: WireTimeout(options.entryTimeout),
            attributeTimeout: WireTimeout(options.attributeTimeout),
            negativeTimeout: WireTimeout(options.negativeTimeout),
            writebackCache: options.writebackCache, isOpenless: openless,
            sharesLocks: options.sharesLocks, wantsRing: wantsRing,
            maximumTransfer: options.transferBytes,
            maximumReadAhead: UInt32(clamping: options.readAheadKiB * 1024),
            idlePollMicroseconds: min(max(options.idlePollMicroseconds, 0), 1_000_000))
    }

    private static let ringParameter = "/sys/module/fuse/parameters/enable_uring"

    /// Whether the kernel's administrator lets FUSE use io_uring.
    private static var ringIsAllowed: Bool {
        var text = [CChar](repeating: 0, count: 8)
        return cairn_read_text(ringParameter, &text, text.count) > 0
            && text[0] == CChar(UInt8(ascii: "Y")) && RingLoop.isPossible
    }

    private static func ringIsWanted(
        _ options: FUSEMountOptions
    ) throws(MountFailure) -> Bool {
        switch options.transport {
        case .device: return false
        case .automatic: return ringIsAllowed
        case .ioUring:
            guard ringIsAllowed else {
                throw MountFailure(
                    .EOPNOTSUPP, "io_uring",
                    "the kernel does not let FUSE use it; turn it on with: "
                        + "echo Y > \(ringParameter)")
            }
            return true
        }
    }

    // MARK: Serving

    /// Answers requests until the mount is gone, and what is in flight is finished. `ready` is
    /// called once, on any thread, when the mount answers and is not busy by itself.
    public func serve(ready: @escaping @Sendable () -> Void = {}) {
        let crew = DeviceCrew(
            threads: usesRing ? 1 : options.threadCount, idlePolling: session.idlePolling)
        // Forgets and interrupts come over the device in any case.
        let device = DeviceLoop(session: session, descriptor: kernel.descriptor, crew: crew)
        let ring = usesRing ? startRingLoops() : nil
        let helpers = usesRing ? [] : startHelpers(in: crew)
        // Without a thread nobody would answer.
        if let ring, ring.isEmpty { try? kernel.unmount(lazy: true, force: true) }
        let probe = startProbe(ready)
        device.run()
        probe?.join()
        ring?.join()
        for helper in helpers { helper.join() }
        end()
    }

    private func startProbe(_ ready: @escaping @Sendable () -> Void) -> ServingThread? {
        let (probe, path) = (session.openlessProbe, mountPoint)
        if session.options.isOpenless {
            let thread = ServingThread(name: "cairn-probe") {
                probe.run(below: path)
                ready()
            }
            if let thread { return thread }
        }
        probe.skip()
        ready()
        return nil
    }

    /// Fewer serve as well.
    private func startHelpers(in crew: DeviceCrew) -> [ServingThread] {
        let (session, descriptor) = (session, kernel.descriptor)
        return (0..<max(options.threadCount - 1, 0)).compactMap { number in
            ServingThread(name: "cairn-fuse-\(number + 1)") {
                DeviceLoop(session: session, descriptor: descriptor, crew: crew).help(number)
            }
        }
    }

    private func startRingLoops() -> RingThreads {
        let (session, kernel) = (session, kernel)
        return RingThreads(limit: options.threads) { queues, processor in
            RingLoop(
                session: session, descriptor: kernel.descriptor, queueIDs: queues,
                processor: processor,
                abort: { try? kernel.unmount(lazy: true, force: true) })
        }
    }

    /// The kernel has let go: nobody hears answers any more.
    private func end() {
        session.idlePolling?.stop()
        session.parked.cancelAllAndWait()
        session.namespace.removeObserver(notifier)
        observed.removeAll()
        notifier.stop()
        for file in session.openings.removeAll() {
            file.opening?.close()
        }
        session.releaseAllLocks()
        session.nodes.forgetAll()
        if holdsRoot { session.root.mount.drop() }
        _ = cairn_close(kernel.descriptor)
    }

    // MARK: Control

    /// Asks the kernel to unmount. `lazy`: it leaves the tree of files now, and ends when nobody
    /// uses it any more. `force`: what is in flight fails. EBUSY if it is in use.
    public func unmount(lazy: Bool = false, force: Bool = false) throws(MountFailure) {
        let isBusyByUs = !session.openlessProbe.hasEnded
        do throws(MountFailure) {
            try kernel.unmount(lazy: lazy, force: force)
        } catch {
            guard isBusyByUs, error.errno == .EBUSY else { throw error }
            session.openlessProbe.awaitEnd()
            try kernel.unmount(lazy: lazy, force: force)
        }
    }

    public var statistics: FUSEMountStatistics {
        FUSEMountStatistics(
            operations: session.counters.operations, nodes: session.nodes.count,
            waiting: session.parked.count, transport: usesRing ? "io_uring" : "device",
            protocolMinor: session.negotiated.minor, notifications: notifier.sentCount)
    }
}

extension Session {
    /// Answers INIT, which the kernel sends first. True if requests shall come by io_uring.
    func awaitInit(_ descriptor: Int32) -> Bool {
        let loop = DeviceLoop(session: self, descriptor: descriptor)
        while negotiated.minor == 0, !isRefused, loop.step() {}
        return negotiated.usesRing
    }
}
