import CairnBase
import CairnIO
import CairnTestSupport
import Dispatch
import Synchronization
import Testing

@testable import CairnDisk

/// Threads on one tree, as the volume lets them: lookups share a lock, changes hold it alone, a commit runs
/// beside both. Nodes come late and go early.
struct TreeThreadTests {
    /// What all threads share. The lock is the volume's tree lock.
    private final class Shared: @unchecked Sendable {
        let treeLock = TreeLock()
        let tree: ItemTree
        let ended = Atomic<Bool>(false)
        let lookups = Atomic<Int>(0)
        let wrong = Atomic<Int>(0)

        init(_ tree: ItemTree) {
            self.tree = tree
        }
    }

    private static let keyCount = 400

    private static func key(_ number: Int) -> OwnedKey {
        OwnedKey(object: 1, number: UInt64(number), tail: [UInt8(number & 127)])
    }

    /// Every key always has a value: its number, and how often it was written. A reader never sees a count
    /// less than one that it saw before.
    private static func read(_ shared: Shared, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var seen = [UInt64](repeating: 0, count: keyCount)
        while !shared.ended.load(ordering: .relaxed) {
            let number = random.number(below: keyCount)
            let found = try? TreeGround.run { () throws(Pause) in
                try shared.treeLock.lock.withLockShared { () throws(Pause) in
                    try key(number).withKey { (key) throws(Pause) in
                        try shared.tree.find(key) {
                            (loadU64($0.baseAddress!, 0), loadU64($0.baseAddress!, 8))
                        }
                    }
                }
            }
            if let (stored, count) = found ?? nil, stored == UInt64(number), count >= seen[number] {
                seen[number] = count
            } else {
                shared.wrong.add(1, ordering: .relaxed)
            }
            shared.lookups.add(1, ordering: .relaxed)
        }
    }

    private static func bytes(_ number: Int, _ count: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 9, count: 16 + Int(count) % 80)
        bytes.withUnsafeMutableBytes {
            storeU64(UInt64(number), $0.baseAddress!, 0)
            storeU64(count, $0.baseAddress!, 8)
        }
        return bytes
    }

    @Test func lookupsChangesAndCommitsAtOnce() throws {
        let ground = try TreeGround(
            maximumItems: 6, cacheNodes: 12, wrapping: { LateDevice($0) as any BlockDevice })
        try ground.change((0..<Self.keyCount).map { .put(Self.key($0), Self.bytes($0, 0)) })
        try ground.commitAll()
        let shared = Shared(ground.tree)
        let group = DispatchGroup()
        for seed in 1...3 as ClosedRange<UInt64> {
            group.enter()
            let thread = Thread {
                Self.read(shared, seed: seed); group.leave()
            }
            thread.start()
        }
        let committer = Committer(ground, shared.treeLock)
        group.enter()
        Thread {
            while !shared.ended.load(ordering: .relaxed) { committer.commit() }
            group.leave()
        }.start()
        var random = SeededRandom(seed: 77)
        for round in 1...400 as ClosedRange<UInt64> {
            let number = random.number(below: Self.keyCount)
            let edited = (0..<3).map { (number + $0 * 131) % Self.keyCount }
            try Self.change(edited.map { .put(Self.key($0), Self.bytes($0, round)) }, shared)
        }
        shared.ended.store(true, ordering: .relaxed)
        group.wait()
        #expect(committer.failures == 0 && committer.commits > 3)
        #expect(shared.wrong.load(ordering: .relaxed) == 0)
        #expect(shared.lookups.load(ordering: .relaxed) > 100)
        #expect(ground.tree.checkInvariants() == [])
        #expect(ground.reports.takeAll().isEmpty)
        let figures = ground.cache.statistics
        #expect(figures.evictions > 0 && figures.fetches > 0)
    }

    private static func change(_ changes: [TreeGround.Change], _ shared: Shared) throws {
        try TreeGround.apply(changes, to: shared.tree, under: shared.treeLock.lock)
    }
}

/// Commits as the volume does: closes and settles under the lock, seals and writes beside operations.
private final class Committer: @unchecked Sendable {
    // Sendable: used by one thread, and looked at when that has ended.
    private let ground: TreeGround
    private let shared: TreeLock
    private(set) var commits = 0
    private(set) var failures = 0

    init(_ ground: TreeGround, _ lock: TreeLock) {
        self.ground = ground
        shared = lock
    }

    func commit() {
        shared.lock.withLock { ground.close() }
        ground.seal()
        do {
            try ground.write()
        } catch {
            failures += 1
        }
        shared.lock.withLock { ground.finish() }
        commits += 1
    }
}

private final class TreeLock: Sendable {
    let lock = ReadWriteLock()
}

/// A thread of its own: what blocks shall not hold a thread of a pool.
private final class Thread: @unchecked Sendable {
    private let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
    }

    func start() {
        DispatchQueue(label: "tree test").async { self.body() }
    }
}
