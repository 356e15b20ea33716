// Devices that fail under a whole filesystem (T3; the crash contract, docs/crash-contract.md): of a
// workload's requests one fails, or one and all after it. Nothing is half done then: what the device
// holds afterwards mounts, passes fsck, and is what the contract allows after a cut of the power at that
// moment. A failure names its seed, workload and request; the seed replays it.

import CairnBase
import CairnIO
import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct FileSystemFaultTests {
    enum Kind: CaseIterable, Sendable {
        /// One request fails; the device goes on as if nothing had been.
        case once
        /// A write fails, having written a part.
        case torn
        /// The device is gone.
        case forEver
    }

    private static let samples = 8

    // T3, D3, D5
    @Test(arguments: CutWorkload.allCases, Kind.allCases)
    func whateverFailsNothingIsHalfDone(_ workload: CutWorkload, _ kind: Kind) throws {
        let seed = UInt64(kind == .torn ? 3 : 2)
        let base = try VolumeGround.format(size: workload.deviceSize)
        let count = try run(workload, kind, seed, failing: nil, on: try base.copy())
        #expect(count > 20)
        var random = SeededRandom(seed: seed)
        let device = try base.copy()
        for number in 1...count
        where random.number(below: count) < Self.samples {
            device.contents.copyMemory(from: UnsafeRawBufferPointer(base.contents))
            _ = try run(workload, kind, seed, failing: number, on: device)
        }
    }

    /// Gives the number of requests that there were.
    private func run(
        _ workload: CutWorkload, _ kind: Kind, _ seed: UInt64, failing number: Int?,
        on memory: MemoryDevice
    ) throws -> Int {
        let label = "\(workload), \(kind), seed \(seed), request \(number ?? 0)"
        let faulty = FaultyDevice(memory, random: SeededRandom(seed: seed))
        var options = DiskOptions()
        options.cacheBytes = 16 << 20
        options.dirtyBytes = 4 << 20
        let run = try RecordedRun(
            faulty, options, seed: seed, holds: false, overwrites: workload == .overwriting)
        if let number {
            var plan = FaultPlan(
                failing: FaultPlan.Failure(number: number, isForEver: kind == .forEver))
            plan.failedWritesTear = kind == .torn
            faulty.plan = plan
        } else {
            faulty.plan = FaultPlan()
        }
        var told: Errno?
        do {
            try workload.run(run, seed: seed, steps: 40)
            try run.unmount()
        } catch let error as Errno {
            told = error
        }
        let requests = faulty.requestCount
        guard number != nil else {
            #expect(told == nil, "\(label)")
            return requests
        }
        if let told {
            #expect(told == .EIO || told == .EROFS, "\(label): \(told)")
            // The daemon ends; what it could not write is lost.
            run.process.exit()
            try? run.mount.close()
        }
        run.stepper.settle()

        let mount = try SteppedMount(memory, options, Stepper(seed: seed))
        let found = try mount.contents()
        if let fault = run.judge(found, at: .max) { Issue.record("\(label): \(fault)") }
        try mount.close()
        try VolumeGround.expectSound(memory, label)
        return requests
    }
}
