// NodeCheck: every rule of format §4, on bytes from a device (requirements D8, T4).
//
// Nothing of a node is used before this passed, and it computes with nothing of it that it has not
// checked itself. So whatever the bytes are, the answer is a node that keeps the rules, or the rule
// that is broken. Pure; any thread.

import CairnBase

/// What a node must be, by the pointer to it and by the place in the tree that has it.
package struct NodeExpectation: Sendable {
    package var tree: TreeIdentity
    package var pointer: NodePointer
    package var level: UInt8
    /// Only the root may be empty, as a leaf.
    package var isRoot: Bool
    /// Keys are not less than this …
    package var low: OwnedKey?
    /// … and less than this.
    package var high: OwnedKey?

    package init(
        tree: TreeIdentity, pointer: NodePointer, level: UInt8, isRoot: Bool = false,
        low: OwnedKey? = nil, high: OwnedKey? = nil
    ) {
        self.tree = tree
        self.pointer = pointer
        self.level = level
        self.isRoot = isRoot
        self.low = low
        self.high = high
    }
}

/// The rule that a node breaks.
package enum NodeFault: Hashable, Sendable {
    /// It could not be read: this is what the device said.
    case unreadable(Errno)
    case magic(UInt32)
    case checksum
    /// It was written to another place, and says which.
    case address(UInt64)
    case birth(UInt64)
    case level(UInt8)
    case tree(UInt8)
    case pointer
    case count(Int)
    case reserved
    case place(item: Int)
    case itemSize(item: Int)
    case order(item: Int)
    case child(item: Int)
    case gap
    case bounds
}

package enum NodeCheck {
    /// The first rule that the bytes break; nil: none. `bytes`: a whole node. Without
    /// `checksChildren`, children may be where no node can: whoever follows a pointer looks.
    package static func fault(
        in bytes: UnsafeRawBufferPointer, expecting wanted: NodeExpectation,
        _ geometry: NodeGeometry, checksChildren: Bool = true
    ) -> NodeFault? {
        precondition(bytes.count == geometry.nodeSize, "a whole node")
        guard let base = bytes.baseAddress else { return .magic(0) }
        let node = NodeView(base, size: bytes.count)
        let magic = loadU32(base, 0)
        guard magic == NodeView.magic else { return .magic(magic) }
        guard node.checksum == node.computedChecksum(seed: geometry.seed) else { return .checksum }
        guard node.address == wanted.pointer.address.rawValue else {
            return .address(node.address)
        }
        guard node.group == wanted.pointer.birth else { return .birth(node.group.rawValue) }
        guard node.checksum == wanted.pointer.checksum else { return .pointer }
        guard node.level == wanted.level, node.level <= TreeRoot.maximumLevel else {
            return .level(node.level)
        }
        guard node.tree == wanted.tree.rawValue else { return .tree(node.tree) }
        guard loadU16(base, 30) == 0 else { return .reserved }
        return layoutFault(in: node, isRoot: wanted.isRoot)
            ?? itemFault(in: node, geometry, checksChildren)
            ?? boundsFault(in: node, wanted)
    }

    /// Counts, places and lengths: after this, keys and values can be looked at.
    static func layoutFault(in node: NodeView, isRoot: Bool) -> NodeFault? {
        let count = node.count
        let itemsEnd = NodeView.headerSize + count * NodeView.itemSize
        guard itemsEnd <= node.size, count > 0 || (isRoot && node.level == 0) else {
            return .count(count)
        }
        var end = node.size
        for index in 0..<count {
            let length = node.tailCount(index) + node.valueCount(index)
            guard node.place(index) + length == end, node.place(index) >= itemsEnd else {
                return .place(item: index)
            }
            guard loadU16(node.item(index), 22) == 0 else { return .reserved }
            end = node.place(index)
        }
        guard node.content == end else { return .place(item: count) }
        for offset in itemsEnd..<end
        where node.base.load(fromByteOffset: offset, as: UInt8.self) != 0 {
            return .gap
        }
        return nil
    }

    private static func itemFault(
        in node: NodeView, _ geometry: NodeGeometry, _ checksChildren: Bool
    ) -> NodeFault? {
        let isLeaf = node.level == 0
        for index in 0..<node.count {
            if index > 0, node.key(index - 1).compare(to: node.key(index)) >= 0 {
                return .order(item: index)
            }
            let size =
                isLeaf
                ? node.size(of: index..<index + 1) : NodeView.itemSize + node.tailCount(index)
            guard size <= geometry.maximumItemSize else { return .itemSize(item: index) }
            if !isLeaf {
                guard node.valueCount(index) == NodePointer.byteCount,
                    loadU32(node.pointerBytes(index), 20) == 0,
                    !checksChildren || geometry.canHoldNode(at: node.pointer(index).address)
                else { return .child(item: index) }
            }
        }
        return nil
    }

    static func boundsFault(in node: NodeView, _ wanted: NodeExpectation) -> NodeFault? {
        let isWithin =
            (wanted.low?.withKey { node.isWithin(low: $0) } ?? true)
            && (wanted.high?.withKey { node.isWithin(high: $0) } ?? true)
        return isWithin ? nil : .bounds
    }
}

extension NodeView {
    /// Whether no key is less. Above the leaves, key 0 does not count.
    @inline(__always)
    func isWithin(low: ItemKey) -> Bool {
        let first = level == 0 ? 0 : 1
        return first >= count || low <= key(first)
    }

    /// Whether all keys are less.
    @inline(__always)
    func isWithin(high: ItemKey) -> Bool {
        let last = count &- 1
        return last < (level == 0 ? 0 : 1) || key(last) < high
    }
}
