// SpaceAccount: how much of something limited is left, exactly, and without a counter that every
// thread waits for.
//
// Invariant: pool + sum of stripes + what was taken and not given back = limit. Threads take from
// their own stripe; a stripe that runs dry is filled from the pool in batches. Before anything is
// refused, all stripes are emptied into the pool, so nothing is refused while there is enough.

import CairnBase
import Glibc
import Synchronization

/// How many ways per-thread state is spread. Threads may share a way; then they only contend.
let stripeCount = 16

/// The calling thread's way: its thread descriptor's address, spread. Only a hint, so it does not
/// matter that a task may change threads after it was read.
@inline(__always)
func stripeOfThisThread() -> Int {
    let address = UInt64(truncatingIfNeeded: Int(bitPattern: pthread_self()))
    return Int(truncatingIfNeeded: (address &* 0x9E37_79B9_7F4A_7C15) >> 60)
}

/// A lock on a cache line of its own.
struct PaddedLock: ~Copyable {
    let lock = Lock()
    private let padding = InlineArray<15, UInt32>(repeating: 0)
}

final class SpaceAccount: @unchecked Sendable {
    // Sendable: `lock` guards `pool`; stripes are atomic; the rest is immutable.

    /// Alone on its pair of cache lines.
    private struct Stripe: ~Copyable {
        let left = Atomic<Int>(0)
        private let padding = InlineArray<15, Int>(repeating: 0)
    }

    let limit: Int
    private let batch: Int
    private let stripes: UnsafeMutablePointer<Stripe>
    private let lock = Lock()
    private var pool: Int

    init(limit: Int, batch: Int) {
        self.limit = limit
        self.batch = min(batch, limit / (4 * stripeCount))
        pool = limit
        stripes = .allocate(capacity: stripeCount)
        for index in 0..<stripeCount {
            (stripes + index).initialize(to: Stripe())
        }
    }

    deinit {
        stripes.deinitialize(count: stripeCount)
        stripes.deallocate()
    }

    /// Takes `amount` if there is that much. Not inlined, nor is `give`: a caller that touched the
    /// stripes itself would count a reference to keep them.
    @inline(never)
    func take(_ amount: Int) -> Bool {
        let stripe = stripes + stripeOfThisThread()
        var left = stripe.pointee.left.load(ordering: .relaxed)
        while left >= amount {
            let (exchanged, seen) = stripe.pointee.left.weakCompareExchange(
                expected: left, desired: left &- amount, ordering: .relaxed)
            if exchanged { return true }
            left = seen
        }
        return takeFromPool(amount, stripe)
    }

    @inline(never)
    func give(_ amount: Int) {
        let stripe = stripes + stripeOfThisThread()
        let left = stripe.pointee.left.add(amount, ordering: .relaxed).newValue
        if left > 4 * batch { drain(stripe) }
    }

    @inline(never)
    private func takeFromPool(_ amount: Int, _ stripe: UnsafeMutablePointer<Stripe>) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        if pool < amount {
            for index in 0..<stripeCount {
                pool += stripes[index].left.exchange(0, ordering: .relaxed)
            }
        }
        guard pool >= amount else { return false }
        pool -= amount
        let extra = min(batch, pool)
        pool -= extra
        stripe.pointee.left.add(extra, ordering: .relaxed)
        return true
    }

    @inline(never)
    private func drain(_ stripe: UnsafeMutablePointer<Stripe>) {
        lock.lock()
        pool += stripe.pointee.left.exchange(0, ordering: .relaxed)
        lock.unlock()
    }

    /// What is left; exact while nobody takes or gives.
    var left: Int {
        lock.lock()
        defer { lock.unlock() }
        var total = pool
        for index in 0..<stripeCount {
            total += stripes[index].left.load(ordering: .relaxed)
        }
        return total
    }
}
