// The budget: changing it, and giving memory back to the system.

import CairnBase
import Synchronization

extension PagePool {
    /// What pages may take, in bytes.
    public var budget: Int { lock.withLock { budgetBytes } }

    /// Changes the budget. Pages that are too many go at once if they can, the others as they come
    /// free; memory goes back to the system with them. Throws EINVAL below one page and above the
    /// capacity.
    public func setBudget(_ bytes: Int) throws(Errno) {
        guard bytes >= pageSize, bytes >> pageShift <= frames.count else { throw .EINVAL }
        lock.withLock {
            budgetBytes = bytes
            queues.setFrameLimit(frameLimit)
        }
        shrink()
        wakeFrameWaiters()
    }

    /// Evicts what is over the budget, as far as it can be.
    private func shrink() {
        var isDone = false
        while !isDone {
            // A few at a time: others want the lock.
            isDone = Epoch.section { lock.withLock { shrinkStep() } }
            giveBackSurplus()
        }
    }

    private func shrinkStep() -> Bool {
        takeReturned()
        for _ in 0..<64 {
            if free.used <= frameLimit { return true }
            guard evict() else { return true }
        }
        return false
    }

    /// To be called now and then (a minute is a good time): memory of frames that were free since the
    /// last call goes back to the system.
    public func trim() {
        giveBack(lock.withLock { free.takeIdle() })
    }

    /// Gives back the memory of free frames that the budget has no room for.
    func giveBackSurplus() {
        giveBack(lock.withLock { free.takeWarm(max(0, free.resident - frameLimit)) })
    }

    /// Outside the lock: the system takes its time. The frames are neither used nor free meanwhile.
    private func giveBack(_ numbers: [FrameNumber]) {
        guard !numbers.isEmpty else { return }
        let sorted = numbers.sorted()
        var start = 0
        for end in 1...sorted.count where end == sorted.count || sorted[end] != sorted[end - 1] + 1
        {
            // Where the system does not take it, the memory stays: no harm but that.
            _ = arena.giveBack(
                offset: Int(sorted[start]) << pageShift, length: (end - start) << pageShift)
            start = end
        }
        lock.withLock { free.putCold(sorted) }
    }
}
