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
    mutating func vacate(
        _ range: Range<UInt64>, of inode: UInt64, _ extents: [FileExtent], _ layout: DataLayout,
        keeping: [Range<UInt64>] = []
    ) -> Vacated {
        vacate([range], of: inode, extents, layout, keeping: keeping)
    }

    /// The same for several ranges, in order, that do not overlap. An extent that several of them cut
    /// must be cut once: a second cut would not know of the first.
    /// `keeping`: ranges whose reserved blocks get data now, so that they are not freed.
    mutating func vacate(
        _ ranges: [Range<UInt64>], of inode: UInt64, _ extents: [FileExtent], _ layout: DataLayout,
        keeping: [Range<UInt64>] = []
    ) -> Vacated {
        var vacated = Vacated()
        for extent in extents {
            let left = extent.range.without(ranges)
            guard left != [extent.range] else { continue }
            keep(left, of: extent, inode, layout)
            let gone = left.isEmpty ? [extent.range] : extent.range.without(left)
            switch extent.record.form {
            case .inline:
                break
            case .stored where extent.record.compression != .none:
                guard left.isEmpty else { continue }
                let run = extent.record.run(of: layout.blockSize)
                free(run)
                vacated.blocks += run.count
            case .stored:
                for part in gone { free(part, of: extent, layout, &vacated) }
            case .reserved:
                for part in gone.flatMap({ $0.without(keeping) }) {
                    free(part, of: extent, layout, &vacated)
                }
            }
        }
        return vacated
    }

    /// The parts of an extent that stay get records of their own; its own goes if none of them begins
    /// where it did.
    private mutating func keep(
        _ left: [Range<UInt64>], of extent: FileExtent, _ inode: UInt64, _ layout: DataLayout
    ) {
        let object = RecordKind.extent.object(of: inode)
        precondition(
            left.count < 2 || extent.record.compression == .none,
            "a compressed extent in two parts")
        if left.first?.lowerBound != extent.offset {
            remove(object: object, number: extent.offset, tail: .empty)
        }
        for part in left {
            let blockSize = layout.blockSize
            var kept = extent
            if part.upperBound < extent.end {
                kept = kept.prefix(UInt32(part.upperBound - extent.offset), blockSize: blockSize)
            }
            if part.lowerBound > extent.offset {
                kept = kept.droppingFirst(
                    UInt32(part.lowerBound - extent.offset), blockSize: blockSize)
            }
            put(kept, object)
        }
    }

    private mutating func free(
        _ part: Range<UInt64>, of extent: FileExtent, _ layout: DataLayout, _ vacated: inout Vacated
    ) {
        let blockSize = UInt64(layout.blockSize)
        let first = (part.lowerBound - extent.offset) / blockSize
        let run = BlockRun(
            start: BlockNumber(rawValue: extent.record.address.rawValue + first),
            count: UInt64(part.count) / blockSize)
        free(run)
        vacated.blocks += run.count
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
