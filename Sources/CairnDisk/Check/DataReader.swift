// DataReader: the data of extents against their checksums (docs/format.md §5.3).
//
// Threading: one thread at a time; it waits for the device.

import CairnBase
import CairnIO

/// Reads what extents lead to, without decompressing it.
final class DataReader {
    private let device: any BlockDevice
    private let geometry: VolumeGeometry
    private let seed: UInt32
    private var buffer: AlignedBuffer?
    private(set) var bytesRead: UInt64 = 0

    /// Read in one piece.
    private static let pieceLength = 1 << 20

    init(_ check: DiskCheck) {
        device = check.device
        geometry = check.geometry
        seed = check.superblock.uuid.seed
    }

    enum Verdict: Int {
        case wrong, unknown, right
    }

    /// Compares data with the checksums that follow in the record. `record` decodes to `extent`.
    func verify(
        _ extent: ExtentRecord, _ record: UnsafeRawBufferPointer
    ) -> (verdict: Verdict, why: String) {
        guard extent.form == .stored else { return (.unknown, "") }
        let blockSize = Int(geometry.blockSize)
        let run = extent.run(of: geometry.blockSize)
        let checksum = { (index: Int) in
            record.number(UInt32.self, at: ExtentRecord.storedHeadLength + 4 * index)
        }
        var why = ""
        var isRight = extent.hasChecksums
        do throws(Errno) {
            try forEachPiece(of: run) { (offset, bytes) throws(Errno) in
                // Compressed data has one checksum, and is never longer than a piece.
                let whole = extent.compression != .none
                let length = whole ? Int(extent.stored) : blockSize
                for start in stride(from: 0, to: whole ? 1 : bytes.count, by: length) {
                    guard extent.hasChecksums else { continue }
                    let part = UnsafeRawBufferPointer(rebasing: bytes[start..<(start + length)])
                    let found = CRC32C.checksum(part, continuing: seed)
                    let wanted = checksum(whole ? 0 : (offset + start) / blockSize)
                    guard found != wanted, isRight else { continue }
                    isRight = false
                    let block = run.start.rawValue + UInt64((offset + start) / blockSize)
                    why =
                        "block \(block): checksum \(String(found, radix: 16)) instead of "
                        + String(wanted, radix: 16)
                }
            }
        } catch {
            return (.wrong, "block \(run.start.rawValue): it cannot be read: \(error)")
        }
        return extent.hasChecksums ? (isRight ? .right : .wrong, why) : (.unknown, "")
    }

    private func forEachPiece(
        of run: BlockRun, _ body: (Int, UnsafeRawBufferPointer) throws(Errno) -> Void
    ) throws(Errno) {
        let memory: AlignedBuffer
        if let buffer {
            memory = buffer
        } else {
            memory = try AlignedBuffer(count: DataReader.pieceLength)
            buffer = memory
        }
        let total = Int(run.count) * Int(geometry.blockSize)
        var offset = 0
        while offset < total {
            let count = min(DataReader.pieceLength, total - offset)
            let part = UnsafeMutableRawBufferPointer(rebasing: memory.memory[..<count])
            try device.read(into: part, at: geometry.offset(of: run.start) + UInt64(offset))
            try body(offset, UnsafeRawBufferPointer(part))
            offset += count
            bytesRead += UInt64(count)
        }
    }
}

/// All data of an image.
struct DataCheck {
    private let check: DiskCheck

    init(_ check: DiskCheck) {
        self.check = check
    }

    func run() throws(CheckFailure) {
        let reader = DataReader(check)
        let context = check.context
        let blocks = check.superblock.dataBlocks
        let size = UInt64(check.geometry.blockSize)
        try check.forEachStoredExtent { (key, extent, record) throws(CheckFailure) in
            let (verdict, why) = reader.verify(extent, record)
            context.isAt("data", reader.bytesRead / size, of: blocks)
            guard verdict == .wrong else { return }
            context.tell(
                .data, "inode \(key.object >> 8), \(extent.length) bytes at \(key.number)", why,
                remedy: nil)
        }
    }
}
