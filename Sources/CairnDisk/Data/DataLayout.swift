// DataLayout: how large the parts are that data is kept in, for one filesystem.
//
// A value. All lengths in bytes.

struct DataLayout: Sendable {
    let blockSize: UInt32
    let totalBlocks: UInt64
    /// Where data may stand, as numbers of blocks.
    let places: Range<UInt64>
    /// No byte of a file is at or behind this offset.
    static let endOfFiles: UInt64 = 1 << 63
    /// What tail and value of an item may have together.
    let itemRoom: Int

    init(_ geometry: VolumeGeometry) {
        self.init(
            blockSize: geometry.blockSize, nodeSize: geometry.nodeSize,
            totalBlocks: geometry.totalBlocks,
            places: geometry.firstBlock.rawValue..<geometry.endBlock.rawValue)
    }

    /// `places` nil: on the whole device.
    init(
        blockSize: UInt32, nodeSize: UInt32, totalBlocks: UInt64, places: Range<UInt64>? = nil
    ) {
        self.blockSize = blockSize
        self.places = places ?? 0..<totalBlocks
        self.totalBlocks = totalBlocks
        itemRoom = (Int(nodeSize) - 32) / 4 - 24
    }

    var limits: ExtentRecord.Limits {
        ExtentRecord.Limits(blockSize: blockSize, places: places)
    }

    /// A file that is no larger stands in its inode. Larger ones would save little against a block,
    /// and make the leaves poor in inodes.
    var inlineLimit: Int { min(2048, itemRoom - ExtentRecord.headLength) }

    /// Bytes of a link's target in one record.
    var targetPiece: Int { itemRoom - ExtentRecord.headLength }

    /// The most that an extent with a checksum for each block covers.
    var checkedExtentLength: UInt32 {
        let blocks = UInt32((itemRoom - ExtentRecord.storedHeadLength) / 4)
        return min(ExtentRecord.maximumLength, blocks * blockSize)
    }

    /// How many blocks cover so many bytes.
    @inline(__always)
    func blocks(_ bytes: UInt64) -> UInt64 {
        bytes / UInt64(blockSize) + (bytes % UInt64(blockSize) == 0 ? 0 : 1)
    }

    @inline(__always)
    func roundedDown(_ offset: UInt64) -> UInt64 { offset & ~UInt64(blockSize - 1) }

    /// Offsets of files end at 2⁶³, so that this does not overflow.
    @inline(__always)
    func roundedUp(_ offset: UInt64) -> UInt64 {
        (offset + UInt64(blockSize - 1)) & ~UInt64(blockSize - 1)
    }
}
