// RAMSpace: what the nodes of one filesystem in memory share: where chunks come from, and how many
// bytes and nodes are left.

import CSystem
import CairnBase
import Synchronization

final class RAMSpace: Sendable {
    let arena = ChunkArena()
    /// Bytes of file data and extended attributes.
    let bytes: SpaceAccount
    let nodes: SpaceAccount
    /// Bytes that were freed to malloc since it last gave memory back.
    private let freedToHeap = Atomic<Int>(0)

    /// When so much was freed, malloc is asked to give memory back, in bytes.
    private static var heapThreshold: Int { 64 << 20 }

    init(byteLimit: Int, nodeLimit: Int) {
        bytes = SpaceAccount(limit: byteLimit, batch: 4 << 20)
        nodes = SpaceAccount(limit: nodeLimit, batch: 1024)
    }

    /// A chunk of a class, paid for. Nil: no space.
    func take(sizeClass: Int, isPaid: Bool = false) -> (chunk: Chunk, isZero: Bool)? {
        let size = Chunk.smallestSize << sizeClass
        guard isPaid || bytes.take(size) else { return nil }
        guard let taken = arena.allocate(sizeClass: sizeClass) else {
            if !isPaid { bytes.give(size) }
            return nil
        }
        return taken
    }

    func give(_ chunk: Chunk) {
        guard !chunk.isNone else { return }
        bytes.give(chunk.capacity)
        arena.free(chunk)
    }

    /// So much was freed by a node that went. From time to time, gives memory back to the machine:
    /// often enough to matter, seldom enough to cost little for each node. Only every 16th node
    /// is counted, for all 16: the count is shared by all threads. (No node has a number that is a
    /// multiple of 64, so those that are multiples of 16 would be too few.)
    @inline(__always)
    func noteFreed(_ size: Int, by number: UInt64) {
        if number % 16 == 1 { countFreed(size * 16) }
    }

    private func countFreed(_ size: Int) {
        let freed = freedToHeap.add(size, ordering: .relaxed).newValue
        guard freed >= RAMSpace.heapThreshold else { return }
        let used = bytes.limit - bytes.left
        guard freed >= used / 4, freedToHeap.exchange(0, ordering: .relaxed) >= freed else {
            return
        }
        cairn_release_heap()
    }
}
