// ShardedCounters: counts and histograms that many threads add to and somebody reads now and then.
//
// Each thread has a shard: memory that only it writes, found by its ThreadSlot's index. So counting
// is a load, an add and a store on a cache line of its own. A reader adds the shards up; what it
// gets is each counter's value at some moment of the call. When a thread ends, the next one with
// its slot goes on in its shard, so nothing is lost.
//
// Threads beyond `maximumShards` share one shard, and add to it with atomic instructions.

import Glibc
public import Synchronization

public final class ShardedCounters: @unchecked Sendable {
    // Sendable: atomics in memory of their own, which is freed with this object.
    @usableFromInline typealias Word = Atomic<UInt64>

    /// Counters, and as many histograms.
    public let counterCount: Int
    public let histogramCount: Int

    @usableFromInline static var maximumShards: Int { 1024 }
    /// One word for each shard: its address, 0 before it is used. The last is the shared one.
    private let directory: UnsafeMutablePointer<Atomic<UInt>>
    private let shardBytes: Int

    public init(counters: Int, histograms: Int) {
        counterCount = counters
        histogramCount = histograms
        shardBytes = ((counters + histograms) * MemoryLayout<Word>.stride + 127) & ~63
        directory = ShardedCounters.zeroed((Self.maximumShards + 1) * MemoryLayout<UInt>.stride)
            .assumingMemoryBound(to: Atomic<UInt>.self)
    }

    deinit {
        for shard in shards {
            for index in 0..<histogramCount {
                free(histogram(index, in: shard))
            }
            free(shard)
        }
        free(directory)
    }

    private static func zeroed(_ size: Int) -> UnsafeMutableRawPointer {
        guard let memory = aligned_alloc(64, (size + 63) & ~63) else {
            preconditionFailure("no memory for counters")
        }
        memset(memory, 0, (size + 63) & ~63)
        return memory
    }

    // MARK: Shards

    /// The calling thread's shard.
    @inline(__always)
    private func shard(_ slot: Int) -> UnsafeMutableRawPointer {
        let index = min(slot, Self.maximumShards)
        let address = directory[index].load(ordering: .acquiring)
        return UnsafeMutableRawPointer(bitPattern: address) ?? makeShard(index)
    }

    @inline(never)
    private func makeShard(_ index: Int) -> UnsafeMutableRawPointer {
        publish(ShardedCounters.zeroed(shardBytes), in: directory + index)
    }

    /// Enters the memory, or frees it if somebody was faster. (Only the shared shard is contended.)
    private func publish(
        _ memory: UnsafeMutableRawPointer, in place: UnsafeMutablePointer<Atomic<UInt>>
    ) -> UnsafeMutableRawPointer {
        let (entered, original) = place.pointee.compareExchange(
            expected: 0, desired: UInt(bitPattern: memory), ordering: .acquiringAndReleasing)
        guard !entered, let winner = UnsafeMutableRawPointer(bitPattern: original) else {
            return memory
        }
        free(memory)
        return winner
    }

    private var shards: [UnsafeMutableRawPointer] {
        (0...Self.maximumShards).compactMap {
            UnsafeMutableRawPointer(bitPattern: directory[$0].load(ordering: .acquiring))
        }
    }

    @inline(__always)
    private func add(_ amount: UInt64, to word: UnsafeMutablePointer<Word>, slot: Int) {
        if slot < Self.maximumShards {
            let old = word.pointee.load(ordering: .relaxed)
            word.pointee.store(old &+ amount, ordering: .relaxed)
        } else {
            word.pointee.wrappingAdd(amount, ordering: .relaxed)
        }
    }

    @inline(__always)
    private func counter(
        _ index: Int, in shard: UnsafeMutableRawPointer
    ) -> UnsafeMutablePointer<Word> {
        shard.assumingMemoryBound(to: Word.self) + index
    }

    // MARK: Counting

    @inline(__always)
    public func add(_ amount: UInt64 = 1, to index: Int) {
        add(amount, to: index, slot: ThreadSlot.current.index)
    }

    /// With the calling thread's own slot, where the caller has it already.
    public func add(_ amount: UInt64, to index: Int, slot: Int) {
        precondition(index < counterCount)
        add(amount, to: counter(index, in: shard(slot)), slot: slot)
    }

    /// Counts a value in a histogram.
    public func record(_ value: UInt64, in index: Int) {
        precondition(index < histogramCount)
        let slot = ThreadSlot.current.index
        let shard = shard(slot)
        let words = histogram(index, in: shard) ?? makeHistogram(index, in: shard)
        add(1, to: words + HistogramBuckets.index(of: value), slot: slot)
        add(value, to: words + Self.sumIndex, slot: slot)
        let maximum = words + Self.maximumIndex
        var seen = maximum.pointee.load(ordering: .relaxed)
        while value > seen {
            let (done, original) = maximum.pointee.compareExchange(
                expected: seen, desired: value, ordering: .relaxed)
            if done { return }
            seen = original
        }
    }

    // MARK: Histograms

    private static var sumIndex: Int { HistogramBuckets.count }
    private static var maximumIndex: Int { HistogramBuckets.count + 1 }

    /// The word of a shard that has the address of a histogram's words.
    private func histogramPlace(
        _ index: Int, in shard: UnsafeMutableRawPointer
    ) -> UnsafeMutablePointer<Atomic<UInt>> {
        shard.assumingMemoryBound(to: Atomic<UInt>.self) + counterCount + index
    }

    private func histogram(
        _ index: Int, in shard: UnsafeMutableRawPointer
    ) -> UnsafeMutablePointer<Word>? {
        UnsafeMutablePointer(
            bitPattern: histogramPlace(index, in: shard).pointee.load(ordering: .acquiring))
    }

    @inline(never)
    private func makeHistogram(
        _ index: Int, in shard: UnsafeMutableRawPointer
    ) -> UnsafeMutablePointer<Word> {
        let size = (HistogramBuckets.count + 2) * MemoryLayout<Word>.stride
        return publish(ShardedCounters.zeroed(size), in: histogramPlace(index, in: shard))
            .assumingMemoryBound(to: Word.self)
    }

    // MARK: Reading

    /// Every counter, added up.
    public var counts: [UInt64] {
        var result = [UInt64](repeating: 0, count: counterCount)
        for shard in shards {
            for index in 0..<counterCount {
                result[index] &+= counter(index, in: shard).pointee.load(ordering: .relaxed)
            }
        }
        return result
    }

    public func histogram(_ index: Int) -> Histogram {
        var result = Histogram()
        for shard in shards {
            guard let words = histogram(index, in: shard) else { continue }
            for bucket in 0..<HistogramBuckets.count {
                let amount = words[bucket].load(ordering: .relaxed)
                if amount > 0 { result.add(amount, inBucket: bucket) }
            }
            result.add(
                sum: words[Self.sumIndex].load(ordering: .relaxed),
                maximum: words[Self.maximumIndex].load(ordering: .relaxed))
        }
        return result
    }
}
