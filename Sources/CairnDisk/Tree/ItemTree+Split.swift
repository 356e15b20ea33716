// Entering an item into a node of the path, and splitting what overflows.
//
// An overfull node gives its upper half, by bytes, to a new one on its right. Where the new item comes last,
// it alone goes to the new node: what is entered in ascending order leaves full nodes behind. The key
// that parts two leaves is as short as can be: without a tail where object and number tell them apart.
//
// The halves fit: an item takes a quarter of a node at most (a pointer's, with its 24 bytes, little more), so
// the larger half is below three quarters.

import CairnBase

extension ItemTree {
    /// Whether so many more bytes, with their item's head, fit as one more item.
    @inline(__always)
    private func fits(_ size: Int, in view: NodeView) -> Bool {
        view.used + size <= NodeEditor.capacity(nodeSize)
            && view.count < options.maximumItems ?? Int.max
    }

    /// Enters an item into the node at this depth of the path. The path is open, and of no use afterwards if
    /// something was split.
    func insert(_ key: ItemKey, _ value: UnsafeRawBufferPointer, at index: Int, depth: Int) {
        let node = path[depth].node
        let size = NodeEditor.itemSize(key, value: value.count)
        if fits(size, in: view(node)) {
            editor(node).insert(key, value, at: index)
        } else {
            split(depth, entering: key, value, at: index)
            pathCount = 0
        }
    }

    private func split(
        _ depth: Int, entering key: ItemKey, _ value: UnsafeRawBufferPointer, at index: Int
    ) {
        let left = path[depth].node
        let level = view(left).level
        let leftCount = splitIndex(
            of: view(left), entering: NodeEditor.itemSize(key, value: value.count), at: index)
        let right = makeNode(level: level)
        // Of the items that were there, so many stay.
        let kept = index < leftCount ? leftCount - 1 : leftCount
        editor(right).append(kept..<view(left).count, of: view(left))
        editor(left).truncate(to: kept)
        if index < leftCount {
            editor(left).insert(key, value, at: index)
        } else {
            editor(right).insert(key, value, at: index - kept)
        }
        if depth == 0 { growRoot() }
        let parent = max(depth - 1, 0)
        withBytes(of: right.pointer) { pointer in
            insert(
                separator(between: view(left), and: view(right)), pointer,
                at: path[parent].index + 1, depth: parent)
        }
        if level > 0 { editor(right).clearFirstKey() }
    }

    /// Of the items of a node with one more at `index`, how many stay in the left half.
    private func splitIndex(of view: NodeView, entering size: Int, at index: Int) -> Int {
        let count = view.count
        if index == count { return count }
        let half = (view.used + size) / 2
        var sum = 0
        for position in 0..<count {
            let itemSize: Int
            if position == index {
                itemSize = size
            } else {
                let item = position < index ? position : position - 1
                itemSize = view.size(of: item..<item + 1)
            }
            if sum + itemSize / 2 > half { return max(position, 1) }
            sum += itemSize
        }
        return count
    }

    /// Puts a root above the one that was split: the path's first step leads to it then.
    private func growRoot() {
        let old = path[0].node
        let level = view(old).level
        let node = makeNode(level: level + 1)
        withBytes(of: old.pointer) { editor(node).append(.first, $0) }
        root = TreeRoot(node: node.pointer, level: level + 1)
        path[0] = PathStep(node: node, index: 0)
    }

    // MARK: Keys between nodes

    /// The shortest key that is greater than all of the left node, and not greater than any of the right.
    func separator(between left: NodeView, and right: NodeView) -> ItemKey {
        right.level == 0
            ? shortestKey(after: left.key(left.count - 1), notAfter: right.key(0)) : right.key(0)
    }

    func shortestKey(after low: ItemKey, notAfter high: ItemKey) -> ItemKey {
        var key = high
        if low.object != high.object || low.number != high.number {
            key.tail = UnsafeRawBufferPointer(start: nil, count: 0)
        } else {
            let common = zip(low.tail, high.tail).prefix { $0 == $1 }.count
            key.tail = UnsafeRawBufferPointer(
                rebasing: high.tail.prefix(min(common + 1, high.tail.count)))
        }
        return key
    }

    func withBytes<Result>(
        of pointer: NodePointer, _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        withUnsafeTemporaryAllocation(byteCount: NodePointer.byteCount, alignment: 8) { bytes in
            if let base = bytes.baseAddress { pointer.store(at: base) }
            return body(UnsafeRawBufferPointer(bytes))
        }
    }
}
