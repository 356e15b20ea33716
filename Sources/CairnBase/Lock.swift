// Lock: short critical sections around memory. ReadWriteLock is the one that readers share.
//
// Both live inline in the object that they guard (four bytes), spin a little, then sleep on a
// futex. Everything is done with Atomic, which ThreadSanitizer understands; the standard
// library's Mutex sleeps in code that is not instrumented and gives false reports
// (docs/adr/003-locks.md). Neither may be held across an `await` or a call that can block.
// Not recursive: taking one twice on a thread deadlocks.

import CSystem
public import Synchronization

/// Turns of the spin loop before a thread sleeps.
@usableFromInline let spinLimit = 40

/// A mutual-exclusion lock.
public struct Lock: ~Copyable, Sendable {
    /// 0 free, 1 held, 2 held and someone may sleep.
    @usableFromInline let state = Atomic<UInt32>(0)

    @inlinable
    public init() {}

    @inlinable
    public borrowing func lock() {
        if !state.compareExchange(
            expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed
        )
        .exchanged {
            lockSlowly()
        }
    }

    /// Takes the lock if it is free; says whether it did.
    @inlinable
    public borrowing func tryLock() -> Bool {
        state.compareExchange(
            expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed
        ).exchanged
    }

    @inlinable
    public borrowing func unlock() {
        if state.exchange(0, ordering: .releasing) == 2 {
            wake()
        }
    }

    @inlinable
    public borrowing func withLock<Value: ~Copyable, Failure>(
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        lock()
        defer { unlock() }
        return try body()
    }

    @usableFromInline @inline(never)
    borrowing func lockSlowly() {
        for _ in 0..<spinLimit {
            if state.load(ordering: .relaxed) == 0, tryLock() { return }
            cairn_spin_hint()
        }
        while state.exchange(2, ordering: .acquiring) != 0 {
            futexWait(state, expected: 2)
        }
    }

    @usableFromInline @inline(never)
    borrowing func wake() {
        futexWake(state, count: 1)
    }
}

/// A one-shot event between threads: `wait` returns once `signal` was called.
public struct Gate: ~Copyable, Sendable {
    private let state = Atomic<UInt32>(0)

    public init() {}

    public borrowing func signal() {
        state.store(1, ordering: .releasing)
        futexWake(state, count: .max)
    }

    public borrowing func wait() {
        while state.load(ordering: .acquiring) == 0 {
            futexWait(state, expected: 0)
        }
    }
}

/// Sleeps while the word holds `expected`; may return early.
func futexWait(_ word: borrowing Atomic<UInt32>, expected: UInt32) {
    withAddress(of: word) { _ = cairn_futex_wait($0, expected, -1) }
}

func futexWake(_ word: borrowing Atomic<UInt32>, count: Int32) {
    withAddress(of: word) { _ = cairn_futex_wake($0, count) }
}

/// Atomic has one fixed address for its whole life (it is stored raw), which is what the kernel
/// needs to be told.
@inlinable @inline(__always)
func withAddress<Value>(
    of word: borrowing Atomic<UInt32>, _ body: (UnsafePointer<UInt32>) -> Value
) -> Value {
    withUnsafePointer(to: word) { pointer in
        body(UnsafeRawPointer(pointer).assumingMemoryBound(to: UInt32.self))
    }
}
