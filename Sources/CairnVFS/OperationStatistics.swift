// OperationStatistics: how often each call was made, how often it failed, and how long it took.
//
// Counting is an add in the thread's own memory. Reading a clock costs more than most calls that
// find everything in memory, so calls of the library keep the latency of one in 64; doors, whose
// requests cost microseconds, record every one. A failed call is counted, but its latency is not
// kept: errors are quick and would hide what is slow.

public import CairnBase

public final class OperationStatistics: @unchecked Sendable {
    // Sendable: immutable, safe by themselves, or guarded by `lock`.
    private let counters: ShardedCounters
    private let time: any TimeSource

    private let lock = Lock()
    private var scopeTable: [String: OperationStatistics] = [:]

    private static var callCount: Int { SystemCall.allCases.count }
    /// One call in so many is timed: a power of two.
    private static var samplingInterval: UInt32 { 64 }

    public init(time: any TimeSource) {
        self.time = time
        // Counts, then errors.
        counters = ShardedCounters(
            counters: 2 * Self.callCount, histograms: Self.callCount)
    }

    // MARK: Counting

    /// A call begins: counts it. Gives the time if this call's latency is to be kept, else 0.
    @inline(__always)
    func begin(_ call: SystemCall) -> UInt64 {
        let slot = ThreadSlot.current
        counters.add(1, to: call.rawValue, slot: slot.index)
        return slot.nextTick() & (Self.samplingInterval - 1) == 0 ? now : 0
    }

    /// The call has succeeded.
    @inline(__always)
    func end(_ call: SystemCall, startedAt start: UInt64) {
        if start != 0 { record(call, nanoseconds: now &- start) }
    }

    @inline(never)
    private var now: UInt64 { max(time.monotonicNanoseconds(), 1) }

    /// A call was made.
    public func count(_ call: SystemCall) {
        counters.add(1, to: call.rawValue)
    }

    /// A call that was counted took so long.
    public func record(_ call: SystemCall, nanoseconds: UInt64) {
        counters.record(nanoseconds, in: call.rawValue)
    }

    /// A call that was counted has failed.
    public func failed(_ call: SystemCall) {
        counters.add(1, to: Self.callCount + call.rawValue)
    }

    // MARK: Scopes

    /// Figures of a part: a type of filesystem, or a door. Made when first asked for; whoever
    /// counts in it keeps the reference. What is counted there is not counted here.
    public func scope(_ name: String) -> OperationStatistics {
        lock.withLock {
            if let scope = scopeTable[name] { return scope }
            let scope = OperationStatistics(time: time)
            scopeTable[name] = scope
            return scope
        }
    }

    /// The parts, by name.
    public var scopes: [(name: String, statistics: OperationStatistics)] {
        lock.withLock { scopeTable }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    // MARK: Reading

    /// What has been counted of one call.
    public struct Figures: Equatable, Sendable {
        public var call: SystemCall
        public var count: UInt64
        public var errors: UInt64
        /// Nanoseconds, of the calls that were timed.
        public var latency: Histogram
    }

    /// The calls that were made at all, in the order of SystemCall.
    public func snapshot() -> [Figures] {
        let counts = counters.counts
        return SystemCall.allCases.compactMap { call in
            let count = counts[call.rawValue]
            let errors = counts[Self.callCount + call.rawValue]
            let latency = counters.histogram(call.rawValue)
            guard count > 0 || errors > 0 || latency.count > 0 else { return nil }
            return Figures(call: call, count: count, errors: errors, latency: latency)
        }
    }
}
