// What ImageSurgeon does to the log (docs/format.md §8): entries and records say anything, and each
// entry continues the one before.

import CairnBase

@testable import CairnDisk

/// An entry of the log.
struct EntryPlace {
    /// Bytes of the device, and of the blocks that it occupies.
    let offset: Int
    let length: Int
    let header: LogEntryHeader
    /// Where its records stand in it.
    let records: [Range<Int>]
}

extension ImageSurgeon {
    /// Those that a mount would carry out.
    func entries() -> [EntryPlace] {
        let geometry = superblock.geometry
        var found: [EntryPlace] = []
        var places = [superblock.logPosition]
        while let place = places.popLast() {
            let sequence = superblock.logSequence &+ UInt64(found.count)
            guard place < geometry.logBlocks, let entry = entry(at: place),
                entry.header.sequence == sequence, entry.header.group > superblock.group
            else { continue }
            found.append(entry)
            // The next one, or that at the log's start if it did not fit.
            places = [0, place + entry.header.blocks(of: geometry.blockSize)]
        }
        return found
    }

    private func bytes(of entry: EntryPlace) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            rebasing: device.contents[entry.offset..<entry.offset + entry.length])
    }

    private func entry(at place: UInt64) -> EntryPlace? {
        let geometry = superblock.geometry
        let start = BlockNumber(rawValue: geometry.logStart.rawValue + place)
        let offset = Int(geometry.offset(of: start))
        let end = Int(geometry.offset(of: geometry.firstBlock))
        let bytes = UnsafeRawBufferPointer(rebasing: device.contents[offset..<end])
        guard let header = try? LogEntryHeader(decoding: bytes) else { return nil }
        let length = Int(header.blocks(of: geometry.blockSize)) * Int(geometry.blockSize)
        let recordsEnd = LogEntryHeader.length + Int(header.recordBytes)
        guard length <= bytes.count,
            LogEntryHeader.checksum(
                of: bytes, recordBytes: header.recordBytes, seed: superblock.uuid.seed)
                == header.checksum
        else { return nil }
        var records: [Range<Int>] = []
        var record = LogEntryHeader.length
        while record < recordsEnd,
            let (_, count) = try? LogRecord.decode(bytes.part(record..<recordsEnd))
        {
            records.append(record..<record + count)
            record += count
        }
        return EntryPlace(offset: offset, length: length, header: header, records: records)
    }

    func changeLog() {
        let index = random.number(below: log.count)
        let bytes = bytes(of: log[index])
        if !random.oneIn(8), let record = pick(log[index].records) {
            let start = record.lowerBound
            switch random.number(below: 8) {
            case 0:
                // Another record in its place.
                let source = log[random.number(below: log.count)]
                guard let other = pick(source.records) else { break }
                let copied = Array(self.bytes(of: source)[other].prefix(record.count))
                bytes[start..<start + copied.count].copyBytes(from: copied)
            case 1: bytes[start] = UInt8(1 + random.number(below: 6))
            case 2..<5: put(in: bytes, start + 8..<start + 24)
            case 5 where record.count > 24: put(in: bytes, start + 24..<record.upperBound)
            default: put(in: bytes, record)
            }
        } else {
            put(in: bytes, 8..<44)
        }
        resealLog(from: index)
    }

    private func resealLog(from index: Int) {
        var previous: UInt32?
        for entry in log[index...] {
            let bytes = bytes(of: entry)
            if let previous { bytes.put(previous, at: 40) }
            let recordBytes = UnsafeRawBufferPointer(bytes).number(UInt32.self, at: 32)
            guard LogEntryHeader.length + Int(recordBytes) <= bytes.count else { return }
            let checksum = LogEntryHeader.checksum(
                of: UnsafeRawBufferPointer(bytes), recordBytes: recordBytes,
                seed: superblock.uuid.seed)
            bytes.put(checksum, at: 4)
            previous = checksum
        }
    }
}
