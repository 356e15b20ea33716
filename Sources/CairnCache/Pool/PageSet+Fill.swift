// Pages that are not here: making them, and having them filled.
//
// Frames are taken first, with no lock of the set held, and entered into the tree if nobody else was
// faster; what is left over goes back.

public import CairnBase
import Synchronization

extension PageSet {
    /// What to do about a page that is being written when it shall be changed.
    public enum WhileWriting: Sendable {
        /// Change it: what is written may be a mixture, and it is written again.
        case goesOn
        /// Wait for the end of its writing, so that what is written is as it was.
        case waits
    }

    // MARK: Getting pages

    /// The page. If it is not here, makes it, and as many as `fetching` says with those that follow,
    /// as far as they are not here and there is room; calls `fill`, which starts to bring their content;
    /// and throws the wait for it. If somebody else fills it, throws a wait for that.
    ///
    /// `fill` is called with no lock held, and may complete at once. Throws ENOBUFS if there is no
    /// frame and waiting for one could never end, ENOMEM if there is no memory for the tree.
    /// `holdsNothing`: the operation has no page pinned, by a wait or otherwise; then it waits for
    /// those that have instead.
    public func acquire(
        _ index: PageIndex, fetching count: Int = 1, holdsNothing: Bool = false,
        fill: (PageFill) -> Void
    ) throws(Pause) -> PageHandle {
        let (frame, _) = try acquirePinned(index, count, holdsNothing, fill)
        return PageHandle(PinnedPage(frame, pool))
    }

    /// The same, to change the page: its handle's `markDirty` says that that was done.
    public func acquireMutable(
        _ index: PageIndex, fetching count: Int = 1, whileWriting: WhileWriting = .goesOn,
        fill: (PageFill) -> Void
    ) throws(Pause) -> MutablePageHandle {
        let (frame, word) = try acquirePinned(index, count, false, fill)
        let page = PinnedPage(frame, pool)
        if whileWriting == .waits, word.has(.writing),
            let wait = pool.writeWait(for: page.number)
        {
            pool.unpin(frame)
            throw .wait(wait)
        }
        return MutablePageHandle(page)
    }

    private func acquirePinned(
        _ index: PageIndex, _ count: Int, _ holdsNothing: Bool, _ fill: (PageFill) -> Void
    ) throws(Pause) -> (Frame, FrameWord) {
        while true {
            if let (frame, word) = pinnedPage(index) {
                pool.count(.hits)
                pool.used(frame, word)
                return (frame, word)
            }
            if let wait = fillWait(index) { throw .wait(wait) }
            let started = try begin(
                index, count: max(count, 1), firstIs: .fresh, restIs: .ahead,
                holdsNothing: holdsNothing)
            if let started {
                pool.count(.misses)
                let wait = started.waitForFirst()
                fill(started)
                throw .wait(wait)
            }
            // Somebody was faster, or the page is just leaving.
        }
    }

    /// A wait for a page that is being filled; nil if it is not.
    private func fillWait(_ index: PageIndex) -> Wait? {
        Epoch.section {
            lock.withLock { () -> Wait? in
                guard let number = find(index.rawValue) else { return nil }
                let frame = pool.frames[number]
                guard frame.word.has(.filling) else { return nil }
                return PageFill.of(frame)?.wait(for: frame)
            }
        }
    }

    // MARK: Making pages

    /// New pages from `first` on, as many as are asked for, not here, and have room: one at least, or
    /// nil if the first is here. The caller brings their whole content, and then completes the fill.
    /// `isAhead`: nobody has asked for them yet, so it is counted whether somebody will.
    ///
    /// Throws as `acquire` does.
    public func beginFill(
        _ first: PageIndex, count: Int = 1, isAhead: Bool = false
    ) throws(Pause) -> PageFill? {
        let kind: FrameState = isAhead ? .ahead : []
        return try begin(first, count: max(count, 1), firstIs: kind, restIs: kind)
    }

    /// Makes the page with the content that `body` writes, all of it, or changes the one that is here
    /// to that; it is dirty then. Throws as `acquire` does.
    public func insertDirty(
        _ index: PageIndex, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(Pause) {
        while true {
            if modifyDirtyInPlace(index, body) { return }
            if let wait = fillWait(index) { throw .wait(wait) }
            if let made = try begin(index, count: 1, firstIs: [], restIs: []) {
                body(made.bytes(of: 0))
                made.complete(dirty: true, isCalledWithLocks: true)
                return
            }
        }
    }

    private func begin(
        _ first: PageIndex, count: Int, firstIs: FrameState, restIs: FrameState,
        holdsNothing: Bool = false
    ) throws(Pause) -> PageFill? {
        let absent = absentCount(from: first, limit: count)
        guard absent > 0 else { return nil }
        let buffer = UnsafeMutableBufferPointer<FrameNumber>.allocate(capacity: absent)
        defer { buffer.deallocate() }
        let taken = try pool.takeFrames(
            for: self, from: first.rawValue, into: buffer, holdsNothing: holdsNothing)
        let numbers = UnsafeMutableBufferPointer(rebasing: buffer[..<taken])
        let (fill, hasMemory) = Epoch.section {
            lock.withLock { enter(numbers, first: first, firstIs: firstIs, restIs: restIs) }
        }
        let entered = fill?.count ?? 0
        if entered < taken { putBack(UnsafeBufferPointer(rebasing: numbers[entered...])) }
        guard hasMemory || fill != nil else { throw .failed(.ENOMEM) }
        pool.count(.insertions, entered)
        if restIs.contains(.ahead) {
            pool.count(.fetchedAhead, entered - (firstIs.contains(.ahead) ? 0 : 1))
        }
        return fill
    }

    /// How many pages from `first` on, up to the limit, are not here.
    private func absentCount(from first: PageIndex, limit: Int) -> Int {
        Epoch.section {
            var count = 0
            while count < limit {
                let (index, isOver) = first.rawValue.addingReportingOverflow(UInt64(count))
                if isOver || find(index) != nil { break }
                count += 1
            }
            return count
        }
    }

    /// Enters as many as it can from the first on. Under `lock`.
    private func enter(
        _ numbers: UnsafeMutableBufferPointer<FrameNumber>, first: PageIndex, firstIs: FrameState,
        restIs: FrameState
    ) -> (PageFill?, hasMemory: Bool) {
        var count = 0
        var hasMemory = true
        while count < numbers.count {
            let index = first.rawValue + UInt64(count)
            if find(index) != nil { break }
            guard insertSlot(index, numbers[count]) else {
                hasMemory = false
                break
            }
            let kind = count == 0 ? firstIs : restIs
            if !kind.isEmpty { pool.frames[numbers[count]].update { $0.adding(kind) } }
            countPage()
            count += 1
        }
        if count == 0 { return (nil, hasMemory) }
        return (PageFill(self, first: first, Array(numbers[..<count])), hasMemory)
    }

    /// Frames that were taken and not entered.
    private func putBack(_ numbers: UnsafeBufferPointer<FrameNumber>) {
        pool.lock.withLock {
            for number in numbers {
                _ = pool.discard(number)
            }
        }
        for number in numbers { pool.unpin(pool.frames[number]) }
        pool.fillingCount.subtract(numbers.count, ordering: .relaxed)
    }
}
