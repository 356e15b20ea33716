// DirtySnapshot: dirty pages of a file as they are at one moment, to be written back.
//
// Its pages do not change any more: who writes to the file meanwhile puts a copy in a page's place,
// which is dirty. (Of pages that are mapped, which programs change without a word, it has copies
// itself: Mapping/MappedCopies.swift.) So whoever has a snapshot may checksum, compress and write from its memory
// without a lock. When that is done, `markFlushed` makes the pages clean that are still the file's.
//
// Why no update can be lost. A snapshot is taken and a page is changed under one lock of the file. A
// change before it is in the snapshot. A change after it finds the snapshot's frame and leaves it
// alone: its own frame takes the place, is dirty, and no end of the snapshot touches it. And no
// second snapshot takes that page before the first has ended, so the older content is never
// written after the newer one.
//
// Threading: any thread. Exactly one of `markFlushed` and `markFailed` is called, once.

public import CairnBase
import Synchronization

public final class DirtySnapshot: Sendable {
    /// In order of their pages, none adjacent unless it is as long as a run may be.
    public let runs: [DirtyRun]
    public let pageCount: Int
    private let writes: [PageWriteRun]
    private let pages: FilePages
    /// Of pages that are mapped: they may change.
    private let copies: MappedCopies?
    private let isMarked = Atomic<Bool>(false)
    /// Finishes when it is marked.
    let end = Wait()
    /// Pages that a copy has taken the place of.
    nonisolated(unsafe) var replaced: Set<PageIndex> = []  // guarded by the lock of the pages

    fileprivate init(_ writes: [PageWriteRun], _ copies: MappedCopies?, of pages: FilePages) {
        self.writes = writes
        self.copies = copies
        self.pages = pages
        runs = writes.map { write in
            DirtyRun(
                first: write.first, count: write.count,
                segments: copies?.segments(of: write) ?? write.segments)
        }
        pageCount = runs.reduce(0) { $0 + $1.count }
    }

    deinit {
        precondition(isMarked.load(ordering: .relaxed), "a snapshot was dropped unmarked")
    }

    /// The pages are where the backing finds them again. Those that were not changed since are clean.
    public func markFlushed() {
        mark(nil)
    }

    /// They could not be written: all of them are dirty again, and each open description hears of the
    /// error.
    public func markFailed(_ error: Errno) {
        pages.errors.record(error)
        mark(error)
    }

    private func mark(_ error: Errno?) {
        precondition(
            !isMarked.exchange(true, ordering: .relaxed), "a snapshot was marked twice")
        pages.end(self, writes, error)
        end.finish()
    }
}

extension FilePages {
    /// The dirty pages from `first` on, at most `limit` of them, that are in no snapshot yet. Nil:
    /// there are none.
    public func snapshotDirty(
        from first: PageIndex = PageIndex(rawValue: 0), limit: Int = .max
    ) -> DirtySnapshot? {
        let longest = cache.largestRun
        return lock.withLock {
            var writes: [PageWriteRun] = []
            var next = first
            var left = limit
            let end = PageSet.everything.upperBound
            while left > 0, next < end {
                let free = rangeOutsideSnapshots(from: next)
                guard !free.isEmpty else { break }
                guard let run = pageSet.beginWriting(in: free, limit: min(left, longest)) else {
                    next = free.upperBound
                    continue
                }
                left -= run.count
                next = run.range.upperBound
                writes.append(run)
            }
            guard !writes.isEmpty else { return nil }
            var copies: MappedCopies?
            if !mappings.isEmpty {
                do throws(Errno) {
                    copies = try MappedCopies.take(of: writes, in: self)
                } catch {
                    // No memory: they stay dirty, for another time.
                    for write in writes { write.finish(error) }
                    return nil
                }
            }
            let snapshot = DirtySnapshot(writes, copies, of: self)
            snapshots.append(snapshot)
            cache.count(.writeBacks, writes.count)
            cache.count(.writeBackPages, snapshot.pageCount)
            return snapshot
        }
    }

    /// The first range not before `index` that no snapshot touches. Under `lock`.
    private func rangeOutsideSnapshots(from index: PageIndex) -> Range<PageIndex> {
        var start = index
        var isMoved = true
        while isMoved {
            isMoved = false
            for snapshot in snapshots {
                while let run = snapshot.firstRun(endingAfter: start), run.first <= start {
                    start = run.range.upperBound
                    isMoved = true
                }
            }
        }
        var end = PageSet.everything.upperBound
        for snapshot in snapshots {
            if let run = snapshot.firstRun(endingAfter: start) { end = min(end, run.first) }
        }
        return start..<max(start, end)
    }

    /// The one that has the page. Under `lock`.
    @inline(__always)
    func snapshot(with index: PageIndex) -> DirtySnapshot? {
        if snapshots.isEmpty { return nil }
        return snapshots.first { $0.touches(index.rawValue..<index.rawValue + 1) }
    }

    fileprivate func end(_ snapshot: DirtySnapshot, _ writes: [PageWriteRun], _ error: Errno?) {
        if error == nil, let last = snapshot.runs.last {
            // Before the pages are clean, and may be evicted.
            raiseBackedEnd(to: last.range.upperBound.rawValue)
        }
        lock.withLock {
            for write in writes { write.finish(error) }
            snapshots.removeAll { $0 === snapshot }
        }
        if error != nil { cache.count(.writeBackFailures, writes.count) }
        tellAccount()
    }

    private func raiseBackedEnd(to end: UInt64) {
        var old = backedEnd.load(ordering: .relaxed)
        while old < end {
            let (done, now) = backedEnd.compareExchange(
                expected: old, desired: end, ordering: .acquiringAndReleasing)
            if done { return }
            old = now
        }
    }
}

extension DirtySnapshot {
    func touches(_ range: Range<UInt64>) -> Bool {
        guard let run = firstRun(endingAfter: PageIndex(rawValue: range.lowerBound)) else {
            return false
        }
        return run.first.rawValue < range.upperBound
    }

    /// Its runs are in order.
    func firstRun(endingAfter index: PageIndex) -> DirtyRun? {
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].range.upperBound <= index {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low < runs.count ? runs[low] : nil
    }
}

extension DirtyRun {
    /// The pages.
    public var range: Range<PageIndex> {
        first..<PageIndex(rawValue: first.rawValue + UInt64(count))
    }
}
