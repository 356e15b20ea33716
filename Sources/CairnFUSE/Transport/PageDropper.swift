// PageDropper: makes the kernel drop pages of a file, for a request that waits until it has.
//
// The notifier cannot do that: it may sleep for a directory's lock, whose holder waits for the file
// that the caller of the waiting request has locked. Dropping pages takes only the pages' own locks.
//
// Threading: any thread. `lock` guards the fields below it. The thread is made with the first drop, and sleeps
// while there are none.

import CairnBase

final class PageDropper: @unchecked Sendable {
    // Sendable: `lock` guards the fields below it.
    struct Drop: Sendable {
        var node: UInt64
        var offset: UInt64
        /// 0: to the end.
        var length: UInt64
        let wait = Wait()
    }

    private let writer: NotificationWriter
    private let lock = Lock()
    private var drops: [Drop] = []
    private var thread: ServingThread?
    /// The thread sleeps behind it.
    private var idle: SharedGate?
    private var isStopped = false

    init(_ writer: NotificationWriter) {
        self.writer = writer
    }

    /// The wait finishes when the kernel has dropped them.
    func add(_ drop: Drop) -> Wait {
        let (idle, failure): (SharedGate?, Errno?) = lock.withLock {
            if isStopped { return (nil, .EIO) }
            if thread == nil {
                thread = ServingThread(name: "cairn-pages") { [self] in run() }
                if thread == nil { return (nil, .ENOMEM) }
            }
            drops.append(drop)
            defer { self.idle = nil }
            return (self.idle, nil)
        }
        if let failure { drop.wait.finish(failure) }
        idle?.open()
        return drop.wait
    }

    /// Ends the thread. Who still waits gets EIO.
    func stop() {
        let (idle, thread, rest) = lock.withLock {
            isStopped = true
            defer { (self.idle, self.thread, drops) = (nil, nil, []) }
            return (self.idle, self.thread, drops)
        }
        for drop in rest { drop.wait.finish(.EIO) }
        idle?.open()
        thread?.join()
    }

    private func run() {
        while true {
            let (gate, all, isOver): (SharedGate?, [Drop], Bool) = lock.withLock {
                if !isStopped, drops.isEmpty { idle = SharedGate() }
                defer { drops = [] }
                return (idle, drops, isStopped)
            }
            if isOver { return }
            for drop in all {
                writer.invalidateInode(
                    drop.node, offset: Int64(clamping: drop.offset),
                    length: Int64(clamping: drop.length))
                drop.wait.finish()
            }
            gate?.wait()
        }
    }
}
