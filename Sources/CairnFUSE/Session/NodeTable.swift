// NodeTable: the numbers by which the kernel knows inodes, and how often it was told each.
//
//     node number:  use of the slot (24 bits) | slot in its shard (34 bits) | shard (6 bits)
//
// Invariants
//  - A node is in the table exactly while the kernel's lookup count of it is above zero. It holds
//    its inode and its mount (`hold`), so a file without links lives until the kernel forgets it.
//  - A number is never given to two nodes with the same generation: each use of a slot counts up
//    a number whose low bits stand in the node number, and whose high bits are the generation.
//  - Directories are known by mount and inode: a directory that is bound in two places must be
//    two in the kernel, which allows a directory only one place. Other files are known by inode
//    alone, so that there is one page cache; only under a mount that is read-only or noexec have
//    they their own node, because what may be done differs.
//
// Threading. Finding a node by number takes no lock: the kernel sends a number only while it
// holds a count of it, so the slot cannot be emptied meanwhile. (A peer that breaks this rule is
// not the kernel.) All changes are under the lock of the shard, which the inode decides.

import CairnBase
import CairnVFS
import Synchronization

final class NodeTable: @unchecked Sendable {
    // Sendable: immutable; shards guard themselves.

    /// FUSE_ROOT_ID
    static let rootID: UInt64 = 1
    private static let shardBits: UInt64 = 6
    private static let slotBits: UInt64 = 34
    private static let useBits: UInt64 = 24

    private let root: Location
    private let shards: [Shard]

    init(root: Location) {
        self.root = root
        self.shards = (0..<(1 << Int(Self.shardBits))).map { _ in Shard() }
    }

    /// The use of a slot that comes after `use`. The low bits are never 0, for such numbers are
    /// reserved: 0, the root's, and the openless probe's.
    static func use(after use: UInt64) -> UInt64 {
        let next = use &+ 1
        return next & ((1 << useBits) - 1) == 0 ? next &+ 1 : next
    }

    /// What the kernel is told of a node.
    struct Reference {
        var nodeID: UInt64
        var generation: UInt64
    }

    /// The place that a number stands for; nil for a number that was not given out.
    @inline(__always)
    func place(_ nodeID: UInt64) -> Location? {
        if nodeID == Self.rootID { return root }
        return shards[shard(of: nodeID)].place(slot(of: nodeID), nodeID)
    }

    /// The inode that a number stands for, for one who is not answering the kernel: safe while
    /// the node may be forgotten meanwhile.
    func retained(_ nodeID: UInt64) -> Inode? {
        if nodeID == Self.rootID { return root.inode }
        return shards[shard(of: nodeID)].retained(slot(of: nodeID), nodeID)
    }

    /// The kernel is about to be told of this place once more. Nil if the file is gone already.
    func reference(_ place: Location) -> Reference? {
        if place.inode === root.inode, place.mount === root.mount || !place.inode.isDirectory {
            return Reference(nodeID: Self.rootID, generation: 0)
        }
        let hash = mixHash(place.inode.identity, 0x9E37_79B9_7F4A_7C15)
        let index = Int(truncatingIfNeeded: hash & ((1 << Self.shardBits) - 1))
        return shards[index].reference(place, hash: hash >> Self.shardBits) { slot, use in
            Reference(
                nodeID: (use & ((1 << Self.useBits) - 1)) << (Self.slotBits + Self.shardBits)
                    | UInt64(slot) << Self.shardBits | UInt64(index),
                generation: use >> Self.useBits)
        }
    }

    /// The kernel takes back `count` of the times that it was told of a node.
    func forget(_ nodeID: UInt64, count: UInt64) {
        guard nodeID != Self.rootID else { return }
        shards[shard(of: nodeID)].forget(slot(of: nodeID), nodeID, count: count)
    }

    /// The numbers under which the kernel knows an inode, by whichever mount.
    func numbers(of inode: Inode) -> [UInt64] {
        let hash = mixHash(inode.identity, 0x9E37_79B9_7F4A_7C15)
        let index = Int(truncatingIfNeeded: hash & ((1 << Self.shardBits) - 1))
        var found = shards[index].numbers(of: inode.identity, hash: hash >> Self.shardBits)
        if inode === root.inode { found.append(Self.rootID) }
        return found
    }

    /// Every node that the kernel knows, and whether it is a regular file.
    func all() -> [(nodeID: UInt64, isRegular: Bool)] {
        [(Self.rootID, false)] + shards.flatMap { $0.all() }
    }

    /// Whether some node holds the mount.
    func holds(_ mount: Mount) -> Bool { !numbers(on: mount, limit: 1).isEmpty }

    /// The numbers of nodes that hold the mount.
    func numbers(on mount: Mount, limit: Int) -> [UInt64] {
        var found: [UInt64] = []
        for shard in shards where found.count < limit {
            found += shard.numbers(on: mount, limit: limit - found.count)
        }
        return found
    }

    /// Every inode that the kernel knows, the root's included.
    var inodes: [Inode] { [root.inode] + shards.flatMap { $0.inodes } }

    /// The kernel has let go of everything.
    func forgetAll() {
        for shard in shards {
            shard.forgetAll()
        }
    }

    /// Nodes that the kernel knows, the root not counted.
    var count: Int { shards.reduce(0) { $0 + $1.count } }

    private func shard(of nodeID: UInt64) -> Int {
        Int(truncatingIfNeeded: nodeID & ((1 << Self.shardBits) - 1))
    }

    private func slot(of nodeID: UInt64) -> Int {
        Int(truncatingIfNeeded: (nodeID >> Self.shardBits) & ((1 << Self.slotBits) - 1))
    }
}

/// What is read of a node without a lock. Lives at a fixed address.
private struct Slot: ~Copyable {
    /// The node's number; 0 while the slot is free. Written last, read first.
    let nodeID = Atomic<UInt64>(0)
    // Set before `nodeID`, constant while it stands.
    var inode: Unmanaged<Inode>?
    var mount: Unmanaged<Mount>?
}

/// What the shard's lock guards of a node.
private struct Ledger {
    var inodeIdentity: UInt64 = 0
    /// The mount's identity where it matters, otherwise 0.
    var mountKey: UInt64 = 0
    var hash: UInt64 = 0
    var lookups: UInt64 = 0
    var uses: UInt64 = 0
    var nextFree = -1
}

/// A part of the table with a lock of its own.
private final class Shard: @unchecked Sendable {
    // Sendable: `lock` guards all but the chunks' addresses, which are atomic and stay.
    private let lock = Lock()
    /// Chunk k holds 64 << k slots. Chunks never move, so a slot is found without a lock.
    private let chunks: UnsafeMutablePointer<Atomic<UnsafeMutablePointer<Slot>?>>
    private static let chunkLimit = 26
    private static let firstChunkBits = 6
    /// By slot.
    private var ledgers: [Ledger] = []
    private var firstFree = -1
    /// Open addressing by hash: slot numbers, -1 where empty; a power of two.
    private var table: [Int32] = Array(repeating: -1, count: 16)
    private(set) var used = 0

    init() {
        chunks = .allocate(capacity: Self.chunkLimit)
        for index in 0..<Self.chunkLimit {
            (chunks + index).initialize(to: Atomic(nil))
        }
    }

    deinit {
        forgetAll()
        for index in 0..<Self.chunkLimit {
            guard let chunk = chunks[index].load(ordering: .relaxed) else { continue }
            chunk.deinitialize(count: 1 << (index + Self.firstChunkBits))
            chunk.deallocate()
        }
        chunks.deinitialize(count: Self.chunkLimit)
        chunks.deallocate()
    }

    var count: Int { lock.withLock { used } }

    // MARK: Slots

    @inline(__always)
    private func address(_ slot: Int) -> UnsafeMutablePointer<Slot>? {
        let position = UInt(bitPattern: slot) &+ (1 << UInt(Self.firstChunkBits))
        let chunk = UInt.bitWidth - 1 - position.leadingZeroBitCount - Self.firstChunkBits
        guard chunk < Self.chunkLimit, let base = chunks[chunk].load(ordering: .acquiring) else {
            return nil
        }
        return base + Int(position ^ (1 << UInt(chunk + Self.firstChunkBits)))
    }

    @inline(__always)
    func place(_ slot: Int, _ nodeID: UInt64) -> Location? {
        guard nodeID != 0, let node = address(slot),
            node.pointee.nodeID.load(ordering: .acquiring) == nodeID,
            let inode = node.pointee.inode, let mount = node.pointee.mount
        else { return nil }
        return Location(mount: mount.takeUnretainedValue(), inode: inode.takeUnretainedValue())
    }

    func retained(_ slot: Int, _ nodeID: UInt64) -> Inode? {
        lock.withLock { place(slot, nodeID)?.inode }
    }

    private func takeSlot() -> Int? {
        if firstFree >= 0 {
            let slot = firstFree
            firstFree = ledgers[slot].nextFree
            return slot
        }
        let slot = ledgers.count
        if address(slot) == nil {
            let position = slot + (1 << Self.firstChunkBits)
            let chunk = Int.bitWidth - 1 - position.leadingZeroBitCount - Self.firstChunkBits
            guard chunk < Self.chunkLimit else { return nil }
            let size = 1 << (chunk + Self.firstChunkBits)
            let base = UnsafeMutablePointer<Slot>.allocate(capacity: size)
            for index in 0..<size {
                (base + index).initialize(to: Slot())
            }
            chunks[chunk].store(base, ordering: .releasing)
        }
        ledgers.append(Ledger())
        return slot
    }

    // MARK: References

    func reference(
        _ place: Location, hash: UInt64, number: (Int, UInt64) -> NodeTable.Reference
    ) -> NodeTable.Reference? {
        let inode = place.inode
        let mount = place.mount
        let isOwn =
            inode.isDirectory || mount.isReadOnly || mount.flags.contains(.noExecute)
        let key = isOwn ? mount.identity : 0
        lock.lock()
        defer { lock.unlock() }
        if let slot = find(inode.identity, key, hash: hash) {
            ledgers[slot].lookups += 1
            return number(slot, ledgers[slot].uses)
        }
        guard inode.hold() else { return nil }
        guard mount.hold() else {
            inode.drop()
            return nil
        }
        guard let slot = takeSlot(), let node = address(slot) else {
            inode.drop()
            mount.drop()
            return nil
        }
        node.pointee.inode = Unmanaged.passRetained(inode)
        node.pointee.mount = Unmanaged.passRetained(mount)
        ledgers[slot] = Ledger(
            inodeIdentity: inode.identity, mountKey: key, hash: hash, lookups: 1,
            uses: NodeTable.use(after: ledgers[slot].uses))
        let reference = number(slot, ledgers[slot].uses)
        node.pointee.nodeID.store(reference.nodeID, ordering: .releasing)
        insert(slot, hash: hash)
        return reference
    }

    func forget(_ slot: Int, _ nodeID: UInt64, count: UInt64) {
        lock.lock()
        guard nodeID != 0, let node = address(slot),
            node.pointee.nodeID.load(ordering: .relaxed) == nodeID
        else { return lock.unlock() }
        if ledgers[slot].lookups > count {
            ledgers[slot].lookups -= count
            return lock.unlock()
        }
        let (inode, mount) = empty(slot, node)
        lock.unlock()
        release(inode, mount)
    }

    func forgetAll() {
        for slot in 0..<lock.withLock({ ledgers.count }) {
            lock.lock()
            guard let node = address(slot), node.pointee.nodeID.load(ordering: .relaxed) != 0
            else {
                lock.unlock()
                continue
            }
            let (inode, mount) = empty(slot, node)
            lock.unlock()
            release(inode, mount)
        }
    }

    private func empty(
        _ slot: Int, _ node: UnsafeMutablePointer<Slot>
    ) -> (Unmanaged<Inode>?, Unmanaged<Mount>?) {
        remove(slot, hash: ledgers[slot].hash)
        node.pointee.nodeID.store(0, ordering: .releasing)
        let held = (node.pointee.inode, node.pointee.mount)
        node.pointee.inode = nil
        node.pointee.mount = nil
        ledgers[slot].lookups = 0
        ledgers[slot].nextFree = firstFree
        firstFree = slot
        return held
    }

    /// Outside of the lock: the last drop of an inode may call into its filesystem.
    private func release(_ inode: Unmanaged<Inode>?, _ mount: Unmanaged<Mount>?) {
        if let inode {
            inode.takeUnretainedValue().drop()
            inode.release()
        }
        if let mount {
            mount.takeUnretainedValue().drop()
            mount.release()
        }
    }

    func numbers(of identity: UInt64, hash: UInt64) -> [UInt64] {
        lock.withLock {
            var found: [UInt64] = []
            var index = Int(truncatingIfNeeded: hash) & (table.count - 1)
            while table[index] >= 0 {
                let slot = Int(table[index])
                if ledgers[slot].inodeIdentity == identity, let node = address(slot) {
                    found.append(node.pointee.nodeID.load(ordering: .relaxed))
                }
                index = (index + 1) & (table.count - 1)
            }
            return found
        }
    }

    func all() -> [(nodeID: UInt64, isRegular: Bool)] {
        lock.withLock {
            table.compactMap { entry in
                guard entry >= 0, let node = address(Int(entry)), let inode = node.pointee.inode
                else { return nil }
                return (
                    node.pointee.nodeID.load(ordering: .relaxed),
                    inode.takeUnretainedValue().kind == .regular
                )
            }
        }
    }

    func numbers(on mount: Mount, limit: Int) -> [UInt64] {
        let wanted = Unmanaged.passUnretained(mount).toOpaque()
        return lock.withLock {
            var found: [UInt64] = []
            for entry in table where entry >= 0 && found.count < limit {
                guard let node = address(Int(entry)), node.pointee.mount?.toOpaque() == wanted
                else { continue }
                found.append(node.pointee.nodeID.load(ordering: .relaxed))
            }
            return found
        }
    }

    var inodes: [Inode] {
        lock.withLock {
            table.compactMap { entry in
                guard entry >= 0 else { return nil }
                return address(Int(entry))?.pointee.inode?.takeUnretainedValue()
            }
        }
    }

    // MARK: The hash table

    private func find(_ identity: UInt64, _ mountKey: UInt64, hash: UInt64) -> Int? {
        var index = Int(truncatingIfNeeded: hash) & (table.count - 1)
        while table[index] >= 0 {
            let slot = Int(table[index])
            if ledgers[slot].inodeIdentity == identity, ledgers[slot].mountKey == mountKey {
                return slot
            }
            index = (index + 1) & (table.count - 1)
        }
        return nil
    }

    private func insert(_ slot: Int, hash: UInt64) {
        used += 1
        if used * 10 > table.count * 7 {
            let old = table
            table = Array(repeating: -1, count: old.count * 2)
            for entry in old where entry >= 0 {
                put(entry, hash: ledgers[Int(entry)].hash)
            }
        }
        put(Int32(slot), hash: hash)
    }

    private func put(_ entry: Int32, hash: UInt64) {
        var index = Int(truncatingIfNeeded: hash) & (table.count - 1)
        while table[index] >= 0 {
            index = (index + 1) & (table.count - 1)
        }
        table[index] = entry
    }

    /// Removes by moving later entries of the run forward, so that no run is ever broken.
    private func remove(_ slot: Int, hash: UInt64) {
        let mask = table.count - 1
        var hole = Int(truncatingIfNeeded: hash) & mask
        while table[hole] != Int32(slot) {
            guard table[hole] >= 0 else { return }
            hole = (hole + 1) & mask
        }
        used -= 1
        var next = (hole + 1) & mask
        while table[next] >= 0 {
            let home = Int(truncatingIfNeeded: ledgers[Int(table[next])].hash) & mask
            if (next - home) & mask >= (next - hole) & mask {
                table[hole] = table[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        table[hole] = -1
    }
}
