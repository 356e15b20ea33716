// What is mounted and unmounted inside the namespace while the kernel has it mounted.
//
// The kernel knows a name by the node that it led to. When a mount comes to cover a place, or goes
// from it, the name expires: the kernel asks anew before it uses it again.
//
// When a mount is to go, the name is taken from the kernel with all that it keeps below. The kernel
// then forgets the nodes that nobody uses, and these let go of the mount. What somebody used just
// then stays in its caches when they are done, so what is left is pruned: node by node, a few
// times (since 7.45). A mount that is held after that is in use. One that has left the namespace
// goes on being pruned until its last node is forgotten.

import CairnBase
import CairnVFS
import Glibc

/// A mount that the kernel is being told to let go of.
struct LeavingMount {
    let mount: Mount
    /// An unmount waits for this. Otherwise the mount has left the namespace.
    let hasLetGo: Wait?
    private var looks = 0
    /// In nanoseconds of the monotonic clock.
    private var nextLook: UInt64 = 0
    private var deadline: UInt64 = 0

    init(_ mount: Mount, hasLetGo: Wait?) {
        self.mount = mount
        self.hasLetGo = hasLetGo
    }

    /// The first and the last wait between two looks.
    private static let firstInterval: UInt64 = 1_000_000
    private static let lastLook = 7
    /// How long the kernel's queue may take to run empty, when others keep it busy.
    private static let patience: UInt64 = 2_000_000_000

    enum Step {
        /// Look again at this time.
        case wait(until: UInt64)
        case prune
        case end
    }

    /// What is to be done now. `queueIsEmpty`: the kernel has sent nothing that nobody has read.
    mutating func step(now: UInt64, queueIsEmpty: Bool) -> Step {
        if deadline == 0 { deadline = now &+ Self.patience }
        if !mount.isHeld || now > deadline { return .end }
        if now < nextLook { return .wait(until: nextLook) }
        if looks >= Self.lastLook, queueIsEmpty { return .end }
        nextLook = now &+ Self.firstInterval << UInt64(min(looks, Self.lastLook - 1))
        looks += 1
        return .prune
    }
}

extension Notifier: MountObserver {
    func coverChanged(at place: Location) {
        guard let session else { return }
        if let (directory, name) = session.namespace.entry(of: place) {
            for node in session.nodes.numbers(of: directory.inode) {
                enqueue(.expiredEntry(parent: node, name))
                enqueue(.data(node, offset: 0, length: 0))
            }
        } else if !place.inode.isDirectory {
            // A file may have many names, and this one is not known.
            enqueue(.everyName)
        }
    }

    func letGo(of mount: Mount) -> Wait? {
        guard let session, let place = session.namespace.cover(of: mount) else { return nil }
        session.nodes.leave(mount)
        guard session.nodes.holds(mount) else { return nil }
        takeEntry(at: place, from: session)
        let hasLetGo = Wait()
        return lookAfter(LeavingMount(mount, hasLetGo: hasLetGo)) ? hasLetGo : nil
    }

    func left(_ mount: Mount, from place: Location) {
        guard let session, mount.isHeld else { return }
        session.nodes.leave(mount)
        guard session.nodes.holds(mount) else { return }
        takeEntry(at: place, from: session)
        _ = lookAfter(LeavingMount(mount, hasLetGo: nil))
    }

    /// Takes the name of the place from the kernel, and what it keeps below.
    private func takeEntry(at place: Location, from session: Session) {
        guard let (directory, name) = session.namespace.entry(of: place) else { return }
        for node in session.nodes.numbers(of: directory.inode) {
            enqueue(.entry(parent: node, name))
        }
    }

    // MARK: On the thread

    /// Does for each mount that leaves what is to be done now. Gives how long to wait until the
    /// next look, in nanoseconds; -1: none leaves.
    func lookAfterLeaving(_ leaving: inout [LeavingMount]) -> Int64 {
        guard !leaving.isEmpty, let session else { return -1 }
        let isQuiet = queueIsEmpty
        let now = monotonicNanoseconds()
        var next = UInt64.max
        var ended: [LeavingMount] = []
        for index in leaving.indices.reversed() {
            switch leaving[index].step(now: now, queueIsEmpty: isQuiet) {
            case .wait(let time): next = min(next, time)
            case .prune:
                prune(session.nodes.numbers(on: leaving[index].mount, limit: Self.pruneLimit))
                next = now
            case .end: ended.append(leaving.remove(at: index))
            }
        }
        for one in ended {
            one.hasLetGo?.finish()
            if one.hasLetGo == nil {
                pruneUntilForgotten(
                    session.nodes.numbers(on: one.mount, limit: Self.pruneLimit))
            }
        }
        return leaving.isEmpty ? -1 : Int64(max(next, now) - now)
    }

    /// Nodes that are pruned at once.
    private static var pruneLimit: Int { 1 << 13 }

    private var queueIsEmpty: Bool {
        var state = pollfd(fd: writer.descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&state, 1, 0) == 0
    }
}
