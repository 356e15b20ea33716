// How nodes come into memory, change between clean and dirty, and go.
//
// What is called for a tree's nodes is called under the tree lock held exclusively.

import CairnBase

extension NodeCache {
    // MARK: Dirty nodes

    /// A new node: empty, dirty, of this group.
    func makeNode(
        level: UInt8, tree: TreeIdentity, group: TransactionGroup
    ) -> ResidentNode {
        let node = makeRecord(birth: group)
        node.editor(geometry.nodeSize).reset(level: level, tree: tree, group: group)
        return node
    }

    /// A node with the content of another one, dirty, of this group.
    func makeCopy(of original: ResidentNode, group: TransactionGroup) -> ResidentNode {
        let node = makeRecord(birth: group)
        // A commit may be writing address and checksum into the original's first 24 bytes.
        let size = geometry.nodeSize
        node.record.pointee.data.storeBytes(of: NodeView.magic.littleEndian, as: UInt32.self)
        node.editor(size).begin(group)
        (node.record.pointee.data + 24).copyMemory(
            from: original.record.pointee.data + 24, byteCount: size - 24)
        return node
    }

    private func makeRecord(birth: TransactionGroup) -> ResidentNode {
        let record = UnsafeMutablePointer<NodeRecord>.allocate(capacity: 1)
        record.initialize(
            to: NodeRecord(state: .dirty, address: 0, data: arena.take(), birth: birth))
        let node = ResidentNode(record)
        lock.withLock {
            nodeTotal += 1
            enterDirty(node)
        }
        return node
    }

    /// Under `lock`.
    private func enterDirty(_ node: ResidentNode) {
        node.record.pointee.listIndex = dirty.count
        dirty.append(node)
    }

    /// A clean node is going to be changed: what stands on the device stays, this becomes the next
    /// version.
    func makeDirty(_ node: ResidentNode, group: TransactionGroup) {
        lock.withLock {
            takeOut(node)
            enterDirty(node)
        }
        node.record.pointee.state = .dirty
        node.record.pointee.birth = group
        node.record.pointee.place = nil
        node.record.pointee.checksum = 0
        node.editor(geometry.nodeSize).begin(group)
    }

    /// A dirty node was written to its place.
    func makeClean(_ node: ResidentNode) {
        guard let place = node.record.pointee.place else {
            preconditionFailure("a node that was written nowhere")
        }
        node.record.pointee.address = place.rawValue
        node.record.pointee.token.store(0, ordering: .relaxed)
        node.record.pointee.usage.store(1, ordering: .relaxed)
        lock.withLock {
            // Only a tree that refers twice to one place can have left a node there.
            if let other = resident(at: place.rawValue) { forget(other) }
            node.record.pointee.state = .clean
            Self.remove(node, from: &dirty)
            enter(node)
        }
    }

    /// A node is in its tree no more, and nobody will write it.
    func drop(_ node: ResidentNode) {
        lock.withLock {
            if node.isDirty {
                Self.remove(node, from: &dirty)
                discard(node)
            } else {
                forget(node)
            }
        }
    }

    /// Under `lock`: takes a clean node out for good.
    private func forget(_ node: ResidentNode) {
        takeOut(node)
        discard(node)
    }

    /// Under `lock`. Nobody reads it: the tree lock is held exclusively.
    private func discard(_ node: ResidentNode) {
        nodeTotal -= 1
        node.record.pointee.state = .gone
        if node.record.pointee.pins.load(ordering: .relaxed) == 0 { arena.free(node) }
    }

    // MARK: Fetched nodes

    /// What was fetched and checked becomes resident, unless it is already; gives the one that is,
    /// pinned. Under `lock`; `gone` has to be retired afterwards.
    func admit(
        _ data: UnsafeMutableRawPointer, _ expectation: NodeExpectation
    ) -> ResidentNode {
        let pointer = expectation.pointer
        if let node = resident(at: pointer.address.rawValue) {
            arena.giveBack(data)
            nodeTotal -= 1
            node.record.pointee.pins.add(1, ordering: .relaxed)
            return node
        }
        let record = UnsafeMutablePointer<NodeRecord>.allocate(capacity: 1)
        record.initialize(
            to: NodeRecord(
                state: .clean, address: pointer.address.rawValue, data: data,
                birth: pointer.birth))
        let node = ResidentNode(record)
        record.pointee.checksum = pointer.checksum
        record.pointee.pins.store(1, ordering: .relaxed)
        record.pointee.usage.store(expectation.level > 0 ? 2 : 0, ordering: .relaxed)
        enter(node)
        return node
    }

    func unpin(_ node: ResidentNode) {
        let gone = lock.withLock {
            node.record.pointee.pins.subtract(1, ordering: .relaxed)
            if node.record.pointee.state == .gone,
                node.record.pointee.pins.load(ordering: .relaxed) == 0
            {
                arena.free(node)
            }
            return evictions()
        }
        retire(gone)
    }

    // MARK: Eviction

    /// Under `lock`: takes out what has to go, for `retire`.
    func evictions() -> [ResidentNode] {
        guard nodeTotal > maximumNodes, holds == 0, !clean.isEmpty else { return [] }
        var gone: [ResidentNode] = []
        // Each turn takes one from every count of uses, so after four turns only pins are left.
        var visits = 4 * clean.count
        while nodeTotal > maximumNodes, visits > 0, !clean.isEmpty {
            visits -= 1
            if hand >= clean.count { hand = 0 }
            let node = clean[hand]
            let usage = node.record.pointee.usage.load(ordering: .relaxed)
            if usage > 0 {
                node.record.pointee.usage.store(usage - 1, ordering: .relaxed)
                hand += 1
            } else if node.record.pointee.pins.load(ordering: .relaxed) > 0 {
                hand += 1
            } else {
                takeOut(node)
                nodeTotal -= 1
                gone.append(node)
            }
        }
        return gone
    }

    /// Not under `lock`.
    func retire(_ gone: [ResidentNode]) {
        guard !gone.isEmpty else { return }
        counters.add(UInt64(gone.count), to: Counter.evictions.rawValue)
        for node in gone { arena.retire(node) }
    }

    /// Nothing is evicted until `releaseHold`: from a preparation to its application.
    func hold() {
        lock.withLock { holds += 1 }
    }

    func releaseHold() {
        let gone = lock.withLock {
            holds -= 1
            return evictions()
        }
        retire(gone)
    }
}
