// NodeCache: the nodes of both trees that are in memory (requirement C8).
//
// Clean nodes are found by their address in a table that is read without a lock. They go when the
// bytes of all nodes exceed the limit, by the clock algorithm with a count of uses: a node that came
// in by a scan has been used once, inner nodes and leaves that are used again stay longer. Dirty
// and pinned nodes do not go. So the limit holds but for what operations under way have pinned and what the
// open and the closed group have changed; the volume bounds the latter by committing (`dirtyBytes`).
//
// Threading. `lock` guards the table's changes, the lists and the fetches; it is held for moments,
// and neither over a submission nor a callback. Readers find nodes under the volume's tree lock, held
// shared, in an epoch section: eviction happens on other threads, so what was evicted is retired.

import CairnBase
import CairnIO
import Synchronization

package final class NodeCache: @unchecked Sendable {
    // Sendable: see above.
    package let device: any BlockDevice
    package let geometry: NodeGeometry
    let arena: NodeArena
    private let report: @Sendable (NodeDamage) -> Void

    private let buckets: UnsafeMutablePointer<Atomic<UInt>>
    private let bucketMask: UInt64
    let counters = ShardedCounters(counters: Counter.allCases.count, histograms: 0)

    enum Counter: Int, CaseIterable {
        case lookups, fetches, joins, evictions, damages
    }

    let lock = Lock()
    // Guarded by `lock`.
    var clean: [ResidentNode] = []
    var dirty: [ResidentNode] = []
    var hand = 0
    /// Of nodes that are resident or being fetched.
    var nodeTotal = 0
    var maximumNodes: Int
    /// While it is not 0 nothing is evicted.
    var holds = 0
    var fetches: [UInt64: NodeFetch] = [:]

    /// `limitBytes`: of nodes in memory. `report` is called for each node that cannot be used, on the
    /// thread that found it, which may hold the tree lock: it must not call back.
    package init(
        device: any BlockDevice, geometry: NodeGeometry, limitBytes: Int,
        report: @escaping @Sendable (NodeDamage) -> Void
    ) {
        self.device = device
        self.geometry = geometry
        self.report = report
        arena = NodeArena(nodeSize: geometry.nodeSize)
        maximumNodes = max(limitBytes / geometry.nodeSize, 1)
        var count = 64
        while count < maximumNodes * 2, count < 1 << 24 { count *= 2 }
        buckets = .allocate(capacity: count)
        for index in 0..<count { (buckets + index).initialize(to: Atomic(0)) }
        bucketMask = UInt64(count - 1)
    }

    deinit {
        for node in clean + dirty { arena.free(node) }
        buckets.deallocate()
    }

    // MARK: The table

    @inline(__always)
    private func bucket(_ address: UInt64) -> UnsafeMutablePointer<Atomic<UInt>> {
        let mixed = address &* 0x9E37_79B9_7F4A_7C15
        return buckets + Int((mixed >> 32) & bucketMask)
    }

    /// The clean node at an address, if it is in memory.
    @inline(__always)
    func resident(at address: UInt64) -> ResidentNode? {
        var bits = bucket(address).pointee.load(ordering: .acquiring)
        while let node = ResidentNode(bits: bits) {
            if node.record.pointee.address == address { return node }
            bits = node.record.pointee.next.load(ordering: .acquiring)
        }
        return nil
    }

    /// Under `lock`.
    func enter(_ node: ResidentNode) {
        let head = bucket(node.record.pointee.address)
        node.record.pointee.next.store(head.pointee.load(ordering: .relaxed), ordering: .relaxed)
        head.pointee.store(node.bits, ordering: .releasing)
        node.record.pointee.listIndex = clean.count
        clean.append(node)
    }

    /// Under `lock`. A reader may still see it.
    func takeOut(_ node: ResidentNode) {
        var link = bucket(node.record.pointee.address)
        while let other = ResidentNode(bits: link.pointee.load(ordering: .relaxed)) {
            if other == node {
                link.pointee.store(
                    node.record.pointee.next.load(ordering: .relaxed), ordering: .releasing)
                break
            }
            link = UnsafeMutableRawPointer(other.record)
                .assumingMemoryBound(to: Atomic<UInt>.self)
        }
        Self.remove(node, from: &clean)
    }

    /// The last one takes its place in the list.
    static func remove(_ node: ResidentNode, from list: inout [ResidentNode]) {
        let index = node.record.pointee.listIndex
        precondition(list[index] == node, "a node in another list")
        let last = list.removeLast()
        if last != node {
            list[index] = last
            last.record.pointee.listIndex = index
        }
        node.record.pointee.listIndex = -1
    }

    // MARK: Damage

    /// Reports a node that cannot be used, and gives what its callers fail with.
    func damaged(
        _ expectation: NodeExpectation, _ fault: NodeFault, _ bytes: UnsafeRawBufferPointer
    ) -> Errno {
        counters.add(to: Counter.damages.rawValue)
        var stored: UInt32 = 0
        var computed: UInt32 = 0
        if let base = bytes.baseAddress, bytes.count == geometry.nodeSize {
            let node = NodeView(base, size: bytes.count)
            stored = node.checksum
            computed = node.computedChecksum(seed: geometry.seed)
        }
        let damage = NodeDamage(
            expectation: expectation, fault: fault, storedChecksum: stored,
            computedChecksum: computed)
        report(damage)
        return damage.errno
    }

    // MARK: Figures

    /// Bytes of nodes that are changed and not written yet.
    package var dirtyBytes: Int { lock.withLock { dirty.count } * geometry.nodeSize }

    /// Bytes that nodes may take.
    package var limitBytes: Int {
        get { lock.withLock { maximumNodes } * geometry.nodeSize }
        set {
            let gone = lock.withLock {
                maximumNodes = max(newValue / geometry.nodeSize, 1)
                return evictions()
            }
            retire(gone)
        }
    }

    package var statistics: NodeStatistics {
        let counts = counters.counts
        let (cleanCount, dirtyCount, total) = lock.withLock {
            (clean.count, dirty.count, nodeTotal)
        }
        return NodeStatistics(
            lookups: counts[Counter.lookups.rawValue], fetches: counts[Counter.fetches.rawValue],
            joins: counts[Counter.joins.rawValue], evictions: counts[Counter.evictions.rawValue],
            damages: counts[Counter.damages.rawValue], cleanNodes: cleanCount,
            dirtyNodes: dirtyCount, bytes: total * geometry.nodeSize)
    }
}

/// What a NodeCache has counted.
package struct NodeStatistics: Sendable {
    /// Descents from a root to a leaf.
    package var lookups: UInt64
    /// Nodes that had to be read, and how often somebody waited for a read that was under way.
    package var fetches: UInt64
    package var joins: UInt64
    package var evictions: UInt64
    /// Nodes that could not be used.
    package var damages: UInt64
    package var cleanNodes: Int
    package var dirtyNodes: Int
    /// Of all nodes in memory.
    package var bytes: Int
}
