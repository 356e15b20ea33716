// LogEntry and LogRecord: what was synced since the last commit (docs/format.md §8).
//
// Values over bytes. An entry's header is checked before a byte of its records is looked at, and
// its records before any of them is carried out.
//
//     entry:   0 magic  4 checksum  8 sequence  16 group  24 position  32 length  36 records
//              40 previous  44 reserved  64 records …, zeros to the end of the block
//     record:  0 type  1 reserved  2 tail  4 value  8 first  16 second  24 tail, value, zeros to 8

import CairnBase

struct LogEntryHeader: Hashable, Sendable {
    static let magic: UInt32 = 0x4D46_4C31
    static let length = 64
    /// An entry's records have at most so many bytes.
    static let maximumRecordBytes: UInt32 = 4 << 20

    var sequence: UInt64
    var group: TransactionGroup
    /// Block within the log where it stands.
    var position: UInt64
    /// Bytes of the records.
    var recordBytes: UInt32
    var records: UInt32
    /// Checksum of the entry before, if nothing came between; else 0.
    var previous: UInt32
    /// Of header and records; set when decoded, and given by `seal`.
    var checksum: UInt32 = 0

    /// Blocks that the entry occupies.
    func blocks(of blockSize: UInt32) -> UInt64 {
        (UInt64(LogEntryHeader.length) + UInt64(recordBytes) + UInt64(blockSize) - 1)
            / UInt64(blockSize)
    }

    /// Checks the first 64 bytes of an entry, all but the checksum.
    init(decoding bytes: UnsafeRawBufferPointer) throws(RecordDamage) {
        guard bytes.number(UInt32.self, at: 0) == LogEntryHeader.magic else {
            throw RecordDamage("no entry")
        }
        checksum = bytes.number(UInt32.self, at: 4)
        sequence = bytes.number(UInt64.self, at: 8)
        group = TransactionGroup(rawValue: bytes.number(UInt64.self, at: 16))
        position = bytes.number(UInt64.self, at: 24)
        recordBytes = bytes.number(UInt32.self, at: 32)
        records = bytes.number(UInt32.self, at: 36)
        previous = bytes.number(UInt32.self, at: 40)
        guard bytes.part(44..<LogEntryHeader.length).isZero else {
            throw RecordDamage("reserved bytes of an entry")
        }
        guard recordBytes % 8 == 0, UInt64(records) * UInt64(LogRecord.headLength) <= recordBytes
        else {
            throw RecordDamage("\(records) records in \(recordBytes) bytes")
        }
        guard group.rawValue < .max / 2 else { throw RecordDamage("group \(group.rawValue)") }
    }

    init(
        sequence: UInt64, group: TransactionGroup, position: UInt64, recordBytes: UInt32,
        records: UInt32, previous: UInt32
    ) {
        self.sequence = sequence
        self.group = group
        self.position = position
        self.recordBytes = recordBytes
        self.records = records
        self.previous = previous
    }

    /// Puts the header before the records, which stand in place, and gives the checksum.
    func seal(_ entry: UnsafeMutableRawBufferPointer, seed: UInt32) -> UInt32 {
        precondition(
            entry.count >= LogEntryHeader.length + Int(recordBytes), "the length of a log entry")
        for index in 0..<LogEntryHeader.length { entry[index] = 0 }
        entry.put(LogEntryHeader.magic, at: 0)
        entry.put(sequence, at: 8)
        entry.put(group.rawValue, at: 16)
        entry.put(position, at: 24)
        entry.put(recordBytes, at: 32)
        entry.put(records, at: 36)
        entry.put(previous, at: 40)
        let whole = UnsafeRawBufferPointer(entry)
        let checksum = LogEntryHeader.checksum(of: whole, recordBytes: recordBytes, seed: seed)
        entry.put(checksum, at: 4)
        return checksum
    }

    /// Of header and records, with the checksum itself as zero.
    static func checksum(
        of entry: UnsafeRawBufferPointer, recordBytes: UInt32, seed: UInt32
    ) -> UInt32 {
        let end = length + Int(recordBytes)
        let before = CRC32C.checksum(
            UnsafeRawBufferPointer(rebasing: entry[..<4]), continuing: seed)
        let zero = withUnsafeBytes(of: UInt32(0)) { CRC32C.checksum($0, continuing: before) }
        return CRC32C.checksum(UnsafeRawBufferPointer(rebasing: entry[8..<end]), continuing: zero)
    }
}

/// One record, pointing into the bytes that it was decoded from.
struct LogRecord {
    static let headLength = 24

    enum Kind: UInt8, Sendable, CaseIterable {
        /// Enter or replace an item of the main tree.
        case put = 1
        /// Remove an item of the main tree.
        case remove = 2
        /// These blocks are in use.
        case used = 3
        /// These blocks are free, after the next commit.
        case freed = 4
        /// Write to a file's data.
        case write = 5
        /// Inode numbers below were given out.
        case inodes = 6
    }

    var kind: Kind
    var first: UInt64
    var second: UInt64
    var tail: UnsafeRawBufferPointer
    var value: UnsafeRawBufferPointer

    /// Bytes that it occupies.
    static func length(tail: Int, value: Int) -> Int { (headLength + tail + value + 7) & ~7 }

    /// Decodes the record at the start of `bytes`. Gives also how many bytes it occupies.
    static func decode(
        _ bytes: UnsafeRawBufferPointer
    ) throws(RecordDamage) -> (record: LogRecord, length: Int) {
        guard bytes.count >= headLength else { throw RecordDamage("a record cut short") }
        guard let kind = Kind(rawValue: bytes[0]), bytes[1] == 0 else {
            throw RecordDamage("a record of type \(bytes[0])")
        }
        let tail = Int(bytes.number(UInt16.self, at: 2))
        let value = Int(bytes.number(UInt32.self, at: 4))
        let end = headLength + tail + value
        let length = length(tail: tail, value: value)
        guard length <= bytes.count, bytes.part(end..<length).isZero else {
            throw RecordDamage("a record of \(length) bytes")
        }
        let hasTail = kind == .put || kind == .remove
        let hasValue = kind == .put || kind == .write
        guard tail == 0 || hasTail, value == 0 || hasValue else {
            throw RecordDamage("a record of type \(kind.rawValue) with more than it takes")
        }
        let middle = headLength + tail
        let record = LogRecord(
            kind: kind, first: bytes.number(UInt64.self, at: 8),
            second: bytes.number(UInt64.self, at: 16),
            tail: UnsafeRawBufferPointer(rebasing: bytes[headLength..<middle]),
            value: UnsafeRawBufferPointer(rebasing: bytes[middle..<end]))
        return (record, length)
    }

    /// The record at the start of bytes that `encode` made, and how many bytes it occupies.
    static func first(ofTrusted bytes: UnsafeRawBufferPointer) -> (LogRecord, length: Int) {
        guard let kind = Kind(rawValue: bytes[0]) else { preconditionFailure("a log record") }
        let middle = headLength + Int(bytes.number(UInt16.self, at: 2))
        let end = middle + Int(bytes.number(UInt32.self, at: 4))
        let record = LogRecord(
            kind: kind, first: bytes.number(UInt64.self, at: 8),
            second: bytes.number(UInt64.self, at: 16),
            tail: UnsafeRawBufferPointer(rebasing: bytes[headLength..<middle]),
            value: UnsafeRawBufferPointer(rebasing: bytes[middle..<end]))
        return (record, (end + 7) & ~7)
    }

    /// Checks what the numbers of a record say against the filesystem that it is for.
    func check(
        _ geometry: VolumeGeometry, largestItem: Int
    ) throws(RecordDamage) {
        switch kind {
        case .put:
            guard 24 + tail.count + value.count <= largestItem else {
                throw RecordDamage("an item of \(24 + tail.count + value.count) bytes in the log")
            }
        case .remove:
            guard 24 + tail.count <= largestItem else {
                throw RecordDamage("a key of \(24 + tail.count) bytes in the log")
            }
        case .used, .freed:
            let run = BlockRun(start: BlockNumber(rawValue: first), count: second)
            guard geometry.contains(run) else {
                throw RecordDamage("\(second) blocks at block \(first) in the log")
            }
        case .write:
            let (end, overflows) = second.addingReportingOverflow(UInt64(value.count))
            guard !overflows, end <= UInt64(Int64.max), !value.isEmpty, first > 0,
                first < Superblock.endOfInodes
            else { throw RecordDamage("a write to inode \(first) at \(second) in the log") }
        case .inodes:
            guard first <= Superblock.endOfInodes, second == 0 else {
                throw RecordDamage("inode numbers below \(first) in the log")
            }
        }
    }

    /// Writes the record at the start of `bytes`, which has room for it.
    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        let length = LogRecord.length(tail: tail.count, value: value.count)
        precondition(bytes.count >= length, "the length of a log record")
        bytes.put(UInt64(0), at: length - 8)
        bytes[0] = kind.rawValue
        bytes[1] = 0
        bytes.put(UInt16(tail.count), at: 2)
        bytes.put(UInt32(value.count), at: 4)
        bytes.put(first, at: 8)
        bytes.put(second, at: 16)
        var place = LogRecord.headLength
        for part in [tail, value] where !part.isEmpty {
            UnsafeMutableRawBufferPointer(rebasing: bytes[place..<(place + part.count)])
                .copyMemory(from: part)
            place += part.count
        }
    }
}
