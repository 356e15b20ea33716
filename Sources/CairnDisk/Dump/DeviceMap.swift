// DeviceMap: what is where on a device, from far enough away to see it at once, and how fragmented.
//
// Read as a check reads it. The log's changes are not in it.
//
// A value.

public import CairnIO

public struct DeviceMap: Sendable {
    public enum Content: Int, Sendable, CaseIterable {
        case superblocks, log, fileNodes, spaceNodes, data, free
    }

    /// At most so many cells.
    public static let cellLimit: UInt64 = 4096

    public let label: String
    public let blockSize: UInt64
    public let totalBlocks: UInt64
    public let blocksPerCell: UInt64
    /// How many blocks of each content a cell has, by its `rawValue`. What is missing is unknown:
    /// lost by damage, or changed by the log.
    public private(set) var cells: [[UInt64]]
    public private(set) var extents: UInt64 = 0
    /// Extents that do not follow on the device the one before them in the file.
    public private(set) var fragments: UInt64 = 0
    public private(set) var filesWithExtents: UInt64 = 0
    public private(set) var freeExtents: UInt64 = 0
    public private(set) var longestFree: UInt64 = 0
    /// Nodes that could not be read.
    public private(set) var damagedNodes: UInt64 = 0

    public init(_ device: any BlockDevice) throws(CheckFailure) {
        let superblock = try CheckedSuperblocks(on: device).chosen
        let geometry = superblock.geometry
        label = superblock.labelText
        blockSize = UInt64(geometry.blockSize)
        totalBlocks = geometry.totalBlocks
        blocksPerCell = (totalBlocks + DeviceMap.cellLimit - 1) / DeviceMap.cellLimit
        cells = Array(
            repeating: Array(repeating: 0, count: Content.allCases.count),
            count: Int((totalBlocks + blocksPerCell - 1) / blocksPerCell))
        let setBlocks = VolumeGeometry.setLength / blockSize
        add(BlockRun(start: BlockNumber(rawValue: 0), count: setBlocks), .superblocks)
        add(BlockRun(start: geometry.endBlock, count: setBlocks), .superblocks)
        add(BlockRun(start: geometry.logStart, count: geometry.logBlocks), .log)
        try addFiles(CheckedTree(.main, of: superblock, on: device), geometry)
        try addFree(CheckedTree(.space, of: superblock, on: device), geometry)
    }

    private mutating func addFiles(
        _ tree: CheckedTree, _ geometry: VolumeGeometry
    ) throws(CheckFailure) {
        let limits = ExtentRecord.Limits(
            blockSize: geometry.blockSize, totalBlocks: geometry.totalBlocks)
        var last: (inode: UInt64, end: BlockNumber)?
        try addNodes(of: tree, geometry, .fileNodes) { map, key, value in
            guard key.object & 0xFF == RecordKind.extent.rawValue,
                let extent = try? ExtentRecord(decoding: value, at: key.number, limits),
                extent.form != .inline, geometry.contains(extent.run(of: geometry.blockSize))
            else { return }
            let run = extent.run(of: geometry.blockSize)
            let inode = key.object >> 8
            map.extents += 1
            if last?.inode != inode {
                map.filesWithExtents += 1
            } else if last?.end != run.start {
                map.fragments += 1
            }
            last = (inode, run.end)
            map.add(run, .data)
        }
    }

    private mutating func addFree(
        _ tree: CheckedTree, _ geometry: VolumeGeometry
    ) throws(CheckFailure) {
        try addNodes(of: tree, geometry, .spaceNodes) { map, key, value in
            guard key.object == SpaceObject.freeExtent,
                let run = try? FreeExtentRecord.decode(value, at: key.number, geometry)
            else { return }
            map.freeExtents += 1
            map.longestFree = max(map.longestFree, run.count)
            map.add(run, .free)
        }
    }

    private mutating func addNodes(
        of tree: CheckedTree, _ geometry: VolumeGeometry, _ content: Content,
        _ body: (inout DeviceMap, ItemKey, UnsafeRawBufferPointer) -> Void
    ) throws(CheckFailure) {
        var nodes: [BlockNumber] = []
        var damaged: UInt64 = 0
        tree.hearNode = { wanted, _ in
            nodes.append(BlockNumber(rawValue: wanted.pointer.address.rawValue))
        }
        tree.hearDamage = { _, _ in damaged += 1 }
        defer {
            tree.hearNode = nil
            tree.hearDamage = nil
        }
        var map = self
        try tree.forEach(from: nil) { (key, value) in
            body(&map, key, value)
            return true
        }
        for node in nodes { map.add(BlockRun(start: node, count: geometry.nodeBlocks), content) }
        map.damagedNodes += damaged
        self = map
    }

    /// The run lies on the device.
    private mutating func add(_ run: BlockRun, _ content: Content) {
        var block = run.start.rawValue
        while block < run.end.rawValue {
            let cell = block / blocksPerCell
            let end = min((cell + 1) * blocksPerCell, run.end.rawValue)
            cells[Int(cell)][content.rawValue] += end - block
            block = end
        }
    }

    /// Blocks of a content on the whole device.
    public func blocks(_ content: Content) -> UInt64 {
        cells.reduce(0) { $0 + $1[content.rawValue] }
    }
}
