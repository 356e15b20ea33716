// What syncs cost, in requests of the device (ADR 014), and what they leave behind.

import CairnBase
import CairnIO
import CairnTestSupport
import CairnVFS
import Testing

@testable import CairnDisk

@Suite struct SyncCostTests {
    private func options() -> DiskOptions {
        var options = DiskOptions()
        options.cacheBytes = 16 << 20
        return options
    }

    // D5: a small append and fdatasync are one write and one flush, however often.
    @Test func aSmallSyncIsOneWriteAndOneFlush() throws {
        let base = try VolumeGround.format(size: 8 << 20, VolumeTests.options(4096, 4096))
        let run = try RecordedRun(base, options(), seed: 1, holds: false)
        let file = try run.open("/log", [.create, .writeOnly])
        try run.write(file, "/log", [1, 2, 3], at: 0)
        try run.fsync(file)
        run.stepper.settle()
        for round in 0..<20 {
            let before = run.recorder.log.entries.count
            try run.write(file, "/log", [UInt8](repeating: 7, count: 100), at: 3 + round * 100)
            try run.fsync(file, dataOnly: true)
            let made = run.recorder.log.entries[before...]
            #expect(made.map(\.operation) == [.write, .flush], "round \(round)")
            #expect(made.reduce(0) { $0 + $1.length } <= 4096, "round \(round)")
        }
        try run.close(file)
        try run.unmount()
        try VolumeGround.expectSound(base)
    }

    // D9: what the log holds is there for who may only read, too, and stays for who may write.
    @Test func aReadOnlyMountShowsWhatTheLogHolds() throws {
        let base = try VolumeGround.format(size: 8 << 20, VolumeTests.options(4096, 4096))
        let run = try RecordedRun(base, options(), seed: 1, holds: false)
        let file = try run.open("/log", [.create, .writeOnly])
        try run.write(file, "/log", Array(0..<200), at: 5000)
        try run.fsync(file)
        let image = try base.copy()
        var readOnly = options()
        readOnly.isReadOnly = true
        let first = try SteppedMount(image, readOnly, Stepper(seed: 1))
        #expect(try first.contents().digest == run.tree.digest)
        try first.close()
        let second = try SteppedMount(image, options(), Stepper(seed: 1))
        #expect(try second.contents().digest == run.tree.digest)
        try second.close()
        try VolumeGround.expectSound(image)
    }
}
