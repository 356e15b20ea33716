// Entries and records of the log (docs/format.md §8).

import CairnTestPace
import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct LogEntryTests {
    static func withBytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Void) {
        Array(text.utf8).withUnsafeBytes(body)
    }

    /// A batch with one record of each kind.
    static func batch() -> EditBatch {
        var batch = EditBatch(capacity: 64)
        withBytes("name") { name in
            withBytes("a value") { value in
                batch.put(object: 0x130, number: 9, tail: name, value: value)
                batch.remove(object: 0x131, number: 8, tail: name)
                batch.use(BlockRun(start: BlockNumber(rawValue: 500), count: 3))
                batch.free(BlockRun(start: BlockNumber(rawValue: 600), count: 4))
                batch.write(inode: 20, offset: 4096, bytes: value)
                batch.giveOut(inodesBelow: 21)
            }
        }
        return batch
    }

    // D12
    @Test func recordsStandAsTheFormatSays() {
        let batch = LogEntryTests.batch()
        #expect(batch.records == 6 && batch.itemEdits == 2)
        #expect(batch.usedBlocks == 3 && batch.freedBlocks == 4)
        let bytes = Array(batch.bytes[..<batch.count])
        #expect(bytes.count == 40 + 32 + 24 + 24 + 32 + 24)
        #expect(
            Array(bytes[..<24]) == [
                1, 0, 4, 0, 7, 0, 0, 0, 0x30, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
            ])
        #expect(Array(bytes[24..<40]) == Array("namea value\0\0\0\0\0".utf8))
        #expect(bytes[40] == 2 && bytes[72] == 3 && bytes[96] == 4)
        #expect(bytes[120] == 5 && bytes[152] == 6)
    }

    @Test func recordsReadBackAsTheyWereWritten() throws {
        let batch = LogEntryTests.batch()
        var rest = UnsafeRawBufferPointer(rebasing: batch.bytes[..<batch.count])
        var kinds: [LogRecord.Kind] = []
        while !rest.isEmpty {
            let (record, length) = try LogRecord.decode(rest)
            try record.check(try SpaceRecordTests.geometry(), largestItem: 4000)
            kinds.append(record.kind)
            rest = UnsafeRawBufferPointer(rebasing: rest[length...])
        }
        #expect(kinds == LogRecord.Kind.allCases)
        var trusted: [LogRecord.Kind] = []
        batch.forEachRecord { trusted.append($0.kind) }
        #expect(trusted == kinds)
    }

    // T4
    @Test func recordsOfAnyBytesAreRefusedOrWithinTheirBounds() throws {
        let geometry = try SpaceRecordTests.geometry()
        var random = SeededRandom(seed: 3)
        for _ in 0..<rounds(10_000) {
            var bytes = [UInt8](repeating: 0, count: 8 * (1 + random.number(below: 12)))
            for index in bytes.indices where random.oneIn(6) {
                bytes[index] = UInt8(
                    truncatingIfNeeded: random.next() >> UInt64(random.number(below: 8)))
            }
            if random.oneIn(2) { bytes[0] = UInt8(1 + random.number(below: 6)) }
            bytes.withUnsafeBytes { bytes in
                guard let (record, length) = try? LogRecord.decode(bytes) else { return }
                #expect(length <= bytes.count && length % 8 == 0)
                #expect(24 + record.tail.count + record.value.count <= length)
                try? record.check(geometry, largestItem: 100)
            }
        }
    }

    // D9, T4
    @Test func everyFlippedBitOfAnEntryIsNoticed() throws {
        let batch = LogEntryTests.batch()
        let header = LogEntryHeader(
            sequence: 77, group: TransactionGroup(rawValue: 5), position: 3,
            recordBytes: UInt32(batch.count), records: 6, previous: 0x1234_5678)
        var entry = [UInt8](repeating: 0, count: 4096)
        let checksum = entry.withUnsafeMutableBytes { entry in
            UnsafeMutableRawBufferPointer(rebasing: entry[64..<(64 + batch.count)]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: batch.bytes[..<batch.count]))
            return header.seal(entry, seed: 99)
        }
        #expect(Array(entry[0..<4]) == [0x31, 0x4C, 0x46, 0x4D])
        #expect(entry[8] == 77 && entry[16] == 5 && entry[24] == 3 && entry[36] == 6)
        var expected = header
        expected.checksum = checksum
        func isGood() -> Bool {
            entry.withUnsafeBytes { entry in
                guard let found = try? LogEntryHeader(decoding: entry), found == expected else {
                    return false
                }
                return found.checksum
                    == LogEntryHeader.checksum(of: entry, recordBytes: found.recordBytes, seed: 99)
            }
        }
        #expect(isGood())
        #expect(header.blocks(of: 4096) == 1)
        for bit in 0..<((64 + batch.count) * 8) {
            entry[bit / 8] ^= 1 << (bit % 8)
            #expect(!isGood(), "bit \(bit)")
            entry[bit / 8] ^= 1 << (bit % 8)
        }
    }
}
