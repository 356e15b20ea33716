// The pool and the page cache: against a pool behind one mutex (C4), and against the kernel's cache.

import CSystem
import CairnBase
import CairnCache
import CairnIO
import CairnPlainFiles
import Dispatch
import Glibc
import Synchronization

struct CacheBenchmark {
    private static let pages = 8192
    private static let operations = 400_000
    private let pool: PagePool
    private let mutexPool: OneMutexPool

    init() throws(Errno) {
        pool = try PagePool(
            PagePool.Settings(budget: 64 << 20) { DispatchQueue.global().async(execute: $0) })
        mutexPool = OneMutexPool(pages: Self.pages)
        for page in 0..<Self.pages {
            mutexPool.insert(Self.key(page))
            let pool = pool
            try blocking { () throws(Pause) in
                try pool.insertDirty(Self.key(page)) { bytes in
                    bytes.initializeMemory(as: UInt8.self, repeating: 1)
                }
            }
            if let write = pool.getDirty(Self.key(page)) { write.markFlushed() }
        }
    }

    /// 64 files of 128 pages.
    private static func key(_ page: Int) -> PageKey {
        PageKey(
            .inode(fileSystem: 1, number: UInt64(page & 63)),
            PageIndex(rawValue: UInt64(page >> 6)))
    }

    // MARK: One mutex or none

    /// Of 100: 60 hits, 20 hasDirty, 10 markNeedsFlush, 5 getDirty with markFlushed, 5 changes.
    @inline(__always)
    private static func step(_ pool: PagePool, _ random: UInt64, _ sum: inout UInt64) {
        let key = key(Int(random >> 32) % pages)
        switch random % 100 {
        case 0..<60:
            if let page = pool.tryGet(key) { sum &+= UInt64(page.bytes[64]) }
        case 60..<80:
            sum &+= pool.hasDirty(key) ? 1 : 0
        case 80..<90:
            pool.markNeedsFlush(key)
        case 90..<95:
            if let write = pool.getDirty(key) { write.markFlushed() }
        default:
            _ = pool.modifyDirtyInPlace(key) { $0[8] = 2 }
        }
    }

    @inline(__always)
    private static func step(_ pool: OneMutexPool, _ random: UInt64, _ sum: inout UInt64) {
        let key = key(Int(random >> 32) % pages)
        switch random % 100 {
        case 0..<60:
            if let page = pool.tryGet(key) { sum &+= UInt64(page[64]) }
        case 60..<80:
            sum &+= pool.hasDirty(key) ? 1 : 0
        case 80..<90:
            pool.markNeedsFlush(key)
        case 90..<95:
            if pool.getDirty(key) { pool.markFlushed(key) }
        default:
            pool.modifyDirtyInPlace(key) { $0[8] = 2 }
        }
    }

    private final class Latencies: @unchecked Sendable {
        // Sendable: `lock` guards it.
        private let lock = Lock()
        private var all = Histogram()
        func add(_ other: Histogram) { lock.withLock { all.add(other) } }
        var value: Histogram { lock.withLock { all } }
    }

    /// Operations a second of all threads; one of 16 is timed by itself.
    private static func run(
        threads: Int, operations: Int, _ latencies: Latencies?,
        _ step: @escaping @Sendable (UInt64, inout UInt64) -> Void
    ) -> Double {
        let bodies = (0..<threads).map { thread -> @Sendable () -> Void in
            {
                var random = UInt64(thread + 1) &* 0x9E37_79B9_7F4A_7C15
                var sum: UInt64 = 0
                var seen = Histogram()
                for turn in 0..<operations {
                    random ^= random << 13
                    random ^= random >> 7
                    random ^= random << 17
                    if latencies != nil, turn & 15 == 0 {
                        let start = cairn_clock_monotonic()
                        step(random, &sum)
                        seen.record(cairn_clock_monotonic() - start)
                    } else {
                        step(random, &sum)
                    }
                }
                if sum == 1 { print("") }
                latencies?.add(seen)
            }
        }
        let time = timeThreads(bodies)
        return Double(threads * operations) * 1e9 / Double(time)
    }

    /// One contestant at 8 threads and nothing else, for `strace -c -f -e futex`.
    func runAlone(_ name: String) -> Bool {
        let (pool, mutexPool) = (pool, mutexPool)
        switch name {
        case "pool":
            _ = Self.run(threads: 8, operations: Self.operations, nil) {
                Self.step(pool, $0, &$1)
            }
        case "mutex":
            _ = Self.run(threads: 8, operations: Self.operations, nil) {
                Self.step(mutexPool, $0, &$1)
            }
        default: return false
        }
        return true
    }

    func run(in directory: String) throws(Errno) {
        let (pool, mutexPool) = (pool, mutexPool)
        var rows: [Row] = []
        for threads in [1, 2, 4, 8] {
            var rates: [[Double]] = [[], []]
            let latencies = [Latencies(), Latencies()]
            for _ in 0..<5 {
                rates[0].append(
                    Self.run(threads: threads, operations: Self.operations, latencies[0]) {
                        Self.step(pool, $0, &$1)
                    })
                rates[1].append(
                    Self.run(threads: threads, operations: Self.operations, latencies[1]) {
                        Self.step(mutexPool, $0, &$1)
                    })
            }
            for (contestant, name) in ["the pool", "one mutex"].enumerated() {
                let seen = latencies[contestant].value
                let rate = rates[contestant].sorted()[2]
                rows.append(
                    Row(
                        name: "\(threads)",
                        figures: [name, "\(fixed(rate / 1e6, 2)) M"]
                            + [0.5, 0.99, 0.999].map {
                                nanosecondsText(Double(seen.percentile($0)))
                            }))
            }
        }
        printTable(
            "The pool and one behind a mutex",
            ["threads", "which", "operations a second", "p50", "p99", "p99.9"], rows)
        for size in [256 << 10, 1 << 20, 16 << 20] { try hits(of: size, in: directory) }
        scan()
    }

    // MARK: Hits

    /// 4 KiB at random of so many bytes that are in memory: the library, the kernel's pread, and a
    /// copy with nothing around it, which is what the machine can do; one thread, two on a file each,
    /// and two on one file, which share its lock.
    private func hits(of size: Int, in directory: String) throws(Errno) {
        let cache = PageCache(pool: pool)
        let flusher = Flusher(DirtyAccount(in: cache, timers: ManualTimers()))
        var bodies: [[@Sendable (Int) -> Void]] = [[], [], []]
        var descriptors: [Int32] = []
        defer { for descriptor in descriptors { close(descriptor) } }
        for number in 0..<2 {
            let device = try MemoryDevice(size: UInt64(size))
            let file = PlainFile(
                number: UInt64(1000 + size + number), on: device, at: 0, capacity: UInt64(size),
                flusher: flusher, isWritten: true)
            let buffer = try AlignedBuffer(count: size)
            let step = min(size, 1 << 20)
            for offset in stride(from: 0, to: size, by: step) {
                let part = UnsafeMutableRawBufferPointer(
                    rebasing: buffer.memory[offset..<offset + step])
                _ = try blocking { () throws(Pause) in
                    try file.read(into: part, at: UInt64(offset))
                }
            }
            let path = "\(directory)/cairn-benchmarks-cache-\(getpid())"
            let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
            guard descriptor >= 0 else { throw .EIO }
            unlink(path)
            descriptors.append(descriptor)
            pwrite(descriptor, buffer.memory.baseAddress, size, 0)
            bodies[0].append { count in
                guard let buffer = try? AlignedBuffer(count: 4096) else { return }
                for turn in 0..<count {
                    _ = try? blocking { () throws(Pause) in
                        try file.read(into: buffer.memory, at: Self.offset(turn + number, size))
                    }
                }
            }
            bodies[1].append { count in
                guard let buffer = try? AlignedBuffer(count: 4096) else { return }
                for turn in 0..<count {
                    let offset = off_t(Self.offset(turn + number, size))
                    pread(descriptor, buffer.memory.baseAddress, 4096, offset)
                }
            }
            bodies[2].append { count in
                guard let target = try? AlignedBuffer(count: 4096) else { return }
                for turn in 0..<count {
                    let offset = Int(Self.offset(turn + number, size))
                    target.memory.copyMemory(
                        from: UnsafeRawBufferPointer(
                            rebasing: buffer.memory[offset..<offset + 4096]))
                }
            }
        }
        // Which pages of memory a file got decides how well the processor's caches hold them, so each
        // file has a time of its own.
        let times = timeInTurns(bodies.joined().map { body in { body($0) } })
        let names = ["through the page cache", "pread of the host", "a copy and nothing else"]
        let rows = names.enumerated().map { index, name in
            let own = bodies[index]
            let alone = times[2 * index..<2 * index + 2].map(\.nanoseconds)
            let apart = Self.pairRate(own[0], own[1]) / (1 / alone[0] + 1 / alone[1]) * 2
            let together = Self.pairRate(own[0], own[0]) * alone[0]
            return Row(
                name: name,
                figures: [
                    nanosecondsText((alone[0] + alone[1]) / 2),
                    "\(fixed(apart, 2))×",
                    "\(fixed(together, 2))×",
                ])
        }
        printTable(
            "Reads of 4 KiB that are in memory, at random of \(size >> 10) KiB",
            ["", "one thread", "two, a file each (wanted: 1.8×)", "two on one file"], rows)
    }

    /// Calls of two threads for each nanosecond that passes, while both are at work.
    private static func pairRate(
        _ one: @escaping @Sendable (Int) -> Void, _ other: @escaping @Sendable (Int) -> Void
    ) -> Double {
        let rounds = (0..<9).map { _ in
            let hasEnded = Flag()
            let bodies = [one, other].map { body -> @Sendable () -> Void in
                {
                    let start = cairn_clock_monotonic()
                    var calls = 0
                    while !hasEnded.isSet {
                        body(10_000)
                        calls += 10_000
                    }
                    hasEnded.add(Double(calls) / Double(cairn_clock_monotonic() - start))
                }
            }
            let end: @Sendable () -> Void = {
                usleep(150_000)
                hasEnded.set()
            }
            _ = timeThreads(bodies + [end])
            return hasEnded.sum
        }
        return rounds.sorted()[4]
    }

    /// Ends a round, and adds up what its threads did.
    private final class Flag: @unchecked Sendable {
        // Sendable: an atomic, and a sum that `lock` guards.
        private let flag = Atomic<Bool>(false)
        private let lock = Lock()
        private var total = 0.0

        var isSet: Bool { flag.load(ordering: .relaxed) }
        func set() { flag.store(true, ordering: .relaxed) }
        func add(_ rate: Double) { lock.withLock { total += rate } }
        var sum: Double { lock.withLock { total } }
    }

    private static func offset(_ turn: Int, _ size: Int) -> UInt64 {
        (UInt64(turn) &* 0x9E37_79B9_7F4A_7C15) >> 40 & UInt64(size - 1) & ~4095
    }

    // MARK: Scans

    /// A hot set of a quarter of the frames beside a scan of four times the frames, four pages of the
    /// scan for each hot one: how many of the hot ones are found.
    private func scan() {
        let frames = 4096
        var inPool = 0
        var byUse = 0
        var hot = 0
        let small = try? PagePool(
            PagePool.Settings(budget: frames * 4096) { DispatchQueue.global().async(execute: $0) })
        guard let small else { return }
        let set = small.pages(of: .inode(fileSystem: 1, number: 1))
        defer { set.close() }
        var list = RecentlyUsed(capacity: frames)
        func use(_ page: Int) -> (Bool, Bool) {
            let known = list.use(page)
            let index = PageIndex(rawValue: UInt64(page))
            if set.tryGet(index) != nil { return (true, known) }
            try? blocking { () throws(Pause) in
                _ = try set.acquire(index) { fill in fill.complete() }
            }
            return (false, known)
        }
        var random: UInt64 = 0x9E37_79B9_7F4A_7C15
        func hotPage() -> Int {
            random ^= random << 13
            random ^= random >> 7
            random ^= random << 17
            return Int(random >> 33) % (frames / 4)
        }
        for _ in 0..<frames * 4 { _ = use(hotPage()) }
        for page in 0..<frames * 4 {
            _ = use(1 << 20 | page)
            guard page & 3 == 3 else { continue }
            let (ours, theirs) = use(hotPage())
            hot += 1
            inPool += ours ? 1 : 0
            byUse += theirs ? 1 : 0
        }
        printTable(
            "Hits of a hot set, a quarter of the budget, during a scan of four times the budget",
            ["S3-FIFO, the pool's", "least recently used"],
            [
                Row(
                    name: "\(fixed(Double(inPool) * 100 / Double(hot), 1)) %",
                    figures: ["\(fixed(Double(byUse) * 100 / Double(hot), 1)) %"])
            ])
    }
}

/// Which pages a cache would have that gives up the least recently used one.
private struct RecentlyUsed {
    let capacity: Int
    private var lastUse: [Int: Int] = [:]
    private var uses: [Int] = []
    private var oldest = 0

    init(capacity: Int) { self.capacity = capacity }

    /// Whether it had the page, which is the newest then.
    mutating func use(_ page: Int) -> Bool {
        let known = lastUse[page] != nil
        lastUse[page] = uses.count
        uses.append(page)
        while lastUse.count > capacity {
            if lastUse[uses[oldest]] == oldest { lastUse[uses[oldest]] = nil }
            oldest += 1
        }
        return known
    }
}
