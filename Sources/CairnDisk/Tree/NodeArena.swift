// NodeArena: the memory of nodes, in pieces of one node each.
//
// Slabs of two megabytes are taken from the system, as one huge page each where it has some: a search in
// many nodes waits for translations of addresses otherwise. What is given back is given out again first.
// A slab goes back with the arena.
//
// Threading: any thread; `lock` guards the lists.

import CSystem
import CairnBase

final class NodeArena: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private static let slabSize = 2 << 20

    let nodeSize: Int
    private let lock = Lock()
    // Guarded by `lock`.
    private var slabs: [UnsafeMutableRawPointer] = []
    private var free: [UnsafeMutableRawPointer] = []

    init(nodeSize: Int) {
        self.nodeSize = nodeSize
    }

    deinit {
        for slab in slabs { cairn_unmap(slab, Self.slabSize) }
    }

    /// Memory for a node, aligned to pages. Its content is anything.
    func take() -> UnsafeMutableRawPointer {
        lock.withLock {
            if free.isEmpty { addSlab() }
            return free.removeLast()
        }
    }

    func giveBack(_ memory: UnsafeMutableRawPointer) {
        lock.withLock { free.append(memory) }
    }

    private func addSlab() {
        guard let slab = cairn_map_anonymous(Self.slabSize, Self.slabSize, 1) else {
            preconditionFailure("no memory for tree nodes")
        }
        slabs.append(slab)
        for offset in stride(from: 0, to: Self.slabSize, by: nodeSize).reversed() {
            free.append(slab + offset)
        }
    }

    /// Frees a record and its bytes, which nobody can reach any more.
    func free(_ node: ResidentNode) {
        giveBack(node.record.pointee.data)
        node.record.deinitialize(count: 1)
        node.record.deallocate()
    }

    /// Frees them once no reader can still see them.
    func retire(_ node: ResidentNode) {
        Epoch.retire(Unmanaged.passRetained(Retired(node, in: self) as AnyObject))
    }

    private final class Retired {
        private let node: ResidentNode
        private let arena: NodeArena

        init(_ node: ResidentNode, in arena: NodeArena) {
            self.node = node
            self.arena = arena
        }

        deinit { arena.free(node) }
    }
}
