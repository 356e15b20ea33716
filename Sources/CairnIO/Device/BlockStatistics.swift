// BlockStatistics: what a device has done, and BlockMeter, which counts it.
//
// Threading: the meter may be used from any thread; counting is sharded by thread (ShardedCounters),
// only the queue's depth is one shared word.

public import CairnBase
import Synchronization

/// A device's counters at some moment.
public struct BlockStatistics: Sendable {
    /// Of one kind of request.
    public struct Kind: Sendable {
        /// Requests that have completed, with or without error.
        public var count: UInt64 = 0
        /// Bytes that they transferred or discarded.
        public var bytes: UInt64 = 0
        /// Requests that failed, without those that were cancelled.
        public var errors: UInt64 = 0
        public var cancelled: UInt64 = 0
        /// Requests that transferred only a part.
        public var partial: UInt64 = 0
        /// From submission to completion, in nanoseconds.
        public var latency = Histogram()

        public init() {}
    }

    public var reads = Kind()
    public var writes = Kind()
    public var flushes = Kind()
    public var discards = Kind()
    /// Requests that are submitted and not completed.
    public var queueDepth = 0
    /// The most that there ever were.
    public var highestQueueDepth = 0

    public init() {}

    public subscript(operation: BlockRequest.Operation) -> Kind {
        get {
            switch operation {
            case .read: reads
            case .write: writes
            case .flush: flushes
            case .discard: discards
            }
        }
        set {
            switch operation {
            case .read: reads = newValue
            case .write: writes = newValue
            case .flush: flushes = newValue
            case .discard: discards = newValue
            }
        }
    }
}

/// Counts a device's requests.
public final class BlockMeter: @unchecked Sendable {
    // Sendable: atomics.
    private enum Counter: Int, CaseIterable {
        case count, bytes, errors, cancelled, partial
    }

    private let counters = ShardedCounters(
        counters: Counter.allCases.count * BlockRequest.Operation.allCases.count,
        histograms: BlockRequest.Operation.allCases.count)
    private let depth = Atomic<Int>(0)
    private let highestDepth = Atomic<Int>(0)

    public init() {}

    /// A request was started.
    public func started() {
        let now = depth.add(1, ordering: .relaxed).newValue
        var seen = highestDepth.load(ordering: .relaxed)
        while now > seen {
            let (done, original) = highestDepth.compareExchange(
                expected: seen, desired: now, ordering: .relaxed)
            if done { return }
            seen = original
        }
    }

    /// A request that was started has completed, so many nanoseconds after it.
    public func finished(
        _ operation: BlockRequest.Operation, _ result: BlockResult, nanoseconds: UInt64
    ) {
        depth.subtract(1, ordering: .relaxed)
        let first = Int(operation.rawValue) * Counter.allCases.count
        counters.add(to: first + Counter.count.rawValue)
        switch result {
        case .complete(let bytes):
            counters.add(UInt64(bytes), to: first + Counter.bytes.rawValue)
        case .partial(let bytes):
            counters.add(UInt64(bytes), to: first + Counter.bytes.rawValue)
            counters.add(to: first + Counter.partial.rawValue)
        case .failed(.ECANCELED):
            counters.add(to: first + Counter.cancelled.rawValue)
        case .failed:
            counters.add(to: first + Counter.errors.rawValue)
        }
        counters.record(nanoseconds, in: Int(operation.rawValue))
    }

    /// A request that was counted as started was refused after all.
    public func refused() {
        depth.subtract(1, ordering: .relaxed)
    }

    public var statistics: BlockStatistics {
        let counts = counters.counts
        var result = BlockStatistics()
        for operation in BlockRequest.Operation.allCases {
            let first = Int(operation.rawValue) * Counter.allCases.count
            var kind = BlockStatistics.Kind()
            kind.count = counts[first + Counter.count.rawValue]
            kind.bytes = counts[first + Counter.bytes.rawValue]
            kind.errors = counts[first + Counter.errors.rawValue]
            kind.cancelled = counts[first + Counter.cancelled.rawValue]
            kind.partial = counts[first + Counter.partial.rawValue]
            kind.latency = counters.histogram(Int(operation.rawValue))
            result[operation] = kind
        }
        result.queueDepth = depth.load(ordering: .relaxed)
        result.highestQueueDepth = highestDepth.load(ordering: .relaxed)
        return result
    }
}
