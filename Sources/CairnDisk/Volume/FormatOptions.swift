// FormatOptions: what a filesystem shall be like that mkfs makes, and what follows from its size.
//
// Values.

/// How a new filesystem shall be.
public struct FormatOptions: Hashable, Sendable {
    /// Bytes: 4096, 8192 or 16384.
    public var blockSize: UInt32 = 4096
    /// Bytes: 4096 … 32768, not less than the block size; nil: by the device's size.
    public var nodeSize: UInt32?
    /// At most 64 bytes of UTF-8.
    public var label = ""
    /// Of the root directory.
    public var rootUser: UInt32 = 0
    public var rootGroup: UInt32 = 0
    public var rootPermissions: UInt16 = 0o755

    public init() {}

    /// Below this size nodes are as small as they may be: there a commit's nodes count.
    private static let smallSize: UInt64 = 256 << 20

    /// The parts of a filesystem on a device of so many bytes.
    func geometry(deviceSize: UInt64) throws(VolumeFailure) -> VolumeGeometry {
        guard [4096, 8192, 16384].contains(blockSize) else {
            throw VolumeFailure(
                .EINVAL, "blocks of \(blockSize) bytes", "they can have 4096, 8192 or 16384")
        }
        let unit = VolumeGeometry.sizeUnit
        let size = deviceSize / unit * unit
        guard size >= VolumeGeometry.minimumSize else {
            throw VolumeFailure(
                .EINVAL, "a device of \(deviceSize) bytes",
                "a filesystem needs \(VolumeGeometry.minimumSize) bytes (4 MiB) at least")
        }
        guard label.utf8.count <= Superblock.labelLength else {
            throw VolumeFailure(
                .EINVAL, "a label of \(label.utf8.count) bytes",
                "it can have \(Superblock.labelLength)")
        }
        let blocks = size / UInt64(blockSize)
        let node = nodeSize ?? (size < FormatOptions.smallSize ? blockSize : max(blockSize, 16384))
        let logBytes = min(max(size / 64, 65536), 32 << 20)
        do throws(RecordDamage) {
            return try VolumeGeometry(
                blockSize: blockSize, nodeSize: node, totalBlocks: blocks,
                regionBlocks: FormatOptions.regionBlocks(of: blocks),
                logStart: BlockNumber(
                    rawValue: VolumeGeometry.setLength / UInt64(blockSize)),
                logBlocks: logBytes / UInt64(blockSize))
        } catch {
            throw VolumeFailure(.EINVAL, "a filesystem of \(size) bytes", "\(error)")
        }
    }

    /// Sixteen regions or more.
    private static func regionBlocks(of blocks: UInt64) -> UInt32 {
        var region: UInt32 = 64
        while region < 32768, UInt64(region) * 32 <= blocks { region *= 2 }
        return region
    }
}
