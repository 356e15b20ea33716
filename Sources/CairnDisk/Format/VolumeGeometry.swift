// VolumeGeometry: how large a filesystem and its parts are (docs/format.md §2).
//
// A value that was checked: whoever has one can compute with it without overflow. All block
// numbers below are of the one device.

public struct VolumeGeometry: Hashable, Sendable {
    /// Bytes of either set of superblocks.
    static let setLength: UInt64 = 131_072
    /// The device's size is rounded down to a multiple of this.
    static let sizeUnit: UInt64 = 65536
    /// 4 MiB.
    public static let minimumSize: UInt64 = 4 << 20
    static let maximumBlocks: UInt64 = 1 << 48
    static let maximumLogBlocks: UInt64 = 65536

    /// Bytes: 4096, 8192 or 16384.
    public let blockSize: UInt32
    /// Bytes: 4096 … 32768, not less than the block size.
    public let nodeSize: UInt32
    public let totalBlocks: UInt64
    /// Blocks of a region: a power of two, 64 … 32768.
    let regionBlocks: UInt32
    let logStart: BlockNumber
    let logBlocks: UInt64

    /// Checks the numbers against the format's limits.
    init(
        blockSize: UInt32, nodeSize: UInt32, totalBlocks: UInt64, regionBlocks: UInt32,
        logStart: BlockNumber, logBlocks: UInt64
    ) throws(RecordDamage) {
        guard [4096, 8192, 16384].contains(blockSize) else {
            throw RecordDamage("blocks of \(blockSize) bytes")
        }
        guard [4096, 8192, 16384, 32768].contains(nodeSize), nodeSize >= blockSize else {
            throw RecordDamage("nodes of \(nodeSize) bytes")
        }
        guard totalBlocks <= VolumeGeometry.maximumBlocks,
            totalBlocks &* UInt64(blockSize) >= VolumeGeometry.minimumSize,
            totalBlocks &* UInt64(blockSize) % VolumeGeometry.sizeUnit == 0
        else { throw RecordDamage("a size of \(totalBlocks) blocks") }
        guard regionBlocks & (regionBlocks &- 1) == 0, (64...32768).contains(regionBlocks) else {
            throw RecordDamage("regions of \(regionBlocks) blocks")
        }
        self.blockSize = blockSize
        self.nodeSize = nodeSize
        self.totalBlocks = totalBlocks
        self.regionBlocks = regionBlocks
        self.logStart = logStart
        self.logBlocks = logBlocks
        let setBlocks = VolumeGeometry.setLength / UInt64(blockSize)
        guard logStart.rawValue >= setBlocks, logStart.rawValue < totalBlocks, logBlocks > 0,
            logBlocks <= VolumeGeometry.maximumLogBlocks,
            logStart.rawValue + logBlocks < totalBlocks - setBlocks
        else {
            throw RecordDamage("a log of \(logBlocks) blocks at block \(logStart.rawValue)")
        }
    }

    /// Bytes of the filesystem.
    public var size: UInt64 { totalBlocks &* UInt64(blockSize) }

    /// Blocks of a node.
    var nodeBlocks: UInt64 { UInt64(nodeSize / blockSize) }

    /// The first block behind the log: nodes and data begin here.
    var firstBlock: BlockNumber { BlockNumber(rawValue: logStart.rawValue &+ logBlocks) }

    /// The first block of the second set of superblocks: nodes and data end here.
    var endBlock: BlockNumber {
        BlockNumber(rawValue: totalBlocks &- VolumeGeometry.setLength / UInt64(blockSize))
    }

    var regionCount: Int {
        Int((totalBlocks &+ UInt64(regionBlocks) &- 1) / UInt64(regionBlocks))
    }

    func region(of block: BlockNumber) -> Int { Int(block.rawValue / UInt64(regionBlocks)) }

    /// The first block of a region.
    func start(ofRegion region: Int) -> BlockNumber {
        BlockNumber(rawValue: UInt64(region) &* UInt64(regionBlocks))
    }

    /// Blocks of a region; the last one may be shorter than the others.
    func blocks(ofRegion region: Int) -> UInt32 {
        UInt32(min(UInt64(regionBlocks), totalBlocks &- start(ofRegion: region).rawValue))
    }

    /// Blocks of a region that nodes and data can have.
    func usableBlocks(ofRegion region: Int) -> Int {
        let start = max(start(ofRegion: region), firstBlock).rawValue
        let end = min(self.start(ofRegion: region + 1), endBlock).rawValue
        return end > start ? Int(end - start) : 0
    }

    /// Where a block stands on the device, in bytes.
    func offset(of block: BlockNumber) -> UInt64 { block.rawValue &* UInt64(blockSize) }

    /// Whether all these blocks can belong to nodes and data.
    func contains(_ run: BlockRun) -> Bool {
        run.start >= firstBlock && run.start < endBlock && run.count > 0
            && run.count <= endBlock.rawValue &- run.start.rawValue
    }

    func canHoldNode(at address: BlockNumber) -> Bool {
        address.rawValue % nodeBlocks == 0
            && contains(BlockRun(start: address, count: nodeBlocks))
    }

    /// How many node places a free extent has: whole ones, that start at a multiple of their size.
    func nodePlaces(in run: BlockRun) -> UInt64 {
        let first = (run.start.rawValue &+ nodeBlocks &- 1) / nodeBlocks
        let end = run.end.rawValue / nodeBlocks
        return end > first ? end &- first : 0
    }
}
