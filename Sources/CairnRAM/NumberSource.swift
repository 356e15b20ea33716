// NumberSource: numbers for nodes, never the same twice.
//
// Threads draw from batches, one for each stripe, so that they do not meet in one counter. A batch is
// 64 numbers that begin at a multiple of 64; a stripe whose next number is a multiple of 64 has
// used its batch up (so no node has such a number).

import CairnBase
import Synchronization

final class NumberSource: @unchecked Sendable {
    // Sendable: `lock` guards `nextBatch`; stripes are atomic.

    private static var batch: UInt64 { 64 }

    /// Alone on its pair of cache lines.
    private struct Stripe: ~Copyable {
        let next = Atomic<UInt64>(0)
        private let padding = InlineArray<15, UInt64>(repeating: 0)

        init() {}
    }

    private let stripes: UnsafeMutablePointer<Stripe>
    private let lock = Lock()
    private var nextBatch: UInt64

    /// All numbers are above `used`.
    init(above used: UInt64) {
        nextBatch = (used / NumberSource.batch + 1) * NumberSource.batch
        stripes = .allocate(capacity: stripeCount)
        for index in 0..<stripeCount {
            (stripes + index).initialize(to: Stripe())
        }
    }

    deinit {
        stripes.deinitialize(count: stripeCount)
        stripes.deallocate()
    }

    func next() -> UInt64 {
        let stripe = stripes + stripeOfThisThread()
        var number = stripe.pointee.next.load(ordering: .relaxed)
        while number % NumberSource.batch != 0 {
            let (exchanged, seen) = stripe.pointee.next.weakCompareExchange(
                expected: number, desired: number + 1, ordering: .relaxed)
            if exchanged { return number }
            number = seen
        }
        return takeBatch(for: stripe)
    }

    /// Starts a batch; threads that come for one stripe at once start one each, and the last is
    /// kept.
    private func takeBatch(for stripe: UnsafeMutablePointer<Stripe>) -> UInt64 {
        let first = lock.withLock {
            let first = nextBatch
            nextBatch += NumberSource.batch
            return first
        }
        stripe.pointee.next.store(first + 2, ordering: .relaxed)
        return first + 1
    }
}
