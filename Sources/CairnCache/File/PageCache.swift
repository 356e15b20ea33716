// PageCache: what the files of one pool have in common: tunables, counters, and the limit on all
// dirty pages (requirements C5, C6).
//
// Threading: immutable, and atomic counters.

import CairnBase

public struct PageCacheSettings: Sendable {
    public var readAhead = ReadAheadSettings()
    /// The largest run of pages that is asked for or written at once, in bytes.
    public var largestRunBytes = 1 << 20
    /// Pages of all filesystems that may be dirty, as part of the cache.
    public var dirtyShare = 0.20

    public init() {}
}

public struct PageCacheStatistics: Sendable, Equatable {
    /// Requests to backings to fill pages that somebody waited for, and their pages.
    public var demandFills: UInt64 = 0
    public var demandPages: UInt64 = 0
    /// Requests ahead of a reader, and their pages. (How many went unused, the pool counts.)
    public var aheadFills: UInt64 = 0
    public var aheadPages: UInt64 = 0
    /// Pages that writers changed, and those of them that a snapshot held, so that they were
    /// copied.
    public var writtenPages: UInt64 = 0
    public var copiedPages: UInt64 = 0
    /// Runs of pages that were given to be written back, their pages, and runs that failed.
    public var writeBacks: UInt64 = 0
    public var writeBackPages: UInt64 = 0
    public var writeBackFailures: UInt64 = 0
    /// How often writers were slowed down, and how often they were stopped.
    public var slowedWrites: UInt64 = 0
    public var stoppedWrites: UInt64 = 0
}

public final class PageCache: Sendable {
    public let pool: PagePool
    public let settings: PageCacheSettings
    let counters = ShardedCounters(counters: Counter.allCases.count, histograms: 0)

    enum Counter: Int, CaseIterable {
        case demandFills, demandPages, aheadFills, aheadPages, writtenPages, copiedPages
        case writeBacks, writeBackPages, writeBackFailures, slowedWrites, stoppedWrites
    }

    public init(pool: PagePool, settings: PageCacheSettings = PageCacheSettings()) {
        self.pool = pool
        self.settings = settings
    }

    func count(_ counter: Counter, _ amount: Int = 1) {
        counters.add(UInt64(amount), to: counter.rawValue)
    }

    public var statistics: PageCacheStatistics {
        let counts = counters.counts
        func value(_ counter: Counter) -> UInt64 { counts[counter.rawValue] }
        return PageCacheStatistics(
            demandFills: value(.demandFills), demandPages: value(.demandPages),
            aheadFills: value(.aheadFills), aheadPages: value(.aheadPages),
            writtenPages: value(.writtenPages), copiedPages: value(.copiedPages),
            writeBacks: value(.writeBacks), writeBackPages: value(.writeBackPages),
            writeBackFailures: value(.writeBackFailures),
            slowedWrites: value(.slowedWrites), stoppedWrites: value(.stoppedWrites))
    }

    /// How many pages the budget is good for.
    var budgetPages: Int { pool.budget / pool.pageSize }
    /// The most pages of a run.
    var largestRun: Int {
        max(1, min(settings.largestRunBytes / pool.pageSize, budgetPages / 8))
    }
    /// The most pages that may be dirty.
    var dirtyLimit: Int { max(4, Int(Double(budgetPages) * settings.dirtyShare)) }
}
