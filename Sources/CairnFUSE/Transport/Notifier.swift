// Notifier: tells the kernel what changed by another door, or through another node.
//
// The kernel keeps names, attributes and pages for long, because nothing changes behind its back
// unnoticed: what a library call or another mount changes in a filesystem of our namespace is
// announced to this observer, which asks the node table whether the kernel knows the inode, and
// queues a notification. A thread of its own writes them: the kernel takes a directory's lock for
// some, which a request that waits for us may hold.
//
// The queue is bounded and drops what is there already. When it is full, everything that the
// kernel knows is invalidated instead.
//
// A regular file under the write-back cache is a special case: there the kernel believes its own
// size and times, and no notification changes them. Two things help. A store of the file's last
// byte makes the kernel's size grow. And the inode is pruned: unless it is open the kernel forgets
// it and asks anew; while it is open, pruning is tried again from time to time.
//
// The kernel answers ENOENT for a node that it does not know. If the table has the node all the
// same, the reply that tells the kernel of it is on its way, with attributes that may be older than
// the change: the notification is tried again.
//
// Threading: `lock` guards the queue; the observer's calls come from any thread and are short.

import CSystem
import CairnBase
import CairnVFS
import Glibc
import Synchronization

final class Notifier: ChangeObserver, @unchecked Sendable {
    // Sendable: `lock` guards what is queued; `session` is set before it starts.

    enum Item: Hashable {
        case entry(parent: UInt64, FileName)
        case expiredEntry(parent: UInt64, FileName)
        case everyName
        case attributes(UInt64)
        case data(UInt64, offset: UInt64, length: UInt64)
        case grow(UInt64)
        case prune(UInt64)
    }

    private let limit = 8192
    private let lock = Lock()
    private var queue: [Item] = []
    private var queued: Set<Item> = []
    private var overflowed = false
    /// Came since the thread looked last.
    private var newlyLeaving: [LeavingMount] = []
    /// Of the thread: unmounts that wait until the kernel has let go.
    private var leaving: [LeavingMount] = []
    /// Of the thread: nodes that the kernel would not forget when they were pruned.
    private var stubborn: Set<UInt64> = []
    /// Of the thread: what the kernel could not take because it did not know the node yet.
    private var early: Set<Item> = []
    private var retryNanoseconds = firstRetry
    /// When `stubborn` and `early` are tried again, if there are any.
    private var retryTime: UInt64 = 0
    private static let firstRetry: Int64 = 20_000_000
    private static let lastRetry: Int64 = 5_000_000_000
    let writer = NotificationWriter()
    private let dropper: PageDropper
    private var isStopping = false
    private let wakeups = Atomic<UInt32>(0)
    private(set) weak var session: Session?
    private var thread: ServingThread?

    init() {
        dropper = PageDropper(writer)
    }

    var sentCount: UInt64 { writer.sentCount }

    /// Starts the thread. False if there is none to be had.
    func start(_ session: Session, descriptor: Int32) -> Bool {
        self.session = session
        writer.descriptor = descriptor
        thread = ServingThread(name: "cairn-notify") { [self] in run() }
        return thread != nil
    }

    /// Ends the thread; what is queued is dropped, for the mount is gone.
    func stop() {
        lock.withLock { isStopping = true }
        dropper.stop()
        wake()
        thread?.join()
        thread = nil
        for one in leaving + newlyLeaving {
            one.hasLetGo?.finish()
        }
    }

    // MARK: What others changed, and what we changed through one of several mounts

    func nameChanged(_ name: Name, in directory: Inode, through mount: UInt64?) {
        guard let session else { return }
        for node in session.nodes.numbers(of: directory, besides: mount) {
            enqueue(.entry(parent: node, name.owned))
            // The list of names that the kernel may keep.
            enqueue(.data(node, offset: 0, length: 0))
        }
    }

    func attributesChanged(_ inode: Inode, through mount: UInt64?) {
        guard let session else { return }
        for node in session.nodes.numbers(of: inode, besides: mount) {
            session.nodes.mark(node, .mayHaveCapabilities)
            enqueue(.attributes(node))
            prune(node, inode, session)
        }
    }

    func dataChanged(
        _ inode: Inode, offset: UInt64, length: UInt64?, through mount: UInt64?
    ) {
        guard let session else { return }
        for node in session.nodes.numbers(of: inode, besides: mount) {
            enqueue(.data(node, offset: offset, length: length ?? 0))
            if keepsOwnSize(inode, session) { enqueue(.grow(node)) }
            prune(node, inode, session)
        }
    }

    func ended(_ fileSystem: FileSystem) {
        session?.observed.remove(fileSystem)
    }

    private func keepsOwnSize(_ inode: Inode, _ session: Session) -> Bool {
        inode.kind == .regular && session.negotiated.writebackCache
    }

    private func prune(_ node: UInt64, _ inode: Inode, _ session: Session) {
        if keepsOwnSize(inode, session), session.negotiated.minor >= NotificationCode.pruneMinor {
            enqueue(.prune(node))
        }
    }

    /// Makes the kernel drop its pages of a range of a file (length 0: to the end), and before that send
    /// what it has gathered in them. The wait finishes when all of it has come.
    func dropPages(of node: UInt64, offset: UInt64, length: UInt64) -> Wait {
        dropper.add(PageDropper.Drop(node: node, offset: offset, length: length))
    }

    /// The thread looks after it once all that is queued was written. False: there is no thread.
    func lookAfter(_ mount: LeavingMount) -> Bool {
        let isTaken = lock.withLock {
            if !isStopping { newlyLeaving.append(mount) }
            return !isStopping
        }
        if isTaken { wake() }
        return isTaken
    }

    func enqueue(_ item: Item) {
        let isNew: Bool = lock.withLock {
            guard !overflowed, !queued.contains(item) else { return false }
            if queue.count >= limit {
                overflowed = true
                queue = []
                queued = []
            } else {
                queue.append(item)
                queued.insert(item)
            }
            return true
        }
        if isNew { wake() }
    }

    private func wake() {
        wakeups.add(1, ordering: .releasing)
        withUnsafePointer(to: wakeups) { pointer in
            _ = cairn_futex_wake(
                UnsafeRawPointer(pointer).assumingMemoryBound(to: UInt32.self), 1)
        }
    }

    // MARK: The thread

    private func run() {
        while true {
            let seen = wakeups.load(ordering: .acquiring)
            let (items, isWholesale, isOver) = lock.withLock {
                defer {
                    queue = []
                    queued = []
                    overflowed = false
                    leaving += newlyLeaving
                    newlyLeaving = []
                }
                return (queue, overflowed, isStopping)
            }
            if isOver { return }
            if isWholesale { invalidateAll() }
            for item in items {
                write(item)
            }
            if !items.isEmpty || isWholesale, retryNanoseconds > Self.firstRetry {
                retryNanoseconds = Self.firstRetry
                retryTime = monotonicNanoseconds() &+ UInt64(Self.firstRetry)
            }
            let timeouts = [tryAgain(), lookAfterLeaving(&leaving)].filter { $0 >= 0 }
            let timeout = timeouts.min() ?? -1
            guard items.isEmpty, !isWholesale else { continue }
            _ = withUnsafePointer(to: wakeups) { pointer in
                cairn_futex_wait(
                    UnsafeRawPointer(pointer).assumingMemoryBound(to: UInt32.self), seen, timeout)
            }
        }
    }

    /// Tries what the kernel could not do before, when it is time: a file that was open when it was
    /// pruned may be closed by now, and a node that the kernel did not know may be known. Gives how
    /// long to wait until the next time, in nanoseconds; -1: there is nothing to try.
    private func tryAgain() -> Int64 {
        guard !stubborn.isEmpty || !early.isEmpty else {
            retryTime = 0
            return -1
        }
        let now = monotonicNanoseconds()
        if retryTime == 0 {
            retryNanoseconds = Self.firstRetry
            retryTime = now &+ UInt64(retryNanoseconds)
        }
        if now < retryTime { return Int64(retryTime - now) }
        retryNanoseconds = min(retryNanoseconds * 2, Self.lastRetry)
        retryTime = now &+ UInt64(retryNanoseconds)
        let (nodes, items) = (stubborn, early)
        stubborn = []
        early = []
        for item in items {
            write(item)
        }
        for node in nodes where session?.nodes.retained(node) != nil {
            write(.prune(node))
        }
        return stubborn.isEmpty && early.isEmpty ? -1 : retryNanoseconds
    }

    private func invalidateAll() {
        guard let session else { return }
        forgetEveryName(session)
        for (node, isRegular) in session.nodes.all() {
            write(.data(node, offset: 0, length: 0))
            if session.negotiated.minor >= NotificationCode.pruneMinor,
                isRegular || session.negotiated.minor < NotificationCode.epochMinor
            {
                write(.prune(node))
            }
        }
    }

    /// The kernel asks for each name again. Older kernels cannot be told.
    private func forgetEveryName(_ session: Session) {
        if session.negotiated.minor >= NotificationCode.epochMinor {
            writer.write(.incrementEpoch, size: 0) { _ in }
        }
    }

    private func write(_ item: Item) {
        switch item {
        case .everyName:
            session.map { forgetEveryName($0) }
        case .entry(let parent, let name): invalidate(name, in: parent, flags: 0)
        case .expiredEntry(let parent, let name):
            let canExpire = session?.negotiated.flags.contains(.expireOnly) ?? false
            invalidate(name, in: parent, flags: canExpire ? WireFlag.entryExpires : 0)
        case .attributes(let node):
            invalidate(item, node, offset: -1, length: 0)
        case .data(let node, let offset, let length):
            invalidate(item, node, offset: Int64(clamping: offset), length: Int64(clamping: length))
        case .grow(let node):
            grow(node)
        case .prune(let node):
            pruneUntilForgotten([node])
        }
    }

    /// The kernel shall forget what nobody uses of these.
    func prune(_ nodes: [UInt64]) {
        guard let session, session.negotiated.minor >= NotificationCode.pruneMinor, !nodes.isEmpty
        else { return }
        writer.write(.prune, size: 16 + 8 * nodes.count) { body in
            body.put(UInt32(nodes.count), at: 0)
            body.put(UInt32(0), at: 4)
            body.put(UInt64(0), at: 8)
            nodes.withUnsafeBytes { body.put($0, at: 16) }
        }
    }

    /// The same, and again from time to time.
    func pruneUntilForgotten(_ nodes: [UInt64]) {
        for node in nodes where stubborn.count < limit {
            stubborn.insert(node)
        }
        prune(nodes)
    }

    private func invalidate(_ name: FileName, in parent: UInt64, flags: UInt32) {
        writer.write(.invalidateEntry, size: 16 + name.bytes.count + 1) { body in
            body.put(parent, at: 0)
            body.put(UInt32(name.bytes.count), at: 8)
            body.put(flags, at: 12)
            name.bytes.withUnsafeBytes { body.put($0, at: 16) }
            body.put(UInt8(0), at: 16 + name.bytes.count)
        }
    }

    /// Attributes go in any case; and the pages of a range, if `offset` is not negative.
    private func invalidate(_ item: Item, _ node: UInt64, offset: Int64, length: Int64) {
        keepIfEarly(item, node, writer.invalidateInode(node, offset: offset, length: length))
    }

    private func keepIfEarly(_ item: Item, _ node: UInt64, _ result: Int64) {
        guard result == -Int64(Glibc.ENOENT), early.count < limit,
            session?.nodes.retained(node) != nil
        else { return }
        early.insert(item)
    }

    /// Stores the last byte where it is, which makes the kernel's size reach there. The byte's page
    /// is then dropped again, for only that byte of it may be right.
    private func grow(_ node: UInt64) {
        guard let inode = session?.nodes.retained(node),
            let size = try? inode.attributes().size, size > 0
        else { return }
        var byte: UInt8 = 0
        let count = withUnsafeMutableBytes(of: &byte) { try? inode.read(into: $0, at: size - 1) }
        guard count == 1 else { return }
        let result = writer.write(.store, size: 25) { body in
            body.put(node, at: 0)
            body.put(size - 1, at: 8)
            body.put(UInt32(1), at: 16)
            body.put(UInt32(0), at: 20)
            body.put(byte, at: 24)
        }
        keepIfEarly(.grow(node), node, result)
        write(.data(node, offset: size - 1, length: 1))
    }
}
