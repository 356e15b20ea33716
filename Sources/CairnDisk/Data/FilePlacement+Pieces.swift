// What is placed becomes pieces: ranges by where their blocks come from, compressed where that is
// wanted and pays, with checksums.
//
// A compressed extent cannot be left with two parts, so what overwrites its middle takes the rest
// of it along; also, one of which little would be left is taken whole, or its blocks would be kept
// for too little. What is taken along is read through the pages.

import CairnBase
import CairnCache
import CairnIO

extension FilePlacement {
    /// A range that is to be placed, and its bytes.
    private struct Source {
        var range: Range<UInt64>
        var segments: [BlockSegment]
    }

    /// Makes the pieces. Called once, with no lock held.
    func makePieces(_ scratch: PlacementScratch) async throws(Errno) {
        guard let snapshot else { return }
        let blockSize = UInt64(file.store.blockSize)
        if standsInInode(snapshot) {
            ranges = [0..<blockSize]
            inline = Array(snapshot.runs[0].segments[0].memory.prefix(Int(size)))
            return
        }
        var sources: [Source] = []
        for run in snapshot.runs {
            let start = run.first.rawValue * blockSize
            let range = start..<start + UInt64(run.count) * blockSize
            if let last = sources.last, last.range.upperBound == start {
                sources[sources.count - 1].range = last.range.lowerBound..<range.upperBound
                sources[sources.count - 1].segments += run.segments
            } else {
                sources.append(Source(range: range, segments: run.segments))
            }
        }
        if extentsMayExist, !isInPlace { sources = try await widened(sources) }
        ranges = sources.map(\.range)
        for source in sources { try await makePieces(of: source, scratch) }
    }

    /// Whether the whole file is small, and in this snapshot.
    private func standsInInode(_ snapshot: DirtySnapshot) -> Bool {
        guard !isInPlace, size > 0, size <= UInt64(file.store.layout.inlineLimit),
            snapshot.pageCount == 1, snapshot.runs[0].first.rawValue == 0
        else { return false }
        return true
    }

    // MARK: Compressed extents that are overwritten in part

    private func widened(_ sources: [Source]) async throws(Errno) -> [Source] {
        var wanted: [Range<UInt64>] = []
        for source in sources {
            var range = source.range
            let packed = try await suspending { () throws(Pause) in
                var packed: [(offset: UInt64, record: ExtentRecord)] = []
                try file.store.forEachExtent(of: node.number, in: source.range) {
                    offset, record, _ in
                    if record.compression != .none { packed.append((offset, record)) }
                    return true
                }
                return packed
            }
            for (offset, record) in packed {
                let end = offset + UInt64(record.length)
                let head = source.range.lowerBound > offset ? source.range.lowerBound - offset : 0
                let tail = end > source.range.upperBound ? end - source.range.upperBound : 0
                let half = UInt64(record.whole) / 2
                if tail > 0, head > 0 || tail < half {
                    range = range.lowerBound..<max(range.upperBound, end)
                }
                if head > 0, head < half {
                    range = min(range.lowerBound, offset)..<range.upperBound
                }
            }
            if let last = wanted.last, range.lowerBound <= last.upperBound {
                wanted[wanted.count - 1] =
                    min(last.lowerBound, range.lowerBound)..<max(last.upperBound, range.upperBound)
            } else {
                wanted.append(range)
            }
        }
        var result: [Source] = []
        for range in wanted { result.append(try await joined(range, sources)) }
        return result
    }

    /// The sources in a range, and what lies between them as the file has it.
    private func joined(
        _ range: Range<UInt64>, _ sources: [Source]
    ) async throws(Errno) -> Source {
        var segments: [BlockSegment] = []
        var position = range.lowerBound
        for source in sources where range.contains(source.range.lowerBound) {
            if source.range.lowerBound > position {
                segments.append(try await taken(position..<source.range.lowerBound))
            }
            segments += source.segments
            position = source.range.upperBound
        }
        if position < range.upperBound {
            segments.append(try await taken(position..<range.upperBound))
        }
        return Source(range: range, segments: segments)
    }

    /// Bytes of the file that are placed although they are clean.
    private func taken(_ range: Range<UInt64>) async throws(Errno) -> BlockSegment {
        let store = file.store
        let blocks = range.count / Int(store.blockSize)
        // It was promised by the write (requirement D6), but for extents that other software made.
        let missing = max(0, blocks - spare.blocks)
        if missing > 0 {
            try await suspending { () throws(Pause) in
                try store.promiseForPlacing(SpacePromise(blocks: missing))
            }
        }
        spare.blocks -= blocks - missing
        reserved += blocks
        let buffer = try AlignedBuffer(count: range.count)
        buffers.append(buffer)
        try await suspending { () throws(Pause) in
            node.lock.lockShared()
            defer { node.lock.unlockShared() }
            _ = try file.pages(recordedSize: node.state.recordedSize)
                .read(into: buffer.memory, at: range.lowerBound)
        }
        return BlockSegment(buffer.memory)
    }

    // MARK: Pieces of a range

    private func makePieces(
        of source: Source, _ scratch: PlacementScratch
    ) async throws(Errno) {
        var position = source.range.lowerBound
        func part(_ range: Range<UInt64>) -> Source {
            let start = Int(range.lowerBound - source.range.lowerBound)
            return Source(
                range: range, segments: source.segments.part(start..<start + range.count))
        }
        for (range, place) in try await ownBlocks(in: source.range) {
            if range.lowerBound > position {
                try addNew(part(position..<range.lowerBound), scratch)
            }
            let own = part(range)
            pieces.append(
                DataPiece(
                    range: range,
                    content: .plain(own.segments, checksums: checksums(of: own.segments)),
                    place: place))
            position = range.upperBound
        }
        if position < source.range.upperBound {
            try addNew(part(position..<source.range.upperBound), scratch)
        }
    }

    /// Parts that have blocks which may be written to: reserved ones, or with `cow=off` all.
    private func ownBlocks(
        in range: Range<UInt64>
    ) async throws(Errno) -> [(Range<UInt64>, DataPiece.Place)] {
        guard reservationsMayExist || (isInPlace && extentsMayExist) else { return [] }
        let store = file.store
        return try await suspending { () throws(Pause) in
            var result: [(Range<UInt64>, DataPiece.Place)] = []
            try store.forEachExtent(of: node.number, in: range) { offset, record, _ in
                let part = (offset..<offset + UInt64(record.length)).clamped(to: range)
                let first = (part.lowerBound - offset) / UInt64(store.blockSize)
                let block = BlockNumber(rawValue: record.address.rawValue + first)
                if record.form == .reserved {
                    result.append((part, .reserved(block)))
                } else if isInPlace, record.form == .stored, record.compression == .none,
                    !record.hasChecksums
                {
                    result.append((part, .inPlace(block)))
                }
                return true
            }
            return result
        }
    }

    /// Pieces for which blocks are to be allocated.
    private func addNew(_ source: Source, _ scratch: PlacementScratch) throws(Errno) {
        guard compression.method != .none, source.range.count > Int(file.store.blockSize) else {
            return addPlain(source.range, source.segments)
        }
        let window = UInt64(ExtentRecord.maximumWhole)
        let compressor = scratch.compressor(compression)
        var plain: Range<UInt64>?
        var start = source.range.lowerBound
        func flushPlain() {
            guard let range = plain else { return }
            let first = Int(range.lowerBound - source.range.lowerBound)
            addPlain(range, source.segments.part(first..<first + range.count))
            plain = nil
        }
        while start < source.range.upperBound {
            let end = min(source.range.upperBound, (start / window + 1) * window)
            let first = Int(start - source.range.lowerBound)
            let segments = source.segments.part(first..<first + Int(end - start))
            if let piece = try packed(start..<end, segments, compressor, scratch) {
                flushPlain()
                pieces.append(piece)
            } else {
                plain = (plain?.lowerBound ?? start)..<end
            }
            start = end
        }
        flushPlain()
    }

    private func addPlain(_ range: Range<UInt64>, _ segments: [BlockSegment]) {
        pieces.append(
            DataPiece(
                range: range, content: .plain(segments, checksums: checksums(of: segments))))
    }

    /// The record compressed, if that saves a block.
    private func packed(
        _ range: Range<UInt64>, _ segments: [BlockSegment], _ compressor: Compressor,
        _ scratch: PlacementScratch
    ) throws(Errno) -> DataPiece? {
        let blockSize = Int(file.store.blockSize)
        guard range.count > blockSize, file.stubbornness.admits() else { return nil }
        let whole = try scratch.contiguous(segments, count: range.count)
        let room = try scratch.room(range.count - blockSize)
        let count = compressor.compress(whole, into: room)
        file.stubbornness.note(shrank: count != nil)
        guard let count else { return nil }
        let buffer = try AlignedBuffer(count: (count + blockSize - 1) / blockSize * blockSize)
        buffer.memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: room[..<count]))
        buffers.append(buffer)
        file.store.counters.count(packed: range.count, into: buffer.memory.count)
        let stored = UnsafeRawBufferPointer(rebasing: buffer.bytes[..<count])
        let checksum =
            hasChecksums ? CRC32C.checksum(stored, continuing: file.store.volume.seed) : nil
        return DataPiece(
            range: range,
            content: .packed(
                DataPiece.Packed(
                    bytes: buffer.bytes, stored: UInt32(count), checksum: checksum,
                    plain: segments, method: compression.method)))
    }

    /// One for each block; none where there shall be none.
    func checksums(of segments: [BlockSegment]) -> [UInt32] {
        guard hasChecksums else { return [] }
        let blockSize = Int(file.store.blockSize)
        let seed = file.store.volume.seed
        var result: [UInt32] = []
        for segment in segments {
            var offset = 0
            while offset < segment.count {
                let block = UnsafeRawBufferPointer(
                    rebasing: segment.memory[offset..<offset + blockSize])
                result.append(CRC32C.checksum(block, continuing: seed))
                offset += blockSize
            }
        }
        return result
    }
}

/// What compressing needs, made when it is first needed. Used by one task at a time.
final class PlacementScratch: @unchecked Sendable {
    // Sendable: handed from task to task.
    private var input: AlignedBuffer?
    private var output: AlignedBuffer?
    private var compressors: [CompressionSetting: Compressor] = [:]

    /// Memory for a record.
    private func made(_ buffer: inout AlignedBuffer?) throws(Errno) -> AlignedBuffer {
        if let buffer { return buffer }
        let new = try AlignedBuffer(count: Int(ExtentRecord.maximumWhole))
        buffer = new
        return new
    }

    func compressor(_ setting: CompressionSetting) -> Compressor {
        if let made = compressors[setting] { return made }
        let made = Compressor(setting)
        compressors[setting] = made
        return made
    }

    /// Room for what comes out, until it is asked for again.
    func room(_ count: Int) throws(Errno) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: try made(&output).memory[..<count])
    }

    /// The bytes as one piece, until it is asked for again.
    func contiguous(
        _ segments: [BlockSegment], count: Int
    ) throws(Errno) -> UnsafeRawBufferPointer {
        if segments.count == 1 { return UnsafeRawBufferPointer(segments[0].memory) }
        let target = UnsafeMutableRawBufferPointer(rebasing: try made(&input).memory[..<count])
        segments.copyBytes(to: target)
        return UnsafeRawBufferPointer(target)
    }
}
