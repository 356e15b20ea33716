// Merging nodes that have become small.
//
// A node below a quarter is merged with a neighbour if both fit one node with an eighth to spare, else they
// share what they have. Only neighbours in memory are used; preparation has fetched one for each leaf
// that can become small. A node that has become empty is taken out of its parent, which needs no neighbour.

import CairnBase

extension ItemTree {
    /// Looks at the leaf of this key, and at the nodes above it, as far as they are in memory.
    func balance(at key: ItemKey) {
        guard walk(to: key) else { return }
        var depth = pathCount - 1
        while depth > 0 {
            let node = path[depth].node
            let view = view(node)
            guard isOpen(node), isSmall(count: view.count, used: view.used) else { return }
            if view.count == 0 {
                let parent = editor(path[depth - 1].node)
                parent.remove(at: path[depth - 1].index)
                parent.clearFirstKey()
                drop(node)
            } else if !mergeWithNeighbour(depth) {
                return
            }
            depth -= 1
        }
        shrinkRoot()
    }

    /// Whether the parent has a child less now.
    private func mergeWithNeighbour(_ depth: Int) -> Bool {
        let node = path[depth].node
        let index = path[depth - 1].index
        let left = neighbour(index - 1, depth - 1)
        if let left, canMerge(left, node, parent: depth - 1, leftIndex: index - 1) {
            merge(left, node, parent: depth - 1, leftIndex: index - 1)
            return true
        }
        let right = neighbour(index + 1, depth - 1)
        if let right, canMerge(node, right, parent: depth - 1, leftIndex: index) {
            merge(node, right, parent: depth - 1, leftIndex: index)
            return true
        }
        if let left {
            share(left, node, parent: depth - 1, leftIndex: index - 1)
        } else if let right {
            share(node, right, parent: depth - 1, leftIndex: index)
        }
        return false
    }

    /// A child of a node of the path, if it is in memory and right.
    private func neighbour(_ index: Int, _ depth: Int) -> ResidentNode? {
        guard index >= 0, index < view(path[depth].node).count else { return nil }
        var step = Descent(path[0].node, level: root.level)
        do throws(ChildMiss) {
            for above in 0..<depth { try goDown(to: path[above].index, of: &step) }
            try goDown(to: index, of: &step)
            return step.node
        } catch {
            return nil
        }
    }

    /// The version of a child that can be changed.
    private func openChild(_ node: ResidentNode, _ index: Int, of depth: Int) -> ResidentNode {
        let opened = makeOpen(node)
        editor(path[depth].node).setPointer(at: index, opened.pointer)
        return opened
    }

    // MARK: Merging

    private func canMerge(
        _ left: ResidentNode, _ right: ResidentNode, parent: Int, leftIndex: Int
    ) -> Bool {
        let one = view(left)
        let other = view(right)
        var used = one.used + other.used
        if other.level > 0 {
            let separator = view(path[parent].node).key(leftIndex + 1)
            used += separator.tail.count - other.tailCount(0)
        }
        if let most = options.maximumItems, one.count + other.count > most * 7 / 8 { return false }
        return used <= NodeEditor.capacity(nodeSize) * 7 / 8
    }

    private func merge(
        _ left: ResidentNode, _ right: ResidentNode, parent: Int, leftIndex: Int
    ) {
        let target = editor(openChild(left, leftIndex, of: parent))
        append(
            0..<view(right).count, of: view(right), to: target,
            firstKey: view(path[parent].node).key(leftIndex + 1))
        editor(path[parent].node).remove(at: leftIndex + 1)
        drop(right)
    }

    /// Appends items to a node. Above the leaves an item 0 takes the key that parted the nodes: its own
    /// did not count.
    private func append(
        _ range: Range<Int>, of source: NodeView, to target: NodeEditor, firstKey: ItemKey
    ) {
        guard source.level > 0, range.lowerBound == 0, !range.isEmpty else {
            target.append(range, of: source)
            return
        }
        target.append(firstKey, source.value(0))
        target.append(1..<range.upperBound, of: source)
    }

    // MARK: Sharing

    /// Moves items between neighbours that do not fit one node, so that both have as many bytes. Does
    /// nothing where the key between them would not fit their parent.
    private func share(
        _ left: ResidentNode, _ right: ResidentNode, parent: Int, leftIndex: Int
    ) {
        let one = view(left)
        let other = view(right)
        let oldKey = view(path[parent].node).key(leftIndex + 1)
        let leftCount = shareIndex(one, other, oldKey)
        guard leftCount != one.count, leftCount > 0, leftCount < one.count + other.count,
            fitsShared(leftCount, one, other, oldKey, parent: parent, leftIndex: leftIndex)
        else { return }
        let newLeft = editor(openChild(left, leftIndex, of: parent))
        let newRight = openChild(right, leftIndex + 1, of: parent)
        let scratch = NodeEditor(cache.arena.take(), size: nodeSize)
        scratch.reset(level: newLeft.view.level, tree: identity, group: openGroup)
        let rightView = view(newRight)
        if leftCount < newLeft.view.count {
            scratch.append(leftCount..<newLeft.view.count, of: newLeft.view)
            append(0..<rightView.count, of: rightView, to: scratch, firstKey: oldKey)
            newLeft.truncate(to: leftCount)
        } else {
            let moved = leftCount - newLeft.view.count
            append(0..<moved, of: rightView, to: newLeft, firstKey: oldKey)
            scratch.append(moved..<rightView.count, of: rightView)
        }
        let old = newRight.record.pointee.data
        newRight.record.pointee.data = scratch.base
        let editor = editor(path[parent].node)
        editor.remove(at: leftIndex + 1)
        withBytes(of: newRight.pointer) {
            editor.insert(
                separator(between: newLeft.view, and: scratch.view), $0, at: leftIndex + 1)
        }
        if scratch.view.level > 0 { scratch.clearFirstKey() }
        cache.arena.giveBack(old)
    }

    /// Of the items of both, how many belong into the left node.
    private func shareIndex(_ one: NodeView, _ other: NodeView, _ oldKey: ItemKey) -> Int {
        if options.maximumItems != nil { return (one.count + other.count) / 2 }
        let half = (one.used + other.used) / 2
        var sum = 0
        for index in 0..<one.count + other.count {
            let view = index < one.count ? one : other
            let item = index < one.count ? index : index - one.count
            let size = view.size(of: item..<item + 1)
            if sum + size / 2 > half { return index }
            sum += size
        }
        return one.count
    }

    private func fitsShared(
        _ leftCount: Int, _ one: NodeView, _ other: NodeView, _ oldKey: ItemKey, parent: Int,
        leftIndex: Int
    ) -> Bool {
        let isInner = one.level > 0
        let capacity = NodeEditor.capacity(nodeSize)
        let extra = isInner ? oldKey.tail.count - other.tailCount(0) : 0
        let fromOther = max(leftCount - one.count, 0)
        let fromOne = min(leftCount, one.count)
        let leftUsed =
            one.size(of: 0..<fromOne) + other.size(of: 0..<fromOther) + (fromOther > 0 ? extra : 0)
        let rightUsed =
            one.size(of: fromOne..<one.count) + other.size(of: fromOther..<other.count)
            + (fromOther == 0 ? extra : 0)
        func key(_ index: Int) -> ItemKey {
            index < one.count ? one.key(index) : other.key(index - one.count)
        }
        let newKey =
            isInner
            ? key(leftCount) : shortestKey(after: key(leftCount - 1), notAfter: key(leftCount))
        let parentUsed =
            view(path[parent].node).used - oldKey.tail.count + newKey.tail.count
        return leftUsed <= capacity && rightUsed <= capacity && parentUsed <= capacity
    }

    // MARK: The root

    /// A root with one child gives way to it; one without any becomes a leaf.
    private func shrinkRoot() {
        while root.level > 0, root.node.address.isProvisional {
            let node = ResidentNode(provisional: root.node.address)
            let view = view(node)
            if view.count == 0 {
                guard isOpen(node) else { return }
                editor(node).setLevel(0)
                root.level = 0
                return
            }
            guard view.count == 1 else { return }
            root = TreeRoot(node: view.pointer(0), level: view.level - 1)
            drop(node)
        }
    }
}
