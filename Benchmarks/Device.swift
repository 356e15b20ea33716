// A device on a file of the host, beside fio with io_uring and the same settings (requirements C1, C2).
//
// Contestants take turns in rounds of a second or two; what is quoted is the median of each, and the
// processor time that a request took, of user and system together.

import CSystem
import CairnBase
import CairnIO
import Glibc
import Synchronization

struct DeviceBenchmark {
    private static let rounds = 6
    private static let seconds = 2

    enum Pattern: String {
        case randomRead = "randread"
        case read, write
    }

    struct Setting {
        var title: String
        var pattern: Pattern
        var blockSize: Int
        var depth: Int
    }

    /// What came of a round.
    struct Score {
        /// Requests a second.
        var rate: Double
        /// Nanoseconds of processor time a request.
        var cost: Double
    }

    static let settings = [
        Setting(
            title: "4 KiB at random, 1 at once", pattern: .randomRead, blockSize: 4096, depth: 1),
        Setting(
            title: "4 KiB at random, 32 at once", pattern: .randomRead, blockSize: 4096, depth: 32),
        Setting(title: "reads of 1 MiB in order", pattern: .read, blockSize: 1 << 20, depth: 8),
        Setting(title: "writes of 1 MiB in order", pattern: .write, blockSize: 1 << 20, depth: 8),
    ]

    private let path: String
    private let size: Int

    /// Makes the file, of 2 GiB, and writes all of it, if it is not there.
    init(_ path: String, size: Int = 2 << 30) throws(Errno) {
        self.path = path
        self.size = size
        try Self.prepare(path, size)
    }

    /// A file of real blocks: holes would be read from no device.
    static func prepare(_ path: String, _ size: Int) throws(Errno) {
        let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        defer { close(descriptor) }
        guard lseek(descriptor, 0, SEEK_END) < size else { return }
        let buffer = try AlignedBuffer(count: 1 << 20)
        var state: UInt64 = 1
        for word in 0..<buffer.memory.count / 8 {
            state = state &* 6_364_136_223_846_793_005 &+ 1
            buffer.memory.storeBytes(of: state, toByteOffset: word * 8, as: UInt64.self)
        }
        for offset in stride(from: 0, to: size, by: buffer.memory.count) {
            guard
                pwrite(descriptor, buffer.memory.baseAddress, buffer.memory.count, off_t(offset))
                    == buffer.memory.count
            else { throw Errno(rawValue: errno) }
        }
        fsync(descriptor)
    }

    func run() throws(Errno) {
        var rows: [Row] = []
        for setting in Self.settings {
            var ours: [Score] = []
            var fios: [Score] = []
            for round in 0..<Self.rounds {
                // Who comes first changes: a device may be quicker after a pause.
                if round % 2 == 0 { ours.append(try measure(setting)) }
                guard let score = fio(setting) else {
                    print("fio cannot be run: no figures of a peer")
                    return
                }
                fios.append(score)
                if round % 2 == 1 { ours.append(try measure(setting)) }
            }
            let (own, peer) = (median(ours), median(fios))
            rows.append(
                Row(
                    name: setting.title,
                    figures: [
                        rate(own, setting), rate(peer, setting),
                        "\(fixed(own.rate / peer.rate, 2))×", nanosecondsText(own.cost),
                        nanosecondsText(peer.cost), "\(fixed(own.cost / peer.cost, 2))×",
                    ]))
        }
        printTable(
            "The device and fio with io_uring, O_DIRECT",
            [
                "", "here", "fio", "rate (wanted: 0.95×)", "processor a request", "fio",
                "(wanted: 1.3× at most)",
            ], rows)
    }

    private func median(_ scores: [Score]) -> Score {
        Score(
            rate: scores.map(\.rate).sorted()[scores.count / 2],
            cost: scores.map(\.cost).sorted()[scores.count / 2])
    }

    private func rate(_ score: Score, _ setting: Setting) -> String {
        setting.blockSize < 1 << 20
            ? "\(fixed(score.rate / 1000, 1)) k/s"
            : "\(fixed(score.rate * Double(setting.blockSize) / 1e6, 0)) MB/s"
    }

    // MARK: fio

    private func fio(_ setting: Setting) -> Score? {
        let command =
            "fio --name=peer --filename='\(path)' --ioengine=io_uring --direct=1 --thread"
            + " --rw=\(setting.pattern.rawValue) --bs=\(setting.blockSize)"
            + " --iodepth=\(setting.depth) --size=\(size) --runtime=\(Self.seconds) --time_based"
            + " --randrepeat=0 --norandommap --random_generator=tausworthe64 --minimal"
        guard let fields = terse(command) else { return nil }
        let isWrite = setting.pattern == .write
        guard let rate = Double(fields[isWrite ? 48 : 7]), rate > 0,
            let user = Double(fields[87].dropLast()), let system = Double(fields[88].dropLast())
        else { return nil }
        return Score(rate: rate, cost: (user + system) / 100 * 1e9 / rate)
    }

    // MARK: Here

    private func measure(_ setting: Setting) throws(Errno) -> Score {
        let thread = try ReactorThread(name: "bench")
        defer { thread.stop() }
        let device = try FileDevice(
            path: path, options: FileDevice.Options(queueDepth: max(setting.depth, 1)),
            reactor: thread.reactor)
        defer { device.close() }
        let load = try DeviceLoad(
            device, setting, size: size, nanoseconds: UInt64(Self.seconds) * 1_000_000_000)
        let before = processorTime()
        let (count, time) = load.run()
        let cost = processorTime() - before
        if let error = load.failure { throw error }
        return Score(
            rate: Double(count) * 1e9 / Double(time), cost: Double(cost) / Double(max(count, 1)))
    }
}

/// Runs fio(1) and gives the fields of its terse output, version 3, counted from 0; nil where there is
/// none.
func terse(_ command: String) -> [Substring]? {
    guard let pipe = popen(command, "r") else { return nil }
    defer { pclose(pipe) }
    var text = ""
    var line = [CChar](repeating: 0, count: 8192)
    while fgets(&line, Int32(line.count), pipe) != nil {
        let bytes = line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:))
        text += String(decoding: bytes, as: UTF8.self)
    }
    let fields = text.split(separator: ";", omittingEmptySubsequences: false)
    return fields.count > 88 ? fields : nil
}

/// Nanoseconds of user and system time of this process.
func processorTime() -> UInt64 {
    var usage = rusage()
    getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
    func nanoseconds(_ time: timeval) -> UInt64 {
        UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_usec) * 1000
    }
    return nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime)
}

/// So many requests under way for so long: each that completes starts the next, on the loop's thread.
final class DeviceLoad: @unchecked Sendable {
    // Sendable: touched by the loop's thread only, once it runs; `gate` hands over to who waits.
    private let device: FileDevice
    private let setting: DeviceBenchmark.Setting
    private let blocks: UInt64
    private let buffer: AlignedBuffer
    private let length: UInt64
    private let gate = Gate()
    private var random: UInt64 = 0x9E37_79B9_7F4A_7C15
    private var next: UInt64 = 0
    private var end: UInt64 = 0
    private var underWay = 0
    private var count = 0
    private(set) var failure: Errno?

    init(
        _ device: FileDevice, _ setting: DeviceBenchmark.Setting, size: Int, nanoseconds: UInt64
    ) throws(Errno) {
        self.device = device
        self.setting = setting
        blocks = UInt64(size / setting.blockSize)
        length = nanoseconds
        buffer = try AlignedBuffer(count: setting.blockSize * setting.depth)
        random ^= cairn_clock_monotonic()
    }

    /// Gives how many requests were carried out, and in how many nanoseconds.
    func run() -> (Int, UInt64) {
        device.reactor.register(memory: buffer.memory)
        let start = cairn_clock_monotonic()
        end = start + length
        device.reactor.perform { [self] in
            for slot in 0..<setting.depth { submit(slot) }
        }
        gate.wait()
        let time = cairn_clock_monotonic() - start
        device.reactor.unregister(memory: buffer.memory)
        return (count, time)
    }

    private func submit(_ slot: Int) {
        let block: UInt64
        if setting.pattern == .randomRead {
            random ^= random << 13
            random ^= random >> 7
            random ^= random << 17
            block = random % blocks
        } else {
            block = next % blocks
            next += 1
        }
        let memory = UnsafeMutableRawBufferPointer(
            rebasing: buffer.memory[slot * setting.blockSize..<(slot + 1) * setting.blockSize])
        let offset = block * UInt64(setting.blockSize)
        let request: BlockRequest =
            setting.pattern == .write
            ? .write([BlockSegment(memory)], at: offset) : .read(into: memory, at: offset)
        underWay += 1
        do throws(Errno) {
            _ = try device.submit(request) { [self] result in completed(slot, result) }
        } catch {
            failure = error
            ended()
        }
    }

    private func completed(_ slot: Int, _ result: BlockResult) {
        switch result {
        case .complete: count += 1
        case .partial: failure = .EIO
        case .failed(let error): failure = error
        }
        if failure == nil, cairn_clock_monotonic() < end {
            underWay -= 1
            submit(slot)
        } else {
            ended()
        }
    }

    private func ended() {
        underWay -= 1
        if underWay == 0 { gate.signal() }
    }
}
