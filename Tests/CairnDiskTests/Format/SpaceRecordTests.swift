// The items of the space tree and the arithmetic of regions (docs/format.md §2, §6).

import CairnTestPace
import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct SpaceRecordTests {
    static func geometry() throws -> VolumeGeometry {
        try VolumeGeometry(
            blockSize: 4096, nodeSize: 16384, totalBlocks: 16400, regionBlocks: 1024,
            logStart: BlockNumber(rawValue: 32), logBlocks: 256)
    }

    // D12
    @Test func recordsStandAsTheFormatSays() throws {
        let geometry = try SpaceRecordTests.geometry()
        let record = RegionRecord(
            freeBlocks: 900, freePlaces: 200, longestRun: 513, holdsNodes: true)
        let bytes = [UInt8](recordOf: 16) { record.encode(into: $0) }
        #expect(bytes == [132, 3, 0, 0, 200, 0, 0, 0, 1, 2, 0, 0, 1, 0, 0, 0])
        bytes.withUnsafeBytes {
            #expect((try? RegionRecord(decoding: $0, ofRegion: 3, geometry)) == record)
        }
        let extent = [UInt8](recordOf: 4) { FreeExtentRecord.encode(300, into: $0) }
        func decoded(at start: UInt64) -> BlockRun? {
            extent.withUnsafeBytes { try? FreeExtentRecord.decode($0, at: start, geometry) }
        }
        #expect(decoded(at: 1024) == BlockRun(start: BlockNumber(rawValue: 1024), count: 300))
        // Reaches into the next region, into the second set, begins in the log, is nowhere.
        #expect(decoded(at: 2000) == nil)
        #expect(decoded(at: 16300) == nil)
        #expect(decoded(at: 40) == nil)
        #expect(decoded(at: .max) == nil)
    }

    // T4
    @Test func regionsOfAnyBytesAreRefusedOrUsable() throws {
        let geometry = try SpaceRecordTests.geometry()
        var random = SeededRandom(seed: 11)
        for _ in 0..<rounds(20_000) {
            let bytes = [UInt8](recordOf: 16) { bytes in
                for index in 0..<16 where random.oneIn(3) {
                    bytes[index] = UInt8(truncatingIfNeeded: random.next())
                }
            }
            let region = UInt64(random.number(below: 20))
            bytes.withUnsafeBytes {
                guard let found = try? RegionRecord(decoding: $0, ofRegion: region, geometry)
                else { return }
                #expect(region < 17 && found.freeBlocks <= 1024 && found.freePlaces <= 256)
            }
        }
    }

    @Test func geometryCountsRegionsAndPlaces() throws {
        let geometry = try SpaceRecordTests.geometry()
        #expect(geometry.regionCount == 17)
        #expect(geometry.blocks(ofRegion: 16) == 16)
        #expect(geometry.firstBlock.rawValue == 288 && geometry.endBlock.rawValue == 16368)
        func places(_ start: UInt64, _ count: UInt64) -> UInt64 {
            geometry.nodePlaces(in: BlockRun(start: BlockNumber(rawValue: start), count: count))
        }
        #expect(places(400, 4) == 1 && places(401, 4) == 0 && places(401, 7) == 1)
        #expect(places(401, 2) == 0 && places(400, 11) == 2)
        #expect(geometry.canHoldNode(at: BlockNumber(rawValue: 288)))
        #expect(!geometry.canHoldNode(at: BlockNumber(rawValue: 290)))
        #expect(!geometry.canHoldNode(at: BlockNumber(rawValue: 16368)))
        #expect(!geometry.canHoldNode(at: BlockNumber(rawValue: .max - 3)))
    }

    @Test func geometryRefusesWhatTheFormatDoesNotHave() {
        func make(
            _ total: UInt64, _ block: UInt32, _ node: UInt32, _ region: UInt32,
            _ start: UInt64, _ log: UInt64
        ) -> VolumeGeometry? {
            try? VolumeGeometry(
                blockSize: block, nodeSize: node, totalBlocks: total, regionBlocks: region,
                logStart: BlockNumber(rawValue: start), logBlocks: log)
        }
        #expect(make(1024, 4096, 4096, 64, 32, 16) != nil)
        #expect(make(1023, 4096, 4096, 64, 32, 16) == nil)
        #expect(make(1008, 4096, 4096, 64, 32, 16) == nil)
        #expect(make(1024, 4095, 4096, 64, 32, 16) == nil)
        #expect(make(1024, 8192, 4096, 64, 32, 16) == nil)
        #expect(make(1024, 4096, 4096, 96, 32, 16) == nil)
        #expect(make(1024, 4096, 4096, 64, 31, 16) == nil)
        #expect(make(1024, 4096, 4096, 64, 32, 960) == nil)
        #expect(make(1 << 49, 4096, 4096, 64, 32, 16) == nil)
        #expect(make(1024, 4096, 4096, 64, .max, .max) == nil)
    }
}
