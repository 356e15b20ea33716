// NodeView: reading a node (format §4).
//
// The bytes in memory are the bytes on the device, but that pointers to changed nodes are provisional
// (NodeAddress). A view is made of nodes that passed `NodeCheck`, or that this process built; so
// counts, places and lengths hold, and reading computes with them unchecked.
//
//     0 u32 magic │ 4 u32 checksum │ 8 u64 address │ 16 u64 group │ 24 u8 level │ 25 u8 tree
//     26 u16 count │ 28 u16 content │ 30 u16 reserved │ 32 items … gap … content
//
//     item: 0 u64 object │ 8 u64 number │ 16 u16 place │ 18 u16 tail │ 20 u16 value │ 22 u16 reserved
//
// The content of item 0 stands last: `place[i] + tail[i] + value[i]` is where item i − 1 begins, and
// for item 0 the end of the node.
//
// A value that borrows the node's memory.

import CairnBase

package struct NodeView {
    /// "MFN1"
    package static let magic: UInt32 = 0x4D46_4E31
    package static let headerSize = 32
    package static let itemSize = 24

    package let base: UnsafeRawPointer
    /// Bytes of the node.
    package let size: Int

    @inline(__always)
    package init(_ base: UnsafeRawPointer, size: Int) {
        self.base = base
        self.size = size
    }

    // MARK: Header

    @inline(__always) package var checksum: UInt32 { loadU32(base, 4) }
    @inline(__always) package var address: UInt64 { loadU64(base, 8) }
    @inline(__always) package var group: TransactionGroup {
        TransactionGroup(rawValue: loadU64(base, 16))
    }
    @inline(__always) package var level: UInt8 { base.load(fromByteOffset: 24, as: UInt8.self) }
    @inline(__always) package var tree: UInt8 { base.load(fromByteOffset: 25, as: UInt8.self) }
    @inline(__always) package var count: Int { Int(loadU16(base, 26)) }
    @inline(__always) package var content: Int { Int(loadU16(base, 28)) }

    /// Bytes of items and content.
    @inline(__always) package var used: Int { count &* Self.itemSize &+ (size &- content) }

    /// CRC32C of the node with the checksum field as zero.
    package func computedChecksum(seed: UInt32) -> UInt32 {
        let bytes = UnsafeRawBufferPointer(start: base, count: size)
        var checksum = CRC32C.checksum(
            UnsafeRawBufferPointer(rebasing: bytes[..<4]), continuing: seed)
        checksum = withUnsafeBytes(of: UInt32(0)) { CRC32C.checksum($0, continuing: checksum) }
        return CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[8...]), continuing: checksum)
    }

    // MARK: Items

    @inline(__always)
    func item(_ index: Int) -> UnsafeRawPointer {
        base + (Self.headerSize &+ index &* Self.itemSize)
    }

    @inline(__always) func place(_ index: Int) -> Int { Int(loadU16(item(index), 16)) }
    @inline(__always) func tailCount(_ index: Int) -> Int { Int(loadU16(item(index), 18)) }
    @inline(__always) func valueCount(_ index: Int) -> Int { Int(loadU16(item(index), 20)) }

    /// The end of an item's content: where that of the item before begins.
    @inline(__always)
    func end(_ index: Int) -> Int { index == 0 ? size : place(index &- 1) }

    /// Bytes that items take, with their content.
    @inline(__always)
    func size(of range: Range<Int>) -> Int {
        guard !range.isEmpty else { return 0 }
        return range.count &* Self.itemSize &+ end(range.lowerBound)
            &- place(range.upperBound &- 1)
    }

    @inline(__always)
    package func key(_ index: Int) -> ItemKey {
        let item = item(index)
        let tail = UnsafeRawBufferPointer(
            start: base + Int(loadU16(item, 16)), count: Int(loadU16(item, 18)))
        return ItemKey(object: loadU64(item, 0), number: loadU64(item, 8), tail: tail)
    }

    @inline(__always)
    package func value(_ index: Int) -> UnsafeRawBufferPointer {
        let item = item(index)
        let start = Int(loadU16(item, 16)) &+ Int(loadU16(item, 18))
        return UnsafeRawBufferPointer(start: base + start, count: Int(loadU16(item, 20)))
    }

    /// Level ≥ 1: the 24 bytes that point to a child.
    @inline(__always)
    func pointerBytes(_ index: Int) -> UnsafeRawPointer {
        let item = item(index)
        return base + (Int(loadU16(item, 16)) &+ Int(loadU16(item, 18)))
    }

    /// Level ≥ 1.
    package func pointer(_ index: Int) -> NodePointer { NodePointer(at: pointerBytes(index)) }

    // MARK: Search

    /// Object and number of an item, as one number.
    @inline(__always)
    private func head(_ index: Int) -> UInt128 {
        let item = item(index)
        return UInt128(loadU64(item, 0)) << 64 | UInt128(loadU64(item, 8))
    }

    /// The first item that does not stand before the key; the count if there is none.
    @inline(__always)
    package func firstIndex(notBefore key: ItemKey) -> Int {
        firstIndex(notBefore: key, from: 0)
    }

    /// Halves the range without a branch that depends on what is compared: such branches are foretold wrongly
    /// every second time. Tails are compared only among items that have the key's object and number.
    @inline(__always)
    private func firstIndex(notBefore key: ItemKey, from start: Int) -> Int {
        let wanted = UInt128(key.object) << 64 | UInt128(key.number)
        var low = start
        var length = count &- start
        guard length > 0 else { return count }
        while length > 1 {
            let half = length >> 1
            low = head(low &+ half &- 1) < wanted ? low &+ half : low
            length &-= half
        }
        if head(low) < wanted { low &+= 1 }
        if low < count, head(low) == wanted { return firstIndex(notBeforeTail: key, from: low) }
        return low
    }

    /// Items from `start` on may have the key's object and number.
    private func firstIndex(notBeforeTail key: ItemKey, from start: Int) -> Int {
        var low = start
        var high = count
        while low < high {
            let middle = (low &+ high) >> 1
            if self.key(middle) < key { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    @inline(__always)
    package func isKey(_ index: Int, equalTo key: ItemKey) -> Bool {
        let item = item(index)
        return loadU64(item, 0) == key.object && loadU64(item, 8) == key.number
            && compareTails(self.key(index).tail, key.tail) == 0
    }

    /// Level ≥ 1: the child in whose range the key is. (Key 0 does not count.)
    @inline(__always)
    package func childIndex(for key: ItemKey) -> Int {
        let index = firstIndex(notBefore: key, from: 1)
        return index < count && isKey(index, equalTo: key) ? index : index &- 1
    }

    /// Level ≥ 1: the last child in whose range something before the key can be.
    @inline(__always)
    package func childIndex(before key: ItemKey) -> Int {
        firstIndex(notBefore: key, from: 1) &- 1
    }
}
