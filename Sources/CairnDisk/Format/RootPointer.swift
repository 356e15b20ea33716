// RootPointer: where a tree begins, and what its root must look like (docs/format.md §3).
//
// A value; checked where it is decoded.
//
//     0 address  8 birth  16 checksum  20 reserved  24 level  25 reserved

struct RootPointer: Hashable, Sendable {
    static let length = 32
    /// A tree has at most 16 levels.
    static let maximumLevel: UInt8 = 15

    var address: BlockNumber
    var birth: TransactionGroup
    var checksum: UInt32
    var level: UInt8

    init(address: BlockNumber, birth: TransactionGroup, checksum: UInt32, level: UInt8) {
        self.address = address
        self.birth = birth
        self.checksum = checksum
        self.level = level
    }

    /// Decodes what stands at an offset of a superblock of this group, and checks it.
    init(
        decoding bytes: UnsafeRawBufferPointer, at offset: Int, of tree: String,
        group: TransactionGroup, _ geometry: VolumeGeometry
    ) throws(RecordDamage) {
        address = BlockNumber(rawValue: bytes.number(UInt64.self, at: offset))
        birth = TransactionGroup(rawValue: bytes.number(UInt64.self, at: offset + 8))
        checksum = bytes.number(UInt32.self, at: offset + 16)
        level = bytes[offset + 24]
        guard bytes.number(UInt32.self, at: offset + 20) == 0,
            bytes.part((offset + 25)..<(offset + RootPointer.length)).isZero
        else { throw RecordDamage("reserved bytes of the root of the \(tree) tree") }
        guard geometry.canHoldNode(at: address) else {
            throw RecordDamage("the root of the \(tree) tree at block \(address.rawValue)")
        }
        guard birth.rawValue > 0, birth <= group else {
            throw RecordDamage("the root of the \(tree) tree of group \(birth.rawValue)")
        }
        guard level <= RootPointer.maximumLevel else {
            throw RecordDamage("a \(tree) tree of \(level) levels")
        }
    }

    func encode(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        bytes.put(address.rawValue, at: offset)
        bytes.put(birth.rawValue, at: offset + 8)
        bytes.put(checksum, at: offset + 16)
        bytes.put(UInt32(0), at: offset + 20)
        bytes.put(UInt64(level), at: offset + 24)
    }
}
