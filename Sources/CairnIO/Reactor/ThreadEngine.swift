// ThreadEngine: operations by worker threads, where the kernel refuses io_uring (a container's
// seccomp filter, an old kernel, io_uring_disabled).
//
// Threading: the loop's.

import CSystem
import CairnBase

final class ThreadEngine: ReactorEngine {
    var kind: Reactor.Engine { .threads }
    private(set) var underWay = 0
    private let workers: WorkerPool
    private let alarm: LoopAlarm

    init(workerLimit: Int, alarm: LoopAlarm) {
        self.alarm = alarm
        workers = WorkerPool(limit: workerLimit, alarm: alarm)
    }

    func start(_ operation: IOOperation) {
        underWay += 1
        started(operation, withWorkers: true)
        workers.start(operation)
    }

    func submit() {}

    func cancel(_ operation: IOOperation) {
        workers.cancel(operation)
    }

    func wait(timeoutNanoseconds: UInt64?) {
        if timeoutNanoseconds == 0 || workers.hasFinished { return }
        let timeout = timeoutNanoseconds.map { Int64(min($0, UInt64(Int64.max))) } ?? -1
        if cairn_wait_readable(alarm.descriptor, timeout) == 1 {
            var count: UInt64 = 0
            _ = cairn_read(alarm.descriptor, &count, MemoryLayout<UInt64>.size)
        }
    }

    func deliver() {
        var finished = workers.takeFinished()
        while let operation = finished.removeFirst() {
            underWay -= 1
            operation.isUnderWay = false
            operation.completed(operation.result)
        }
    }

    func register(_ file: ReactorFile) {}
    func unregister(_ file: ReactorFile) {}
    func register(_ memory: UnsafeMutableRawBufferPointer) -> Bool { false }
    func unregister(_ memory: UnsafeMutableRawBufferPointer) {}

    func end() {
        workers.end()
    }
}
