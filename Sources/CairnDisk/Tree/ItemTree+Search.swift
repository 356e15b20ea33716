// Finding the way from the root to a leaf.
//
// A pointer to a clean node is checked against it the first time that it is followed since the node came:
// address, birth, checksum, level, tree, and that all keys lie within the bounds. So a node to which a
// damaged or hostile image refers twice is refused by the pointer that it does not fit. `token` remembers
// the last pointer that was found right.

import CairnBase

/// A node on the way down, and the bounds of its keys. Keys are borrowed from the nodes above.
struct Descent {
    var node: ResidentNode
    var level: UInt8
    var low: ItemKey
    var hasLow = false
    var high: ItemKey
    var hasHigh = false

    @inline(__always)
    init(_ node: ResidentNode, level: UInt8) {
        self.node = node
        self.level = level
        low = .first
        high = .first
    }

    /// Narrows the bounds to those of a child.
    @inline(__always)
    mutating func narrow(toChild index: Int, of view: NodeView) {
        if index > 0 {
            low = view.key(index)
            hasLow = true
        }
        if index &+ 1 < view.count {
            high = view.key(index &+ 1)
            hasHigh = true
        }
    }
}

/// Why a child cannot be gone to.
enum ChildMiss: Error {
    case absent(NodeExpectation)
    case damaged(Errno)
}

extension ItemTree {
    /// Gives the value of an item to the body, or gives nil if there is none. The value is valid inside
    /// the body only.
    package func find<Result>(
        _ key: ItemKey, _ body: (UnsafeRawBufferPointer) throws(Pause) -> Result
    ) throws(Pause) -> Result? {
        try Epoch.section { () throws(Pause) -> Result? in
            guard let value = try value(of: key) else { return nil }
            return try body(value)
        }
    }

    /// The value of an item, valid until the tree lock is released or the epoch section ends that this is
    /// called in.
    func value(of key: ItemKey) throws(Pause) -> UnsafeRawBufferPointer? {
        let leaf = view(try descend(to: key).node)
        let index = leaf.firstIndex(notBefore: key)
        guard index < leaf.count, leaf.isKey(index, equalTo: key) else { return nil }
        return leaf.value(index)
    }

    /// The leaf in whose range the key is.
    @inline(__always)
    func descend(to key: ItemKey) throws(Pause) -> Descent {
        cache.counters.add(to: NodeCache.Counter.lookups.rawValue)
        var step = try rootStep()
        while step.level > 0 {
            try enterChild(view(step.node).childIndex(for: key), of: &step)
        }
        return step
    }

    @inline(__always)
    func rootStep() throws(Pause) -> Descent {
        do throws(ChildMiss) {
            return Descent(try rootNode(), level: root.level)
        } catch {
            throw pause(for: error)
        }
    }

    /// Goes down to a child.
    @inline(__always)
    func enterChild(_ index: Int, of step: inout Descent) throws(Pause) {
        do throws(ChildMiss) {
            try goDown(to: index, of: &step)
        } catch {
            throw pause(for: error)
        }
    }

    @inline(never)
    func pause(for miss: ChildMiss) -> Pause {
        switch miss {
        case .damaged(let errno): .failed(errno)
        case .absent(let expectation): .wait(NodeWait([cache.fetch(expectation)]))
        }
    }

    // MARK: One step

    func rootNode() throws(ChildMiss) -> ResidentNode {
        let pointer = root.node
        if pointer.address.isProvisional { return ResidentNode(provisional: pointer.address) }
        if let node = cache.resident(at: pointer.address.rawValue) {
            let token =
                pointer.birth.rawValue &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(pointer.checksum) | 1
            if node.record.pointee.token.load(ordering: .relaxed) != token {
                try check(node, rootExpectation)
                node.record.pointee.token.store(token, ordering: .relaxed)
            }
            node.touch()
            return node
        }
        guard root.level <= TreeRoot.maximumLevel,
            cache.geometry.canHoldNode(at: pointer.address)
        else {
            throw .damaged(
                cache.damaged(
                    rootExpectation, .pointer, UnsafeRawBufferPointer(start: nil, count: 0)))
        }
        throw .absent(rootExpectation)
    }

    private var rootExpectation: NodeExpectation {
        NodeExpectation(tree: identity, pointer: root.node, level: root.level, isRoot: true)
    }

    @inline(__always)
    func goDown(to index: Int, of step: inout Descent) throws(ChildMiss) {
        let parent = step.node
        let view = view(parent)
        let bytes = view.pointerBytes(index)
        let address = loadU64(bytes, 0)
        step.narrow(toChild: index, of: view)
        step.level &-= 1
        if address & NodeAddress.provisionalBit != 0 {
            step.node = ResidentNode(provisional: NodeAddress(rawValue: address))
            return
        }
        guard let node = cache.resident(at: address) else {
            throw .absent(expectation(step, NodePointer(at: bytes)))
        }
        let token = Self.token(of: bytes, in: parent)
        if node.record.pointee.token.load(ordering: .relaxed) != token {
            try check(node, expectation(step, NodePointer(at: bytes)))
            node.record.pointee.token.store(token, ordering: .relaxed)
        }
        node.touch()
        step.node = node
    }

    /// Stands for a pointer where it is: its bytes, the record of the node that has it, its place.
    @inline(__always)
    private static func token(of bytes: UnsafeRawPointer, in parent: ResidentNode) -> UInt64 {
        let place = UInt64(UInt(bitPattern: bytes))
        let identity =
            place &* 0x9E37_79B9_7F4A_7C15
            ^ UInt64(parent.bits) &* 0xC2B2_AE3D_27D4_EB4F
        let content = loadU64(bytes, 8) &* 0x1656_67B1_9E37_79F9 ^ UInt64(loadU32(bytes, 16))
        return (identity ^ content &* 0xFF51_AFD7_ED55_8CCD) | 1
    }

    func expectation(_ step: Descent, _ pointer: NodePointer) -> NodeExpectation {
        NodeExpectation(
            tree: identity, pointer: pointer, level: step.level,
            low: step.hasLow ? OwnedKey(step.low) : nil,
            high: step.hasHigh ? OwnedKey(step.high) : nil)
    }

    /// What a fetched node was checked for once, by the pointer that it was fetched for.
    @inline(never)
    private func check(_ node: ResidentNode, _ wanted: NodeExpectation) throws(ChildMiss) {
        let view = view(node)
        let fault: NodeFault?
        if node.record.pointee.birth != wanted.pointer.birth {
            fault = .birth(node.record.pointee.birth.rawValue)
        } else if node.record.pointee.checksum != wanted.pointer.checksum {
            fault = .pointer
        } else if view.level != wanted.level {
            fault = .level(view.level)
        } else if view.tree != wanted.tree.rawValue {
            fault = .tree(view.tree)
        } else if view.count == 0, !wanted.isRoot {
            fault = .count(0)
        } else {
            fault = NodeCheck.boundsFault(in: view, wanted)
        }
        guard let fault else { return }
        let bytes = UnsafeRawBufferPointer(start: view.base, count: nodeSize)
        throw .damaged(cache.damaged(wanted, fault, bytes))
    }
}
