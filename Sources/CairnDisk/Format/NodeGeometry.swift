// NodeGeometry: what all nodes of a filesystem have in common (format §1, §2, §4).
//
// A value. Whoever makes one has checked the numbers that it comes from.

/// Which of the two trees.
package enum TreeIdentity: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    case main = 1
    case space = 2

    package var description: String { self == .main ? "main tree" : "space tree" }
}

package struct NodeGeometry: Sendable {
    /// Bytes of a block and of a node; a node is one or more whole blocks.
    package let blockSize: Int
    package let nodeSize: Int
    /// What checksums continue: the CRC32C of the filesystem's UUID.
    package let seed: UInt32
    /// Blocks among which nodes stand: from the end of the log to the second set of superblocks.
    package let places: Range<UInt64>

    package init(blockSize: Int, nodeSize: Int, seed: UInt32, places: Range<UInt64>) {
        precondition(nodeSize >= blockSize && nodeSize % blockSize == 0 && nodeSize <= 32768)
        self.blockSize = blockSize
        self.nodeSize = nodeSize
        self.seed = seed
        self.places = places
    }

    package var blocksPerNode: UInt64 { UInt64(nodeSize / blockSize) }

    /// What a leaf's item may take at most, with its 24 bytes in front.
    package var maximumItemSize: Int { (nodeSize - NodeView.headerSize) / 4 }

    /// Where a node is on the device, in bytes.
    package func offset(of block: BlockNumber) -> UInt64 { block.rawValue &* UInt64(blockSize) }

    /// Whether a node can be at this address.
    package func canHoldNode(at address: NodeAddress) -> Bool {
        let block = address.rawValue
        return block % blocksPerNode == 0 && block >= places.lowerBound
            && block < places.upperBound && places.upperBound - block >= blocksPerNode
    }
}
