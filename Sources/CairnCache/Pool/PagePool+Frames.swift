// Frames: getting one, evicting for it, and taking back those that are not needed any more.
//
// A frame that nobody can evict (held, dirty, filled, written) leaves its queue the first time that
// eviction meets it: it is *parked*. When its last pin goes, it is pushed on the stack `returned`,
// which whoever needs a frame empties. A frame of a page that was removed while it was pinned comes
// back the same way. So eviction never looks through busy pages again and again, and a wait for
// frames ends exactly when there is one.
//
// Why no wake-up is lost. Who wants to wait counts itself, then empties the stack once more. Who
// returns a frame pushes it, then reads the count. Both in sequentially consistent order: one of
// them sees the other.

import CairnBase
import Synchronization

extension PagePool {
    /// How many frames the budget is good for now.
    var frameLimit: Int {
        let records =
            recordBytes.load(ordering: .relaxed)
            + min(free.resident, frames.count) * Frame.size
        let excess = max(0, records - max(budgetBytes / 32, 64 << 10))
        return max(1, (budgetBytes - excess) >> pageShift)
    }

    /// Whether one more page may be held for as long as somebody likes: half of all may.
    var mayHoldMore: Bool {
        heldPinCount.load(ordering: .relaxed) < max(1, lock.withLock { frameLimit } / 2)
    }

    // MARK: Taking

    /// Takes frames for pages of the set from `index` on, as many as can be had, at least one. They
    /// are live, filling, and pinned once. `holdsNothing`: the operation has no page pinned, so it may
    /// wait until others that have let go of theirs.
    func takeFrames(
        for set: PageSet, from index: UInt64, into numbers: UnsafeMutableBufferPointer<FrameNumber>,
        holdsNothing: Bool = false
    ) throws(Pause) -> Int {
        var count = tryTakeFrames(for: set, from: index, into: numbers)
        if count > 0 { return count }
        let wait = FrameWait(self)
        waitLock.withLock { frameWaiters.append(wait) }
        frameWaiterCount.add(1, ordering: .sequentiallyConsistent)
        count = tryTakeFrames(for: set, from: index, into: numbers)
        if count > 0 {
            withdraw(wait)
            return count
        }
        if isWaitingHopeless(holdsNothing) {
            withdraw(wait)
            throw .failed(.ENOBUFS)
        }
        self.count(.waitsForFrames)
        throw .wait(wait)
    }

    /// Every frame is held by something that waits or holds for long, and nothing is under way that
    /// would make one free. Operations that wait with pages pinned may wait for one another in a ring:
    /// the one that would close it is told. Who has none pinned closes none.
    private func isWaitingHopeless(_ holdsNothing: Bool) -> Bool {
        let held =
            heldPinCount.load(ordering: .relaxed)
            + (holdsNothing ? 0 : waitPinCount.load(ordering: .relaxed))
        return unflushedCount.load(ordering: .relaxed) == 0
            && fillingCount.load(ordering: .relaxed) == 0
            && held >= lock.withLock { free.used }
    }

    private func tryTakeFrames(
        for set: PageSet, from index: UInt64, into numbers: UnsafeMutableBufferPointer<FrameNumber>
    ) -> Int {
        let (count, hasSurplus) = Epoch.section {
            lock.withLock { () -> (Int, Bool) in
                takeReturned()
                var count = 0
                while count < numbers.count, let number = obtain() {
                    enter(number, set, index + UInt64(count))
                    numbers[count] = number
                    count += 1
                }
                return (count, free.resident > frameLimit)
            }
        }
        if count > 0 { fillingCount.add(count, ordering: .relaxed) }
        if hasSurplus { giveBackSurplus() }
        return count
    }

    /// A frame that has no page, within the budget. Under `lock`, in a section.
    private func obtain() -> FrameNumber? {
        while free.used >= frameLimit {
            guard evict() else { return nil }
        }
        return free.take()
    }

    /// Makes it the frame of a page. Under `lock`.
    private func enter(_ number: FrameNumber, _ set: PageSet, _ index: UInt64) {
        let frame = frames[number]
        frame.setOwner(set.address, index: index)
        frame.frequency = 0
        frame.fill = 0
        if queues.insert(number, keyHash: set.keyHash(index)) { count(.remembered) }
        // A reader that found the number in a tree before may still have it pinned for a moment.
        frame.update { $0.next([.live, .filling]) }
    }

    // MARK: Evicting

    /// Makes one frame free. Under `lock`, in a section: which keeps the sets that frames tell of.
    func evict() -> Bool {
        let evicted = queues.evict { frame in
            PageSet.at(frame.owner)._withUnsafeGuaranteedRef { $0.keyHash(frame.index) }
        }
        guard let number = evicted else { return false }
        let frame = frames[number]
        let set = PageSet.at(frame.owner)
        set._withUnsafeGuaranteedRef { $0.pageIsGone(frame.index) }
        count(.evictions)
        if frame.word.has(.ahead) { count(.aheadUnused) }
        free.put(number)
        return true
    }

    /// Evicts every page that is clean and not held.
    public func clear() {
        Epoch.section {
            lock.withLock {
                takeReturned()
                while evict() {}
            }
        }
        wakeFrameWaiters()
    }

    // MARK: Coming back

    /// Lets a pin go. The page may be gone when this returns.
    @inline(__always)
    func unpin(_ frame: Frame) {
        let before = FrameWord(
            frame.atomicWord.pointee.subtract(1, ordering: .acquiringAndReleasing).oldValue)
        if before.has([.parked, .orphan]), before.pins == 1 { comesBack(frame) }
    }

    /// What is said here is true of any frame at any time, so it does no harm if the frame is another
    /// page's by now.
    @inline(never)
    private func comesBack(_ frame: Frame) {
        let (_, isOurs) = frame.update { word in
            guard word.pins == 0, word.has([.parked, .orphan]), !word.has(.stacked) else {
                return nil
            }
            if !word.has(.orphan), word.has(.busy) { return nil }
            return word.removing(.parked).adding(.stacked)
        }
        guard isOurs else { return }
        let number = frames.number(of: frame)
        var head = returned.load(ordering: .relaxed)
        while true {
            frame.nextReturned = head
            let (done, original) = returned.compareExchange(
                expected: head, desired: number, ordering: .sequentiallyConsistent)
            if done { break }
            head = original
        }
        wakeFrameWaiters()
    }

    /// Empties the stack. Under `lock`.
    func takeReturned() {
        guard returned.load(ordering: .sequentiallyConsistent) != Frame.none else { return }
        var next = returned.exchange(Frame.none, ordering: .sequentiallyConsistent)
        while next != Frame.none {
            let number = next
            let frame = frames[number]
            next = frame.nextReturned
            let (before, _) = frame.update { word in
                if word.has(.orphan), word.pins == 0 { return word.free }
                return word.removing(.stacked)
            }
            if !before.has(.orphan) {
                queues.putBack(number)
            } else if before.pins == 0 {
                free.put(number)
            }
            // An orphan that is pinned (for a moment, by a reader that will see what it is) comes back
            // once more.
        }
    }

    /// Makes a frame free whose page is out of its tree: now, or when its last pin goes. Under `lock`
    /// and its set's lock. Gives the word before.
    func discard(_ number: FrameNumber) -> FrameWord {
        let frame = frames[number]
        let (before, _) = frame.update { word in
            if word.pins == 0, !word.has(.stacked) { return word.free }
            let rest = word.removing([.dirty, .writing, .ahead]).adding(.orphan)
            return word.has(.stacked) ? rest : rest.removing(.parked)
        }
        queues.remove(number)
        if before.has(.ahead) { count(.aheadUnused) }
        if before.pins == 0, !before.has(.stacked) { free.put(number) }
        return before
    }

    // MARK: Waiting

    func withdraw(_ wait: FrameWait) {
        waitLock.withLock {
            guard let index = frameWaiters.firstIndex(where: { $0 === wait }) else { return }
            frameWaiters.remove(at: index)
            frameWaiterCount.subtract(1, ordering: .relaxed)
        }
    }

    func wakeFrameWaiters() {
        guard frameWaiterCount.load(ordering: .sequentiallyConsistent) > 0 else { return }
        let waiting = waitLock.withLock {
            let waiting = frameWaiters
            frameWaiters = []
            frameWaiterCount.subtract(waiting.count, ordering: .relaxed)
            return waiting
        }
        guard !waiting.isEmpty else { return }
        perform {
            for wait in waiting { wait.finish() }
        }
    }
}
