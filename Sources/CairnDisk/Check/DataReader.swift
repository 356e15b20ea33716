// DataReader: the data of extents against their checksums (docs/format.md §5.3).
//
// Threading: one thread at a time; it waits for the device.

import CairnBase
import CairnIO

/// Reads what extents lead to.
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

    /// Compares data with the checksums that follow in the record, and unpacks what is compressed.
    /// `record` decodes to `extent`.
    func verify(
        _ extent: ExtentRecord, _ record: UnsafeRawBufferPointer
    ) -> (verdict: Verdict, why: String) {
        guard extent.form == .stored else { return (.unknown, "") }
        let blockSize = Int(geometry.blockSize)
        let run = extent.run(of: geometry.blockSize)
        // Compressed data has one checksum, and is never longer than a piece.
        let isPacked = extent.compression != .none
        var why: String?
        do throws(Errno) {
            try forEachPiece(of: run) { (offset, bytes) throws(Errno) in
                let length = isPacked ? Int(extent.stored) : blockSize
                for start in stride(from: 0, to: isPacked ? 1 : bytes.count, by: length) {
                    guard extent.hasChecksums, why == nil else { continue }
                    let index = isPacked ? 0 : (offset + start) / blockSize
                    let part = UnsafeRawBufferPointer(rebasing: bytes[start..<(start + length)])
                    let found = CRC32C.checksum(part, continuing: seed)
                    let wanted = record.number(
                        UInt32.self, at: ExtentRecord.storedHeadLength + 4 * index)
                    guard found != wanted else { continue }
                    why =
                        "block \(run.start.rawValue + UInt64(index)): checksum "
                        + "\(String(found, radix: 16)) instead of \(String(wanted, radix: 16))"
                }
                if isPacked, why == nil {
                    let whole = try AlignedBuffer(count: Int(extent.whole))
                    let stored = UnsafeRawBufferPointer(rebasing: bytes[..<Int(extent.stored)])
                    if !unpack(stored, extent.compression, into: whole.memory) {
                        why = "block \(run.start.rawValue): what is there cannot be unpacked"
                    }
                }
            }
        } catch {
            return (.wrong, "block \(run.start.rawValue): it cannot be read: \(error)")
        }
        if let why { return (.wrong, why) }
        return (extent.hasChecksums || isPacked ? .right : .unknown, "")
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
