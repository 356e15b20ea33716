// DiskCheck: whether an image is what docs/format.md says, without mounting it, and making it so.
//
//     superblocks ─▶ log ─▶ main tree: nodes, records ─▶ names ─▶ contested blocks ─▶ space ─▶ counters ─▶ data
//
// A look changes nothing on the device. What would mend the damage is gathered as edits of the main
// tree (RecordEdits), which later passes already see; mending (DiskRepair) writes the tree with them
// anew, beside the old one, and then a superblock: until that stands, the image is what it was.
//
// Memory: two bits for each block, 20 bytes for each inode of a window, 21 for each directory, 64 MiB
// of nodes, and what mends.
//
// Threading: one thread at a time; it waits for the device.

import CairnBase
import CairnIO

public struct CheckOptions: Sendable {
    /// Whether to read all data and compare its checksums.
    public var checksData = false
    /// Inodes that are counted at once.
    var window = InodeCensus.defaultWindow

    public init(checksData: Bool = false) {
        self.checksData = checksData
    }
}

/// One look at an image.
final class DiskCheck {
    let device: any BlockDevice
    private let options: CheckOptions
    let superblocks: CheckedSuperblocks
    let superblock: Superblock
    let context: CheckContext
    let log: LogCheck
    private let main: CheckedTree
    private let space: CheckedTree
    /// Blocks of nodes of the main tree, of the space tree, and of extents.
    private(set) var mainMap: BlockMap
    private(set) var spaceMap: BlockMap
    private(set) var dataMap: BlockMap
    /// Extents that lead to blocks that something else leads to as well.
    private var contested: [BlockRun] = []
    /// The space tree or the counters must be written anew.
    private(set) var isSpaceWrong = false

    var geometry: VolumeGeometry { superblock.geometry }
    var items: CheckedItems { context.items }

    init(
        _ device: any BlockDevice, _ options: CheckOptions,
        progress: @escaping (CheckProgress) -> Void, hear: @escaping (CheckFinding) -> Void
    ) throws(CheckFailure) {
        self.device = device
        self.options = options
        superblocks = try CheckedSuperblocks(on: device)
        superblock = superblocks.chosen
        main = superblocks.tree(.main, on: device)
        space = superblocks.tree(.space, on: device)
        let items = CheckedItems(main)
        context = CheckContext(superblock, items, progress: progress, hear: hear)
        let blocks = superblock.geometry.totalBlocks
        mainMap = BlockMap(count: blocks)
        spaceMap = BlockMap(count: blocks)
        dataMap = BlockMap(count: blocks)
        log = try LogCheck(of: superblock, on: device, into: &items.edits)
        context.latestGroup = max(context.latestGroup, log.latestGroup)
        context.nextInode = max(context.nextInode, log.nextInode)
    }

    /// Carries out the check.
    func run() throws(CheckFailure) {
        superblocks.tell(context)
        let records = try checkRecords()
        if records.highestInode >= context.nextInode {
            let next = context.nextInode
            context.nextInode = records.highestInode + 1
            context.tell(
                .counter, "the superblock",
                "the next inode is \(next), but there is inode \(records.highestInode)",
                remedy: "it is set")
            isSpaceWrong = true
        }
        try markSpaceNodes()
        try NameCheck(context, records).run()
        try settleContested()
        try checkSpace()
        if options.checksData { try DataCheck(self).run() }
        summarize()
    }

    // MARK: Records

    private func checkRecords() throws(CheckFailure) -> RecordCheck {
        let records = RecordCheck(context, window: options.window) { [self] extent in
            let run = extent.run(of: geometry.blockSize)
            if !dataMap.insert(run.start.rawValue, run.count)
                || mainMap.intersects(run.start.rawValue, run.count)
            {
                contested.append(run)
            }
        }
        main.hearDamage = { [unowned self] in tellOfNode($0, $1) }
        try items.forEach(from: nil, visiting: { [self] in mark($0, in: \.mainMap) }) {
            (key, value) throws(CheckFailure) in
            try records.take(key, value)
            return true
        }
        try records.finish()
        return records
    }

    private func mark(
        _ address: BlockNumber, in map: ReferenceWritableKeyPath<DiskCheck, BlockMap>
    ) -> Bool {
        let (start, count) = (address.rawValue, geometry.nodeBlocks)
        if mainMap.intersects(start, count) || spaceMap.intersects(start, count) { return false }
        self[keyPath: map].insert(start, count)
        nodesRead += 1
        if nodesRead & 0xFF == 0 {
            context.isAt("nodes", nodesRead, of: superblock.mainNodes + superblock.spaceNodes)
        }
        // Of a node and an extent at one place, the node is right: its checksum says so.
        if dataMap.intersects(start, count) {
            contested.append(BlockRun(start: address, count: count))
        }
        return true
    }
    private var nodesRead: UInt64 = 0

    private func tellOfNode(_ wanted: NodeExpectation, _ damage: RecordDamage) {
        let place = "block \(wanted.pointer.address.rawValue), \(wanted.tree)"
        guard wanted.tree == .main else {
            isSpaceWrong = true
            return context.tell(
                .node, place, damage.description, remedy: "free space is built anew")
        }
        let first = wanted.low.map { "inode \($0.object >> 8)" } ?? "the first inode"
        let last = wanted.high.map { "inode \($0.object >> 8)" } ?? "the last"
        context.tell(
            .node, place, damage.description,
            remedy: "it is cut off; records of \(first) to \(last) are lost")
    }

    /// The space tree's own nodes are in use like others.
    private func markSpaceNodes() throws(CheckFailure) {
        space.hearDamage = { [unowned self] in tellOfNode($0, $1) }
        try space.forEach(from: nil, visiting: { [self] in mark($0, in: \.spaceMap) }) { _, _ in
            true
        }
    }

    // MARK: Contested blocks

    private func settleContested() throws(CheckFailure) {
        guard !contested.isEmpty else { return }
        var nodes = mainMap
        nodes.formUnion(spaceMap)
        try ContestedBlocks(self, contested, nodes: nodes).settle()
        // What is used is now counted without the losers.
        dataMap = try map(of: items)
    }

    /// Calls `body` with every extent that has blocks, as they shall stand.
    func forEachStoredExtent(
        _ body: (ItemKey, ExtentRecord, UnsafeRawBufferPointer) throws(CheckFailure) -> Void
    ) throws(CheckFailure) {
        try forEachExtent(of: items, body)
    }

    private func forEachExtent(
        of items: CheckedItems,
        _ body: (ItemKey, ExtentRecord, UnsafeRawBufferPointer) throws(CheckFailure) -> Void
    ) throws(CheckFailure) {
        let limits = ExtentRecord.Limits(
            blockSize: geometry.blockSize, totalBlocks: geometry.totalBlocks)
        try items.forEach(from: nil) { (key, value) throws(CheckFailure) in
            guard key.object & 0xFF == RecordKind.extent.rawValue, key.tail.isEmpty,
                let extent = try? ExtentRecord(decoding: value, at: key.number, limits),
                extent.form != .inline, geometry.contains(extent.run(of: geometry.blockSize))
            else { return true }
            try body(key, extent, value)
            return true
        }
    }

    private func map(of items: CheckedItems) throws(CheckFailure) -> BlockMap {
        var map = BlockMap(count: geometry.totalBlocks)
        try forEachExtent(of: items) { (_, extent, _) throws(CheckFailure) in
            let run = extent.run(of: geometry.blockSize)
            map.insert(run.start.rawValue, run.count)
        }
        return map
    }

    // MARK: Space

    /// What the superblock's group uses, without the log.
    func committedMap() throws(CheckFailure) -> BlockMap {
        log.entries > 0 ? try map(of: CheckedItems(main)) : dataMap
    }

    private func checkSpace() throws(CheckFailure) {
        let data = try committedMap()
        var used = data
        used.formUnion(mainMap)
        used.formUnion(spaceMap)
        used.insertFixed(geometry)
        let check = SpaceCheck(context, used: used)
        try check.run(space)
        isSpaceWrong = isSpaceWrong || check.isWrong
        compare("free blocks", superblock.freeBlocks, check.freeBlocks)
        compare(
            "nodes of the main tree", superblock.mainNodes,
            mainMap.markedCount / geometry.nodeBlocks)
        compare(
            "nodes of the space tree", superblock.spaceNodes,
            spaceMap.markedCount / geometry.nodeBlocks)
        compare("blocks of data", superblock.dataBlocks, data.markedCount)
        if log.entries > 0 { compareLog(data) }
    }

    private func compare(_ what: String, _ stored: UInt64, _ counted: UInt64) {
        guard stored != counted else { return }
        isSpaceWrong = true
        context.tell(
            .counter, "the superblock", "\(stored) \(what), there are \(counted)",
            remedy: "it is counted anew")
    }

    /// What the log says of blocks, against the extents that it enters.
    private func compareLog(_ committed: BlockMap) {
        var after = committed
        for (run, isUsed) in log.blocks {
            if isUsed {
                after.insert(run.start.rawValue, run.count)
            } else {
                after.remove(run.start.rawValue, run.count)
            }
        }
        after.forEachDifference(from: dataMap) { start, count, isInLog in
            context.tell(
                .log, "blocks \(start) to \(start + count - 1)",
                isInLog
                    ? "in use says the log, and no extent leads there"
                    : "an extent leads there, and the log does not say that they are in use",
                remedy: "free space is built anew once the log was carried out")
            isSpaceWrong = true
        }
    }

    /// Whether the main tree must be written anew: something was cut off it, or shall stand otherwise.
    var mustWriteItems: Bool { main.isCut || !items.edits.isEmpty }

    /// Writing the image anew carries out the log, but for the data in it.
    func tellOfLostWrites() throws(CheckFailure) {
        for (inode, bytes) in log.writes.sorted(by: { $0.key < $1.key }) {
            context.tell(
                .log, "inode \(inode)", "\(bytes) bytes of data in the log cannot be written",
                remedy: nil)
        }
    }

    private func summarize() {
        context.summary.group = superblock.group.rawValue
        context.summary.label = superblock.labelText
        context.summary.blockSize = UInt64(geometry.blockSize)
        context.summary.totalBlocks = geometry.totalBlocks
        context.summary.usedBlocks =
            geometry.totalBlocks - min(superblock.freeBlocks, geometry.totalBlocks)
        context.summary.mainNodes = mainMap.markedCount / geometry.nodeBlocks
        context.summary.spaceNodes = spaceMap.markedCount / geometry.nodeBlocks
        context.summary.logEntries = log.entries
    }
}
