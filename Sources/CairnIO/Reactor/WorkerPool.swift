// WorkerPool: threads that carry operations out by system calls that wait.
//
// A thread is made when an operation finds none idle, up to a limit. Operations wait in one queue
// and come back in a list that the loop takes.
//
// Threading: `start`, `cancel`, `takeFinished` and `end` on the loop's thread. `lock` guards the
// lists. `signal` counts what was put into the queue; a worker reads it before it looks and sleeps
// only while it has not changed, so that nothing is missed.

import CSystem
import CairnBase
import Synchronization

final class WorkerPool: @unchecked Sendable {
    // Sendable: `lock` guards what changes; `threads` belongs to the loop.
    private let limit: Int
    private let alarm: LoopAlarm
    private var threads: [SystemThread] = []

    private let lock = Lock()
    // Guarded by `lock`.
    private var queue = IOQueue()
    private var finished = IOQueue()
    /// Operations that wait or are being carried out.
    private var outstanding = 0
    private var isOver = false

    private let signal = UnsafeMutablePointer<Atomic<UInt32>>.allocate(capacity: 1)

    init(limit: Int, alarm: LoopAlarm) {
        self.limit = max(limit, 1)
        self.alarm = alarm
        signal.initialize(to: Atomic(0))
    }

    deinit {
        signal.deinitialize(count: 1)
        signal.deallocate()
    }

    func start(_ operation: IOOperation) {
        let wanted = lock.withLock {
            queue.append(operation)
            operation.isQueued = true
            outstanding += 1
            return outstanding
        }
        if wanted > threads.count, threads.count < limit {
            if let thread = SystemThread(name: "cairn-io", { [self] in work() }) {
                threads.append(thread)
            } else if threads.isEmpty {
                return finish(operation, -Int(Errno.EAGAIN.rawValue), ifQueued: true)
            }
        }
        wakeWorkers(1)
    }

    /// Takes it back, if no worker has it yet.
    func cancel(_ operation: IOOperation) {
        finish(operation, -Int(Errno.ECANCELED.rawValue), ifQueued: true)
    }

    private func finish(_ operation: IOOperation, _ result: Int, ifQueued: Bool = false) {
        lock.withLock {
            if ifQueued {
                guard operation.isQueued else { return }
                operation.isQueued = false
                queue.remove(operation)
            }
            outstanding -= 1
            operation.result = result
            finished.append(operation)
        }
        alarm.ring()
    }

    var hasFinished: Bool { lock.withLock { !finished.isEmpty } }

    /// Operations that are done, with their results.
    func takeFinished() -> IOQueue {
        lock.withLock { finished.takeAll() }
    }

    /// Waits for the threads. Nothing may be in the queue.
    func end() {
        lock.withLock { isOver = true }
        wakeWorkers(.max)
        for thread in threads { thread.join() }
        threads = []
    }

    // MARK: A worker

    private func work() {
        while true {
            let seen = signal.pointee.load(ordering: .acquiring)
            let (operation, isOver) = lock.withLock {
                let operation = queue.removeFirst()
                operation?.isQueued = false
                return (operation, self.isOver)
            }
            if let operation {
                finish(operation, operation.carryOut())
            } else if isOver {
                return
            } else {
                _ = cairn_futex_wait(signalAddress, seen, -1)
            }
        }
    }

    private func wakeWorkers(_ count: Int32) {
        signal.pointee.add(1, ordering: .sequentiallyConsistent)
        _ = cairn_futex_wake(signalAddress, count)
    }

    /// Atomic has one fixed address for its whole life.
    private var signalAddress: UnsafePointer<UInt32> {
        UnsafePointer(UnsafeRawPointer(signal).assumingMemoryBound(to: UInt32.self))
    }
}
