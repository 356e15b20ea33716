// Filling pages of a file from the device.
//
//     pages ─▶ extents of the range ─▶ reads, one for each piece that lies together ─▶ checked,
//                 (the tree may wait)      straight into pages, or into a buffer       unpacked
//
// A fill holds no lock while it waits, so extents may be replaced meanwhile, and their blocks be given
// to somebody else after the next commit. So once the bytes are there it looks whether the file's
// extents have changed since they were looked up; if so, it begins again. What is used was the
// file's at the moment when that was seen, and its blocks were not given away before.
//
// Threading: on the thread of whoever asks, of completions, and of the store's workers.

import CairnBase
import CairnCache
import CairnIO

extension FileState: PageBacking {
    func fill(_ fill: PageFill, of pages: FilePages) {
        FillWork(fill, self).start()
    }
}

private final class FillWork: @unchecked Sendable {
    // Sendable: handed from thread to thread; `lock` guards what concurrent completions touch.
    private let fill: PageFill
    private let file: FileState
    private let store: DiskStore
    private let blockSize: UInt64
    /// Bytes of the file that are wanted.
    private let range: Range<UInt64>
    private var generation: UInt64 = 0
    private var recordedEnd: UInt64 = 0
    private var turns = 0

    private let lock = Lock()
    private var left = 0
    private var failure: Errno?
    private var reads: [ExtentRead] = []

    /// How often the extents may change under a fill: each time another operation got further.
    private static var turnLimit: Int { 1000 }

    init(_ fill: PageFill, _ file: FileState) {
        self.fill = fill
        self.file = file
        store = file.store
        blockSize = UInt64(store.blockSize)
        range =
            fill.range.lowerBound.rawValue * blockSize..<fill.range.upperBound.rawValue * blockSize
    }

    func start() {
        generation = file.generation.load(ordering: .acquiring)
        recordedEnd = file.recordedEnd.load(ordering: .acquiring)
        callingBack { [self] () throws(Pause) in
            try store.extents(of: file.number, in: range)
        } completion: { [self] result in
            switch result {
            case .success(let extents): read(extents)
            case .failure(let error): end(error)
            }
        }
    }

    // MARK: Reading

    private func read(_ extents: [FileExtent]) {
        var position = range.lowerBound
        reads = []
        for extent in extents {
            let part = extent.range.clamped(to: range)
            guard !part.isEmpty else { continue }
            if part.lowerBound > position { zero(position..<part.lowerBound) }
            position = store.layout.roundedUp(part.upperBound)
            switch extent.record.form {
            case .inline: copy(extent)
            case .reserved: zero(part)
            case .stored: reads.append(ExtentRead(extent, part, store.layout))
            }
        }
        if position < range.upperBound { zero(position..<range.upperBound) }
        guard !reads.isEmpty else { return checkAndEnd() }
        left = reads.count
        failure = nil
        for read in reads {
            read.start(on: store.volume.device, into: segments(of: read.part)) { [self] error in
                let isLast = lock.withLock {
                    if let error { failure = failure ?? error }
                    left -= 1
                    return left == 0
                }
                if isLast { arrived() }
            }
        }
    }

    private func bytes(at offset: UInt64) -> UnsafeMutableRawBufferPointer {
        fill.bytes(of: Int((offset - range.lowerBound) / blockSize))
    }

    /// Pages of a range, which keeps to blocks.
    private func segments(of part: Range<UInt64>) -> [BlockSegment] {
        var result: [BlockSegment] = []
        var offset = part.lowerBound
        while offset < part.upperBound {
            let page = bytes(at: offset)
            if let last = result.last, let end = last.address.map({ $0 + last.count }),
                end == page.baseAddress
            {
                result[result.count - 1].count += page.count
            } else {
                result.append(BlockSegment(page))
            }
            offset += blockSize
        }
        return result
    }

    private func zero(_ part: Range<UInt64>) {
        var offset = part.lowerBound
        while offset < part.upperBound {
            let page = bytes(at: offset)
            page.initializeMemory(as: UInt8.self, repeating: 0)
            offset += blockSize
        }
    }

    /// Data that stands in the inode: at offset 0, and not longer than a block.
    private func copy(_ extent: FileExtent) {
        guard extent.offset == 0, extent.payload.count <= Int(blockSize) else {
            failure = .EIO
            return
        }
        let page = bytes(at: 0)
        page.copyBytes(from: extent.payload)
        UnsafeMutableRawBufferPointer(rebasing: page[extent.payload.count...])
            .initializeMemory(as: UInt8.self, repeating: 0)
    }

    // MARK: Checking

    /// All reads have ended. Unpacking takes time, which a device's thread has not.
    private func arrived() {
        if reads.contains(where: { $0.isPacked }) {
            store.environment.work { [self] in checkAndEnd() }
        } else {
            checkAndEnd()
        }
    }

    private func checkAndEnd() {
        var damage: [String] = []
        if failure == nil {
            for read in reads {
                if let what = read.check(seed: store.volume.seed, into: { bytes(at: $0) }) {
                    damage.append(what)
                }
            }
        }
        guard file.generation.load(ordering: .acquiring) == generation else {
            turns += 1
            guard turns < FillWork.turnLimit else { return end(.EIO) }
            return start()
        }
        for what in damage { store.report("inode \(file.number): \(what)") }
        if failure == nil, damage.isEmpty {
            clearBehindEnd()
            end(nil)
        } else {
            end(failure ?? .EIO)
        }
    }

    /// What the device has behind the file's end is without meaning.
    private func clearBehindEnd() {
        guard recordedEnd < range.upperBound else { return }
        var offset = max(recordedEnd, range.lowerBound)
        while offset < range.upperBound {
            let inner = Int(offset % blockSize)
            UnsafeMutableRawBufferPointer(rebasing: bytes(at: offset)[inner...])
                .initializeMemory(as: UInt8.self, repeating: 0)
            offset += blockSize - UInt64(inner)
        }
    }

    private func end(_ error: Errno?) {
        reads = []
        if let error {
            fill.fail(error)
        } else {
            fill.complete()
        }
    }
}
