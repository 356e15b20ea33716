// LogReader: reads the entries of a log from a position on (docs/format.md §8, §10).
//
// Each entry is checked whole before it is given: header, checksum, sequence, chain, and all records
// against the filesystem's limits. The first one that is not right ends the log: it was never
// acknowledged. An entry that does not fit before the log's end stands at block 0, so where none is
// found behind another one, block 0 is looked at too.
//
// Used by one task.

import CairnBase
import CairnIO

final class LogReader {
    private let device: any BlockDevice
    private let geometry: VolumeGeometry
    private let seed: UInt32
    private let largestItem: Int
    /// The group of the superblock: entries belong to later ones.
    private let base: TransactionGroup
    /// Where the next entry should be, and its number.
    private(set) var position: UInt64
    private(set) var sequence: UInt64
    private var previous: UInt32?
    /// Blocks of the entries that were read; more than the log has cannot be.
    private var blocksRead: UInt64 = 0

    init(_ device: any BlockDevice, _ superblock: Superblock) {
        self.device = device
        geometry = superblock.geometry
        seed = superblock.uuid.seed
        largestItem = Int(superblock.geometry.nodeSize - 32) / 4
        base = superblock.group
        position = superblock.logPosition
        sequence = superblock.logSequence
    }

    /// An entry that was read: its bytes and what its header says.
    struct Entry {
        let header: LogEntryHeader
        fileprivate let buffer: AlignedBuffer

        /// Calls `body` with each record, in order. They were checked.
        func forEachRecord<Failure>(
            _ body: (LogRecord) throws(Failure) -> Void
        ) throws(Failure) {
            var place = LogEntryHeader.length
            let end = place + Int(header.recordBytes)
            while place < end {
                let (record, length) = LogRecord.first(ofTrusted: buffer.bytes.part(place..<end))
                try body(record)
                place += length
            }
        }

        /// The records, one after the other, as long as the entry.
        var records: [LogRecord] {
            var list: [LogRecord] = []
            list.reserveCapacity(Int(header.records))
            forEachRecord { list.append($0) }
            return list
        }
    }

    /// The next entry; nil: the log ends here. Throws what the device says.
    nonisolated(nonsending) func next() async throws(Errno) -> Entry? {
        var places = [position]
        if position != 0 { places.append(0) }
        for place in places {
            guard let entry = try await entry(at: place) else { continue }
            let count = entry.header.blocks(of: geometry.blockSize)
            blocksRead += count
            guard blocksRead <= geometry.logBlocks else { return nil }
            position = place + count == geometry.logBlocks ? 0 : place + count
            sequence += 1
            previous = entry.header.checksum
            return entry
        }
        return nil
    }

    nonisolated(nonsending) private func entry(at place: UInt64) async throws(Errno) -> Entry? {
        let blockSize = Int(geometry.blockSize)
        let first = try AlignedBuffer(count: blockSize)
        let start = BlockNumber(rawValue: geometry.logStart.rawValue + place)
        try await device.read(into: first.memory, at: geometry.offset(of: start))
        guard let header = try? LogEntryHeader(decoding: first.bytes),
            header.sequence == sequence, header.position == place, header.group > base,
            header.recordBytes <= LogEntryHeader.maximumRecordBytes,
            previous == nil || header.previous == previous
        else { return nil }
        let blocks = header.blocks(of: geometry.blockSize)
        guard place + blocks <= geometry.logBlocks else { return nil }
        var whole = first
        if blocks > 1 {
            whole = try AlignedBuffer(count: Int(blocks) * blockSize)
            try await device.read(into: whole.memory, at: geometry.offset(of: start))
        }
        // What was read the second time is what is believed.
        guard (try? LogEntryHeader(decoding: whole.bytes)) == header,
            LogEntryHeader.checksum(of: whole.bytes, recordBytes: header.recordBytes, seed: seed)
                == header.checksum, areRecordsRight(whole.bytes, header)
        else { return nil }
        return Entry(header: header, buffer: whole)
    }

    private func areRecordsRight(_ bytes: UnsafeRawBufferPointer, _ header: LogEntryHeader) -> Bool
    {
        var place = LogEntryHeader.length
        let end = place + Int(header.recordBytes)
        guard bytes.part(end..<bytes.count).isZero else { return false }
        var count: UInt32 = 0
        while place < end {
            guard let (record, length) = try? LogRecord.decode(bytes.part(place..<end)),
                (try? record.check(geometry, largestItem: largestItem)) != nil
            else { return false }
            place += length
            count += 1
        }
        return count == header.records
    }
}
