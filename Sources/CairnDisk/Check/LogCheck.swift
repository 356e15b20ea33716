// LogCheck: what was synced after the last commit (docs/format.md §8), read without carrying it out.
//
// Its changes of items go over the tree as edits, so that a check sees what a mount would make of the
// image. The entry at which it ends was never acknowledged, so an end is no damage.
//
// Threading: one thread at a time.

import CairnBase
import CairnIO

struct LogCheck {
    /// Entries that a mount would replay.
    private(set) var entries: UInt64 = 0
    /// Writes of data that they hold, by file.
    private(set) var writes: [UInt64: Int] = [:]
    /// Blocks that came into use, or were freed, in their order.
    private(set) var blocks: [(run: BlockRun, isUsed: Bool)] = []
    private(set) var nextInode: UInt64 = 0
    private(set) var latestGroup = TransactionGroup(rawValue: 0)

    private let superblock: Superblock
    private let device: any BlockDevice
    private var geometry: VolumeGeometry { superblock.geometry }

    /// Reads the log; its items go to `edits`. `hear` is told of each entry, with its records.
    init(
        of superblock: Superblock, on device: any BlockDevice, into edits: inout RecordEdits,
        hear: ((LogEntryHeader, [LogRecord]) -> Void)? = nil
    ) throws(CheckFailure) {
        self.superblock = superblock
        self.device = device
        var position = superblock.logPosition
        var sequence = superblock.logSequence
        var previous: UInt32?
        while true {
            var entry = try read(at: position, sequence, after: previous)
            if entry == nil, position != 0 {
                // One that does not fit before the end starts at block 0.
                position = 0
                entry = try read(at: 0, sequence, after: previous)
            }
            guard let (header, buffer) = entry else { return }
            // Records are checked before any of them counts.
            guard let records = decode(header, buffer) else { return }
            for record in records { take(record, into: &edits) }
            hear?(header, records)
            entries += 1
            latestGroup = max(latestGroup, header.group)
            previous = header.checksum
            sequence += 1
            position += header.blocks(of: geometry.blockSize)
        }
    }

    private func read(
        at position: UInt64, _ sequence: UInt64, after previous: UInt32?
    ) throws(CheckFailure) -> (LogEntryHeader, AlignedBuffer)? {
        guard position < geometry.logBlocks else { return nil }
        let room = (geometry.logBlocks - position) * UInt64(geometry.blockSize)
        let place = geometry.offset(
            of: BlockNumber(rawValue: geometry.logStart.rawValue + position))
        do throws(Errno) {
            let first = try AlignedBuffer(count: Int(geometry.blockSize))
            try device.read(into: first.memory, at: place)
            let bytes = UnsafeRawBufferPointer(rebasing: first.bytes[..<LogEntryHeader.length])
            guard let header = try? LogEntryHeader(decoding: bytes), header.sequence == sequence,
                header.position == position, header.group > superblock.group,
                header.recordBytes <= LogEntryHeader.maximumRecordBytes,
                UInt64(LogEntryHeader.length) + UInt64(header.recordBytes) <= room,
                previous == nil || header.previous == previous
            else { return nil }
            let count = header.blocks(of: geometry.blockSize) * UInt64(geometry.blockSize)
            let whole = try AlignedBuffer(count: Int(count))
            try device.read(into: whole.memory, at: place)
            let found = LogEntryHeader.checksum(
                of: whole.bytes, recordBytes: header.recordBytes, seed: superblock.uuid.seed)
            return found == header.checksum ? (header, whole) : nil
        } catch {
            throw CheckFailure(reading: "the log at block \(position)", error)
        }
    }

    private func decode(_ header: LogEntryHeader, _ buffer: AlignedBuffer) -> [LogRecord]? {
        let end = LogEntryHeader.length + Int(header.recordBytes)
        var rest = UnsafeRawBufferPointer(rebasing: buffer.bytes[LogEntryHeader.length..<end])
        var records: [LogRecord] = []
        let largest = (Int(geometry.nodeSize) - 32) / 4
        for _ in 0..<header.records {
            guard let (record, length) = try? LogRecord.decode(rest),
                (try? record.check(geometry, largestItem: largest)) != nil
            else { return nil }
            records.append(record)
            rest = UnsafeRawBufferPointer(rebasing: rest[length...])
        }
        return rest.isEmpty ? records : nil
    }

    private mutating func take(_ record: LogRecord, into edits: inout RecordEdits) {
        let key = { OwnedKey(record.first, record.second, Array(record.tail)) }
        switch record.kind {
        case .put: edits.put(key(), Array(record.value))
        case .remove: edits.remove(key())
        case .used, .freed:
            let run = BlockRun(start: BlockNumber(rawValue: record.first), count: record.second)
            blocks.append((run, record.kind == .used))
        case .write: writes[record.first, default: 0] += record.value.count
        case .inodes: nextInode = max(nextInode, record.first)
        }
    }
}
