// ItemTree: a B+tree of items, copy-on-write by transaction group (format §4, requirements D1, D5).
//
// Everything is an attempt (CairnBase/Wait.swift): it works on nodes in memory, and where one is
// missing it changes nothing and throws a NodeWait.
//
//     find, scan, scanBackward                       ItemTree+Search, +Scan
//     prepare ─▶ apply                               +Prepare; +Apply, +Split, +Balance
//     place ─▶ close ─▶ TreeCommit.seal ─▶ written   +Commit, TreeCommit
//
// Invariants (checkInvariants): what format §4 says of every node; a pointer is provisional exactly if
// the node that it leads to is dirty, and then so is the node that has it; nodes of the open group
// are changed in place, all others are copied first; the root is the only node that may be empty.
//
// Threading: none of its own. The volume's tree lock guards it: shared for lookups, exclusive for all
// that changes. What is called without it says so.

import CairnBase

/// How a tree behaves where the format leaves it free.
package struct TreeOptions: Sendable {
    /// A node with more items than this is split, and one with fewer than a quarter of it merged, whatever
    /// their size. For tests: few items make rare paths frequent. Nil: only bytes count. At least 4.
    package var maximumItems: Int?
    /// How many leaves a scan fetches at once, when it has gone through one and misses the next.
    package var scanAhead = 8

    package init() {}

    package init(maximumItems: Int?) {
        precondition(maximumItems ?? 4 >= 4)
        self.maximumItems = maximumItems
    }
}

/// Node places that a group does not use any more.
package struct FreedNodes: Sendable {
    /// What earlier groups wrote there is no part of this one: free once this one is durable.
    package var freed: [BlockNumber] = []
    /// Chosen for nodes of this group that are not needed after all; never written.
    package var returned: [BlockNumber] = []

    package init() {}

    package var isEmpty: Bool { freed.isEmpty && returned.isEmpty }
}

/// A node on the way to a leaf, and the child that is gone to.
struct PathStep {
    var node: ResidentNode
    var index: Int
}

package final class ItemTree: @unchecked Sendable {
    // Sendable: guarded by the tree lock.
    package let identity: TreeIdentity
    package let cache: NodeCache
    package let options: TreeOptions
    let nodeSize: Int

    /// Where the tree begins; provisional while the root is dirty.
    package internal(set) var root: TreeRoot
    package internal(set) var nodeCount: UInt64
    /// The group that changes belong to.
    package internal(set) var openGroup: TransactionGroup
    var freedNodes = FreedNodes()
    /// Dirty nodes of the open group, and those of them that have a place.
    var openNodeCount = 0
    var placedCount = 0
    /// The commit of the group before, until it is written.
    var closing: TreeCommit?

    // What a preparation and its application work with; kept so that nothing is allocated.
    /// From the root down to the leaf at hand; `pathCount` 0: none.
    let path: UnsafeMutablePointer<PathStep>
    var pathCount = 0
    var preparation: UInt64 = 0
    var touchedLeaves: [TouchedLeaf] = []
    /// Keys of leaves that have become small. Borrowed from the edits.
    var shrunk: [ItemKey] = []

    /// The tree that begins at `root`, as group `openGroup` − 1 or an earlier one left it. Nothing is read yet.
    package init(
        _ identity: TreeIdentity, root: TreeRoot, nodeCount: UInt64, openGroup: TransactionGroup,
        in cache: NodeCache, options: TreeOptions = TreeOptions()
    ) {
        self.identity = identity
        self.cache = cache
        self.options = options
        self.root = root
        self.nodeCount = nodeCount
        self.openGroup = openGroup
        nodeSize = cache.geometry.nodeSize
        path = .allocate(capacity: Int(TreeRoot.maximumLevel) + 1)
    }

    /// A tree without items, of which nothing stands on the device.
    package init(
        emptyWith identity: TreeIdentity, openGroup: TransactionGroup, in cache: NodeCache,
        options: TreeOptions = TreeOptions()
    ) {
        self.identity = identity
        self.cache = cache
        self.options = options
        self.openGroup = openGroup
        nodeSize = cache.geometry.nodeSize
        path = .allocate(capacity: Int(TreeRoot.maximumLevel) + 1)
        nodeCount = 1
        openNodeCount = 1
        let node = cache.makeNode(level: 0, tree: identity, group: openGroup)
        root = TreeRoot(node: node.pointer, level: 0)
    }

    deinit {
        path.deallocate()
    }

    // MARK: Nodes

    /// Whether a node is changed in place.
    @inline(__always)
    func isOpen(_ node: ResidentNode) -> Bool {
        node.isDirty && node.record.pointee.birth == openGroup
    }

    @inline(__always)
    func view(_ node: ResidentNode) -> NodeView { node.view(nodeSize) }

    @inline(__always)
    func editor(_ node: ResidentNode) -> NodeEditor { node.editor(nodeSize) }

    func makeNode(level: UInt8) -> ResidentNode {
        nodeCount &+= 1
        openNodeCount += 1
        return cache.makeNode(level: level, tree: identity, group: openGroup)
    }

    /// The version of a node that the open group can change. Whoever points to it has to point to this.
    func makeOpen(_ node: ResidentNode) -> ResidentNode {
        if isOpen(node) { return node }
        openNodeCount += 1
        if node.isDirty {
            node.record.pointee.isReplaced = true
            return cache.makeCopy(of: node, group: openGroup)
        }
        freedNodes.freed.append(BlockNumber(rawValue: node.record.pointee.address))
        cache.makeDirty(node, group: openGroup)
        return node
    }

    /// A node leaves the tree.
    func drop(_ node: ResidentNode) {
        nodeCount &-= 1
        if isOpen(node) {
            openNodeCount -= 1
            if let place = node.record.pointee.place {
                placedCount -= 1
                freedNodes.returned.append(place)
            }
            cache.drop(node)
        } else if node.isDirty {
            node.record.pointee.isReplaced = true
        } else {
            freedNodes.freed.append(BlockNumber(rawValue: node.record.pointee.address))
            cache.drop(node)
        }
    }
}
