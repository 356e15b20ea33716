// Cuts of the power under a whole filesystem (T2, D9; the crash contract, docs/crash-contract.md): workloads
// are recorded, the power is cut after each request, and what was written between two flushes survives in
// any part. Each result must mount, hold what the contract allows, pass fsck, and be fit for use.
//
// CAIRN_CUT_SECONDS=N: as many histories as that time allows, from CAIRN_CUT_SEED on. A failure names
// its seed, workload and moment; CAIRN_CUT_SEED, CAIRN_CUT_WORKLOAD and CAIRN_CUT_ONLY=1 replay it.

import CairnBase
import CairnIO
import CairnTestSupport
import Glibc
import Testing

@testable import CairnDisk

@Suite struct FileSystemCutTests {
    // T2, D3, D5, D6, D9, V13
    @Test(arguments: CutWorkload.allCases)
    func everyCutKeepsTheContract(_ workload: CutWorkload) throws {
        guard Setting.seconds == nil else { return }
        var cuts = 0
        for seed in 1...UInt64(2) {
            cuts += try FileSystemCut(seed: seed, workload: workload).run(atMost: 100)
        }
        #expect(cuts > 100)
    }

    // A flush that is missing is found: without each second one, as if it had never been asked for, some cuts
    // leave what they must not.
    @Test(arguments: [0, 1]) func aMissingFlushIsFound(_ which: Int) throws {
        guard Setting.seconds == nil else { return }
        let cut = FileSystemCut(seed: 6, workload: .syncing)
        let record = try cut.record()
        var number = 0
        let log = record.run.recorder.log.filtered { entry in
            guard entry.operation == .flush else { return true }
            number += 1
            return number % 2 == which
        }
        #expect(cut.faults(of: record, log, atMost: 60).faults.count > 0)
    }

    // The same for as long as is wanted.
    @Test(.enabled(if: Setting.seconds != nil)) func manyCutsKeepTheContract() throws {
        let end = Setting.now + (Setting.seconds ?? 0)
        var seed = Setting.seed
        var cuts = 0
        while Setting.now < end {
            for workload in Setting.workloads where Setting.now < end {
                cuts += try FileSystemCut(seed: seed, workload: workload).run(
                    atMost: .max, until: end)
            }
            print("power cuts: seed \(seed), \(cuts) cuts so far")
            if Setting.isSingle { return }
            seed += 1
        }
    }

    enum Setting {
        private static func number(_ name: String) -> UInt64? {
            getenv(name).flatMap { UInt64(String(cString: $0)) }
        }
        static var seconds: Int? { number("CAIRN_CUT_SECONDS").map { Int($0) } }
        static var seed: UInt64 { number("CAIRN_CUT_SEED") ?? 1 }
        static var now: Int { time(nil) }
        /// CAIRN_CUT_ONLY: no seed but the first.
        static var isSingle: Bool { getenv("CAIRN_CUT_ONLY") != nil }
        /// CAIRN_CUT_WORKLOAD: only that one.
        static var workloads: [CutWorkload] {
            let name = getenv("CAIRN_CUT_WORKLOAD").map { String(cString: $0) }
            return CutWorkload.allCases.filter { name == nil || "\($0)" == name }
        }
    }
}

/// One history, and cuts of it.
struct FileSystemCut {
    let seed: UInt64
    let workload: CutWorkload

    private var options: DiskOptions {
        var options = DiskOptions()
        options.cacheBytes = 16 << 20
        options.dirtyBytes = 4 << 20
        let methods: [Compression] = [.none, .none, .lz4, .zstd]
        options.compression = CompressionSetting(method: methods[Int(seed % 4)])
        options.copiesOnWrite = seed % 5 != 4
        return options
    }

    private static let shapes: [(block: UInt32, node: UInt32)] = [
        (4096, 4096), (4096, 16384), (8192, 8192), (4096, 4096), (16384, 16384),
    ]

    /// What was done, on a device that still holds it.
    struct Record {
        let base: MemoryDevice
        let run: RecordedRun
    }

    func record() throws -> Record {
        let shape = FileSystemCut.shapes[Int(seed / 2 % 5)]
        let base = try VolumeGround.format(
            size: workload.deviceSize, VolumeTests.options(shape.block, shape.node))
        let run = try RecordedRun(
            try base.copy(), options, seed: seed, holds: seed % 3 != 0,
            overwrites: workload == .overwriting)
        try workload.run(run, seed: seed, steps: 80)
        if seed % 2 == 0 { try run.unmount() }
        #expect(run.mount.reports.all == [], "\(self)")
        return Record(base: base, run: run)
    }

    func run(atMost limit: Int, until end: Int = .max) throws -> Int {
        let record = try record()
        let (count, faults) = faults(
            of: record, record.run.recorder.log, atMost: limit, until: end)
        for fault in faults { Issue.record("\(fault)") }
        return count
    }

    /// Cuts at every moment, or at a sample of them; how many there were, and what was wrong.
    func faults(
        of record: Record, _ log: DeviceLog, atMost limit: Int, until end: Int = .max
    ) -> (count: Int, faults: [String]) {
        var faults: [String] = []
        guard let first = try? record.base.copy(), let second = try? record.base.copy() else {
            return (0, ["no memory"])
        }
        let scratch = Scratch(record.base, first, second)
        let start = record.run.acknowledged[0]
        let count = log.moments - start + 1
        var random = SeededRandom(seed: seed &* 77 &+ 5)
        var done = 0
        for moment in start...log.moments {
            guard count <= limit || random.number(below: count) < limit else { continue }
            if FileSystemCutTests.Setting.now >= end { break }
            let label = "seed \(seed), \(workload), moment \(moment)"
            var phase = ""
            do {
                faults += try tryCut(log, at: moment, scratch, record.run, &random, &phase)
                    .map { "\(label): \($0)" }
            } catch {
                faults.append("\(label), \(phase): \(error)")
            }
            done += 1
        }
        return (done, faults)
    }

    /// Memory that all cuts use, one after the other.
    private struct Scratch {
        let base: MemoryDevice
        let first: MemoryDevice
        let second: MemoryDevice

        init(_ base: MemoryDevice, _ first: MemoryDevice, _ second: MemoryDevice) {
            self.base = base
            self.first = first
            self.second = second
        }

        func copy(_ source: MemoryDevice, to target: MemoryDevice) {
            target.contents.copyMemory(from: UnsafeRawBufferPointer(source.contents))
        }
    }

    private func tryCut(
        _ log: DeviceLog, at moment: Int, _ scratch: Scratch, _ run: RecordedRun,
        _ random: inout SeededRandom, _ phase: inout String
    ) throws -> [String] {
        var faults: [String] = []
        phase = "fsck before a mount"
        var device = scratch.first
        scratch.copy(scratch.base, to: device)
        log.cut(at: moment).replay(onto: device, survival(&random))
        if random.oneIn(4) {
            faults += try VolumeGround.findings(device).map { "fsck before a mount: \($0)" }
        }
        // Now and then the power is cut again while the filesystem recovers.
        if random.oneIn(6) {
            phase = "the first recovery"
            scratch.copy(device, to: scratch.second)
            let recorder = RecordingDevice(scratch.second)
            let mount = try SteppedMount(recorder, options, Stepper(seed: seed))
            mount.stepper.settle()
            let again = recorder.log
            scratch.copy(device, to: scratch.second)
            device = scratch.second
            again.cut(at: random.number(below: again.moments + 1))
                .replay(onto: device, survival(&random))
        }
        phase = "mount"
        let recorder = RecordingDevice(device)
        let mount = try SteppedMount(recorder, options, Stepper(seed: seed), nodeLimit: 8)
        phase = "reading"
        let found = try mount.contents()
        if let fault = run.judge(found, at: moment) { faults.append(fault) }
        if random.oneIn(4) {
            // What is there is fit for use.
            phase = "going on"
            let next = try RecordedRun(mount, recorder, found.nodes)
            try CutWorkload.goOn(next, seed: random.next())
            let after = try mount.contents()
            if after.digest != next.tree.digest {
                faults.append("afterwards: \(next.tree.difference(after))")
            }
            next.process.exit()
        }
        faults += mount.reports.all.filter { !FileSystemCut.isUsual($0) }
        phase = "unmount"
        try mount.close()
        faults += try VolumeGround.findings(device).map { "fsck: \($0)" }
        return faults
    }

    /// What a cut of the power makes a mount say.
    private static func isUsual(_ report: String) -> Bool {
        report.hasSuffix("log entries are carried out again")
            || report.hasPrefix("superblock slot")
    }

    /// Mostly some of the open requests, in part, now and then all or none.
    private func survival(
        _ random: inout SeededRandom
    ) -> (Int, DeviceLog.Entry) -> DeviceLog.Survival {
        var chances = SeededRandom(seed: random.next())
        let mood = chances.number(below: 6)
        return { _, entry in
            switch mood {
            case 0: return .all
            case 1: return .nothing
            default:
                switch chances.number(below: 4) {
                case 0: return .all
                case 1: return .nothing
                case 2: return .first(512 * chances.number(below: entry.length / 512 + 1))
                default:
                    let bits = chances.next()
                    return .sectors { bits >> UInt64($0 & 63) & 1 != 0 }
                }
            }
        }
    }
}
