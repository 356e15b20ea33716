// Gang look-ups, and what is done to ranges of pages: writing, and removing.
//
// All hold the set's lock while they look through the tree.

public import CairnBase
import Synchronization

extension Range<PageIndex> {
    /// The last index. Not to be asked of an empty range.
    fileprivate var last: UInt64 { upperBound.rawValue - 1 }
}

extension PageSet {
    /// All pages that there can be.
    public static var everything: Range<PageIndex> {
        PageIndex(rawValue: 0)..<PageIndex(rawValue: .max)
    }

    // MARK: Looking

    /// Runs of adjacent pages that are dirty or being written, in order, so many at most.
    public func unflushedRanges(
        in range: Range<PageIndex>, limit: Int = .max
    ) -> [Range<PageIndex>] {
        runs(in: range, limit: limit, firstUnflushed)
    }

    /// Runs of adjacent pages that are here, in whatever state, in order, so many at most.
    public func residentRanges(
        in range: Range<PageIndex>, limit: Int = .max
    ) -> [Range<PageIndex>] {
        runs(in: range, limit: limit, firstResident)
    }

    private func runs(
        in range: Range<PageIndex>, limit: Int,
        _ first: (_ from: UInt64, _ through: UInt64) -> (UInt64, FrameNumber)?
    ) -> [Range<PageIndex>] {
        guard !range.isEmpty else { return [] }
        var result: [Range<PageIndex>] = []
        Epoch.section {
            lock.withLock {
                var next = range.lowerBound.rawValue
                while let (index, _) = first(next, range.last) {
                    let end = PageIndex(rawValue: index + 1)
                    if let last = result.last, last.upperBound.rawValue == index {
                        result[result.count - 1] = last.lowerBound..<end
                    } else {
                        if result.count >= limit { break }
                        result.append(PageIndex(rawValue: index)..<end)
                    }
                    next = index + 1
                }
            }
        }
        return result
    }

    // MARK: Writing

    /// The first run of adjacent dirty pages in the range that nobody writes, `limit` pages at most:
    /// they are being written from now on. Nil: there is none.
    public func beginWriting(in range: Range<PageIndex>, limit: Int) -> PageWriteRun? {
        guard !range.isEmpty, limit > 0 else { return nil }
        var numbers: [FrameNumber] = []
        var first: UInt64 = 0
        Epoch.section {
            lock.withLock {
                var next = range.lowerBound.rawValue
                while numbers.count < limit,
                    let (index, number) = firstUnflushed(
                        from: next, through: range.last)
                {
                    next = index + 1
                    let isAdjacent = numbers.isEmpty || index == first + UInt64(numbers.count)
                    guard isAdjacent else { break }
                    if tryBeginWriting(number) {
                        if numbers.isEmpty { first = index }
                        numbers.append(number)
                    } else if !numbers.isEmpty {
                        break
                    }
                }
            }
        }
        if numbers.isEmpty { return nil }
        return PageWriteRun(self, first: PageIndex(rawValue: first), numbers)
    }

    /// Under `lock`, so the frame is this set's if it is live.
    private func tryBeginWriting(_ number: FrameNumber) -> Bool {
        let frame = pool.frames[number]
        frame.atomicWord.pointee.add(1, ordering: .acquiringAndReleasing)
        if pool.beginWriting(frame) { return true }
        pool.unpin(frame)
        return false
    }

    /// A wait for the end of the writing of a page in the range; nil if none is being written. There
    /// may be others: ask again after it.
    public func writingWait(in range: Range<PageIndex>) -> Wait? {
        guard !range.isEmpty else { return nil }
        return Epoch.section {
            lock.withLock { () -> Wait? in
                var next = range.lowerBound.rawValue
                while let (index, number) = firstUnflushed(from: next, through: range.last) {
                    next = index + 1
                    guard pool.frames[number].word.has(.writing) else { continue }
                    if let wait = pool.writeWait(for: number) { return wait }
                }
                return nil
            }
        }
    }

    // MARK: Removing

    /// Takes pages out, whatever their state: nobody finds them any more, and what was dirty is never
    /// written. Who holds one keeps its bytes. A write that is under way goes on: whoever will give
    /// its place on the device to somebody else waits for it first (`writingWait`).
    public func remove(_ range: Range<PageIndex>) {
        guard !range.isEmpty else { return }
        var next = range.lowerBound.rawValue
        var removed = 0
        // A few at a time: others want the pool's lock.
        while let (count, following) = removeSome(from: next, through: range.last) {
            removed += count
            next = following
        }
        guard removed > 0 else { return }
        pool.count(.removals, removed)
        pool.wakeFrameWaiters()
    }

    /// Gives how many were removed, and where to go on; nil: there was none.
    private func removeSome(from index: UInt64, through last: UInt64) -> (Int, UInt64)? {
        Epoch.section {
            pool.lock.lock()
            lock.lock()
            var next = index
            var count = 0
            while count < 64, let (found, number) = firstResident(from: next, through: last) {
                _ = removeSlot(found)
                if pool.discard(number).has(.unflushed) { pool.countUnflushed(-1, of: self) }
                next = found + 1
                count += 1
            }
            lock.unlock()
            pool.lock.unlock()
            uncountPages(count)
            return count == 0 ? nil : (count, next)
        }
    }
}
