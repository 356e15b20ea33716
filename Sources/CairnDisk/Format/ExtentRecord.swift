// ExtentRecord: where a range of a file's data stands (docs/format.md §5.3).
//
// Values. Decoding checks every byte of a record against the format's limits and against the key
// it stands under, so that what follows needs no further checks of arithmetic: no sum of its
// fields overflows, and its blocks lie on the device. Whether others use these blocks too, only
// fsck can say.
//
//     0 form  1 compression  2 checksums  3 flags  4 length
//     form 0:  8 data
//     else:    8 address  16 birth  24 stored  28 whole  32 skip  36 checksums ×n

struct ExtentRecord: Hashable, Sendable {
    enum Form: UInt8, Sendable {
        case inline = 0
        case stored = 1
        case reserved = 2
    }

    static let headLength = 8
    static let storedHeadLength = 36
    /// With checksums or compression; else `maximumPlainLength`.
    static let maximumLength: UInt32 = 1 << 20
    static let maximumPlainLength: UInt32 = 1 << 30
    /// What is compressed as one.
    static let maximumWhole: UInt32 = 131_072
    /// Data of form 0 in a file ends here at the latest.
    static let inlineEnd: UInt32 = 4096

    var form: Form
    var compression: Compression = .none
    var hasChecksums = false
    /// Bytes of the file that it covers.
    var length: UInt32
    var address = BlockNumber(rawValue: 0)
    var birth = TransactionGroup(rawValue: 0)
    /// Bytes on the device.
    var stored: UInt32 = 0
    /// Bytes after decompression.
    var whole: UInt32 = 0
    /// Bytes at the start of the whole that are not part of this extent.
    var skip: UInt32 = 0

    /// What a record is checked against.
    struct Limits: Sendable {
        /// Bytes.
        var blockSize: UInt32
        /// Where data may stand, as numbers of blocks.
        var places: Range<UInt64>

        init(blockSize: UInt32, places: Range<UInt64>) {
            self.blockSize = blockSize
            self.places = places
        }

        init(blockSize: UInt32, totalBlocks: UInt64) {
            self.init(blockSize: blockSize, places: 0..<totalBlocks)
        }
    }

    // MARK: Making

    init(inlineLength length: UInt32) {
        form = .inline
        self.length = length
    }

    /// Form 1 without compression, or form 2.
    init(
        _ form: Form, length: UInt32, at address: BlockNumber, birth: TransactionGroup,
        hasChecksums: Bool = false
    ) {
        self.form = form
        self.length = length
        self.address = address
        self.birth = birth
        self.hasChecksums = hasChecksums
        stored = length
        whole = length
    }

    /// Form 1 with compression.
    init(
        _ compression: Compression, whole: UInt32, stored: UInt32, at address: BlockNumber,
        birth: TransactionGroup, hasChecksums: Bool
    ) {
        form = .stored
        self.compression = compression
        self.hasChecksums = hasChecksums
        length = whole
        self.address = address
        self.birth = birth
        self.stored = stored
        self.whole = whole
    }

    // MARK: Questions

    func blocks(of blockSize: UInt32) -> UInt64 {
        form == .inline ? 0 : (UInt64(stored) + UInt64(blockSize) - 1) / UInt64(blockSize)
    }

    func run(of blockSize: UInt32) -> BlockRun {
        BlockRun(start: address, count: blocks(of: blockSize))
    }

    /// How many checksums follow.
    func checksumCount(of blockSize: UInt32) -> Int {
        guard form == .stored, hasChecksums else { return 0 }
        return compression == .none ? Int(length / blockSize) : 1
    }

    // MARK: Decoding

    /// Checks the value of the item that stands at `offset` in the file.
    init(
        decoding bytes: UnsafeRawBufferPointer, at offset: UInt64, _ limits: Limits
    ) throws(RecordDamage) {
        guard bytes.count >= ExtentRecord.headLength else {
            throw RecordDamage("an extent of \(bytes.count) bytes")
        }
        guard let form = Form(rawValue: bytes[0]) else {
            throw RecordDamage("an extent of form \(bytes[0])")
        }
        guard let compression = Compression(rawValue: bytes[1]) else {
            throw RecordDamage("an extent of compression \(bytes[1])")
        }
        guard bytes[2] <= 1, bytes[3] == 0 else {
            throw RecordDamage("checksums \(bytes[2]) or flags \(bytes[3]) of an extent")
        }
        guard form == .stored || (compression == .none && bytes[2] == 0) else {
            throw RecordDamage("compression or checksums of what is not stored")
        }
        self.form = form
        self.compression = compression
        hasChecksums = bytes[2] == 1
        length = bytes.number(UInt32.self, at: 4)
        let (end, overflows) = offset.addingReportingOverflow(UInt64(length))
        guard length > 0, !overflows, end <= 1 << 63 else {
            throw RecordDamage("an extent of length \(length)")
        }
        guard form != .inline else {
            guard bytes.count == ExtentRecord.headLength + Int(length) else {
                throw RecordDamage("inline data of another length than it says")
            }
            return
        }
        guard bytes.count >= ExtentRecord.storedHeadLength else {
            throw RecordDamage("an extent of \(bytes.count) bytes")
        }
        address = BlockNumber(rawValue: bytes.number(UInt64.self, at: 8))
        birth = TransactionGroup(rawValue: bytes.number(UInt64.self, at: 16))
        stored = bytes.number(UInt32.self, at: 24)
        whole = bytes.number(UInt32.self, at: 28)
        skip = bytes.number(UInt32.self, at: 32)
        try checkLengths(at: offset, limits)
        let count = checksumCount(of: limits.blockSize)
        guard bytes.count == ExtentRecord.storedHeadLength + 4 * count else {
            throw RecordDamage("an extent with another number of checksums than it has blocks")
        }
    }

    private func checkLengths(at offset: UInt64, _ limits: Limits) throws(RecordDamage) {
        let mask = limits.blockSize &- 1
        guard length & mask == 0, offset & UInt64(mask) == 0 else {
            throw RecordDamage("an extent that does not keep to blocks")
        }
        let isPlain = compression == .none && !hasChecksums
        let most = isPlain ? ExtentRecord.maximumPlainLength : ExtentRecord.maximumLength
        guard length <= most else { throw RecordDamage("an extent of length \(length)") }
        if compression == .none {
            guard stored == length, whole == length, skip == 0 else {
                throw RecordDamage("lengths of an extent without compression")
            }
        } else {
            guard whole <= ExtentRecord.maximumWhole, whole & mask == 0, skip & mask == 0,
                skip < whole, length <= whole - skip, stored > 0, stored <= whole
            else { throw RecordDamage("lengths of a compressed extent") }
        }
        let blocks = blocks(of: limits.blockSize)
        let (first, end) = (limits.places.lowerBound, limits.places.upperBound)
        guard address.rawValue < end, blocks <= end - address.rawValue else {
            throw RecordDamage("an extent beyond the device, at block \(address.rawValue)")
        }
        guard address.rawValue >= first else {
            throw RecordDamage("an extent in the log or before, at block \(address.rawValue)")
        }
    }

    // MARK: Encoding

    /// Bytes of a record with so many checksums, or with this data inline.
    func encodedLength(blockSize: UInt32) -> Int {
        form == .inline
            ? ExtentRecord.headLength + Int(length)
            : ExtentRecord.storedHeadLength + 4 * checksumCount(of: blockSize)
    }

    /// Writes what stands before the data, or before the checksums; gives its length.
    @discardableResult
    func encodeHead(into bytes: UnsafeMutableRawBufferPointer) -> Int {
        bytes[0] = form.rawValue
        bytes[1] = compression.rawValue
        bytes[2] = hasChecksums ? 1 : 0
        bytes[3] = 0
        bytes.put(length, at: 4)
        guard form != .inline else { return ExtentRecord.headLength }
        bytes.put(address.rawValue, at: 8)
        bytes.put(birth.rawValue, at: 16)
        bytes.put(stored, at: 24)
        bytes.put(whole, at: 28)
        bytes.put(skip, at: 32)
        return ExtentRecord.storedHeadLength
    }

    /// The whole record, with its checksums.
    func encoded(_ checksums: some Sequence<UInt32>, blockSize: UInt32) -> [UInt8] {
        [UInt8](recordOf: encodedLength(blockSize: blockSize)) { bytes in
            var offset = encodeHead(into: bytes)
            for checksum in checksums {
                bytes.put(checksum, at: offset)
                offset += 4
            }
            precondition(offset == bytes.count, "a checksum for each block")
        }
    }

    /// The whole record of form 0.
    static func encodedInline(_ data: UnsafeRawBufferPointer) -> [UInt8] {
        let record = ExtentRecord(inlineLength: UInt32(data.count))
        return [UInt8](recordOf: headLength + data.count) { bytes in
            record.encodeHead(into: bytes)
            UnsafeMutableRawBufferPointer(rebasing: bytes[headLength...]).copyMemory(from: data)
        }
    }
}
