// NodeEditor: changing a node in memory, so that it obeys format §4 after each call.
//
// Items stay side by side: entering one in the middle moves the content of those after it, which
// lies below it, down. Bytes that are given up are zeroed, so a node never shows what was there
// before. Preconditions: indices are within range; what is entered fits; keys and values do not lie
// in the node that is changed.
//
// A value that borrows the node's memory; one at a time.

import Glibc

struct NodeEditor {
    let base: UnsafeMutableRawPointer
    let size: Int

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer, size: Int) {
        self.base = base
        self.size = size
    }

    @inline(__always) var view: NodeView { NodeView(base, size: size) }

    /// Bytes for items and content.
    static func capacity(_ size: Int) -> Int { size - NodeView.headerSize }

    // MARK: Header

    /// Makes it an empty node. The memory may hold anything.
    func reset(level: UInt8, tree: TreeIdentity, group: TransactionGroup) {
        memset(base, 0, size)
        storeU32(NodeView.magic, base, 0)
        storeU64(group.rawValue, base, 16)
        base.storeBytes(of: level, toByteOffset: 24, as: UInt8.self)
        base.storeBytes(of: tree.rawValue, toByteOffset: 25, as: UInt8.self)
        content = size
    }

    /// Belongs to this group from now on, and has neither address nor checksum yet.
    func begin(_ group: TransactionGroup) {
        storeU32(0, base, 4)
        storeU64(0, base, 8)
        storeU64(group.rawValue, base, 16)
    }

    /// Gives it its address, and gives the checksum that it has then.
    func finish(address: BlockNumber, seed: UInt32) -> UInt32 {
        storeU64(address.rawValue, base, 8)
        let checksum = view.computedChecksum(seed: seed)
        storeU32(checksum, base, 4)
        return checksum
    }

    func setLevel(_ level: UInt8) {
        base.storeBytes(of: level, toByteOffset: 24, as: UInt8.self)
    }

    private var count: Int {
        @inline(__always) get { view.count }
        nonmutating set { storeU16(UInt16(newValue), base, 26) }
    }

    private var content: Int {
        @inline(__always) get { view.content }
        nonmutating set { storeU16(UInt16(newValue), base, 28) }
    }

    @inline(__always)
    private func item(_ index: Int) -> UnsafeMutableRawPointer {
        base + (NodeView.headerSize &+ index &* NodeView.itemSize)
    }

    /// Moves the places of items from `first` on.
    @inline(__always)
    private func movePlaces(from first: Int, by distance: Int) {
        var item = item(first)
        for _ in first..<max(count, first) {
            storeU16(UInt16(truncatingIfNeeded: Int(loadU16(item, 16)) &+ distance), item, 16)
            item += NodeView.itemSize
        }
    }

    private func writeItem(_ index: Int, _ key: ItemKey, place: Int, value: Int) {
        let item = item(index)
        storeU64(key.object, item, 0)
        storeU64(key.number, item, 8)
        storeU16(UInt16(place), item, 16)
        storeU16(UInt16(key.tail.count), item, 18)
        storeU16(UInt16(value), item, 20)
        storeU16(0, item, 22)
    }

    private func copy(_ bytes: UnsafeRawBufferPointer, to place: Int) {
        if let source = bytes.baseAddress { memcpy(base + place, source, bytes.count) }
    }

    // MARK: One item

    /// What an item takes.
    @inline(__always)
    static func itemSize(_ key: ItemKey, value: Int) -> Int {
        NodeView.itemSize &+ key.tail.count &+ value
    }

    func insert(_ key: ItemKey, _ value: UnsafeRawBufferPointer, at index: Int) {
        let length = key.tail.count + value.count
        let oldCount = count
        let oldContent = content
        precondition(
            index <= oldCount
                && NodeView.headerSize + (oldCount + 1) * NodeView.itemSize + length <= oldContent,
            "an item that does not fit")
        let end = view.end(index)
        memmove(base + (oldContent - length), base + oldContent, end - oldContent)
        memmove(item(index + 1), item(index), (oldCount - index) * NodeView.itemSize)
        count = oldCount + 1
        movePlaces(from: index + 1, by: -length)
        content = oldContent - length
        writeItem(index, key, place: end - length, value: value.count)
        copy(key.tail, to: end - length)
        copy(value, to: end - value.count)
    }

    func append(_ key: ItemKey, _ value: UnsafeRawBufferPointer) {
        insert(key, value, at: count)
    }

    func remove(at index: Int) {
        let oldCount = count
        let oldContent = content
        precondition(index < oldCount, "an item that is not there")
        let place = view.place(index)
        let length = view.end(index) - place
        memmove(base + (oldContent + length), base + oldContent, place - oldContent)
        memset(base + oldContent, 0, length)
        movePlaces(from: index + 1, by: length)
        memmove(item(index), item(index + 1), (oldCount - index - 1) * NodeView.itemSize)
        memset(item(oldCount - 1), 0, NodeView.itemSize)
        count = oldCount - 1
        content = oldContent + length
    }

    func replaceValue(at index: Int, _ value: UnsafeRawBufferPointer) {
        let end = view.end(index)
        let oldLength = view.valueCount(index)
        let growth = value.count - oldLength
        if growth != 0 {
            let oldContent = content
            precondition(
                NodeView.headerSize + count * NodeView.itemSize + growth <= oldContent,
                "a value that does not fit")
            // The item's tail moves with the content of the items after it.
            memmove(
                base + (oldContent - growth), base + oldContent, end - oldLength - oldContent)
            if growth < 0 { memset(base + oldContent, 0, -growth) }
            movePlaces(from: index, by: -growth)
            content = oldContent - growth
            storeU16(UInt16(value.count), item(index), 20)
        }
        copy(value, to: end - value.count)
    }

    /// Level ≥ 1: lets an item point to another child.
    @inline(__always)
    func setPointer(at index: Int, _ pointer: NodePointer) {
        pointer.store(at: base + (view.place(index) &+ view.tailCount(index)))
    }

    /// Level ≥ 1: gives item 0 the least of all keys, as all nodes have it that this code makes. It does not
    /// count, and so it stays before whatever comes into the range of child 0.
    func clearFirstKey() {
        guard count > 0, view.key(0).compare(to: .first) != 0 else { return }
        let pointer = view.pointer(0)
        remove(at: 0)
        withUnsafeTemporaryAllocation(byteCount: NodePointer.byteCount, alignment: 8) { bytes in
            if let base = bytes.baseAddress { pointer.store(at: base) }
            insert(.first, UnsafeRawBufferPointer(bytes), at: 0)
        }
    }

    // MARK: Many items

    /// Appends items of another node.
    func append(_ range: Range<Int>, of source: NodeView) {
        guard !range.isEmpty else { return }
        let oldCount = count
        let oldContent = content
        let end = source.end(range.lowerBound)
        let length = end - source.place(range.upperBound - 1)
        precondition(
            NodeView.headerSize + (oldCount + range.count) * NodeView.itemSize + length
                <= oldContent, "items that do not fit")
        memcpy(base + (oldContent - length), source.base + (end - length), length)
        memcpy(item(oldCount), source.item(range.lowerBound), range.count * NodeView.itemSize)
        count = oldCount + range.count
        movePlaces(from: oldCount, by: oldContent - end)
        content = oldContent - length
    }

    /// Keeps the first items only.
    func truncate(to newCount: Int) {
        let oldCount = count
        let oldContent = content
        precondition(newCount <= oldCount)
        let newContent = view.end(newCount)
        memset(base + oldContent, 0, newContent - oldContent)
        memset(item(newCount), 0, (oldCount - newCount) * NodeView.itemSize)
        count = newCount
        content = newContent
    }
}
