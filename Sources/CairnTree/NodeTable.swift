// NodeTable: the nodes of a tree that are in memory, by number.
//
// Open addressing in shards, each with a lock of its own and on cache lines of its own. The table
// owns one reference to each node.
//
// For a store that can reload, the table is a cache: when a shard is over its share, a clock hand
// drops nodes that only the table refers to. Lookup and eviction both happen under the shard's
// lock, so a node that is seen to be unreferenced stays so: nobody can get at it but through the
// table (there are no weak references to nodes, by rule).
//
// A node that was loaded may be put into the table only if nothing left the shard since before the
// load: otherwise another thread may have loaded the same node, changed it and lost it again, and
// what was loaded first would be old. `epoch` counts what left.

import CairnBase
import CairnVFS

final class NodeTable: @unchecked Sendable {
    // Sendable: shards are guarded by their locks; the rest is immutable.

    enum Found {
        case resident(TreeNode)
        case absent(epoch: UInt64)
    }

    private struct Slot {
        /// 0: empty. No node has number 0.
        var number: UInt64
        var node: TreeNode?
    }

    /// Guarded by the lock of the same index. Locks stand apart, because a change of one field is
    /// formally a change of the whole struct.
    private struct Shard {
        var count = 0
        var mask = NodeTable.smallestShard - 1
        var hand = 0
        var epoch: UInt64 = 0
        var slots = NodeTable.emptySlots(NodeTable.smallestShard)
        /// Makes 64 bytes, a cache line.
        private let padding = InlineArray<3, UInt64>(repeating: 0)

        init() {}
    }

    private struct ShardLock: ~Copyable {
        let lock = Lock()
        private let padding = InlineArray<15, UInt32>(repeating: 0)

        init() {}
    }

    private static var shardBits: UInt64 { 6 }
    private static var shardCount: Int { 1 << Int(shardBits) }
    private static var smallestShard: Int { 16 }

    private let shards: UnsafeMutablePointer<Shard>
    private let locks: UnsafeMutablePointer<ShardLock>
    private let shardLimit: Int

    init(limit: Int) {
        shardLimit = limit == .max ? .max : max(1, limit / NodeTable.shardCount)
        shards = .allocate(capacity: NodeTable.shardCount)
        locks = .allocate(capacity: NodeTable.shardCount)
        for index in 0..<NodeTable.shardCount {
            (shards + index).initialize(to: Shard())
            (locks + index).initialize(to: ShardLock())
        }
    }

    deinit {
        removeAll()
        for index in 0..<NodeTable.shardCount {
            shards[index].slots.deinitialize(count: shards[index].mask + 1)
            shards[index].slots.deallocate()
        }
        shards.deinitialize(count: NodeTable.shardCount)
        shards.deallocate()
        locks.deinitialize(count: NodeTable.shardCount)
        locks.deallocate()
    }

    private static func emptySlots(_ count: Int) -> UnsafeMutablePointer<Slot> {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: count)
        slots.initialize(repeating: Slot(number: 0, node: nil), count: count)
        return slots
    }

    @inline(__always)
    private static func mixed(_ number: UInt64) -> UInt64 { number &* 0x9E37_79B9_7F4A_7C15 }

    @inline(__always)
    private static func shardIndex(_ mixed: UInt64) -> Int {
        Int(truncatingIfNeeded: mixed >> (64 - shardBits))
    }

    /// Where a number's search begins.
    @inline(__always)
    private static func home(_ mixed: UInt64, _ mask: Int) -> Int {
        Int(truncatingIfNeeded: mixed >> 24) & mask
    }

    // MARK: Use

    func find(_ number: UInt64) -> Found {
        let mixed = NodeTable.mixed(number)
        let place = NodeTable.shardIndex(mixed)
        let shard = shards + place
        locks[place].lock.lock()
        defer { locks[place].lock.unlock() }
        let index = NodeTable.position(of: number, mixed, in: shard)
        guard let node = shard.pointee.slots[index].node else {
            return .absent(epoch: shard.pointee.epoch)
        }
        node.noteUse()
        return .resident(node)
    }

    /// Puts a node in that was just made: its number is new.
    func insert(_ node: TreeNode, evicting evicted: inout [TreeNode]) {
        let mixed = NodeTable.mixed(node.number)
        let place = NodeTable.shardIndex(mixed)
        let shard = shards + place
        locks[place].lock.lock()
        defer { locks[place].lock.unlock() }
        let index = NodeTable.position(of: node.number, mixed, in: shard)
        precondition(shard.pointee.slots[index].node == nil, "a node number was given out twice")
        insert(node, at: index, in: shard, evicting: &evicted)
    }

    /// Puts a node in that was loaded after `epoch` was seen. Gives the node that now stands for
    /// the number; nil: load again.
    func insert(
        _ node: TreeNode, ifEpochIs epoch: UInt64, evicting evicted: inout [TreeNode]
    ) -> TreeNode? {
        let mixed = NodeTable.mixed(node.number)
        let place = NodeTable.shardIndex(mixed)
        let shard = shards + place
        locks[place].lock.lock()
        defer { locks[place].lock.unlock() }
        let index = NodeTable.position(of: node.number, mixed, in: shard)
        if let present = shard.pointee.slots[index].node { return present }
        guard shard.pointee.epoch == epoch else { return nil }
        insert(node, at: index, in: shard, evicting: &evicted)
        return node
    }

    /// Takes a node out that was freed.
    func remove(_ number: UInt64) {
        let mixed = NodeTable.mixed(number)
        let place = NodeTable.shardIndex(mixed)
        let shard = shards + place
        locks[place].lock.lock()
        let index = NodeTable.position(of: number, mixed, in: shard)
        var node: TreeNode?
        if shard.pointee.slots[index].node != nil {
            node = NodeTable.take(index, from: shard)
        }
        shard.pointee.epoch &+= 1
        locks[place].lock.unlock()
        withExtendedLifetime(node) {}
    }

    /// A node was changed elsewhere. Gives it, if it is resident; a load that is under way will be
    /// made again.
    func forget(_ number: UInt64) -> TreeNode? {
        let mixed = NodeTable.mixed(number)
        let place = NodeTable.shardIndex(mixed)
        let shard = shards + place
        locks[place].lock.lock()
        defer { locks[place].lock.unlock() }
        shard.pointee.epoch &+= 1
        return shard.pointee.slots[NodeTable.position(of: number, mixed, in: shard)].node
    }

    var count: Int {
        var total = 0
        for index in 0..<NodeTable.shardCount {
            total += locks[index].lock.withLock { shards[index].count }
        }
        return total
    }

    /// All resident nodes, at a quiescent moment: for checking.
    var all: [TreeNode] {
        var result: [TreeNode] = []
        for index in 0..<NodeTable.shardCount {
            let shard = shards + index
            locks[index].lock.withLock {
                for slot in 0...shard.pointee.mask {
                    if let node = shard.pointee.slots[slot].node { result.append(node) }
                }
            }
        }
        return result
    }

    func removeAll() {
        for index in 0..<NodeTable.shardCount {
            let shard = shards + index
            let fresh = NodeTable.emptySlots(NodeTable.smallestShard)
            locks[index].lock.lock()
            let old = shard.pointee.slots
            let oldCount = shard.pointee.mask + 1
            shard.pointee.slots = fresh
            shard.pointee.mask = NodeTable.smallestShard - 1
            shard.pointee.count = 0
            shard.pointee.hand = 0
            shard.pointee.epoch &+= 1
            locks[index].lock.unlock()
            old.deinitialize(count: oldCount)
            old.deallocate()
        }
    }

    // MARK: Eviction

    /// Drops unused nodes until at most `limit` are left; gives how many are.
    func shrink(to limit: Int, evicting evicted: inout [TreeNode]) -> Int {
        let share = limit / NodeTable.shardCount
        var left = 0
        for index in 0..<NodeTable.shardCount {
            let shard = shards + index
            locks[index].lock.lock()
            NodeTable.turnHand(
                of: shard, until: share, steps: 2 * (shard.pointee.mask + 1), evicting: &evicted)
            left += shard.pointee.count
            locks[index].lock.unlock()
        }
        return left
    }

    /// Turns the clock hand: a node that was used since the last turn gets another turn, one that
    /// only the table knows goes.
    private static func turnHand(
        of shard: UnsafeMutablePointer<Shard>, until limit: Int, steps: Int,
        evicting evicted: inout [TreeNode]
    ) {
        var left = steps
        while shard.pointee.count > limit, left > 0 {
            left -= 1
            let index = shard.pointee.hand & shard.pointee.mask
            guard shard.pointee.slots[index].node != nil else {
                shard.pointee.hand &+= 1
                continue
            }
            guard isKnownUniquelyReferenced(&shard.pointee.slots[index].node),
                shard.pointee.slots[index].node?.isEvictable == true
            else {
                shard.pointee.hand &+= 1
                continue
            }
            // The hand stays: what follows may have moved up into this slot.
            if let node = take(index, from: shard) { evicted.append(node) }
            shard.pointee.epoch &+= 1
        }
    }

    // MARK: Slots, under the shard's lock

    /// The slot that holds the number, or the empty one where it would go.
    @inline(__always)
    private static func position(
        of number: UInt64, _ mixed: UInt64, in shard: UnsafeMutablePointer<Shard>
    ) -> Int {
        let mask = shard.pointee.mask
        let slots = shard.pointee.slots
        var index = home(mixed, mask)
        while true {
            let found = slots[index].number
            if found == number || found == 0 { return index }
            index = (index &+ 1) & mask
        }
    }

    private func insert(
        _ node: TreeNode, at index: Int, in shard: UnsafeMutablePointer<Shard>,
        evicting evicted: inout [TreeNode]
    ) {
        shard.pointee.slots[index].number = node.number
        shard.pointee.slots[index].node = node
        shard.pointee.count += 1
        if shard.pointee.count > shardLimit {
            NodeTable.turnHand(of: shard, until: shardLimit, steps: 16, evicting: &evicted)
        }
        if shard.pointee.count * 4 > (shard.pointee.mask + 1) * 3 {
            NodeTable.resize(shard, to: (shard.pointee.mask + 1) * 2)
        }
    }

    private static func resize(_ shard: UnsafeMutablePointer<Shard>, to count: Int) {
        let old = shard.pointee.slots
        let oldCount = shard.pointee.mask + 1
        shard.pointee.slots = emptySlots(count)
        shard.pointee.mask = count - 1
        for index in 0..<oldCount where old[index].number != 0 {
            let number = old[index].number
            let target = shard.pointee.slots + position(of: number, mixed(number), in: shard)
            swap(&target.pointee, &old[index])
        }
        old.deinitialize(count: oldCount)
        old.deallocate()
    }

    /// Empties a slot and closes the gap, so that searches need no tombstones.
    private static func take(_ index: Int, from shard: UnsafeMutablePointer<Shard>) -> TreeNode? {
        let slots = shard.pointee.slots
        let mask = shard.pointee.mask
        let node = slots[index].node
        slots[index] = Slot(number: 0, node: nil)
        var gap = index
        var next = (gap &+ 1) & mask
        while slots[next].number != 0 {
            let wanted = home(mixed(slots[next].number), mask)
            if (next &- wanted) & mask >= (next &- gap) & mask {
                swap(&slots[gap], &slots[next])
                gap = next
            }
            next = (next &+ 1) & mask
        }
        shard.pointee.count -= 1
        if count(shard) * 8 < mask + 1, mask + 1 > smallestShard {
            resize(shard, to: (mask + 1) / 2)
        }
        return node
    }

    private static func count(_ shard: UnsafeMutablePointer<Shard>) -> Int { shard.pointee.count }
}
