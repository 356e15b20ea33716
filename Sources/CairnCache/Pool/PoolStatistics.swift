// PoolStatistics: what the pool counts (C3).

import CairnBase
import Synchronization

/// A pool's figures at some moment.
public struct PoolStatistics: Sendable {
    /// In bytes.
    public var budget = 0
    public var pageSize = 0
    /// Frames that have a page.
    public var pages = 0
    /// Pages that are dirty or being written.
    public var dirtyPages = 0
    /// Pages that are being filled.
    public var fillingPages = 0
    /// Bytes of records: of frames in use, trees and owners.
    public var recordBytes = 0
    /// Bytes of memory that frames have of the system, with a page or not.
    public var residentBytes = 0

    /// Look-ups that found a page.
    public var hits: UInt64 = 0
    /// Look-ups that found none.
    public var misses: UInt64 = 0
    /// Pages that entered the pool.
    public var insertions: UInt64 = 0
    public var evictions: UInt64 = 0
    /// Pages that came back soon after they were evicted.
    public var remembered: UInt64 = 0
    /// Pages taken out because their owner removed or invalidated them.
    public var removals: UInt64 = 0
    /// Fills that failed, wholly or in part.
    public var failedFills: UInt64 = 0
    /// Pages that were written, and those whose writing failed.
    public var flushes: UInt64 = 0
    public var failedFlushes: UInt64 = 0
    /// Operations that had to wait for a frame.
    public var waitsForFrames: UInt64 = 0
    /// Pages fetched ahead; of those, used since, and gone without having been used.
    public var fetchedAhead: UInt64 = 0
    public var aheadUsed: UInt64 = 0
    public var aheadUnused: UInt64 = 0

    public init() {}
}

enum PoolCounter: Int, CaseIterable {
    case hits, misses, insertions, evictions, remembered, removals, failedFills, flushes
    case failedFlushes, waitsForFrames, fetchedAhead, aheadUsed, aheadUnused
}

extension PagePool {
    @inline(__always)
    func count(_ counter: PoolCounter, _ amount: Int = 1) {
        counters.add(UInt64(truncatingIfNeeded: amount), to: counter.rawValue)
    }

    public var statistics: PoolStatistics {
        var result = PoolStatistics()
        lock.withLock {
            takeReturned()
            result.budget = budgetBytes
            result.pages = free.used
            result.residentBytes = free.resident << pageShift
            result.recordBytes = free.resident * Frame.size
        }
        result.pageSize = pageSize
        result.recordBytes += recordBytes.load(ordering: .relaxed)
        result.dirtyPages = dirtyCount
        result.fillingPages = fillingCount.load(ordering: .relaxed)
        let counts = counters.counts
        func of(_ counter: PoolCounter) -> UInt64 { counts[counter.rawValue] }
        result.hits = of(.hits)
        result.misses = of(.misses)
        result.insertions = of(.insertions)
        result.evictions = of(.evictions)
        result.remembered = of(.remembered)
        result.removals = of(.removals)
        result.failedFills = of(.failedFills)
        result.flushes = of(.flushes)
        result.failedFlushes = of(.failedFlushes)
        result.waitsForFrames = of(.waitsForFrames)
        result.fetchedAhead = of(.fetchedAhead)
        result.aheadUsed = of(.aheadUsed)
        result.aheadUnused = of(.aheadUnused)
        return result
    }
}
