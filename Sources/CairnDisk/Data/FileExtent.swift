// FileExtent: an extent of a file, and how extents are cut.
//
// A range that is taken out of a file (to be overwritten, punched, or cut off) is vacated: extents
// within it go, those at its edges are trimmed. One without compression can be cut anywhere. A
// compressed one keeps all its blocks as long as a part of it is left, and cannot be left with two
// parts (docs/format.md §5.3): who wants its middle must take the rest after it as well.

/// An extent that was copied out of the tree.
struct FileExtent: Sendable {
    var offset: UInt64
    var record: ExtentRecord
    /// What stands behind the head: checksums, or data of form 0.
    var payload: [UInt8]

    var end: UInt64 { offset + UInt64(record.length) }
    var range: Range<UInt64> { offset..<end }

    func checksum(_ index: Int) -> UInt32 {
        payload.withUnsafeBytes { $0.number(UInt32.self, at: 4 * index) }
    }

    /// The part of it that begins so many bytes after its start.
    func droppingFirst(_ bytes: UInt32, blockSize: UInt32) -> FileExtent {
        var result = self
        result.offset += UInt64(bytes)
        result.record.length -= bytes
        if record.compression != .none {
            result.record.skip += bytes
            return result
        }
        result.record.stored = result.record.length
        result.record.whole = result.record.length
        result.record.address.rawValue += UInt64(bytes / blockSize)
        if record.hasChecksums { result.payload.removeFirst(Int(bytes / blockSize) * 4) }
        return result
    }

    /// The part of it up to so many bytes after its start.
    func prefix(_ bytes: UInt32, blockSize: UInt32) -> FileExtent {
        var result = self
        result.record.length = bytes
        if record.compression != .none { return result }
        result.record.stored = bytes
        result.record.whole = bytes
        if record.hasChecksums {
            result.payload.removeLast(Int((record.length - bytes) / blockSize) * 4)
        }
        return result
    }

    var encoded: [UInt8] {
        [UInt8](recordOf: (record.form == .inline ? 8 : 36) + payload.count) { bytes in
            let head = record.encodeHead(into: bytes)
            UnsafeMutableRawBufferPointer(rebasing: bytes[head...]).copyBytes(from: payload)
        }
    }
}

/// What vacating a range does to a file's blocks.
struct Vacated {
    /// Blocks that its extents occupy less.
    var blocks: UInt64 = 0
}

extension EditBatch {
    /// Takes a range, which keeps to blocks, out of the extents, which are all that overlap it.
    /// `keeping`: ranges whose reserved blocks get data now, so that they are not freed.
    mutating func vacate(
        _ range: Range<UInt64>, of inode: UInt64, _ extents: [FileExtent], _ layout: DataLayout,
        keeping: [Range<UInt64>] = []
    ) -> Vacated {
        var vacated = Vacated()
        for extent in extents where extent.range.overlaps(range) {
            vacate(range, of: inode, extent, layout, keeping, &vacated)
        }
        return vacated
    }

    private mutating func vacate(
        _ range: Range<UInt64>, of inode: UInt64, _ extent: FileExtent, _ layout: DataLayout,
        _ keeping: [Range<UInt64>], _ vacated: inout Vacated
    ) {
        let blockSize = layout.blockSize
        let object = RecordKind.extent.object(of: inode)
        let head: UInt32 =
            extent.offset < range.lowerBound ? UInt32(range.lowerBound - extent.offset) : 0
        let tail: UInt32 = extent.end > range.upperBound ? UInt32(extent.end - range.upperBound) : 0
        if head > 0 {
            put(extent.prefix(head, blockSize: blockSize), object)
        } else {
            remove(object: object, number: extent.offset, tail: .empty)
        }
        if tail > 0 {
            precondition(
                head == 0 || extent.record.compression == .none, "a compressed extent in two parts")
            put(
                extent.droppingFirst(extent.record.length - tail, blockSize: blockSize), object)
        }
        switch extent.record.form {
        case .inline:
            return
        case .stored where extent.record.compression != .none:
            guard head == 0, tail == 0 else { return }
            let run = extent.record.run(of: blockSize)
            free(run)
            vacated.blocks += run.count
        case .stored, .reserved:
            let gone = extent.range.clamped(to: range)
            let parts = extent.record.form == .reserved ? gone.without(keeping) : [gone]
            for part in parts {
                let first = (part.lowerBound - extent.offset) / UInt64(blockSize)
                let run = BlockRun(
                    start: BlockNumber(rawValue: extent.record.address.rawValue + first),
                    count: UInt64(part.count) / UInt64(blockSize))
                free(run)
                vacated.blocks += run.count
            }
        }
    }

    mutating func put(_ extent: FileExtent, _ object: UInt64) {
        extent.encoded.withUnsafeBytes {
            put(object: object, number: extent.offset, tail: .empty, value: $0)
        }
    }
}

extension Range where Bound == UInt64 {
    /// What is left of it without these, which are in order and do not overlap.
    func without(_ others: [Range<UInt64>]) -> [Range<UInt64>] {
        var result: [Range<UInt64>] = []
        var start = lowerBound
        for other in others where other.overlaps(self) {
            if other.lowerBound > start { result.append(start..<other.lowerBound) }
            start = Swift.max(start, other.upperBound)
        }
        if start < upperBound { result.append(start..<upperBound) }
        return result
    }
}

extension UnsafeRawBufferPointer {
    /// No bytes: the tail of a key that has none.
    static var empty: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }
}
