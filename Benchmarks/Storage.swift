// A large file through the page cache: read in order while nothing is in memory, and written with fsync,
// beside the device's own rate; and how smoothly writers are slowed (requirements C5, C6).

import CSystem
import CairnBase
import CairnCache
import CairnIO
import CairnPlainFiles
import Glibc

struct StorageBenchmark {
    private static let budget = 256 << 20
    private static let rounds = 3
    private static let step = 1 << 20

    private let path: String
    private let size: Int

    init(_ path: String, size: Int = 4 << 30) throws(Errno) {
        self.path = path
        self.size = size
        try DeviceBenchmark.prepare(path, size)
    }

    func run() throws(Errno) {
        var rows: [Row] = []
        let windows = [32, 128, 512]
        var reads = windows.map { _ in [Double]() }
        var fioReads: [Double] = []
        for _ in 0..<Self.rounds {
            var longest: UInt64 = 0
            guard let peer = fio("read", &longest) else {
                print("fio cannot be run: no figures of a peer")
                return
            }
            fioReads.append(peer)
            for (number, window) in windows.enumerated() {
                reads[number].append(try read(window: window))
            }
        }
        let device = median(fioReads)
        for (number, window) in windows.enumerated() {
            rows.append(row("read, up to \(window) pages ahead", median(reads[number]), device))
        }
        var writes: [Double] = []
        var fioWrites: [Double] = []
        var worst = Trace()
        for _ in 0..<Self.rounds {
            guard let peer = fio("write", &worst.peersLongest) else { return }
            fioWrites.append(peer)
            let (rate, trace) = try write()
            writes.append(rate)
            worst.add(trace)
        }
        rows.append(row("write and fsync", median(writes), median(fioWrites)))
        printTable(
            "A file of \(size >> 30) GiB in order through a cache of \(Self.budget >> 20) MiB",
            ["", "through the cache", "fio, 1 MiB, 8 at once", "(wanted: 0.9×)"], rows)
        printTable(
            "A writer of 1 MiB at a time that outruns the device",
            [
                "longest write", "p99", "longest request of the device then", "of fio's",
                "slowest 100 ms", "median 100 ms", "fastest 100 ms", "most memory, of the budget",
            ], [worst.row(Self.budget)])
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    private func row(_ name: String, _ ours: Double, _ device: Double) -> Row {
        Row(
            name: name,
            figures: [
                "\(fixed(ours / 1e6, 0)) MB/s", "\(fixed(device / 1e6, 0)) MB/s",
                "\(fixed(ours / device, 2))×",
            ])
    }

    /// Bytes a second over the whole file, written with an fsync at the end.
    private func fio(_ pattern: String, _ longest: inout UInt64) -> Double? {
        let command =
            "fio --name=peer --filename='\(path)' --ioengine=io_uring --direct=1 --thread"
            + " --rw=\(pattern) --bs=1M --iodepth=8 --size=\(size) --end_fsync=1 --minimal"
        guard let fields = terse(command) else { return nil }
        let isWrite = pattern == "write"
        guard let kilobytes = Double(fields[isWrite ? 46 : 5]),
            let milliseconds = Double(fields[isWrite ? 49 : 8]), milliseconds > 0
        else { return nil }
        // The longest that a request took, in microseconds.
        longest = max(longest, UInt64(fields[isWrite ? 55 : 14]).map { $0 * 1000 } ?? 0)
        return kilobytes * 1024 * 1000 / milliseconds
    }

    // MARK: Through the cache

    private struct Bench {
        let thread: ReactorThread
        let device: FileDevice
        let pool: PagePool
        let flusher: Flusher
        let file: PlainFile
    }

    private func bench(window: Int, isWritten: Bool) throws(Errno) -> Bench {
        let thread = try ReactorThread(name: "bench")
        let reactor = thread.reactor
        let device = try FileDevice(path: path, reactor: reactor)
        let pool = try PagePool(
            PagePool.Settings(budget: Self.budget) { reactor.perform($0) })
        reactor.register(memory: pool.memory)
        var settings = PageCacheSettings()
        settings.readAhead = ReadAheadSettings(maximumPages: window)
        let cache = PageCache(pool: pool, settings: settings)
        let flusher = Flusher(DirtyAccount(in: cache, timers: reactor))
        let file = PlainFile(
            number: 1, on: device, at: 0, capacity: UInt64(size), flusher: flusher,
            isWritten: isWritten)
        return Bench(
            thread: thread, device: device, pool: pool, flusher: flusher, file: file)
    }

    private func end(_ bench: Bench) {
        bench.flusher.stop()
        bench.file.pages.drop()
        bench.thread.reactor.unregister(memory: bench.pool.memory)
        bench.device.close()
        bench.thread.stop()
    }

    private func read(window: Int) throws(Errno) -> Double {
        let bench = try bench(window: window, isWritten: true)
        defer { end(bench) }
        let buffer = try AlignedBuffer(count: Self.step)
        let file = bench.file
        let start = cairn_clock_monotonic()
        for offset in stride(from: 0, to: size, by: Self.step) {
            var done = 0
            _ = try blocking { () throws(Pause) in
                try inSteps(of: Self.step, &done) { (done) throws(Pause) in
                    try file.read(
                        into: UnsafeMutableRawBufferPointer(rebasing: buffer.memory[done...]),
                        at: UInt64(offset + done))
                }
            }
        }
        return Double(size) * 1e9 / Double(cairn_clock_monotonic() - start)
    }

    private func write() throws(Errno) -> (Double, Trace) {
        let bench = try bench(window: 32, isWritten: false)
        defer { end(bench) }
        bench.flusher.start()
        let buffer = try AlignedBuffer(count: Self.step)
        let file = bench.file
        let opening = file.open()
        var trace = Trace()
        let start = cairn_clock_monotonic()
        for offset in stride(from: 0, to: size, by: Self.step) {
            let before = cairn_clock_monotonic()
            var done = 0
            while done < Self.step {
                done += try blocking { () throws(Pause) in
                    try file.write(
                        UnsafeRawBufferPointer(rebasing: buffer.bytes[done...]),
                        at: UInt64(offset + done))
                }
            }
            trace.wrote(Self.step, from: before, to: cairn_clock_monotonic())
            if offset % (16 << 20) == 0 {
                let seen = bench.pool.statistics
                trace.memory = max(trace.memory, seen.residentBytes + seen.recordBytes)
            }
        }
        trace.endOfWrites()
        trace.devicesLongest = bench.device.statistics.writes.latency.percentile(1)
        try blocking { () throws(Pause) in try opening.sync() }
        return (Double(size) * 1e9 / Double(cairn_clock_monotonic() - start), trace)
    }
}

/// How a writer got on: how long single writes took, and how much went in each tenth of a second.
private struct Trace {
    private static let window: UInt64 = 100_000_000
    private var calls = Histogram()
    private var longest: UInt64 = 0
    private var windows: [Double] = []
    private var windowStart: UInt64 = 0
    private var bytes = 0
    var memory = 0
    /// Requests to the device: of the run with the longest write, and the peer's.
    var devicesLongest: UInt64 = 0
    var peersLongest: UInt64 = 0

    mutating func wrote(_ count: Int, from start: UInt64, to end: UInt64) {
        calls.record(end - start)
        longest = max(longest, end - start)
        if windowStart == 0 { windowStart = start }
        bytes += count
        if end - windowStart >= Self.window {
            windows.append(Double(bytes) * 1e9 / Double(end - windowStart))
            windowStart = end
            bytes = 0
        }
    }

    mutating func endOfWrites() { bytes = 0 }

    mutating func add(_ other: Trace) {
        calls.add(other.calls)
        if other.longest > longest { devicesLongest = other.devicesLongest }
        longest = max(longest, other.longest)
        windows += other.windows
        memory = max(memory, other.memory)
    }

    private func milliseconds(_ time: UInt64) -> String {
        "\(fixed(Double(time) / 1e6, 1)) ms"
    }

    func row(_ budget: Int) -> Row {
        let sorted = windows.sorted()
        func rate(_ place: Int) -> String {
            sorted.isEmpty ? "-" : "\(fixed(sorted[place] / 1e6, 0)) MB/s"
        }
        return Row(
            name: milliseconds(longest),
            figures: [
                milliseconds(calls.percentile(0.99)), milliseconds(devicesLongest),
                milliseconds(peersLongest), rate(0), rate(sorted.count / 2),
                rate(max(0, sorted.count - 1)),
                "\(fixed(Double(memory) * 100 / Double(budget), 1)) %",
            ])
    }
}
