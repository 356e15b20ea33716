// StripedCounter: a count that threads add to without fighting over one cache line.

import Glibc
public import Synchronization

public final class StripedCounter: @unchecked Sendable {
    // Sendable: the stripes are atomics in memory of their own.
    @usableFromInline static var stripeCount: Int { 16 }
    @usableFromInline let memory: UnsafeMutableRawPointer

    public init() {
        guard let memory = aligned_alloc(64, Self.stripeCount * 64) else {
            preconditionFailure("no memory for a counter")
        }
        memset(memory, 0, Self.stripeCount * 64)
        self.memory = memory
    }

    deinit { free(memory) }

    @inlinable
    func stripe(_ index: Int) -> UnsafeMutablePointer<Atomic<Int>> {
        (memory + (index & (Self.stripeCount - 1)) * 64)
            .assumingMemoryBound(to: Atomic<Int>.self)
    }

    @inlinable
    public func add(_ amount: Int) {
        let slot = ThreadSlot.borrowed._withUnsafeGuaranteedRef { $0.index }
        stripe(slot).pointee.add(amount, ordering: .relaxed)
    }

    /// The sum at some moment of the call.
    public var value: Int {
        (0..<Self.stripeCount).reduce(0) { $0 + stripe($1).pointee.load(ordering: .relaxed) }
    }
}
