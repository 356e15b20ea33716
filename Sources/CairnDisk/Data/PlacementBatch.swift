// PlacementBatch: placements that get their blocks together and are written together.
//
// Blocks are chosen for all of them at once, side by side; so what many small files wrote goes out in
// few large writes. Each file is entered by itself.
//
// Threading: used by one task at a time; completions of writes come on any thread.

import CairnBase
import CairnIO

final class PlacementBatch: @unchecked Sendable {
    // Sendable: handed from task to task.
    private let store: DiskStore
    private(set) var placements: [FilePlacement] = []
    /// Pages in it.
    private(set) var pageCount = 0

    init(_ store: DiskStore) {
        self.store = store
    }

    func add(_ placement: FilePlacement) {
        placements.append(placement)
        pageCount += placement.snapshot?.pageCount ?? 0
    }

    /// Carries all of them to their end. The caller has the store's turn.
    func carryOut() async {
        for placement in placements {
            do throws(Errno) {
                try await placement.makePieces(store.scratch)
            } catch {
                placement.failure = error
            }
        }
        do throws(Errno) {
            try await chooseBlocks()
            try await write()
        } catch {
            for placement in placements { placement.failure = placement.failure ?? error }
        }
        for placement in placements {
            if placement.failure == nil {
                do throws(Errno) {
                    try await suspending { () throws(Pause) in try placement.enter() }
                } catch {
                    placement.failure = error
                }
            }
            if let failure = placement.failure {
                store.report("inode \(placement.node.number): data cannot be written: \(failure)")
            }
            placement.end()
        }
    }

    // MARK: Blocks

    private func chooseBlocks() async throws(Errno) {
        let blockSize = store.blockSize
        var total = 0
        for placement in placements where placement.failure == nil {
            for piece in placement.pieces where piece.place == .new {
                total += piece.blocks(of: blockSize)
            }
        }
        guard total > 0 else { return }
        let near = placements.count == 1 ? placements[0].file.lastPlaced : store.lastPlaced
        var runs = try await allocate(total, near: near)
        for placement in placements where placement.failure == nil {
            let pieces = placement.pieces
            placement.pieces = []
            for piece in pieces {
                if piece.place != .new {
                    placement.pieces.append(piece)
                } else if piece.isPacked {
                    try await assign(packed: piece, of: placement, &runs)
                } else {
                    assign(plain: piece, of: placement, &runs)
                }
            }
        }
        store.volume.giveBack(runs)
    }

    private func allocate(
        _ blocks: Int, near: BlockNumber?
    ) async throws(Errno) -> [BlockRun] {
        try await suspending { () throws(Pause) in
            try store.volume.allocate(blocks, near: near)
        }
    }

    private func note(_ run: BlockRun, of placement: FilePlacement) {
        placement.reserved -= Int(run.count)
        if let last = placement.allocated.last, last.end == run.start {
            placement.allocated[placement.allocated.count - 1].count += run.count
        } else {
            placement.allocated.append(run)
        }
        placement.file.lastPlaced = run.end
        store.lastPlaced = run.end
    }

    private func assign(
        plain piece: DataPiece, of placement: FilePlacement, _ runs: inout [BlockRun]
    ) {
        let blockSize = store.blockSize
        var rest = piece
        while true {
            precondition(!runs.isEmpty, "blocks for every piece")
            let count = rest.blocks(of: blockSize)
            let fitting = Int(min(UInt64(count), runs[0].count))
            let run = BlockRun(start: runs[0].start, count: UInt64(fitting))
            runs[0].start = run.end
            runs[0].count -= run.count
            if runs[0].count == 0 { runs.removeFirst() }
            note(run, of: placement)
            rest.place = .allocated(run.start)
            if fitting == count {
                placement.pieces.append(rest)
                return
            }
            let (first, second) = rest.split(at: fitting * Int(blockSize), blockSize: blockSize)
            placement.pieces.append(first)
            rest = second
        }
    }

    /// It needs blocks that lie together; where there are none, it is written as it is.
    private func assign(
        packed piece: DataPiece, of placement: FilePlacement, _ runs: inout [BlockRun]
    ) async throws(Errno) {
        let count = UInt64(piece.blocks(of: store.blockSize))
        if let index = runs.firstIndex(where: { $0.count >= count }) {
            let run = BlockRun(start: runs[index].start, count: count)
            runs[index].start = run.end
            runs[index].count -= count
            if runs[index].count == 0 { runs.remove(at: index) }
            note(run, of: placement)
            var piece = piece
            piece.place = .allocated(run.start)
            placement.pieces.append(piece)
            return
        }
        guard case .packed(let packed) = piece.content else { return }
        let plain = piece.unpacked(checksums: placement.checksums(of: packed.plain))
        let more = plain.blocks(of: store.blockSize) - Int(count)
        if more > 0 { runs += try await allocate(more, near: runs.last?.end) }
        assign(plain: plain, of: placement, &runs)
    }

    // MARK: Writing

    /// The most of one request.
    private static var requestBytes: Int { 1 << 20 }
    private static var requestSegments: Int { 256 }

    private func write() async throws(Errno) {
        var requests: [BlockRequest] = []
        var start: UInt64 = 0
        var end: UInt64 = 0
        var segments: [BlockSegment] = []
        var count = 0
        func flush() {
            if !segments.isEmpty { requests.append(.write(segments, at: start)) }
            segments = []
            count = 0
        }
        for placement in placements where placement.failure == nil {
            for piece in placement.pieces {
                guard let block = piece.start else { continue }
                var offset = block.rawValue * UInt64(store.blockSize)
                for segment in piece.segments.cut(to: PlacementBatch.requestBytes) {
                    if offset != end || count + segment.count > PlacementBatch.requestBytes
                        || segments.count >= PlacementBatch.requestSegments
                    {
                        flush()
                        start = offset
                    }
                    segments.append(segment)
                    count += segment.count
                    offset += UInt64(segment.count)
                    end = offset
                }
            }
        }
        flush()
        guard !requests.isEmpty else { return }
        let written = requests.reduce(0) { $0 + $1.length }
        try await WriteGroup(requests.count).perform(requests, on: store.volume.device)
        store.volume.noteDataWritten(written)
    }
}

extension Array where Element == BlockSegment {
    /// No segment longer than this.
    fileprivate func cut(to limit: Int) -> [BlockSegment] {
        guard contains(where: { $0.count > limit }) else { return self }
        return flatMap { segment in
            stride(from: 0, to: segment.count, by: limit).map { offset in
                BlockSegment(
                    address: segment.address.map { $0 + offset },
                    count: Swift.min(limit, segment.count - offset))
            }
        }
    }
}

/// Several writes at once, and the wait for all of them.
private final class WriteGroup: @unchecked Sendable {
    // Sendable: `lock` guards `left` and `failure`.
    private let lock = Lock()
    private var left: Int
    private var failure: Errno?
    private let end = Wait()

    init(_ count: Int) {
        left = count
    }

    func perform(
        _ requests: [BlockRequest], on device: any BlockDevice
    ) async throws(Errno) {
        for request in requests {
            BlockWait.starting(request, on: device, keeping: self).whenFinished { [self] error in
                let isLast = lock.withLock {
                    failure = failure ?? error
                    left -= 1
                    return left == 0
                }
                if isLast { end.finish(lock.withLock { failure }) }
            }
        }
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            end.whenFinished { _ in continuation.resume() }
        }
        if let failure = lock.withLock({ failure }) { throw failure }
    }
}
