// Which pages to give up: the pool's own policy beside others, on traces of several kinds
// (docs/adr/006-eviction.md).

import CairnBase
import CairnCache
import Dispatch
import Glibc

/// A cache that is told of each use, and says whether it had the page.
private protocol EvictionPolicy {
    mutating func use(_ page: Int) -> Bool
}

struct EvictionBenchmark {
    private static let frames = 4096
    private static let uses = 600_000

    func run() throws(Errno) {
        var rows: [Row] = []
        for (name, trace) in traces {
            var policies: [any EvictionPolicy] = [
                try PoolPolicy(Self.frames), LeastRecentlyUsed(Self.frames), Clock(Self.frames),
                TwoQueues(Self.frames),
            ]
            var figures: [String] = []
            for number in policies.indices {
                var hits = 0
                for page in trace where policies[number].use(Int(page)) { hits += 1 }
                figures.append("\(fixed(Double(hits) * 100 / Double(trace.count), 1)) %")
            }
            rows.append(Row(name: name, figures: figures))
        }
        printTable(
            "Hits of a cache of \(Self.frames) pages",
            ["trace", "S3-FIFO, the pool's", "least recently used", "clock", "2Q"], rows)
    }

    // MARK: Traces

    private var traces: [(String, [UInt32])] {
        let frames = Self.frames
        return [
            ("Zipf 0.9 of 16 times as many", zipf(0.9, of: frames * 16, 1)),
            ("Zipf 0.6 of 4 times as many", zipf(0.6, of: frames * 4, 2)),
            ("the same, with scans between", withScans(zipf(0.9, of: frames * 16, 3))),
            ("a loop of 1.25 times as many", loop(frames * 5 / 4)),
            ("a hot quarter that moves 8 times", moving()),
        ]
    }

    private struct Random {
        var state: UInt64
        mutating func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
        /// 0 ..< 1
        mutating func fraction() -> Double { Double(next() >> 11) / Double(1 << 53) }
    }

    /// The n-th of the pages is used in proportion to 1 / n^exponent; pages in no order.
    private func zipf(_ exponent: Double, of count: Int, _ seed: UInt64) -> [UInt32] {
        var sums: [Double] = []
        var sum = 0.0
        for place in 1...count {
            sum += 1 / power(Double(place), exponent)
            sums.append(sum)
        }
        var random = Random(state: seed &* 0x9E37_79B9_7F4A_7C15)
        return (0..<Self.uses).map { _ in
            let wanted = random.fraction() * sum
            var low = 0
            var high = count - 1
            while low < high {
                let middle = (low + high) / 2
                if sums[middle] < wanted { low = middle + 1 } else { high = middle }
            }
            return UInt32(truncatingIfNeeded: UInt64(low) &* 0x9E37_79B1 % UInt64(count))
        }
    }

    private func power(_ base: Double, _ exponent: Double) -> Double {
        Glibc.pow(base, exponent)
    }

    /// After each 50 000 uses a scan of twice the cache over pages that nobody else uses.
    private func withScans(_ trace: [UInt32]) -> [UInt32] {
        var result: [UInt32] = []
        var next: UInt32 = 1 << 24
        for (number, page) in trace.enumerated() {
            result.append(page)
            guard number % 50_000 == 49_999 else { continue }
            for _ in 0..<Self.frames * 2 {
                result.append(next)
                next += 1
            }
        }
        return result
    }

    private func loop(_ count: Int) -> [UInt32] {
        (0..<Self.uses).map { UInt32($0 % count) }
    }

    /// Nine of ten uses go to a quarter of the cache's size, which is another one each time.
    private func moving() -> [UInt32] {
        var random = Random(state: 77)
        let part = Self.uses / 8
        return (0..<Self.uses).map { use in
            let place = Int(random.next() >> 33)
            if random.next() >> 33 % 10 == 0 { return UInt32(1 << 20 + place % (Self.frames * 16)) }
            return UInt32(use / part * Self.frames + place % (Self.frames / 4))
        }
    }
}

// MARK: Policies

private struct PoolPolicy: EvictionPolicy {
    private let pool: PagePool
    private let set: PageSet

    init(_ frames: Int) throws(Errno) {
        pool = try PagePool(
            PagePool.Settings(budget: frames * 4096) { DispatchQueue.global().async(execute: $0) })
        set = pool.pages(of: .inode(fileSystem: 1, number: 1))
    }

    mutating func use(_ page: Int) -> Bool {
        let index = PageIndex(rawValue: UInt64(page))
        if set.tryGet(index) != nil { return true }
        try? blocking { () throws(Pause) in
            _ = try set.acquire(index) { fill in fill.complete() }
        }
        return false
    }
}

/// Pages in a list, in an order.
private struct PageList {
    private var newer: [Int: Int] = [:]
    private var older: [Int: Int] = [:]
    private(set) var newest = -1
    private(set) var oldest = -1
    var count: Int { newer.count }

    func contains(_ page: Int) -> Bool { newer[page] != nil }

    mutating func push(_ page: Int) {
        newer[page] = -1
        older[page] = newest
        if newest >= 0 { newer[newest] = page }
        newest = page
        if oldest < 0 { oldest = page }
    }

    mutating func remove(_ page: Int) {
        guard let above = newer.removeValue(forKey: page),
            let below = older.removeValue(forKey: page)
        else { return }
        if above >= 0 { older[above] = below } else { newest = below }
        if below >= 0 { newer[below] = above } else { oldest = above }
    }

    mutating func popOldest() -> Int? {
        guard oldest >= 0 else { return nil }
        let page = oldest
        remove(page)
        return page
    }
}

private struct LeastRecentlyUsed: EvictionPolicy {
    private let capacity: Int
    private var list = PageList()

    init(_ capacity: Int) { self.capacity = capacity }

    mutating func use(_ page: Int) -> Bool {
        let isKnown = list.contains(page)
        list.remove(page)
        list.push(page)
        if list.count > capacity { _ = list.popOldest() }
        return isKnown
    }
}

/// A hand goes round, and takes what was not used since it came by.
private struct Clock: EvictionPolicy {
    private var pages: [Int]
    private var isUsed: [Bool]
    private var places: [Int: Int] = [:]
    private var hand = 0

    init(_ capacity: Int) {
        pages = Array(repeating: -1, count: capacity)
        isUsed = Array(repeating: false, count: capacity)
    }

    mutating func use(_ page: Int) -> Bool {
        if let place = places[page] {
            isUsed[place] = true
            return true
        }
        while isUsed[hand] {
            isUsed[hand] = false
            hand = (hand + 1) % pages.count
        }
        places[pages[hand]] = nil
        pages[hand] = page
        places[page] = hand
        hand = (hand + 1) % pages.count
        return false
    }
}

/// Johnson, Shasha: "2Q: A Low Overhead High Performance Buffer Management Replacement Algorithm",
/// VLDB 1994: a quarter for new pages, and keys of half as many as there are pages.
private struct TwoQueues: EvictionPolicy {
    private let capacity: Int
    private var fresh = PageList()
    private var gone = PageList()
    private var main = PageList()

    init(_ capacity: Int) { self.capacity = capacity }

    mutating func use(_ page: Int) -> Bool {
        if main.contains(page) {
            main.remove(page)
            main.push(page)
            return true
        }
        if fresh.contains(page) { return true }
        if fresh.count + main.count >= capacity { makeRoom() }
        if gone.contains(page) {
            gone.remove(page)
            main.push(page)
        } else {
            fresh.push(page)
        }
        return false
    }

    private mutating func makeRoom() {
        if fresh.count >= capacity / 4 || main.count == 0, let page = fresh.popOldest() {
            gone.push(page)
            if gone.count > capacity / 2 { _ = gone.popOldest() }
        } else {
            _ = main.popOldest()
        }
    }
}
