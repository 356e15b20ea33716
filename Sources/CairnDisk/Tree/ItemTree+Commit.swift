// The end of a group. Under the tree lock, held exclusively.

import CairnBase

extension ItemTree {
    /// Dirty nodes of the open group that have no address.
    package var unplacedCount: Int { openNodeCount - placedCount }

    /// Gives each of them one, as `TreeCommit.place` does for a group that is closed. They may be changed
    /// all the same, and keep it. For the space tree, in which places are entered.
    package func place<Failure>(
        _ choose: (_ level: UInt8) throws(Failure) -> BlockNumber
    ) throws(Failure) {
        guard unplacedCount > 0 else { return }
        let changed = ChangedNodes(below: root, of: openGroup, nodeSize: nodeSize)
        defer { placedCount = openNodeCount - changed.unplacedCount }
        _ = try changed.place(choose)
    }

    /// What the open group has given up since this was asked last.
    package func takeFreed() -> FreedNodes {
        defer { freedNodes = FreedNodes() }
        return freedNodes
    }

    /// Ends the open group and begins the next one. The commit of the group before is written, or had
    /// nothing to write.
    package func close() -> TreeCommit {
        precondition(closing == nil, "a group is closed while another one is being written")
        let commit = TreeCommit(of: self)
        if openNodeCount > 0 { closing = commit }
        freedNodes = FreedNodes()
        openNodeCount = 0
        placedCount = 0
        openGroup = openGroup.next
        return commit
    }

    /// Lets nodes of the open group point to where the nodes of the closed one have been written.
    func settlePointers() {
        guard root.node.address.isProvisional else { return }
        let node = ResidentNode(provisional: root.node.address)
        if node.isDirty { settlePointers(in: node) } else { root.node = node.pointer }
    }

    private func settlePointers(in node: ResidentNode) {
        let view = view(node)
        guard view.level > 0 else { return }
        for index in 0..<view.count {
            let address = NodeAddress(rawValue: loadU64(view.pointerBytes(index), 0))
            guard address.isProvisional else { continue }
            let child = ResidentNode(provisional: address)
            if child.isDirty {
                settlePointers(in: child)
            } else {
                editor(node).setPointer(at: index, child.pointer)
            }
        }
    }
}
