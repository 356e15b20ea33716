// MountService: one mount from its plan to its end, in the process that serves it.
//
//   open sources ─▶ mount ─▶ state entry, control socket ─▶ serve … unmounted ─▶ close, answer
//
// The main thread serves; one thread waits for signals, one answers the control socket. The first
// signal unmounts; if the mount is busy it is taken out of the tree and ends with its last use.
// A second signal aborts the connection: what is in flight fails, all is closed, the process ends.

import Cairn
import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Synchronization

final class MountService: @unchecked Sendable {
    // Sendable: immutable after init; `signals` is atomic, `ending` has its lock.
    private let plan: MountPlan
    private let mountPoint: FilePath
    let vfs: VFS
    let composition: Composition
    let mount: FUSEMount
    /// The number of this mount's connection. Other mounts may come to stand at the same path.
    private let connection: UInt32
    let start = SystemTime().now()
    private let signals = Atomic<Int>(0)

    private struct Ending {
        var entry: StateEntry?
        var server: ControlServer?
        /// Set once all is closed.
        var status: Int32?
    }
    private let ending = Mutex(Ending())

    /// Opens everything and mounts. Nothing stays if it fails.
    init(_ plan: MountPlan) throws(Failure) {
        MountService.blockSignals()
        self.plan = plan
        mountPoint = try MountService.check(plan.mountPoint)
        vfs = makeVFS()
        composition = try Composition(plan.fileSystems, in: vfs)
        let covered = try MountTable.mounts(at: mountPoint)
        do throws(MountFailure) {
            mount = try FUSEMount(
                namespace: composition.namespace, at: mountPoint.text,
                options: composition.fuseOptions)
        } catch {
            try? composition.namespace.close()
            throw Failure(error)
        }
        // If this fails, the process ends, and its connection with it.
        connection = try MountService.newConnection(at: mountPoint, over: covered)
    }

    /// The connection of the mount that was just made. Others may have mounted there too since
    /// `covered` was read.
    private static func newConnection(
        at mountPoint: FilePath, over covered: [KernelMount]
    ) throws(Failure) -> UInt32 {
        let new = try MountTable.mounts(at: mountPoint).filter { mount in
            mount.isCairn
                && !covered.contains {
                    $0.number == mount.number && $0.connection == mount.connection
                }
        }
        guard let first = new.first else {
            throw Failure(printable(mountPoint), "mounted, but the kernel's table does not show it")
        }
        guard new.count == 1 else {
            throw Failure(
                printable(mountPoint), "another mount was made there at the same moment",
                wayOut: clearing)
        }
        return first.connection
    }

    private static let clearing =
        "a mount stands there whose daemon is gone; cairn umount clears it"

    /// The mount point as the kernel's table will have it; it must be a directory that answers.
    private static func check(_ operand: FilePath) throws(Failure) -> FilePath {
        let path = try mountPointPath(operand)
        guard String(validating: path.bytes, as: UTF8.self) != nil else {
            throw Failure(
                printable(path), "its path is not UTF-8, and only such a one can be mounted at",
                wayOut: "mount elsewhere; mount --bind or --move brings it there")
        }
        // The kernel may still know the attributes of a root whose daemon is gone.
        if let below = try MountTable.mount(at: path), below.isCairn,
            let entry = StateEntry.find(for: below), ControlClient(at: entry.socket) == nil
        {
            throw Failure(printable(operand), Errno.ENOTCONN, wayOut: clearing)
        }
        var status = stat()
        guard path.withCString({ stat($0, &status) }) == 0 else {
            let error = currentErrno()
            let wayOut =
                error == .ENOTCONN
                ? clearing
                : error == .ENOENT ? "make the directory first: mkdir \(printable(operand))" : nil
            throw Failure(printable(operand), error, wayOut: wayOut)
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure(printable(operand), Errno.ENOTDIR)
        }
        return path
    }

    /// Serves until the mount is gone; gives the exit status. `ready` is called once the mount
    /// answers, on any thread, and says whether somebody still wants it.
    func run(_ ready: @escaping @Sendable (StateEntry) -> Bool) -> Int32 {
        let standing: StateEntry
        do throws(Failure) {
            let entry = try StateEntry.make(connection: connection)
            ending.withLock { $0.entry = entry }
            try entry.write(description)
            let server = try ControlServer(at: entry.socket) { [unowned self] in answer($0) }
            ending.withLock { $0.server = server }
            server.start()
            startThread("cairn-signals") { [unowned self] in waitForSignals() }
            standing = entry
        } catch {
            // Without an entry the mount cannot be looked after, so there shall be none.
            report(error)
            abort()
            mount.serve()
            _ = conclude()
            return error.status
        }
        mount.serve { [unowned self] in
            if !ready(standing) { stop() }
        }
        return conclude()
    }

    /// Closes all, takes the entry away and tells those who wait; gives the exit status. Whoever
    /// calls second waits for the first.
    private func conclude() -> Int32 {
        ending.withLock { ending in
            if let status = ending.status { return status }
            ending.entry?.remove(keepingLog: true)
            let failure = close()
            if let failure { report(failure) }
            if failure == nil { ending.entry?.remove() }
            ending.server?.finish(
                failure.map { ["error": .string($0.why)] } ?? ["closed": true])
            let status = failure == nil ? ExitStatus.done : ExitStatus.failed
            ending.status = status
            return status
        }
    }

    /// All that was acknowledged becomes durable.
    private func close() -> Failure? {
        do throws(Errno) {
            try composition.namespace.close()
            return nil
        } catch {
            return Failure(printable(mountPoint), error)
        }
    }

    // MARK: Ending

    /// SIGHUP not under nohup(1), which has it ignored.
    private static let endingSignals: [Int32] = {
        var hangUp = sigaction()
        sigaction(SIGHUP, nil, &hangUp)
        let isIgnored = unsafeBitCast(hangUp.__sigaction_handler.sa_handler, to: Int.self) == 1
        return isIgnored ? [SIGINT, SIGTERM] : [SIGINT, SIGTERM, SIGHUP]
    }()

    /// Before any thread is started, so that all inherit it.
    private static func blockSignals() {
        signal(SIGPIPE, SIG_IGN)
        var set = sigset_t()
        sigemptyset(&set)
        for number in endingSignals { sigaddset(&set, number) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    private func waitForSignals() {
        var set = sigset_t()
        sigemptyset(&set)
        for number in MountService.endingSignals { sigaddset(&set, number) }
        var number: Int32 = 0
        while sigwait(&set, &number) == 0 {
            if signals.add(1, ordering: .relaxed).newValue == 1 {
                // It may wait for writes that nobody answers; the next signal must be heard.
                startThread("cairn-unmount") { [unowned self] in stop() }
            } else {
                abort()
                startThread("cairn-end") { [unowned self] in leave(afterSeconds: 5) }
            }
        }
    }

    /// Ends the connection: what is in flight and what comes fails, and `serve` returns.
    private func abort() {
        // After the connection nobody is left who would take the mount away.
        if let failure = unmount(lazily: true, force: false),
            ![.EINVAL, .ESTALE].contains(failure.errno)
        {
            tell(
                "its mount stays there when it has ended: \(failure.why)",
                "root takes it away with umount -l")
        }
        do throws(Failure) {
            try Unmounting.abort(connection: connection)
        } catch {
            // The end of the process closes the device, which ends the connection too.
            report(error)
            leave(afterSeconds: 0)
        }
    }

    /// Ends the process, if `serve` does not return within this time.
    private func leave(afterSeconds seconds: UInt32) {
        sleep(seconds)
        for part in composition.parts {
            let fileSystem = part.opened.fileSystem
            // What is still open keeps a filesystem from closing.
            do throws(Errno) {
                var point = SyncPoint()
                try blocking { () throws(Pause) in try fileSystem.sync(&point) }
            } catch {
                report(Failure(printable(part.path), error))
            }
        }
        exit(conclude())
    }

    /// Unmounts, or takes the mount out of the tree if it is busy.
    private func stop() {
        guard let failure = unmount(lazily: false, force: false) else { return }
        switch failure.errno {
        case .EBUSY: break
        case .EINVAL:
            return tell("is out of the tree already", MountService.waiting)
        case .ESTALE:
            return tell(
                "another mount stands over it",
                "unmount that one first; a second signal ends this one now")
        default:
            return tell(
                "cannot be unmounted: \(failure.why)",
                "root can do it with umount; a second signal ends it now")
        }
        let users = Unmounting.users(of: mountPoint)
        tell("busy" + (users.isEmpty ? "" : ": used by \(users)"), MountService.waiting)
        _ = unmount(lazily: true, force: false)
    }

    private static let waiting = "it ends with its last use; a second signal ends it now"

    private func tell(_ why: String, _ wayOut: String?) {
        report(Failure(printable(mountPoint), why, wayOut: wayOut))
    }

    /// umount2(2) goes by path, so it is only called while this mount is what it would take away:
    /// ESTALE if another one stands there, EINVAL if this one has left the tree.
    private func unmount(lazily: Bool, force: Bool) -> MountFailure? {
        func failure(_ error: Errno, _ why: String) -> MountFailure {
            MountFailure(error, mountPoint.text, why)
        }
        do throws(Failure) {
            let standing = try MountTable.mounts(at: mountPoint)
            guard let top = standing.last, isOwn(top) else {
                return standing.contains(where: isOwn)
                    ? failure(.ESTALE, "another mount stands over it")
                    : failure(.EINVAL, "it is out of the tree already")
            }
        } catch {
            return failure(.EIO, error.why)
        }
        do throws(MountFailure) {
            try mount.unmount(lazy: lazily, force: force)
            return nil
        } catch {
            return error
        }
    }

    private func isOwn(_ mount: KernelMount) -> Bool {
        mount.isCairn && mount.connection == connection
    }

    // MARK: What others may ask

    private var description: JSON {
        [
            "pid": .count(getpid()), "version": .string(cairnVersion),
            "mountPoint": .bytes(Array(mountPoint.bytes)),
            "types": .array(composition.parts.map { .string($0.opened.type) }),
        ]
    }

    private func answer(_ request: String) -> JSON {
        switch request {
        case "stats":
            return .object(description.members + statistics.members)
        case "unmount", "unmount lazy", "unmount force":
            let force = request.hasSuffix("force")
            let failure = unmount(lazily: force || request.hasSuffix("lazy"), force: force)
            return failure.map { ["error": .string($0.why)] } ?? ["unmounted": true]
        default:
            return ["error": .string("unknown request '\(request)'")]
        }
    }
}
