// Fetching all that a batch of edits will touch, and saying what it can cost.
//
// Applying needs the nodes on the way to each edit's leaf; splits need nothing more. A leaf that becomes
// small is merged with a neighbour, so one neighbour is fetched too. What is missing is fetched at once, for
// all edits.

import CairnBase

/// That a batch of edits can be applied: from `prepare` to `apply` within one hold of the tree lock.
/// Nothing is evicted while it exists. Letting it go without applying changes nothing.
package struct PreparedEdits: ~Copyable {
    /// How many node places applying costs at most: nodes that are changed for the first time in this
    /// group, and new ones.
    package fileprivate(set) var nodeDemand = 0
    private let cache: NodeCache

    fileprivate init(_ cache: NodeCache) {
        self.cache = cache
        cache.hold()
    }

    deinit { cache.releaseHold() }
}

/// What a batch does to a leaf.
struct TouchedLeaf {
    var node: ResidentNode
    /// The leaf's parent, and which child of it the leaf is; nil for a root.
    var parent: Descent?
    var index: Int
    /// Bytes and items that are entered, and that go.
    var growth = 0
    var puts = 0
    var shrinkage = 0
    var removals = 0
}

extension ItemTree {
    /// As many fetches an attempt begins at most.
    private static let fetchLimit = 64

    /// Brings what the edits need into memory. Throws EIO for a tree that is too high to grow, which
    /// no tree is that this code made.
    package func prepare(
        _ edits: some Collection<ItemEdit>
    ) throws(Pause) -> PreparedEdits {
        var prepared = PreparedEdits(cache)
        guard root.level < TreeRoot.maximumLevel - 1 else { throw .failed(.EIO) }
        preparation += 1
        touchedLeaves.removeAll(keepingCapacity: true)
        var missing = MissingNodes(cache: cache)
        var copies = 0
        for edit in edits where missing.fetches.count < Self.fetchLimit {
            do throws(ChildMiss) {
                let leaf = try touch(edit.key, &copies)
                count(edit, in: leaf)
            } catch {
                try missing.add(error)
            }
        }
        prepared.nodeDemand = copies
        for leaf in touchedLeaves {
            prepared.nodeDemand += splitDemand(of: leaf)
            prepared.nodeDemand += try mergeDemand(of: leaf, &missing)
        }
        guard missing.fetches.isEmpty else { throw .wait(NodeWait(missing.fetches)) }
        return prepared
    }

    /// Goes to the leaf of a key; gives its place in `touchedLeaves`.
    private func touch(_ key: ItemKey, _ copies: inout Int) throws(ChildMiss) -> Int {
        var step = Descent(try rootNode(), level: root.level)
        stamp(step.node, &copies)
        var parent: Descent?
        var index = 0
        while step.level > 0 {
            parent = step
            index = view(step.node).childIndex(for: key)
            try goDown(to: index, of: &step)
            if step.level > 0 { stamp(step.node, &copies) }
        }
        let record = step.node.record
        if root.level > 0 {
            guard record.pointee.stamp != preparation else { return record.pointee.touchedIndex }
            stamp(step.node, &copies)
        } else if !touchedLeaves.isEmpty {
            return 0
        }
        record.pointee.touchedIndex = touchedLeaves.count
        touchedLeaves.append(TouchedLeaf(node: step.node, parent: parent, index: index))
        return record.pointee.touchedIndex
    }

    /// Counts a node once that has to be copied.
    @inline(__always)
    private func stamp(_ node: ResidentNode, _ copies: inout Int) {
        guard node.record.pointee.stamp != preparation else { return }
        node.record.pointee.stamp = preparation
        if !isOpen(node) { copies += 1 }
    }

    private func count(_ edit: ItemEdit, in leaf: Int) {
        let view = view(touchedLeaves[leaf].node)
        let index = view.firstIndex(notBefore: edit.key)
        let old =
            index < view.count && view.isKey(index, equalTo: edit.key)
            ? view.size(of: index..<index + 1) : 0
        switch edit {
        case .put(let key, let value):
            let size = NodeEditor.itemSize(key, value: value.count)
            precondition(size <= cache.geometry.maximumItemSize, "an item that is too large")
            touchedLeaves[leaf].growth += size
            touchedLeaves[leaf].puts += 1
            touchedLeaves[leaf].shrinkage += max(old - size, 0)
        case .remove:
            touchedLeaves[leaf].shrinkage += old
            touchedLeaves[leaf].removals += old > 0 ? 1 : 0
        }
    }

    // MARK: Demand

    /// New nodes. A leaf that is full may be split twice for two items: at its end, which leaves it full,
    /// and then in its middle. After that both halves have room for an eighth of a node at least. Each
    /// split of a leaf may split every node above it and add a root.
    private func splitDemand(of leaf: TouchedLeaf) -> Int {
        let view = view(leaf.node)
        let capacity = NodeEditor.capacity(nodeSize)
        var splits = 0
        if view.used + leaf.growth > capacity {
            splits = 2 + 8 * leaf.growth / capacity
        }
        if let most = options.maximumItems, view.count + leaf.puts > most {
            splits += 2 + 8 * leaf.puts / most
        }
        splits = min(splits, leaf.puts)
        return splits > 0 ? splits * (Int(root.level) + 1) + 1 : 0
    }

    /// Nodes beside the way that merging changes. If the leaf can become small, one of its neighbours
    /// has to be there.
    private func mergeDemand(
        of leaf: TouchedLeaf, _ missing: inout MissingNodes
    ) throws(Pause) -> Int {
        let view = view(leaf.node)
        guard let parent = leaf.parent, leaf.shrinkage > 0,
            isSmall(count: view.count - leaf.removals, used: view.used - leaf.shrinkage)
        else { return 0 }
        let count = self.view(parent.node).count
        var absent: ChildMiss?
        for index in [leaf.index - 1, leaf.index + 1] where index >= 0 && index < count {
            var step = parent
            do throws(ChildMiss) {
                try goDown(to: index, of: &step)
                return Int(root.level) + 1
            } catch {
                absent = absent ?? error
            }
        }
        // A neighbour that is damaged is not merged with; it is nobody else's fault.
        if case .absent = absent, let absent { try missing.add(absent) }
        return Int(root.level) + 1
    }

    /// Whether a node with so much in it shall be merged.
    @inline(__always)
    func isSmall(count: Int, used: Int) -> Bool {
        if let most = options.maximumItems { return count * 4 < most }
        return used * 4 < NodeEditor.capacity(nodeSize)
    }
}

/// Nodes that are to be fetched, each once.
private struct MissingNodes {
    let cache: NodeCache
    var fetches: [NodeFetch] = []
    private var addresses: Set<UInt64> = []

    init(cache: NodeCache) {
        self.cache = cache
    }

    mutating func add(_ miss: ChildMiss) throws(Pause) {
        switch miss {
        case .damaged(let errno):
            throw .failed(errno)
        case .absent(let expectation):
            if addresses.insert(expectation.pointer.address.rawValue).inserted {
                fetches.append(cache.fetch(expectation))
            }
        }
    }
}
