// checkInvariants: what is always true of a tree in memory. For tests, and for whoever hunts a bug.

import CairnBase

extension ItemTree {
    /// Looks at all nodes that are in memory and says what is wrong with them; nothing, if all is well. Under
    /// the tree lock.
    package func checkInvariants() -> [String] {
        let check = InvariantCheck(tree: self)
        check.run()
        return check.complaints
    }
}

private final class InvariantCheck {
    let tree: ItemTree
    var complaints: [String] = []
    private var seen: Set<UInt> = []
    private var openCount = 0
    private var placedCount = 0
    private var isComplete = true

    init(tree: ItemTree) {
        self.tree = tree
    }

    func run() {
        let address = tree.root.node.address
        let step: Descent
        if address.isProvisional {
            step = Descent(ResidentNode(provisional: address), level: tree.root.level)
        } else if let node = tree.cache.resident(at: address.rawValue) {
            step = Descent(node, level: tree.root.level)
        } else {
            return
        }
        visit(step, isRoot: true, pointer: tree.root.node)
        expect(
            openCount == tree.openNodeCount, "\(openCount) open nodes, not \(tree.openNodeCount)")
        expect(placedCount == tree.placedCount, "\(placedCount) placed, not \(tree.placedCount)")
        if isComplete {
            expect(
                UInt64(seen.count) == tree.nodeCount,
                "\(seen.count) nodes, not \(tree.nodeCount)")
        }
    }

    private func expect(_ holds: Bool, _ complaint: @autoclosure () -> String) {
        if !holds { complaints.append(complaint()) }
    }

    private func visit(_ step: Descent, isRoot: Bool, pointer: NodePointer) {
        let node = step.node
        guard seen.insert(node.bits).inserted else {
            complaints.append("a node that is reached twice")
            return
        }
        checkRecord(node, pointer)
        let view = tree.view(node)
        expect(view.level == step.level, "level \(view.level), not \(step.level)")
        expect(view.tree == tree.identity.rawValue, "a node of tree \(view.tree)")
        expect(view.group == node.record.pointee.birth, "group \(view.group.rawValue) in a header")
        if let fault = NodeCheck.layoutFault(in: view, isRoot: isRoot) {
            complaints.append("a node that \(fault)")
            return
        }
        for index in 1..<max(view.count, 1) {
            expect(view.key(index - 1) < view.key(index), "item \(index) out of order")
        }
        expect(!step.hasLow || view.isWithin(low: step.low), "keys below their bound")
        expect(!step.hasHigh || view.isWithin(high: step.high), "keys above their bound")
        guard view.level > 0 else { return }
        for index in 0..<view.count { visitChild(index, of: step) }
    }

    private func visitChild(_ index: Int, of step: Descent) {
        let view = tree.view(step.node)
        let pointer = view.pointer(index)
        var below = step
        below.narrow(toChild: index, of: view)
        below.level -= 1
        if pointer.address.isProvisional {
            below.node = ResidentNode(provisional: pointer.address)
            expect(step.node.isDirty, "a clean node that points to a dirty one")
            if tree.isOpen(below.node) {
                expect(tree.isOpen(step.node), "an open node below one that is not")
            }
        } else if let node = tree.cache.resident(at: pointer.address.rawValue) {
            below.node = node
        } else {
            isComplete = false
            return
        }
        visit(below, isRoot: false, pointer: pointer)
    }

    private func checkRecord(_ node: ResidentNode, _ pointer: NodePointer) {
        let record = node.record
        if pointer.address.isProvisional {
            expect(record.pointee.state == .dirty, "a provisional pointer to a clean node")
            expect(!record.pointee.isReplaced, "a node that has been replaced")
            if tree.isOpen(node) {
                openCount += 1
                if record.pointee.place != nil { placedCount += 1 }
            }
        } else {
            expect(record.pointee.state == .clean, "a pointer to a place that a dirty node has")
            expect(
                record.pointee.checksum == pointer.checksum, "another checksum than its pointer's")
        }
        expect(record.pointee.birth == pointer.birth, "another birth than its pointer's")
    }
}
