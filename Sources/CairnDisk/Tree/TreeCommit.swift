// TreeCommit: what a group changed in a tree, on its way to the device (format §9, requirement D3).
//
//     ItemTree.close ─▶ place ─▶ seal ─▶ (the volume writes the images) ─▶ written
//
// The nodes of a closed group are changed by nobody: operations of the next group copy them. So all but
// `written` runs without the tree lock, on the one thread that commits. Leaves get address and checksum
// where they are. Inner nodes, which operations go on reading with provisional pointers, are sealed in
// copies, which become the nodes when they are written.
//
// If writing fails, `written` is never called: the nodes stay in memory, dirty, and are read from there.

import CairnBase

/// A node that is to be written. The bytes stay as they are until `written`.
package struct NodeImage: @unchecked Sendable {
    // Sendable: nobody changes the bytes.
    package let address: BlockNumber
    package let level: UInt8
    package let bytes: UnsafeRawBufferPointer
}

package final class TreeCommit: @unchecked Sendable {
    // Sendable: used by one thread at a time; `written` under the tree lock.
    /// It keeps this until it is written.
    private unowned let tree: ItemTree
    private let arena: NodeArena
    package let group: TransactionGroup
    /// Nodes of the whole tree, as of this group.
    package let nodeCount: UInt64
    /// What was freed since the tree's `takeFreed` was called last.
    package let freed: FreedNodes
    private let root: TreeRoot
    private let hasChanges: Bool
    private var changed: ChangedNodes?
    /// Copies of inner nodes, by level and position among the changed nodes; until `written` takes them.
    private var copies: [[UnsafeMutableRawPointer]] = []
    private var isSealed = false

    init(of tree: ItemTree) {
        self.tree = tree
        arena = tree.cache.arena
        group = tree.openGroup
        nodeCount = tree.nodeCount
        freed = tree.freedNodes
        root = tree.root
        hasChanges = tree.openNodeCount > 0
    }

    deinit {
        for level in copies {
            for copy in level { arena.giveBack(copy) }
        }
    }

    private func nodes() -> ChangedNodes {
        if let changed { return changed }
        let found =
            hasChanges
            ? ChangedNodes(below: root, of: group, nodeSize: tree.nodeSize) : ChangedNodes()
        changed = found
        return found
    }

    /// Changed nodes, all of which will be written.
    package var count: Int { nodes().count }

    /// Those that have no address yet.
    package var unplacedCount: Int { nodes().unplacedCount }

    /// Gives each changed node that has no address one: leaves in order of keys first, then those above.
    /// What `choose` throws comes through; nodes that have their address keep it.
    package func place<Failure>(
        _ choose: (_ level: UInt8) throws(Failure) -> BlockNumber
    ) throws(Failure) {
        _ = try nodes().place(choose)
    }

    /// Computes checksums and pointers bottom up. Every changed node has an address.
    package func seal() -> (root: TreeRoot, images: [NodeImage]) {
        precondition(!isSealed && unplacedCount == 0, "nodes without a place")
        isSealed = true
        var images: [NodeImage] = []
        images.reserveCapacity(count)
        for (level, nodes) in nodes().levels.enumerated() {
            copies.append([])
            for node in nodes {
                guard let place = node.record.pointee.place else { continue }
                let editor = level == 0 ? node.editor(tree.nodeSize) : sealedCopy(of: node)
                if level > 0 { copies[level].append(editor.base) }
                node.record.pointee.checksum = editor.finish(
                    address: place, seed: tree.cache.geometry.seed)
                images.append(
                    NodeImage(
                        address: place, level: UInt8(level),
                        bytes: UnsafeRawBufferPointer(start: editor.base, count: tree.nodeSize)))
            }
        }
        return (sealedRoot, images)
    }

    private var sealedRoot: TreeRoot {
        guard root.node.address.isProvisional else { return root }
        return TreeRoot(
            node: sealedPointer(ResidentNode(provisional: root.node.address)), level: root.level)
    }

    private func sealedPointer(_ node: ResidentNode) -> NodePointer {
        guard let place = node.record.pointee.place, node.record.pointee.birth == group else {
            preconditionFailure("a pointer to a node of another group")
        }
        return NodePointer(
            address: NodeAddress(place), birth: group, checksum: node.record.pointee.checksum)
    }

    private func sealedCopy(of node: ResidentNode) -> NodeEditor {
        let copy = NodeEditor(arena.take(), size: tree.nodeSize)
        copy.base.copyMemory(from: node.record.pointee.data, byteCount: tree.nodeSize)
        for index in 0..<copy.view.count {
            let address = NodeAddress(rawValue: loadU64(copy.view.pointerBytes(index), 0))
            guard address.isProvisional else { continue }
            copy.setPointer(at: index, sealedPointer(ResidentNode(provisional: address)))
        }
        return copy
    }

    /// The images are on the device. The nodes become clean, and may be evicted; nodes of the next group point
    /// to where they are. Under the tree lock, held exclusively.
    package func written() {
        guard hasChanges else { return }
        precondition(isSealed && tree.closing === self, "a commit that was not closed and sealed")
        for (level, nodes) in nodes().levels.enumerated() {
            for (position, node) in nodes.enumerated() {
                if level > 0 { exchange(node, copies[level][position]) }
                if node.record.pointee.isReplaced {
                    if let place = node.record.pointee.place {
                        tree.freedNodes.freed.append(place)
                    }
                    tree.cache.drop(node)
                } else {
                    tree.cache.makeClean(node)
                }
            }
        }
        copies = []
        changed = ChangedNodes()
        tree.closing = nil
        tree.settlePointers()
    }

    private func exchange(_ node: ResidentNode, _ copy: UnsafeMutableRawPointer) {
        arena.giveBack(node.record.pointee.data)
        node.record.pointee.data = copy
    }
}

/// The dirty nodes of a group, by level; leaves in order of keys.
struct ChangedNodes {
    private(set) var levels: [[ResidentNode]] = []

    init() {}

    init(below root: TreeRoot, of group: TransactionGroup, nodeSize: Int) {
        guard root.node.address.isProvisional else { return }
        levels = Array(repeating: [], count: Int(root.level) + 1)
        collect(ResidentNode(provisional: root.node.address), Int(root.level), group, nodeSize)
    }

    private mutating func collect(
        _ node: ResidentNode, _ level: Int, _ group: TransactionGroup, _ nodeSize: Int
    ) {
        guard node.record.pointee.birth == group else { return }
        levels[level].append(node)
        guard level > 0 else { return }
        let view = node.view(nodeSize)
        for index in 0..<view.count {
            let address = NodeAddress(rawValue: loadU64(view.pointerBytes(index), 0))
            if address.isProvisional {
                collect(ResidentNode(provisional: address), level - 1, group, nodeSize)
            }
        }
    }

    var count: Int { levels.reduce(0) { $0 + $1.count } }

    var unplacedCount: Int {
        levels.reduce(0) { sum, nodes in
            sum + nodes.reduce(0) { $0 + ($1.record.pointee.place == nil ? 1 : 0) }
        }
    }

    /// Gives how many got a place.
    func place<Failure>(
        _ choose: (_ level: UInt8) throws(Failure) -> BlockNumber
    ) throws(Failure) -> Int {
        var count = 0
        for (level, nodes) in levels.enumerated() {
            for node in nodes where node.record.pointee.place == nil {
                node.record.pointee.place = try choose(UInt8(level))
                count += 1
            }
        }
        return count
    }
}
