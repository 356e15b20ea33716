// DataPiece: a range of a file's data as it is to stand on the device, and the blocks for it.
//
// Values, of one placement.

import CairnIO

struct DataPiece {
    enum Content {
        /// As it is, from pages or a buffer, with a checksum for each block, or none.
        case plain([BlockSegment], checksums: [UInt32])
        /// Compressed; `bytes` goes on with zeros to the end of its last block.
        case packed(Packed)
    }

    struct Packed {
        var bytes: UnsafeRawBufferPointer
        var stored: UInt32
        var checksum: UInt32?
        /// The same as it is, for where no blocks lie together.
        var plain: [BlockSegment]
        var method: Compression
    }

    /// Where its blocks come from.
    enum Place: Equatable {
        /// They are to be allocated.
        case new
        /// They were allocated for it.
        case allocated(BlockNumber)
        /// They were reserved for this range (form 2) and are used now.
        case reserved(BlockNumber)
        /// They have been this range's, and are overwritten; its record stays.
        case inPlace(BlockNumber)
    }

    /// Bytes of the file; keeps to blocks.
    var range: Range<UInt64>
    var content: Content
    var place = Place.new

    /// Blocks that it takes.
    func blocks(of blockSize: UInt32) -> Int {
        switch content {
        case .plain: range.count / Int(blockSize)
        case .packed(let packed): packed.bytes.count / Int(blockSize)
        }
    }

    var isPacked: Bool {
        if case .packed = content { return true }
        return false
    }

    var isInPlace: Bool {
        if case .inPlace = place { return true }
        return false
    }

    /// As it is, without compression.
    func unpacked(checksums: [UInt32]) -> DataPiece {
        guard case .packed(let packed) = content else { return self }
        return DataPiece(range: range, content: .plain(packed.plain, checksums: checksums))
    }

    /// The first bytes, a multiple of the block size, and what follows them.
    func split(at bytes: Int, blockSize: UInt32) -> (DataPiece, DataPiece) {
        guard case .plain(let segments, let checksums) = content else {
            preconditionFailure("a compressed piece stays whole")
        }
        let (first, second) = segments.split(at: bytes)
        let blocks = bytes / Int(blockSize)
        let middle = range.lowerBound + UInt64(bytes)
        let left = DataPiece(
            range: range.lowerBound..<middle,
            content: .plain(first, checksums: Array(checksums.prefix(blocks))), place: place)
        var right = DataPiece(
            range: middle..<range.upperBound,
            content: .plain(second, checksums: Array(checksums.dropFirst(blocks))), place: place)
        switch place {
        case .new: break
        case .allocated(let start):
            right.place = .allocated(BlockNumber(rawValue: start.rawValue + UInt64(blocks)))
        case .reserved(let start):
            right.place = .reserved(BlockNumber(rawValue: start.rawValue + UInt64(blocks)))
        case .inPlace(let start):
            right.place = .inPlace(BlockNumber(rawValue: start.rawValue + UInt64(blocks)))
        }
        return (left, right)
    }

    /// Its first block; nil: none yet.
    var start: BlockNumber? {
        switch place {
        case .new: nil
        case .allocated(let block), .reserved(let block), .inPlace(let block): block
        }
    }

    /// What is written.
    var segments: [BlockSegment] {
        switch content {
        case .plain(let segments, _): segments
        case .packed(let packed): [BlockSegment(packed.bytes)]
        }
    }
}

extension Array where Element == BlockSegment {
    func split(at bytes: Int) -> ([BlockSegment], [BlockSegment]) {
        var first: [BlockSegment] = []
        var second: [BlockSegment] = []
        var left = bytes
        for segment in self {
            if left >= segment.count {
                first.append(segment)
                left -= segment.count
            } else if left > 0 {
                first.append(BlockSegment(address: segment.address, count: left))
                second.append(
                    BlockSegment(
                        address: segment.address.map { $0 + left }, count: segment.count - left))
                left = 0
            } else {
                second.append(segment)
            }
        }
        return (first, second)
    }

    func part(_ range: Range<Int>) -> [BlockSegment] {
        split(at: range.upperBound).0.split(at: range.lowerBound).1
    }

    /// Copies all bytes, one segment after the other.
    func copyBytes(to target: UnsafeMutableRawBufferPointer) {
        var offset = 0
        for segment in self {
            UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + segment.count])
                .copyMemory(from: UnsafeRawBufferPointer(segment.memory))
            offset += segment.count
        }
    }
}
