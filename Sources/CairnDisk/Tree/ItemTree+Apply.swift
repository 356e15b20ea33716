// Applying edits that were prepared: cannot fail, and misses nothing.
//
// Edits are applied in their order. The way to the leaf of one is kept for the next, so a batch in
// order of keys goes down once for each leaf. Nodes are split as they overflow; those that have become small
// are looked at when all edits are done, since merging makes ranges grow into leaves that nobody
// fetched.

import CairnBase
import Glibc

extension ItemTree {
    /// Applies the edits that were prepared under this hold of the tree lock.
    package func apply(
        _ edits: some Collection<ItemEdit>, _ prepared: consuming PreparedEdits
    ) {
        shrunk.removeAll(keepingCapacity: true)
        pathCount = 0
        for edit in edits {
            switch edit {
            case .put(let key, let value): put(key, value)
            case .remove(let key): remove(key)
            }
        }
        for key in shrunk { balance(at: key) }
        pathCount = 0
        _ = consume prepared
    }

    private func put(_ key: ItemKey, _ value: UnsafeRawBufferPointer) {
        let (index, isThere) = seek(key)
        guard isThere else {
            openPath()
            insert(key, value, at: index, depth: pathCount - 1)
            return
        }
        let old = leaf.value(index)
        if old.count == value.count, isEqual(old, value) { return }
        let growth = value.count - old.count
        openPath()
        if leaf.used + growth <= NodeEditor.capacity(nodeSize) {
            leafEditor.replaceValue(at: index, value)
            if growth < 0 { noteShrinking(key) }
        } else {
            leafEditor.remove(at: index)
            insert(key, value, at: index, depth: pathCount - 1)
        }
    }

    private func remove(_ key: ItemKey) {
        let (index, isThere) = seek(key)
        guard isThere else { return }
        openPath()
        leafEditor.remove(at: index)
        noteShrinking(key)
    }

    private func isEqual(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Bool {
        guard one.count > 0, let left = one.baseAddress, let right = other.baseAddress else {
            return true
        }
        return memcmp(left, right, one.count) == 0
    }

    private func noteShrinking(_ key: ItemKey) {
        let view = leaf
        guard pathCount > 1, isSmall(count: view.count, used: view.used) else { return }
        if let last = shrunk.last, isInLeaf(last) { return }
        shrunk.append(key)
    }

    // MARK: The way to a leaf

    private var leaf: NodeView { view(path[pathCount - 1].node) }
    private var leafEditor: NodeEditor { editor(path[pathCount - 1].node) }

    /// Goes to the leaf of a key, and says where in it the key is or belongs.
    private func seek(_ key: ItemKey) -> (index: Int, isThere: Bool) {
        if pathCount == 0 || !isInLeaf(key) {
            guard walk(to: key) else {
                preconditionFailure("an edit that was not prepared")
            }
        }
        let leaf = leaf
        let index = leaf.firstIndex(notBefore: key)
        return (index, index < leaf.count && leaf.isKey(index, equalTo: key))
    }

    /// Sets the path to the leaf of a key; false if a node of it is not in memory.
    func walk(to key: ItemKey) -> Bool {
        pathCount = 0
        do throws(ChildMiss) {
            var step = Descent(try rootNode(), level: root.level)
            path[0] = PathStep(node: step.node, index: 0)
            var depth = 0
            while step.level > 0 {
                let index = view(step.node).childIndex(for: key)
                path[depth].index = index
                try goDown(to: index, of: &step)
                depth += 1
                path[depth] = PathStep(node: step.node, index: 0)
            }
            pathCount = depth + 1
            return true
        } catch {
            return false
        }
    }

    /// Whether the key belongs into the leaf that the path leads to.
    private func isInLeaf(_ key: ItemKey) -> Bool {
        var depth = pathCount - 2
        while depth >= 0, path[depth].index == 0 { depth -= 1 }
        if depth >= 0, key < view(path[depth].node).key(path[depth].index) { return false }
        depth = pathCount - 2
        while depth >= 0, path[depth].index + 1 == view(path[depth].node).count { depth -= 1 }
        return depth < 0 || key < view(path[depth].node).key(path[depth].index + 1)
    }

    /// Makes all nodes of the path such that they can be changed.
    func openPath() {
        // Above a node that is open all are.
        if isOpen(path[pathCount - 1].node) { return }
        for depth in 0..<pathCount {
            let node = path[depth].node
            guard !isOpen(node) else { continue }
            let opened = makeOpen(node)
            path[depth].node = opened
            if depth == 0 {
                root.node = opened.pointer
            } else {
                editor(path[depth - 1].node)
                    .setPointer(at: path[depth - 1].index, opened.pointer)
            }
        }
    }
}
