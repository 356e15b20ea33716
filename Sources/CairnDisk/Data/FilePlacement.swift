// FilePlacement: dirty data of one file on its way to the device.
//
//     begin ─▶ pieces ─▶ blocks ─▶ written ─▶ entered ─▶ ended
//     lock     no lock   volume    device     lock       lock
//
// Between begin and end the snapshot's pages do not change, and nothing cuts the file where it
// touches them or what was read beside them (`FileState.placing`). There is one at a time for a file. What is entered is one
// change: the extents and the inode's record with a size up to which all data is placed.
//
// Threading: used by one task at a time; what belongs to the node, under its lock.

import CairnBase
import CairnCache
import CairnIO

final class FilePlacement: @unchecked Sendable {
    // Sendable: handed from task to task.
    let node: DiskNode
    let file: FileState
    let snapshot: DirtySnapshot?
    /// The size that its record may have when this is entered.
    let size: UInt64
    let isInPlace: Bool
    let hasChecksums: Bool
    let compression: CompressionSetting
    /// There were extents when it began.
    let extentsMayExist: Bool
    let reservationsMayExist: Bool
    /// It takes all that is dirty.
    let isWhole: Bool
    /// What of it was not logged.
    private let unlogged: ByteRanges

    /// What stands in the inode from now on.
    var inline: [UInt8]?
    var pieces: [DataPiece] = []
    /// Ranges that the pieces make up.
    var ranges: [Range<UInt64>] = []
    /// Memory of pieces.
    var buffers: [AlignedBuffer] = []
    /// Blocks that were reserved for it and are not allocated.
    var reserved: Int
    /// Promised for what is taken along with its pages.
    var spare: SpareBlocks
    /// Node places that were promised for its records.
    private var reservedNodes: Int
    /// Blocks that were allocated and are not entered.
    var allocated: [BlockRun] = []
    var failure: Errno?

    private init(
        _ node: DiskNode, _ file: FileState, _ snapshot: DirtySnapshot?, size: UInt64,
        isWhole: Bool, reservedNodes: Int, spare: SpareBlocks, _ options: DiskOptions
    ) {
        self.isWhole = isWhole
        unlogged = file.unlogged
        self.node = node
        self.file = file
        self.snapshot = snapshot
        self.size = size
        isInPlace = node.isInPlace
        hasChecksums = options.checksums && !isInPlace
        compression =
            isInPlace || file.placesPlain
            ? .none : options.compression.chosen(node.state.compression)
        extentsMayExist = node.state.extentsMayExist
        reservationsMayExist = node.state.reservationsMayExist
        reserved = snapshot?.pageCount ?? 0
        self.reservedNodes = reservedNodes
        self.spare = spare
    }

    /// Takes a snapshot of at most so many dirty pages. Nil: there is nothing to place. Waits for a
    /// placement of the same file that is under way.
    static func begin(_ node: DiskNode, pages limit: Int) throws(Pause) -> FilePlacement? {
        guard let file = node.file, let pages = file.pagesIfMade else { return nil }
        node.lock.lock()
        defer { node.lock.unlock() }
        if let placing = file.placing { throw .wait(OperationWait(placing)) }
        guard !file.isDropped else { return nil }
        let store = file.store
        let isLarge = !file.spare.windows.isEmpty && pages.dirtyCount > limit
        let snapshot = pages.snapshotDirty(
            limit: isLarge ? file.spare.wholeWindows(atMost: limit, pages) : limit)
        guard snapshot != nil || node.state.recordedSize != node.stored.size else { return nil }
        var size = node.stored.size
        var isWhole = true
        if let last = snapshot?.runs.last,
            let next = pages.nextDirtyRun(
                from: PageIndex(rawValue: last.first.rawValue + UInt64(last.count)))
        {
            isWhole = false
            let placed = next.lowerBound.rawValue * UInt64(store.blockSize)
            size = max(min(size, placed), min(node.state.recordedSize, size))
        }
        let reservedNodes = file.takeNodes(forPages: snapshot?.pageCount ?? 0)
        file.reserved -= snapshot?.pageCount ?? 0
        let runs = snapshot?.runs ?? []
        let spare = file.spare.take(runs)
        file.placing = Wait()
        file.pagesBeingPlaced = DirtyRun.hull(runs)
        defer { if isWhole { file.unlogged.removeAll() } }
        return FilePlacement(
            node, file, snapshot, size: size, isWhole: isWhole, reservedNodes: reservedNodes,
            spare: spare, store.options)
    }

    // MARK: Entering

    /// Enters what was written into the trees.
    func enter() throws(Pause) {
        node.lock.lock()
        defer { node.lock.unlock() }
        guard !file.isDropped else { return }
        try file.store.volume.changing(.placing) { (pass) throws(Pause) in
            try enter(pass)
        }
    }

    private func enter(_ pass: borrowing ChangePass) throws(Pause) {
        let store = file.store
        var batch = EditBatch()
        var state = node.state
        try vacate(in: &batch, &state)
        putPieces(into: &batch, &state, group: pass.group)
        state.recordedSize = min(size, node.stored.size)
        // What was overwritten in place has no record that would take the place of what the log has.
        let isInRecords = isWhole && !pieces.contains { $0.isInPlace }
        batch.editsLoggedData = state.loggedSize > 0 && !isInRecords
        if isWhole { state.loggedSize = 0 }
        let record = node.record(node.stored, state, parent: 0).encoded
        record.withUnsafeBytes {
            batch.put(
                object: RecordKind.inode.object(of: node.number), number: 0, tail: .empty,
                value: $0)
        }
        try store.volume.change(batch, pass)
        allocated = []
        node.state = state
        file.generation.add(1, ordering: .acquiringAndReleasing)
        file.recordedEnd.store(state.recordedSize, ordering: .releasing)
        store.noteOccupancy(node)
    }

    /// Takes what the pieces replace out of the extents.
    private func vacate(
        in batch: inout EditBatch, _ state: inout NodeState
    ) throws(Pause) {
        guard state.extentsMayExist else { return }
        let store = file.store
        let kept = pieces.filter { if case .reserved = $0.place { true } else { false } }
            .map(\.range)
        let stays = pieces.filter { if case .inPlace = $0.place { true } else { false } }
            .map(\.range)
        var extents: [FileExtent] = []
        for range in ranges {
            for extent in try store.extents(of: node.number, in: range)
            where extent.offset != extents.last?.offset {
                extents.append(extent)
            }
        }
        let vacated = batch.vacate(
            ranges.flatMap { $0.without(stays) }, of: node.number, extents, store.layout,
            keeping: kept)
        state.extentBlocks -= min(state.extentBlocks, vacated.blocks)
    }

    private func putPieces(
        into batch: inout EditBatch, _ state: inout NodeState, group: TransactionGroup
    ) {
        let object = RecordKind.extent.object(of: node.number)
        if let inline {
            inline.withUnsafeBytes { bytes in
                let value = ExtentRecord.encodedInline(bytes)
                value.withUnsafeBytes {
                    batch.put(object: object, number: 0, tail: .empty, value: $0)
                }
            }
            state.extentsMayExist = true
        }
        for extent in extents(group) {
            batch.put(extent, object)
            state.extentsMayExist = true
            if extent.record.compression != .none { state.packedMayExist = true }
        }
        for run in allocated {
            batch.use(run)
            state.extentBlocks += run.count
        }
    }

    /// The records for the pieces; neighbours in file and device as one, as far as may be.
    private func extents(_ group: TransactionGroup) -> [FileExtent] {
        let longest =
            hasChecksums
            ? file.store.layout.checkedExtentLength : ExtentRecord.maximumPlainLength
        var result: [FileExtent] = []
        for piece in pieces {
            if case .inPlace = piece.place { continue }
            guard let start = piece.start else {
                preconditionFailure("a piece without blocks")
            }
            let length = UInt32(piece.range.count)
            switch piece.content {
            case .packed(let packed):
                var record = ExtentRecord(
                    packed.method, whole: length, stored: packed.stored, at: start, birth: group,
                    hasChecksums: packed.checksum != nil)
                record.length = length
                result.append(
                    FileExtent(
                        offset: piece.range.lowerBound, record: record,
                        payload: FilePlacement.bytes(ArraySlice(packed.checksum.map { [$0] } ?? []))
                    ))
            case .plain(_, let checksums):
                add(
                    plain: piece.range, checksums, at: start, group, longest: longest, to: &result)
            }
        }
        return result
    }

    /// Records for data that stands as it is, none longer than may be. They go on from the last one if
    /// it ends here, in the file and on the device.
    private func add(
        plain range: Range<UInt64>, _ checksums: [UInt32], at start: BlockNumber,
        _ group: TransactionGroup, longest: UInt32, to result: inout [FileExtent]
    ) {
        let blockSize = file.store.blockSize
        var offset = range.lowerBound
        while offset < range.upperBound {
            let done = UInt64(offset - range.lowerBound) / UInt64(blockSize)
            let block = BlockNumber(rawValue: start.rawValue + done)
            var room = longest
            var goesOn = false
            if let last = result.last, last.record.compression == .none, last.end == offset,
                last.record.run(of: blockSize).end == block, last.record.length < longest
            {
                room = longest - last.record.length
                goesOn = true
            }
            let length = UInt32(min(UInt64(room), range.upperBound - offset))
            let first = checksums.isEmpty ? 0 : Int(done)
            let count = checksums.isEmpty ? 0 : Int(length / blockSize)
            let payload = FilePlacement.bytes(checksums[first..<(first + count)])
            if goesOn {
                let last = result.count - 1
                result[last].record.length += length
                result[last].record.stored += length
                result[last].record.whole += length
                result[last].payload += payload
            } else {
                result.append(
                    FileExtent(
                        offset: offset,
                        record: ExtentRecord(
                            .stored, length: length, at: block, birth: group,
                            hasChecksums: hasChecksums),
                        payload: payload))
            }
            offset += UInt64(length)
        }
    }

    private static func bytes(_ checksums: ArraySlice<UInt32>) -> [UInt8] {
        [UInt8](recordOf: checksums.count * 4) { bytes in
            for (index, checksum) in checksums.enumerated() { bytes.put(checksum, at: 4 * index) }
        }
    }

    // MARK: The end

    /// It was entered, or could not be: pages are clean, or dirty again. To be called once.
    func end() {
        let store = file.store
        let failure = failure
        if let failure {
            snapshot?.markFailed(failure)
        } else {
            snapshot?.markFlushed()
        }
        node.lock.lock()
        let placing = file.placing
        file.placing = nil
        file.pagesBeingPlaced = 0..<0
        store.volume.giveBack(allocated)
        allocated = []
        if failure != nil, isWhole, !file.isDropped { file.unlogged.insert(unlogged) }
        file.reserved += reserved
        file.reservedNodes += reservedNodes
        file.spare.blocks += spare.blocks
        if failure != nil { file.spare.takeBack(spare) }
        reserved = 0
        reservedNodes = 0
        spare.blocks = 0
        restoreReservation()
        let isDirty = !file.isDropped && file.hasUnplacedData
        if isDirty { store.dirtyNodes.list(node, file) }
        if !isDirty { file.placesPlain = false }
        node.lock.unlock()
        placing?.finish(failure)
    }

    /// Dirty pages have their blocks again, those of a failed placement too.
    private func restoreReservation() {
        let missing = file.settleReservation(isExact: true)
        guard !file.isDropped, missing > 0 else { return }
        do throws(Pause) {
            try file.store.promiseForPlacing(SpacePromise(blocks: missing))
            file.keep(missing: missing)
        } catch {
            // Its next placement tries again.
        }
    }
}

extension DirtyRun {
    /// From the first page to the last.
    fileprivate static func hull(_ runs: [DirtyRun]) -> Range<UInt64> {
        guard let first = runs.first, let last = runs.last else { return 0..<0 }
        return first.first.rawValue..<last.first.rawValue + UInt64(last.count)
    }
}
