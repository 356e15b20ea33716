// FileFlush: writes what is dirty in one file at one moment, from its start to its end.
//
// It takes snapshots of up to a run's length, a few at a time, and has the backing write them. What
// is in another's snapshot it passes over, and waits for that one's end. If the other's was taken
// before this began, the page may have changed since: then it goes through the file once more. It
// ends when every page that was dirty when it began is written as it was then or later, or could not
// be.
//
// Threading: any thread. `lock` guards its place; the backing is called with nothing held. A
// backing that completes before it returns is gone on with in the loop of `advance`, not by
// recursion.

import CairnBase

final class FileFlush: Wait, @unchecked Sendable {
    // Sendable: immutable, or guarded by `lock`.
    private let pages: FilePages
    private let parts: Int

    private let lock = Lock()
    // Guarded by `lock`.
    private var next: UInt64 = 0
    private var end: UInt64 = 0
    private var underWay = 0
    private var hasFailed = false
    private var isAdvancing = false
    /// How many times it still has to go through the file.
    private var passesLeft = 0
    /// It has gone through, and waits for what others write.
    private var waitsForOthers = false

    init(_ pages: FilePages, parts: Int) {
        self.pages = pages
        self.parts = parts
        super.init()
    }

    func begin() {
        // What is dirtied from now on is younger, also if this one writes it.
        pages.account.restartAge(of: pages)
        let (end, hasOthers) = pages.lock.withLock {
            (pages.lastChanged + 1, !pages.snapshots.isEmpty)
        }
        lock.withLock {
            self.end = end
            passesLeft = hasOthers ? 2 : 1
        }
        advance()
    }

    private func advance() {
        guard
            lock.withLock({
                guard !isAdvancing else { return false }
                isAdvancing = true
                return true
            })
        else { return }
        while let first = reserve() {
            let snapshot = pages.snapshotDirty(
                from: PageIndex(rawValue: first), limit: pages.cache.largestRun)
            guard let snapshot, let last = snapshot.runs.last, let backing = pages.backing else {
                snapshot?.markFailed(.EIO)
                lock.withLock {
                    next = .max
                    underWay -= 1
                }
                continue
            }
            lock.withLock { next = last.range.upperBound.rawValue }
            write(snapshot, to: backing)
        }
        endPassIfOver()
    }

    /// Where the next part starts. Nil: there is nothing to start now.
    private func reserve() -> UInt64? {
        lock.withLock {
            guard next < end, underWay < parts, !hasFailed else {
                isAdvancing = false
                return nil
            }
            underWay += 1
            return next
        }
    }

    private func write(_ snapshot: DirtySnapshot, to backing: any PageBacking) {
        let outcome = PartOutcome()
        let all = WaitGroup { [self] in
            if let error = outcome.error {
                snapshot.markFailed(error)
            } else {
                snapshot.markFlushed()
            }
            partEnded(failed: outcome.error != nil)
        }
        for run in snapshot.runs {
            all.enter()
            backing.writeBack(run, of: pages) { error in
                if let error { outcome.note(error) }
                all.leave()
            }
        }
        all.leave()
    }

    private func partEnded(failed: Bool) {
        lock.withLock {
            underWay -= 1
            // A device that refuses one part would be asked for every other in vain.
            if failed { hasFailed = true }
        }
        advance()
    }

    /// After its own parts it waits for those of others: what it passed over is in one of them, or
    /// written.
    private func endPassIfOver() {
        let isOver = lock.withLock {
            guard !isAdvancing, underWay == 0, next >= end || hasFailed, !waitsForOthers else {
                return false
            }
            waitsForOthers = true
            return true
        }
        guard isOver else { return }
        let others = pages.lock.withLock { pages.snapshots.map(\.end) }
        let all = WaitGroup { [self] in endPass() }
        for other in others {
            all.enter()
            other.whenFinished { _ in all.leave() }
        }
        all.leave()
    }

    private func endPass() {
        let goesOn = lock.withLock {
            passesLeft -= 1
            guard passesLeft > 0, !hasFailed else { return false }
            next = 0
            waitsForOthers = false
            return true
        }
        if goesOn {
            advance()
        } else {
            finish()
        }
    }
}

/// What came of the writes of one snapshot.
private final class PartOutcome: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var first: Errno?

    func note(_ error: Errno) {
        lock.withLock { first = first ?? error }
    }

    var error: Errno? { lock.withLock { first } }
}
