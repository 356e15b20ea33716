// The bytes of a node, for writing one (docs/format.md §4).

import CairnBase

enum NodeLayout {
    static let magic: UInt32 = 0x4D46_4E31
    static let headerLength = 32
    static let itemLength = 24
    static let pointerLength = 24

    struct Header {
        var address: BlockNumber
        var group: TransactionGroup
        var level: UInt8
        var tree: TreeNumber
        var count: Int
        var content: Int

        /// Puts it before the items, and gives the checksum of the whole node.
        func seal(_ bytes: UnsafeMutableRawBufferPointer, seed: UInt32) -> UInt32 {
            bytes.put(NodeLayout.magic, at: 0)
            bytes.put(UInt32(0), at: 4)
            bytes.put(address.rawValue, at: 8)
            bytes.put(group.rawValue, at: 16)
            bytes[24] = level
            bytes[25] = tree.rawValue
            bytes.put(UInt16(count), at: 26)
            bytes.put(UInt16(content), at: 28)
            let checksum = CRC32C.checksum(UnsafeRawBufferPointer(bytes), continuing: seed)
            bytes.put(checksum, at: 4)
            return checksum
        }
    }
}
