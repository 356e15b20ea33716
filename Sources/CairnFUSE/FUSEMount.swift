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
        session = Session(
            namespace: namespace,
            options: Self.sessionOptions(options, namespace, wantsRing: ring), origin: notifier)
        observed = session.observed
        let type = options.subtype ?? "cairn.\(root.mount.fileSystem.typeName)"
        kernel = try KernelMount(
            at: mountPoint, type: type, root: root.inode,
            flags: Self.kernelFlags(options, namespace), options: options)
        usesRing = session.awaitInit(kernel.descriptor)
        holdsRoot = session.root.mount.hold()
        guard session.negotiated.minor > 0, notifier.start(session, descriptor: kernel.descriptor)
        else {
            try? kernel.unmount(lazy: true, force: true)
            if holdsRoot { session.root.mount.drop() }
            _ = cairn_close(kernel.descriptor)
            throw MountFailure(
                .EPROTO, mountPoint,
                "the kernel's FUSE protocol is too old: Linux 5.17 or newer is needed")
        }
        observed.addAll(of: namespace)
        kernel.raiseReadAhead(to: options.readAheadKiB)
    }

    /// The kernel has one mount for the whole namespace. What only it can enforce holds everywhere
    /// if one mount asks for it; each mount's being read-only is enforced here.
    private static func kernelFlags(
        _ options: FUSEMountOptions, _ namespace: Namespace
    ) -> MountFlags {
        let restrictions: MountFlags = [.noSetID, .noDevices, .noExecute]
        let root = namespace.crossed(namespace.root).mount
        return namespace.mounts.reduce(options.flags.union(root.flags)) { flags, mount in
            flags.union(mount.flags.intersection(restrictions))
        }
    }

    private static func sessionOptions(
        _ options: FUSEMountOptions, _ namespace: Namespace, wantsRing: Bool
    ) -> SessionOptions {
        let openless: Bool
        switch options.openless {
        case .on: openless = !options.sharesLocks
        case .off: openless = false
        case .automatic:
            // The kernel itself refuses to open for writing only what is wholly read-only.
            let isReadOnly = kernelFlags(options, namespace).contains(.readOnly)
            openless =
                !options.sharesLocks
                && namespace.mounts.allSatisfy {
                    $0.fileSystem.dataIsCacheable && (isReadOnly || !$0.isReadOnly)
                }
        }
        return SessionOptions(
            entryTimeout: WireTimeout(options.entryTimeout),
            attributeTimeout: WireTimeout(options.attributeTimeout),
            negativeTimeout: WireTimeout(options.negativeTimeout),
            writebackCache: options.writebackCache, isOpenless: openless,
            sharesLocks: options.sharesLocks, wantsRing: wantsRing,
            maximumTransfer: options.transferBytes,
            maximumReadAhead: UInt32(clamping: options.readAheadKiB * 1024))
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

    /// Answers requests until the mount is gone, and what is in flight is finished.
    public func serve() {
        let loops: [@Sendable () -> Void] = usesRing ? ringLoops() : deviceLoops()
        // Forgets and interrupts come over the device in any case.
        let device = DeviceLoop(session: session, descriptor: kernel.descriptor)
        let threads = loops.enumerated().compactMap { number, loop in
            ServingThread(name: "cairn-fuse-\(number + 1)", loop)
        }
        var probe: ServingThread?
        if session.options.isOpenless {
            let (probed, path) = (session.openlessProbe, mountPoint)
            probe = ServingThread(name: "cairn-probe") { probed.run(below: path) }
        }
        device.run()
        probe?.join()
        for thread in threads {
            thread.join()
        }
        end()
    }

    private func deviceLoops() -> [@Sendable () -> Void] {
        let (session, descriptor) = (session, kernel.descriptor)
        return (1..<max(options.threadCount, 1)).map { _ in
            { DeviceLoop(session: session, descriptor: descriptor).run() }
        }
    }

    /// One loop a processor, on that processor; with fewer threads, each has several queues.
    private func ringLoops() -> [@Sendable () -> Void] {
        let queues = Int(cairn_possible_processor_count())
        let processors = min(Int(cairn_processor_count()), queues)
        let count = options.threads > 0 ? min(options.threads, queues) : processors
        let (session, kernel) = (session, kernel)
        return (0..<count).map { number in
            let served = stride(from: number, to: queues, by: count).map { UInt16($0) }
            let processor = count == queues ? Int32(number) : nil
            return {
                RingLoop(
                    session: session, descriptor: kernel.descriptor, queueIDs: served,
                    processor: processor,
                    abort: { try? kernel.unmount(lazy: true, force: true) }
                ).run()
            }
        }
    }

    /// The kernel has let go: nobody hears answers any more.
    private func end() {
        session.parked.cancelAllAndWait()
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
        try kernel.unmount(lazy: lazy, force: force)
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
