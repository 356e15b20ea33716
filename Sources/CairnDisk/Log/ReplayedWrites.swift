// ReplayedWrites: bytes that the log holds of files' data, gathered while it is carried out again
// (docs/format.md §8, type 5).
//
// They are not placed at once, since what follows in the log may take their place: blocks that were
// chosen for the same bytes before the crash, a cut, the end of the file. When all of it was carried out,
// what is left is written to the files as a process would write it, and placed by the first commit.
//
// Invariant: the pieces of a file are in order, do not overlap, and do not touch.
//
// A value, as large as what the log holds at most. Used by one task.

import CairnBase

struct ReplayedWrites: Sendable {
    struct Piece: Sendable {
        var offset: UInt64
        var bytes: [UInt8]
        var end: UInt64 { offset + UInt64(bytes.count) }
    }

    private(set) var files: [UInt64: [Piece]] = [:]

    var isEmpty: Bool { files.isEmpty }

    /// A record of type 5. It was checked: it ends before 2⁶³.
    mutating func write(_ bytes: UnsafeRawBufferPointer, to inode: UInt64, at offset: UInt64) {
        let end = offset + UInt64(bytes.count)
        var pieces = files[inode] ?? []
        // The pieces that the new one touches become one with it.
        let first = pieces.firstIndex { $0.end >= offset } ?? pieces.count
        let next = pieces[first...].firstIndex { $0.offset > end } ?? pieces.count
        var joined = Piece(offset: offset, bytes: [])
        if first < next, pieces[first].offset < offset {
            joined.offset = pieces[first].offset
            joined.bytes = Array(pieces[first].bytes.prefix(Int(offset - joined.offset)))
        }
        joined.bytes += bytes
        if first < next, pieces[next - 1].end > end {
            joined.bytes += pieces[next - 1].bytes.suffix(Int(pieces[next - 1].end - end))
        }
        pieces.replaceSubrange(first..<next, with: [joined])
        files[inode] = pieces
    }

    /// The file ends there: what was written behind goes.
    mutating func cut(_ inode: UInt64, at size: UInt64) {
        cut(inode, size..<UInt64.max)
    }

    /// An extent takes the place of what was written there, or it was taken out.
    mutating func cut(_ inode: UInt64, _ range: Range<UInt64>) {
        guard let pieces = files[inode] else { return }
        var left: [Piece] = []
        for piece in pieces {
            if piece.offset < range.lowerBound {
                let count = min(piece.bytes.count, Int(range.lowerBound - piece.offset))
                left.append(Piece(offset: piece.offset, bytes: Array(piece.bytes.prefix(count))))
            }
            if piece.end > range.upperBound {
                let count = min(piece.bytes.count, Int(piece.end - range.upperBound))
                left.append(
                    Piece(
                        offset: piece.end - UInt64(count),
                        bytes: Array(piece.bytes.suffix(count))))
            }
        }
        files[inode] = left.isEmpty ? nil : left
    }

    /// The file is gone.
    mutating func drop(_ inode: UInt64) {
        files[inode] = nil
    }
}

/// Follows the records of the log for what they mean for such bytes.
struct ReplayedData: Sendable {
    private(set) var writes = ReplayedWrites()
    /// Sizes of files, as the last record of each said.
    private var sizes: [UInt64: UInt64] = [:]
    private let blockSize: UInt64

    init(blockSize: UInt64) {
        self.blockSize = blockSize
    }

    mutating func write(_ record: LogRecord) {
        writes.write(record.value, to: record.first, at: record.second)
    }

    private func kind(_ record: LogRecord) -> RecordKind? {
        RecordKind(rawValue: record.first & 0xFF)
    }

    /// Whether what the tree has of the item before this record is carried out must be known.
    func needsOld(_ record: LogRecord) -> Bool {
        switch kind(record) {
        case .inode: sizes[record.first >> 8] == nil
        case .extent: record.kind == .remove && writes.files[record.first >> 8] != nil
        default: false
        }
    }

    /// An item is entered or removed. `old`: what the tree has of it, if that is needed.
    mutating func note(_ record: LogRecord, replacing old: [UInt8]?) {
        let inode = record.first >> 8
        switch kind(record) {
        case .inode where record.kind == .remove:
            writes.drop(inode)
            sizes[inode] = 0
        case .inode:
            guard let size = ReplayedData.size(record.value) else { return }
            let before = sizes[inode] ?? old.flatMap { $0.withUnsafeBytes(ReplayedData.size) }
            sizes[inode] = size
            guard let before, size < before else { return }
            writes.cut(inode, at: size)
            // What the last block has behind the end must not come to light when the file grows again.
            let rest = size % blockSize
            guard rest > 0 else { return }
            let zeros = [UInt8](repeating: 0, count: Int(blockSize - rest))
            zeros.withUnsafeBytes { writes.write($0, to: inode, at: size) }
        case .extent:
            guard writes.files[inode] != nil else { return }
            let length =
                record.kind == .put
                ? ReplayedData.length(record.value)
                : old?.withUnsafeBytes(ReplayedData.length) ?? 0
            let (end, overflows) = record.second.addingReportingOverflow(UInt64(length))
            writes.cut(inode, record.second..<(overflows ? .max : end))
        default: break
        }
    }

    private static func size(_ value: UnsafeRawBufferPointer) -> UInt64? {
        guard let record = try? InodeRecord(decoding: value), record.kind == .regular else {
            return nil
        }
        return record.size
    }

    private static func length(_ value: UnsafeRawBufferPointer) -> UInt32 {
        value.count >= ExtentRecord.headLength ? value.number(UInt32.self, at: 4) : 0
    }
}
