// RingThreads: the threads that serve the queues of a connection over io_uring.
//
// One a processor, which stays on it; where there are fewer, each serves several queues. A queue that
// nobody serves would keep its requests for ever, so the queues are shared out once it is known how
// many threads the system has given.
//
// Threading: made and joined by one thread. `count` is written before the gate opens, and read after.

import CSystem
import CairnBase

final class RingThreads: @unchecked Sendable {
    private var threads: [ServingThread] = []
    private var count = 0
    private let start = SharedGate()

    /// Starts at most so many threads, 0: one for each processor. `loop` makes what serves the queues, on
    /// the processor if one is given.
    init(limit: Int, _ loop: @escaping @Sendable ([UInt16], Int32?) -> RingLoop) {
        let queues = max(Int(cairn_possible_processor_count()), 1)
        let processors = max(min(Int(cairn_processor_count()), queues), 1)
        for _ in 0..<(limit > 0 ? min(limit, queues) : processors) {
            let number = threads.count
            let thread = ServingThread(name: "cairn-fuse-\(number + 1)") { [self] in
                start.wait()
                let own = stride(from: number, to: queues, by: count).map { UInt16($0) }
                loop(own, count == queues ? Int32(number) : nil).run()
            }
            if let thread { threads.append(thread) }
        }
        count = threads.count
        start.open()
    }

    /// There is none.
    var isEmpty: Bool { threads.isEmpty }

    /// Waits until all have ended.
    func join() {
        for thread in threads { thread.join() }
    }
}
