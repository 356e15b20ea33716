// Superblocks: their bytes as docs/format.md §3 has them, and which one counts.

import CairnBase
import CairnTestPace
import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct SuperblockTests {
    static func example(group: UInt64 = 7) throws -> Superblock {
        let geometry = try VolumeGeometry(
            blockSize: 4096, nodeSize: 16384, totalBlocks: 16384, regionBlocks: 1024,
            logStart: BlockNumber(rawValue: 32), logBlocks: 256)
        var random = SeededRandom(seed: 5)
        return Superblock(
            group: TransactionGroup(rawValue: group), uuid: VolumeUUID(using: &random),
            label: Array("Kühlraum".utf8), geometry: geometry, freeBlocks: 9000, isInUse: true,
            mainRoot: RootPointer(
                address: BlockNumber(rawValue: 400), birth: TransactionGroup(rawValue: 6),
                checksum: 0xDEAD_BEEF, level: 2),
            spaceRoot: RootPointer(
                address: BlockNumber(rawValue: 404), birth: TransactionGroup(rawValue: 7),
                checksum: 0x0BAD_CAFE, level: 0),
            mainNodes: 70, spaceNodes: 1, dataBlocks: 6000, logPosition: 17, logSequence: 90,
            nextInode: 5000, nameKey: NameKey(first: 1, second: 2),
            made: Timestamp(seconds: -5, nanoseconds: 6),
            mounted: Timestamp(seconds: 1_700_000_000, nanoseconds: 999_999_999),
            written: Timestamp(seconds: 1_700_000_001), mounts: 3)
    }

    static func slot(_ superblock: Superblock, _ slot: Int) -> [UInt8] {
        [UInt8](recordOf: SuperblockSlot.length) { superblock.encode(into: $0, slot: slot) }
    }

    static func find(_ bytes: [UInt8], slot: Int) -> Superblock.Found {
        bytes.withUnsafeBytes { Superblock.find(in: $0, slot: slot) }
    }

    // D2, D12
    @Test func bytesAreWhereTheFormatSays() throws {
        let superblock = try SuperblockTests.example()
        let bytes = SuperblockTests.slot(superblock, 7)
        #expect(Array(bytes[0..<4]) == [0x44, 0x53, 0x46, 0x4D])
        #expect(Array(bytes[8..<16]) == [1, 0, 0, 0, 7, 0, 0, 0])
        #expect(Array(bytes[16..<24]) == [7, 0, 0, 0, 0, 0, 0, 0])
        #expect(Array(bytes[40..<50]) == Array("Kühlraum\0".utf8))
        #expect(Array(bytes[128..<136]) == [0, 0x10, 0, 0, 0, 0x40, 0, 0])
        #expect(Array(bytes[152..<164]) == [0, 4, 0, 0, 1, 0, 0, 0, 0x90, 1, 0, 0])
        #expect(Array(bytes[176..<185]) == [0xEF, 0xBE, 0xAD, 0xDE, 0, 0, 0, 0, 2])
        #expect(Array(bytes[336..<346]) == [90, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x13])
        #expect(
            Array(bytes[368..<384]) == [0xFB] + [UInt8](repeating: 0xFF, count: 7) + [
                6, 0, 0, 0, 0, 0xF1, 0x53, 0x65,
            ])
        #expect(Array(bytes[404..<409]) == [3, 0, 0, 0, 0])
        #expect(SuperblockTests.find(bytes, slot: 7) == .superblock(superblock))
    }

    // T4
    @Test func everyFlippedBitIsNoticed() throws {
        let good = SuperblockTests.slot(try SuperblockTests.example(), 7)
        var bytes = good
        // Of the zeros behind the superblock, some.
        for index in 0..<(SuperblockSlot.length * 8)
        where index < Superblock.length * 8 || index % 61 == 0 {
            bytes[index / 8] ^= 1 << (index % 8)
            guard case .damaged = SuperblockTests.find(bytes, slot: 7) else {
                Issue.record("bit \(index) went unnoticed")
                return
            }
            bytes[index / 8] = good[index / 8]
        }
        guard case .damaged = SuperblockTests.find(good, slot: 6) else {
            Issue.record("a superblock in another slot than its own")
            return
        }
    }

    // T4: whatever the fields say, with a checksum that is right
    @Test(arguments: [1, 2, 3] as [UInt64])
    func fieldsOfAnyValueAreRefusedOrUsable(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let good = SuperblockTests.slot(try SuperblockTests.example(), 7)
        for _ in 0..<rounds(5_000) {
            var bytes = good
            let edits = 1 + random.number(below: 3)
            for _ in 0..<edits {
                let offset = 16 + 4 * random.number(below: 100)
                let word = [
                    UInt32(truncatingIfNeeded: random.next()), 0, 1, .max,
                    UInt32(random.number(below: 70000)),
                ].randomElement(using: &random)
                bytes.withUnsafeMutableBytes { $0.put(word ?? 0, at: offset) }
            }
            SuperblockTests.fixChecksum(&bytes)
            if case .superblock(let found) = SuperblockTests.find(bytes, slot: 7) {
                #expect(
                    found.geometry.contains(
                        BlockRun(start: found.mainRoot.address, count: found.geometry.nodeBlocks)))
                #expect(found.logPosition < found.geometry.logBlocks)
                #expect(found.mainRoot.birth <= found.group)
                #expect(SuperblockTests.slot(found, 7) == bytes, "seed \(seed)")
            }
        }
    }

    static func fixChecksum(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { bytes in
            bytes.put(UInt32(0), at: 4)
            let sum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<4096]))
            bytes.put(sum, at: 4)
        }
    }

    // D12
    @Test func anotherVersionIsToldFromDamage() throws {
        var bytes = SuperblockTests.slot(try SuperblockTests.example(), 7)
        bytes[8] = 2
        SuperblockTests.fixChecksum(&bytes)
        #expect(SuperblockTests.find(bytes, slot: 7) == .otherVersion(2))
        #expect(
            SuperblockTests.find([UInt8](repeating: 0, count: 16384), slot: 3) == .empty)
    }

    // D3
    @Test func groupsGoToTheirSlots() {
        func slots(_ group: UInt64, _ isUnmounting: Bool = false) -> [Int] {
            SuperblockSlot.slots(
                of: TransactionGroup(rawValue: group), isUnmounting: isUnmounting)
        }
        #expect(slots(1) == [1])
        #expect(slots(8) == [0])
        #expect(slots(20) == [4, 10])
        #expect(slots(171, true) == [3, 9])
        #expect(SuperblockSlot.offset(of: 3, end: 1 << 26) == 49152)
        #expect(SuperblockSlot.offset(of: 9, end: 1 << 26) == (1 << 26) - 131_072 + 16384)
    }

    // D3
    @Test func theNewestOfThisFilesystemCounts() throws {
        var other = try SuperblockTests.example(group: 900)
        other.uuid = VolumeUUID(high: 1, low: 2)
        let old = try SuperblockTests.example(group: 6)
        let new = try SuperblockTests.example(group: 7)
        var found = [Superblock.Found?](repeating: .empty, count: 16)
        found[6] = .superblock(old)
        found[7] = .superblock(new)
        found[8] = .superblock(new)
        found[9] = .superblock(other)
        found[2] = .damaged(RecordDamage("torn"))
        found[3] = nil
        let choice = SuperblockSlot.choose(found)
        #expect(choice.candidates.map(\.slot) == [7, 8, 6])
        #expect(choice.damage.map(\.slot) == [2, 3])
        // Without the first set, the second decides.
        found[6] = .empty
        found[7] = .empty
        #expect(SuperblockSlot.choose(found).candidates.map(\.slot) == [9])
    }

    @Test func uuidsReadAsTheyStand() {
        let uuid = VolumeUUID(high: 0x0011_2233_4455_6677, low: 0x8899_AABB_CCDD_EEFF)
        #expect(uuid.description == "00112233-4455-6677-8899-aabbccddeeff")
        let bytes = [UInt8](recordOf: 20) { uuid.encode(into: $0, at: 2) }
        #expect(bytes[2] == 0 && bytes[3] == 0x11 && bytes[17] == 0xFF)
        #expect(bytes.withUnsafeBytes { VolumeUUID(decoding: $0, at: 2) } == uuid)
    }
}
