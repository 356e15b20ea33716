// Edits that concern data: sizes, holes, reservations, and the end of a file.
//
// Extents are edited here, with the names; pages of the cache follow in `keep`, where nothing may
// wait or fail. So what they will need is fetched and held before (FileCut).

import CairnBase
import CairnTree
import CairnVFS

extension ChangeDraft {
    /// The most extents that one change takes away. What has more goes in several changes.
    static var extentLimit: Int { 256 }
    /// Records of extended attributes that one change takes away with their node.
    static var attributeLimit: Int { 32 }

    // MARK: Sizes

    mutating func resize(
        _ index: Int, from before: UInt64, to size: UInt64
    ) throws(Pause) {
        let node = nodes[index].node
        guard let file = node.file else { return }
        try file.requireSettled()
        if size > before {
            // With data that is not placed yet, the size follows with it.
            if !file.hasUnplacedData { withState(of: index) { $0.recordedSize = size } }
            return
        }
        batch.mayUseReserve = true
        cuts.append(try FileCut(.truncate(size), of: node, file))
        withState(of: index) {
            $0.recordedSize = min($0.recordedSize, size)
            $0.loggedSize = min($0.loggedSize, size)
        }
        let start = store.layout.roundedUp(size)
        try vacate(start..<DataLayout.endOfFiles, index, mayContinue: true)
    }

    /// Takes a range out of the node's extents. `mayContinue`: what is too much for one change goes
    /// later (`Emptier`); the range reaches to the end of the file.
    private mutating func vacate(
        _ range: Range<UInt64>, _ index: Int, mayContinue: Bool
    ) throws(Pause) {
        let node = nodes[index].node
        guard nodes[index].state.extentsMayExist, !range.isEmpty else { return }
        let limit = mayContinue ? ChangeDraft.extentLimit + 1 : .max
        let extents = try store.extents(of: node.number, in: range, atMost: limit)
        if extents.count > ChangeDraft.extentLimit, mayContinue {
            // The first of them may reach into what stays.
            withState(of: index) { $0.isOrphan = true }
            nodes[index].isCutLater = true
            batch.editsLoggedData = batch.editsLoggedData || nodes[index].state.loggedSize > 0
            return
        }
        // What stays of an extent that is cut is entered anew, and stands before what the log has.
        if !extents.isEmpty, nodes[index].state.loggedSize > 0 { batch.editsLoggedData = true }
        let vacated = batch.vacate(range, of: node.number, extents, store.layout)
        withState(of: index) { state in
            state.extentBlocks -= min(state.extentBlocks, vacated.blocks)
            if range == 0..<DataLayout.endOfFiles {
                state.extentsMayExist = false
                state.reservationsMayExist = false
                state.packedMayExist = false
            }
        }
    }

    // MARK: Holes

    mutating func punch(_ node: TreeNode, _ range: Range<UInt64>) throws(Pause) {
        let index = draft(node)
        guard let file = nodes[index].node.file else { return }
        try file.requireSettled()
        batch.mayUseReserve = true
        let layout = store.layout
        let whole =
            layout.roundedUp(
                range.lowerBound)..<max(
                layout.roundedUp(range.lowerBound), layout.roundedDown(range.upperBound))
        try store.uncompress(around: whole, of: nodes[index].node, file)
        cuts.append(try FileCut(.punch(range), of: nodes[index].node, file))
        // No record says what became of bytes that are in the log only.
        if nodes[index].state.loggedSize > 0 { batch.editsLoggedData = true }
        try vacate(whole, index, mayContinue: false)
    }

    // MARK: Reservations

    /// Gives every block of the range that has none space of its own.
    mutating func reserve(_ node: TreeNode, _ range: Range<UInt64>) throws(Pause) {
        let index = draft(node)
        guard let file = nodes[index].node.file else { return }
        try file.requireSettled()
        let layout = store.layout
        let wanted = layout.roundedDown(range.lowerBound)..<layout.roundedUp(range.upperBound)
        let holes = try holes(in: wanted, index)
        let blocks = holes.reduce(0) { $0 + layout.blocks(UInt64($1.count)) }
        guard blocks > 0 else { return }
        // Bytes that are in the log only may stand in a hole.
        if nodes[index].state.loggedSize > 0 { batch.editsLoggedData = true }
        guard blocks <= layout.totalBlocks else { throw .failed(.ENOSPC) }
        let promise = SpacePromise(blocks: Int(blocks))
        try store.volume.reserve(promise)
        var runs: [BlockRun]
        do throws(Pause) {
            runs = try store.volume.allocate(promise.blocks, near: file.lastPlaced)
        } catch {
            store.volume.release(promise)
            throw error
        }
        allocated += runs
        for hole in holes { fill(hole, of: nodes[index].node.number, from: &runs) }
        withState(of: index) { state in
            state.extentBlocks += blocks
            state.extentsMayExist = true
            state.reservationsMayExist = true
        }
    }

    /// Ranges without an extent, after what this change itself punches.
    private mutating func holes(
        in wanted: Range<UInt64>, _ index: Int
    ) throws(Pause) -> [Range<UInt64>] {
        var taken: [Range<UInt64>] = []
        if nodes[index].state.extentsMayExist {
            try store.forEachExtent(of: nodes[index].node.number, in: wanted) { offset, record, _ in
                let end = offset + UInt64(record.length)
                taken.append(offset..<store.layout.roundedUp(end))
                return true
            }
        }
        var holes: [Range<UInt64>] = []
        var start = wanted.lowerBound
        for range in taken.flatMap({ punched($0) }) {
            if range.lowerBound > start { holes.append(start..<range.lowerBound) }
            start = max(start, range.upperBound)
        }
        if start < wanted.upperBound { holes.append(start..<wanted.upperBound) }
        return holes
    }

    /// What of an extent is left by the punches of this change.
    private func punched(_ range: Range<UInt64>) -> [Range<UInt64>] {
        var left = [range]
        for cut in cuts {
            guard case .punch(let hole) = cut.kind else { continue }
            let whole =
                store.layout.roundedUp(
                    hole.lowerBound)..<max(
                    store.layout.roundedUp(hole.lowerBound),
                    store.layout.roundedDown(hole.upperBound))
            left = left.flatMap { range -> [Range<UInt64>] in
                guard range.overlaps(whole) else { return [range] }
                return [
                    range.lowerBound..<max(range.lowerBound, whole.lowerBound),
                    min(range.upperBound, whole.upperBound)..<range.upperBound,
                ].filter { !$0.isEmpty }
            }
        }
        return left
    }

    private mutating func fill(
        _ hole: Range<UInt64>, of inode: UInt64, from runs: inout [BlockRun]
    ) {
        let blockSize = UInt64(store.layout.blockSize)
        var offset = hole.lowerBound
        while offset < hole.upperBound {
            let wanted = min(
                (hole.upperBound - offset) / blockSize,
                UInt64(ExtentRecord.maximumPlainLength) / blockSize)
            let count = min(wanted, runs[0].count)
            let run = BlockRun(start: runs[0].start, count: count)
            let record = ExtentRecord(
                .reserved, length: UInt32(count * blockSize), at: run.start, birth: group)
            put(
                .extent, of: inode, offset,
                record.encoded([], blockSize: store.layout.blockSize))
            batch.use(run)
            runs[0].start.rawValue += count
            runs[0].count -= count
            if runs[0].count == 0 { runs.removeFirst() }
            offset += count * blockSize
        }
    }

    // MARK: The end of a node

    /// The node ceases to be. A large one becomes an orphan that is emptied later.
    mutating func free(_ node: TreeNode) throws(Pause) {
        let index = draft(node)
        let number = node.number
        batch.mayUseReserve = true
        if let file = nodes[index].node.file {
            cuts.append(FileCut(dropping: nodes[index].node, file))
        }
        var extents: [FileExtent] = []
        if nodes[index].state.extentsMayExist || node.kind == .symbolicLink {
            extents = try store.extents(
                of: number, in: 0..<DataLayout.endOfFiles, atMost: ChangeDraft.extentLimit + 1)
        }
        let attributes =
            nodes[index].state.attributesMayExist
            ? try store.attributeKeys(of: number, atLeast: ChangeDraft.attributeLimit) : []
        guard extents.count <= ChangeDraft.extentLimit,
            attributes.count < ChangeDraft.attributeLimit
        else {
            withState(of: index) { $0.isOrphan = true }
            nodes[index].attributes.linkCount = 0
            nodes[index].isEmptiedLater = true
            return
        }
        _ = batch.vacate(0..<DataLayout.endOfFiles, of: number, extents, store.layout)
        remove(attributes, of: number)
        remove(.inode, of: number)
        withState(of: index) { $0.isOrphan = false }
        nodes[index].isFreed = true
    }

    mutating func remove(_ attributes: [DiskStore.AttributeKey], of inode: UInt64) {
        for key in attributes {
            key.tail.withUnsafeBytes { remove(.attribute, of: inode, key.number, $0) }
        }
    }
}
