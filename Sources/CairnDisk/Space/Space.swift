// Space: which blocks are free, which are promised, and which come free with the next commit.
//
// The blocks are divided into regions (docs/format.md §2, §6). Of each, a record is in memory; its
// free extents are read when it is first needed, and kept as maps (Region.swift). What operations
// use and free is collected for their group (`open`); the committer enters it into the maps and
// brings the space tree after them (Space+Commit.swift).
//
// Nothing is given out that the last durable group uses, or that a group freed which is not durable
// yet. So a crash at any point finds the blocks of the last durable group as they were.
//
// Nodes and data. A node needs a *place*, an aligned run of blocks; data takes any block. As long as
// there is room they keep to regions of their own. `reservePlaces` places, those that commits will
// need for what is changed already (`demand`), and those that were promised are never broken up for
// data: so a commit always finds its places, and something can be removed on a full filesystem.
//
// Threading: any thread; `lock` guards all that changes. A leaf: nothing else is taken under it.

import CairnBase
import Synchronization

/// Room that placing some data will take: blocks for the data, nodes for the items about it.
struct SpacePromise: Hashable, Sendable {
    var blocks: Int
    var nodes: Int

    init(blocks: Int, nodes: Int = 0) {
        self.blocks = blocks
        self.nodes = nodes
    }
}

/// Whether there is room.
enum SpaceVerdict: Sendable {
    case granted
    /// Not now; the next commit may give some back.
    case afterCommit
    case never
}

final class Space: @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    let geometry: VolumeGeometry
    /// Node places that only what makes room may use.
    let reservePlaces: Int
    /// Told of free space that is not what it should be.
    let report: @Sendable (String) -> Void

    /// Operations came since the last commit closed the gate, so something may be there to place.
    let hasDirtyData = Atomic<Bool>(false)

    let lock = Lock()
    // Guarded by `lock`.
    var regions: [Region] = []
    /// Blocks and node places that can be given out now, in all regions.
    var availableBlocks = 0
    var availablePlaces = 0
    var promised = SpacePromise(blocks: 0)
    /// What the open group used and freed so far.
    var open = GroupSpace()
    /// Nodes that the open group has changed, and that a commit under way has no places for yet.
    var openNodes = 0
    var closingNodes = 0
    /// Blocks that groups which are not durable freed.
    var deferredBlocks = 0
    /// Blocks of data in all extents, as the open group has it.
    var dataBlocks: UInt64
    /// Nodes of the space tree.
    var spaceNodes: Int
    /// Where data and nodes were given out last.
    var dataCursor: BlockNumber
    var nodeCursor: BlockNumber
    /// Regions that the commit under way changed.
    var touched: Set<Int> = []
    /// Regions whose maps are in memory.
    var loadedRegions = 0
    var hasDamage = false
    /// Something is in use and free, or was freed twice: nothing may be written any more.
    var isContradictory = false

    /// Without regions yet: `append` brings them.
    init(_ superblock: Superblock, report: @escaping @Sendable (String) -> Void) {
        geometry = superblock.geometry
        self.report = report
        dataBlocks = superblock.dataBlocks
        spaceNodes = Int(superblock.spaceNodes)
        let places = Int(
            (geometry.endBlock.rawValue - geometry.firstBlock.rawValue) / geometry.nodeBlocks)
        // The largest change that only removes takes away an attribute of 64 KiB, in items of less than half a
        // node: all of their leaves, and as many neighbours to merge with.
        let removal = 24 + 4 * 65536 / Int(geometry.nodeSize)
        reservePlaces = min(max(places / 24, min(max(40, removal), places / 5)), 4096)
        dataCursor = geometry.firstBlock
        nodeCursor = geometry.firstBlock
    }

    /// Regions whose records are in memory.
    var regionCount: Int { lock.withLock { regions.count } }

    /// Takes the record of the next region, while opening.
    func append(_ record: RegionRecord) {
        lock.withLock {
            let region = Region(record)
            availableBlocks += Int(region.available)
            availablePlaces += Int(region.places)
            regions.append(region)
        }
    }

    // MARK: Promises

    /// Nodes that the space tree will need for a commit with so many runs of data and nodes: each node that
    /// is written leaves one place and takes another, which changes free space in two places.
    func spaceDemand(runs: Int, nodes: Int) -> Int {
        let changes = runs + 2 * nodes
        return min(spaceNodes, 2 * changes + 4) + changes / 16 + 6
    }

    /// Places that commits need for what is changed already, for what is promised, and for so much more.
    func demand(moreRuns: Int, moreNodes: Int) -> Int {
        let nodes = openNodes + promised.nodes + moreNodes
        let runs = open.used.count + open.freed.count + moreRuns
        return nodes + closingNodes + spaceDemand(runs: runs, nodes: nodes)
    }

    /// Promises room, if it is there.
    func reserve(_ promise: SpacePromise, mayUseReserve: Bool) -> SpaceVerdict {
        lock.lock()
        defer { lock.unlock() }
        let size = Int(geometry.nodeBlocks)
        let kept = mayUseReserve ? 0 : reservePlaces
        let places = kept + demand(moreRuns: promise.blocks > 0 ? 2 : 0, moreNodes: promise.nodes)
        let needed = promise.blocks + promised.blocks + places * size
        if needed <= availableBlocks, promise.nodes == 0 || places <= availablePlaces {
            promised.blocks += promise.blocks
            promised.nodes += promise.nodes
            return .granted
        }
        guard isCommitWorthwhile else { return .never }
        let least = (kept + promise.nodes) * size + promise.blocks
        return least <= availableBlocks + deferredBlocks + open.freedBlocks ? .afterCommit : .never
    }

    func release(_ promise: SpacePromise) {
        lock.withLock {
            promised.blocks -= promise.blocks
            promised.nodes -= promise.nodes
            precondition(promised.blocks >= 0 && promised.nodes >= 0, "more released than promised")
        }
    }

    /// Places that are left when all data that is promised has its blocks: it takes those first that belong to
    /// no whole place.
    private var placesBesideData: Int {
        let size = Int(geometry.nodeBlocks)
        let fragments = availableBlocks - availablePlaces * size
        return availablePlaces - (max(0, promised.blocks - fragments) + size - 1) / size
    }

    /// Whether a change that will make so many nodes dirty and uses and frees so many runs can be
    /// made: a commit must find places for them.
    func admit(nodes: Int, runs: Int, mayUseReserve: Bool) -> SpaceVerdict {
        lock.lock()
        defer { lock.unlock() }
        let kept = mayUseReserve ? 0 : reservePlaces
        if kept + demand(moreRuns: runs, moreNodes: nodes) <= placesBesideData { return .granted }
        return isCommitWorthwhile ? .afterCommit : .never
    }

    /// Whether a commit can bring room: by what was freed, by nodes that get their places, or by
    /// promises for dirty data, which turn out smaller when it is placed. (A promise of somebody who
    /// waits himself is no reason: he would wait for ever.)
    private var isCommitWorthwhile: Bool {
        openNodes > 0 || closingNodes > 0 || deferredBlocks > 0 || !open.isEmpty
            || hasDirtyData.load(ordering: .acquiring)
    }

    // MARK: What operations use and free

    /// Notes the runs of a change that was applied; `dirtyNodes` is how many nodes the open group
    /// has changed by now.
    func note(_ batch: borrowing EditBatch, dirtyNodes: Int) {
        lock.lock()
        defer { lock.unlock() }
        openNodes = dirtyNodes
        guard batch.usedBlocks > 0 || batch.freedBlocks > 0 else { return }
        dataBlocks &+= batch.usedBlocks
        dataBlocks = dataBlocks >= batch.freedBlocks ? dataBlocks - batch.freedBlocks : 0
        batch.forEachRecord { record in
            guard record.kind == .used || record.kind == .freed else { return }
            let run = BlockRun(start: BlockNumber(rawValue: record.first), count: record.second)
            if record.kind == .used { open.use(run) } else { open.free(run) }
        }
    }

    /// The open group used and freed nothing.
    var isOpenEmpty: Bool { lock.withLock { open.isEmpty } }

    // MARK: Figures

    var figures: SpaceFigures {
        lock.withLock {
            let free = availableBlocks + deferredBlocks + open.freedBlocks
            let size = Int(geometry.nodeBlocks)
            let kept = (reservePlaces + demand(moreRuns: 0, moreNodes: 0)) * size + promised.blocks
            return SpaceFigures(
                total: geometry.endBlock.rawValue - geometry.firstBlock.rawValue,
                free: UInt64(max(0, free - promised.blocks)),
                available: UInt64(max(0, free - kept)), data: dataBlocks,
                promised: UInt64(promised.blocks),
                longestRuns: regions.reduce(0) { $0 + UInt64($1.longest) })
        }
    }
}

/// What a volume says of its space, in blocks.
struct SpaceFigures: Hashable, Sendable {
    /// That nodes and data can have.
    var total: UInt64
    /// In use by nobody and not promised, also what comes free with the next commit.
    var free: UInt64
    /// Of these, without what is kept for removing, or needed by the next commit.
    var available: UInt64
    /// Of files.
    var data: UInt64
    var promised: UInt64
    /// The longest run of each region (at most), together: how whole the free space is.
    var longestRuns: UInt64
}

/// What one group used and freed. Neighbours that come in order become one run.
struct GroupSpace: Sendable {
    private(set) var used: [BlockRun] = []
    private(set) var freed: [BlockRun] = []
    private(set) var freedBlocks = 0

    var isEmpty: Bool { used.isEmpty && freed.isEmpty }

    mutating func use(_ run: BlockRun) { GroupSpace.add(run, to: &used) }

    mutating func free(_ run: BlockRun) {
        GroupSpace.add(run, to: &freed)
        freedBlocks += Int(run.count)
    }

    private static func add(_ run: BlockRun, to runs: inout [BlockRun]) {
        if let last = runs.last, last.end == run.start {
            runs[runs.count - 1].count += run.count
        } else {
            runs.append(run)
        }
    }
}

extension BlockRun {
    /// The parts of a run in each region: the region, and the blocks counted from its start.
    func forEachPart(_ geometry: VolumeGeometry, _ body: (Int, Range<Int>) -> Void) {
        var start = start
        while start < end {
            let region = geometry.region(of: start)
            let base = geometry.start(ofRegion: region).rawValue
            let stop = min(end.rawValue, base + UInt64(geometry.regionBlocks))
            body(region, Int(start.rawValue - base)..<Int(stop - base))
            start = BlockNumber(rawValue: stop)
        }
    }
}

extension Space {
    /// The free extents of a region were read. If they are damaged, or not what its record says,
    /// nothing is given out of it.
    func install(_ map: FreeMap, region index: Int, damage: RecordDamage?) {
        let fault: String? = lock.withLock {
            guard regions[index].maps == nil, !regions[index].isBad else { return nil }
            let record = regions[index].record
            if damage == nil, map.freeCount == Int(record.freeBlocks) {
                regions[index].maps = Region.Maps(map)
                regions[index].longest = UInt32(map.longestRun)
                // The record counts places; the map decides.
                let places = self.record(of: map, region: index).freePlaces
                availablePlaces += Int(places) - Int(regions[index].places)
                regions[index].places = places
                loadedRegions += 1
                return nil
            }
            regions[index].isBad = true
            hasDamage = true
            availableBlocks -= Int(regions[index].available)
            availablePlaces -= Int(regions[index].places)
            regions[index].available = 0
            regions[index].places = 0
            return damage?.description ?? "they are \(map.freeCount) blocks"
        }
        guard let fault else { return }
        report(
            "the free extents of region \(index) are not what its record says: \(fault)."
                + " Nothing is given out of it; run cairn fsck")
    }
}
