// Cuts of the power, at volume level (T2): random operations are recorded, the power is cut after each
// request, and what was written between two flushes survives in any part. Each result must mount, hold
// a state that the crash contract allows, and be sound.
//
// CAIRN_CUTS=N in the environment: N histories instead of a few.

import CairnBase
import CairnIO
import CairnTestSupport
import Glibc
import Testing

@testable import CairnDisk

@Suite struct PowerCutTests {
    static var histories: Int {
        getenv("CAIRN_CUTS").flatMap { Int(String(cString: $0)) } ?? 6
    }

    // T2, D3, D5, D9
    @Test func everyCutLeavesAStateThatTheContractAllows() throws {
        var cuts = 0
        for seed in 1...UInt64(PowerCutTests.histories) {
            let cut = PowerCut(seed: seed)
            let record = try cut.record()
            let (count, faults) = try cut.faults(of: record, record.log)
            cuts += count
            for fault in faults { Issue.record("\(fault)") }
        }
        #expect(cuts > 100)
    }

    // A flush that is missing is found: without each second one, as if it had never been asked for, some cuts
    // leave what they must not.
    @Test(arguments: [0, 1]) func aMissingFlushIsFound(_ which: Int) throws {
        let cut = PowerCut(seed: 3)
        let record = try cut.record()
        var number = 0
        let log = record.log.filtered { entry in
            guard entry.operation == .flush else { return true }
            number += 1
            return number % 2 == which
        }
        #expect(try cut.faults(of: record, log).faults.count > 0)
    }
}

/// One history and all its cuts.
struct PowerCut {
    let seed: UInt64

    static let shapes: [(size: UInt64, block: UInt32, node: UInt32)] = [
        (4 << 20, 4096, 4096), (4 << 20, 8192, 8192), (4 << 20, 4096, 16384),
    ]

    /// What was done.
    struct Record {
        let base: MemoryDevice
        let history: ToyHistory
        let log: DeviceLog
    }

    func record() throws -> Record {
        let (size, block, node) = PowerCut.shapes[Int(seed) % PowerCut.shapes.count]
        let base = try VolumeGround.format(size: size, VolumeTests.options(block, node))
        let ground = VolumeGround()
        let recorder = RecordingDevice(try base.copy())
        let store = try ground.mount(recorder)
        var history = ToyHistory(seed: seed, startingAt: recorder.moment)
        for _ in 0..<60 { try history.step(store, ground, recorder) }
        if seed % 2 == 0 { try ground.unmount(store) }
        return Record(base: base, history: history, log: recorder.log)
    }

    /// Cuts at every moment; how many there were, and what was wrong.
    func faults(
        of record: Record, _ log: DeviceLog
    ) throws -> (count: Int, faults: [String]) {
        var random = SeededRandom(seed: seed &* 77)
        var faults: [String] = []
        let device = try record.base.copy()
        let moments = record.history.acknowledged[0]...log.moments
        for moment in moments {
            device.contents.copyMemory(from: UnsafeRawBufferPointer(record.base.contents))
            let label = "seed \(seed), moment \(moment)"
            do {
                faults += try tryCut(log, at: moment, device, record.history, &random)
                    .map { "\(label): \($0)" }
            } catch {
                faults.append("\(label): \(error)")
            }
        }
        return (moments.count, faults)
    }

    private func tryCut(
        _ log: DeviceLog, at moment: Int, _ device: MemoryDevice, _ history: ToyHistory,
        _ random: inout SeededRandom
    ) throws -> [String] {
        // Mostly some of the open requests, now and then all or none.
        let mood = random.number(below: 6)
        log.cut(at: moment).replay(onto: device) { _, entry in
            switch mood {
            case 0: return .all
            case 1: return .nothing
            default:
                switch random.number(below: 4) {
                case 0: return .all
                case 1: return .nothing
                case 2: return .first(512 * random.number(below: entry.length / 512 + 1))
                default:
                    let bits = random.next()
                    return .sectors { bits >> UInt64($0 & 63) & 1 != 0 }
                }
            }
        }
        let ground = VolumeGround()
        let store = try ground.mount(device)
        let found = try store.contents()
        var faults = store.volume.mainTree.checkInvariants().map { "\($0)" }
        if !history.allows(found, at: moment) { faults.append("another state: \(found.keys)") }
        if random.oneIn(4) {
            try store.create("after")
            try ground.unmount(store)
        }
        return try faults + VolumeGround.findings(device).map { "fsck: \($0)" }
    }
}
