// ExtentRead: the part of one extent that a fill wants, from the device to pages.
//
// Without compression the blocks are read straight into the pages, in one request. With compression all
// stored bytes are read into a buffer and unpacked into another, of which the wanted part is copied.
//
// Threading: used by one thread at a time.

import CairnBase
import CairnIO

final class ExtentRead: @unchecked Sendable {
    // Sendable: handed from thread to thread with the fill that it belongs to.
    let extent: FileExtent
    /// Bytes of the file that are wanted of it; keeps to blocks.
    let part: Range<UInt64>
    private let layout: DataLayout
    private var packed: AlignedBuffer?
    private var wait: BlockWait?

    init(_ extent: FileExtent, _ part: Range<UInt64>, _ layout: DataLayout) {
        self.extent = extent
        self.part = part
        self.layout = layout
    }

    var isPacked: Bool { extent.record.compression != .none }

    func start(
        on device: any BlockDevice, into segments: [BlockSegment],
        completion: @escaping @Sendable (Errno?) -> Void
    ) {
        let blockSize = UInt64(layout.blockSize)
        let request: BlockRequest
        let start = extent.record.address.rawValue &* blockSize
        if isPacked {
            do throws(Errno) {
                let buffer = try AlignedBuffer(
                    count: Int(extent.record.blocks(of: layout.blockSize) * blockSize))
                packed = buffer
                request = .read(into: buffer.memory, at: start)
            } catch {
                return completion(error)
            }
        } else {
            request = .read(into: segments, at: start + (part.lowerBound - extent.offset))
        }
        let wait = BlockWait.starting(request, on: device, keeping: self)
        wait.whenFinished(completion)
    }

    // MARK: Checking

    /// Compares checksums and, with compression, unpacks into pages. Gives what is wrong.
    func check(
        seed: UInt32, into page: (UInt64) -> UnsafeMutableRawBufferPointer
    ) -> String? {
        guard let packed else { return checkPlain(seed, page) }
        let stored = UnsafeRawBufferPointer(rebasing: packed.bytes[..<Int(extent.record.stored)])
        if extent.record.hasChecksums {
            let found = CRC32C.checksum(stored, continuing: seed)
            let wanted = extent.checksum(0)
            guard found == wanted else {
                return mismatch(extent.record.address, extent.offset, found, wanted)
            }
        }
        guard let whole = try? AlignedBuffer(count: Int(extent.record.whole)) else {
            return "no memory to unpack an extent"
        }
        guard unpack(stored, extent.record.compression, into: whole.memory) else {
            return
                "the extent at \(extent.offset), block \(extent.record.address.rawValue), "
                + "cannot be unpacked"
        }
        var offset = part.lowerBound
        while offset < part.upperBound {
            let inner = Int(UInt64(extent.record.skip) + offset - extent.offset)
            let size = Int(layout.blockSize)
            page(offset).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: whole.bytes[inner..<inner + size]))
            offset += UInt64(size)
        }
        return nil
    }

    private func checkPlain(
        _ seed: UInt32, _ page: (UInt64) -> UnsafeMutableRawBufferPointer
    ) -> String? {
        guard extent.record.hasChecksums else { return nil }
        let size = UInt64(layout.blockSize)
        var offset = part.lowerBound
        while offset < part.upperBound {
            let index = Int((offset - extent.offset) / size)
            let found = CRC32C.checksum(UnsafeRawBufferPointer(page(offset)), continuing: seed)
            let wanted = extent.checksum(index)
            guard found == wanted else {
                let block = BlockNumber(
                    rawValue: extent.record.address.rawValue + UInt64(index))
                return mismatch(block, offset, found, wanted)
            }
            offset += size
        }
        return nil
    }

    private func mismatch(
        _ block: BlockNumber, _ offset: UInt64, _ found: UInt32, _ wanted: UInt32
    ) -> String {
        "block \(block.rawValue), data at offset \(offset), has checksum "
            + "\(hexadecimal(found)) instead of \(hexadecimal(wanted))"
    }
}

/// As reports show checksums.
private func hexadecimal(_ number: UInt32) -> String {
    let digits = String(number, radix: 16)
    return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
}
