// Nodes of the main tree that are damaged, bits that flip anywhere in metadata, and images that are
// anything at all (D8, D10, T4).

import CairnBase
import CairnIO
import CairnTestPace
import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct DamagedNodeTests {
    /// A leaf is lost: what it held is gone, all else is there, and what hung from it too.
    @Test func whatALostLeafHeldIsCutAndTheRestKept() throws {
        let sound = try PlantedDamageTests.sound()
        let nodes = try ImageCheck(try sound.make()).check { _ in }.mainNodes
        var kept = 0
        for index in 0..<nodes - 1 {
            let device = try sound.make()
            device.contents[Int(96 + index) * 4096 + 2000] ^= 1
            // The root itself stands last; without it there is no older group to go to.
            guard let looked = try? ImageCheck(device).check({ _ in }) else { continue }
            #expect(looked.findings > 0)
            let mended = try ImageCheck(device).mend(time: ManualTime()) { _ in }
            #expect(mended.isMended && mended.left == 0, "node \(index)")
            let left = try ImageCheck(device, CheckOptions(checksData: true)).check { _ in }
            #expect(left.findings == 0, "node \(index)")
            let contents = try ImageContent(of: device).files.values
            for (_, bytes) in PlantedDamage.soundFiles where contents.contains(bytes) { kept += 1 }
        }
        // Each of some ten leaves holds a tenth of the files.
        #expect(kept > Int(nodes - 1) * PlantedDamage.soundFiles.count * 7 / 10)
    }

    // T4
    @Test func everyFlippedBitOfMetadataIsNoticed() throws {
        var random = SeededRandom(seed: 0xB17)
        let device = try PlantedDamageTests.sound().make()
        let summary = try ImageCheck(device).check { _ in }
        let places: [Range<Int>] = [
            (5 * 16384)..<(6 * 16384),
            (96 * 4096)..<((96 + Int(summary.mainNodes)) * 4096),
            (1024 * 4096)..<((1024 + Int(summary.spaceNodes)) * 4096),
        ]
        for _ in 0..<rounds(400) {
            let range = places[Int(random.next() % 3)]
            let offset = range.lowerBound + Int(random.next() % UInt64(range.count))
            let bit = UInt8(1) << UInt8(random.next() % 8)
            device.contents[offset] ^= bit
            let found = (try? ImageCheck(device).check { _ in }.findings) ?? 1
            #expect(found > 0, "bit \(bit) of byte \(offset), seed 0xB17")
            device.contents[offset] ^= bit
        }
    }

    /// Any bytes give an answer: also under a right checksum.
    @Test func imagesThatAreAnythingNeverCrashACheck() throws {
        var random = SeededRandom(seed: 0xF422)
        for round in 0..<60 {
            let sound = try PlantedDamageTests.sound()
            let device = try sound.make()
            for _ in 0...(random.next() % 12) {
                let isNode = random.next() % 4 > 0
                let node = 96 + Int(random.next() % 14)
                let start = isNode ? node * 4096 : 5 * 16384
                let count = isNode ? 4096 : 420
                for _ in 0...(random.next() % 4) {
                    let offset = start + Int(random.next() % UInt64(count))
                    device.contents[offset] = UInt8(truncatingIfNeeded: random.next())
                }
                reseal(device, start, sound.uuid.seed, isNode: isNode)
            }
            _ = try? ImageCheck(device, CheckOptions(checksData: true)).check { _ in }
            let mended = try? ImageCheck(device).mend(time: ManualTime()) { _ in }
            guard let mended, mended.isMended else { continue }
            let left = try ImageCheck(device).check { _ in }
            #expect(left.findings == mended.left, "round \(round), seed 0xF422")
        }
    }

    private func reseal(_ device: MemoryDevice, _ start: Int, _ seed: UInt32, isNode: Bool) {
        let bytes = UnsafeMutableRawBufferPointer(
            rebasing: device.contents[start..<(start + 4096)])
        bytes.put(UInt32(0), at: 4)
        let checksum =
            isNode
            ? CRC32C.checksum(UnsafeRawBufferPointer(bytes), continuing: seed)
            : CRC32C.checksum(UnsafeRawBufferPointer(bytes))
        bytes.put(checksum, at: 4)
    }
}
