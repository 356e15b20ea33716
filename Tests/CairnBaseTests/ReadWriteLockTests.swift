// ReadWriteLock: readers share it, writers do not, whichever way its readers count themselves.

import Foundation
import Testing

@testable import CairnBase

/// What a lock guards: two numbers that are always equal.
private final class Pair: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    let lock = ReadWriteLock()
    var first = 0
    var second = 0

    /// Its readers use their slots.
    var isReadBySlot: Bool {
        lock.state.load(ordering: .relaxed) & ReadWriteLock.bySlot != 0
    }

    /// Readers that meet, until they use their slots.
    func makeReadBySlot() {
        lock.lockShared()
        inThreads(1) { _ in
            while !self.isReadBySlot { self.lock.withLockShared {} }
        }
        lock.unlockShared()
    }
}

private func inThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let threads = (0..<count).map { number in
        let done = DispatchSemaphore(value: 0)
        let thread = Thread {
            body(number)
            done.signal()
        }
        thread.start()
        return done
    }
    for done in threads { done.wait() }
}

@Suite struct ReadWriteLockTests {
    @Test("Readers never see half a change, at any mixture of readers and writers")
    func exclusion() {
        // One write in so many turns.
        for share in [2, 20, 1000, 100_000] {
            let pair = Pair()
            let writes = Pair()
            inThreads(4) { thread in
                var random = UInt64(thread + 1) &* 0x9E37_79B9_7F4A_7C15
                var own = 0
                for _ in 0..<100_000 {
                    random ^= random << 13
                    random ^= random >> 7
                    random ^= random << 17
                    if random % UInt64(share) == 0 {
                        pair.lock.withLock {
                            pair.first += 1
                            pair.second += 1
                        }
                        own += 1
                    } else {
                        let isWhole = pair.lock.withLockShared { pair.first == pair.second }
                        if !isWhole { Issue.record("half a change") }
                    }
                }
                writes.lock.withLock { writes.first += own }
            }
            #expect(pair.first == writes.first)
            #expect(pair.second == writes.first)
        }
    }

    @Test("A writer waits for a reader that is in its thread's slot, and keeps later ones out")
    func writerWaits() {
        let pair = Pair()
        pair.makeReadBySlot()
        let (isRead, mayLeave) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let hasLeft = Pair()
        inThreads(3) { thread in
            switch thread {
            case 0:
                pair.lock.lockShared()
                #expect(pair.isReadBySlot)
                isRead.signal()
                mayLeave.wait()
                hasLeft.lock.withLock { hasLeft.first = 1 }
                pair.lock.unlockShared()
            case 1:
                isRead.wait()
                // From here on a writer holds the word, or is about to.
                mayLeave.signal()
                pair.lock.withLock {
                    #expect(hasLeft.lock.withLockShared { hasLeft.first } == 1)
                    pair.first = 1
                    pair.second = 1
                }
            default:
                for _ in 0..<10_000 {
                    pair.lock.withLockShared { #expect(pair.first == pair.second) }
                }
            }
        }
        #expect(pair.first == 1)
    }

    @Test("A thread may hold more locks shared than its slot has room for")
    func manyAtOnce() {
        let pairs = (0..<7).map { _ in Pair() }
        for pair in pairs { pair.makeReadBySlot() }
        for pair in pairs { pair.lock.lockShared() }
        for pair in pairs.reversed() { pair.lock.unlockShared() }
        for pair in pairs {
            pair.lock.withLock { pair.first = 1 }
            pair.lock.withLockShared { #expect(pair.first == 1) }
            #expect(!pair.isReadBySlot)
        }
    }
}
