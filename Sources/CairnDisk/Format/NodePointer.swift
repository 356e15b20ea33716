// NodePointer and TreeRoot: how a node is referred to (format §4, requirement D2).
//
// A pointer says where a node is and, so that a stale or misplaced node is noticed, which group
// wrote it and what its checksum is. Values; what comes from a device is checked by whoever uses it.

/// 24 bytes in a node of level ≥ 1.
///
///     0 u64 address │ 8 u64 birth │ 16 u32 checksum │ 20 u32 reserved
package struct NodePointer: Hashable, Sendable {
    /// The child's first block. In memory it may be a `NodeAddress` that is no place yet.
    package var address: NodeAddress
    /// The group that wrote it.
    package var birth: TransactionGroup
    /// The checksum in its header.
    package var checksum: UInt32

    package static let byteCount = 24

    @inline(__always)
    package init(address: NodeAddress, birth: TransactionGroup, checksum: UInt32) {
        self.address = address
        self.birth = birth
        self.checksum = checksum
    }

    /// Of 24 bytes, not necessarily aligned.
    @inline(__always)
    init(at bytes: UnsafeRawPointer) {
        address = NodeAddress(rawValue: loadU64(bytes, 0))
        birth = TransactionGroup(rawValue: loadU64(bytes, 8))
        checksum = loadU32(bytes, 16)
    }

    @inline(__always)
    func store(at bytes: UnsafeMutableRawPointer) {
        storeU64(address.rawValue, bytes, 0)
        storeU64(birth.rawValue, bytes, 8)
        storeU32(checksum, bytes, 16)
        storeU32(0, bytes, 20)
    }
}

/// Where a node is: the number of its first block. While a node has been changed and its group is
/// not written, pointers in memory have a *provisional* address instead: the top bit, and where
/// the node is in memory. No such address ever stands on a device.
package struct NodeAddress: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt64

    @inline(__always)
    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    @inline(__always)
    package init(_ block: BlockNumber) {
        rawValue = block.rawValue
    }

    static var provisionalBit: UInt64 { 1 << 63 }

    @inline(__always)
    package var isProvisional: Bool { rawValue & Self.provisionalBit != 0 }

    /// Nil while there is none.
    package var block: BlockNumber? {
        isProvisional ? nil : BlockNumber(rawValue: rawValue)
    }
}

/// Where a tree begins. (How a superblock has it: RootPointer.)
package struct TreeRoot: Hashable, Sendable {
    package var node: NodePointer
    /// Of the root; leaves are 0.
    package var level: UInt8

    /// 16 levels.
    package static let maximumLevel: UInt8 = 15

    package init(node: NodePointer, level: UInt8) {
        self.node = node
        self.level = level
    }
}
