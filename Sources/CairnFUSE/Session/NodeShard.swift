// NodeShard: a part of the node table, with a lock of its own (NodeTable.swift).

import CairnBase
import CairnVFS
import Synchronization

/// What is read of a node without a lock. Lives at a fixed address.
private struct Slot: ~Copyable {
    /// The node's number; 0 while the slot is free. Written last, read first.
    let nodeID = Atomic<UInt64>(0)
    /// Set before `nodeID`, constant while it stands.
    var inode: Unmanaged<Inode>?
    /// Set before `nodeID`; may become another mount of the same filesystem. Each that it has been
    /// is retained while `nodeID` stands.
    let mountBits = Atomic<UInt>(0)
    /// `NodeMarks`.
    let marks = Atomic<UInt8>(0)

    @inline(__always)
    var mount: Unmanaged<Mount>? {
        UnsafeRawPointer(bitPattern: mountBits.load(ordering: .acquiring))
            .map { Unmanaged.fromOpaque($0) }
    }

    func setMount(_ mount: Unmanaged<Mount>?) {
        mountBits.store(UInt(bitPattern: mount?.toOpaque()), ordering: .releasing)
    }
}

/// A further mount that a file was found through. Retained.
private struct FurtherMount {
    var mount: Unmanaged<Mount>
    /// False: it was let go of, and is only kept in memory.
    var isHeld = true
}

/// What a node that is no more has held, to be given back outside of the lock.
private struct Holdings {
    var inode: Unmanaged<Inode>?
    var mount: Unmanaged<Mount>?
    var further: [FurtherMount] = []
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
final class NodeShard: @unchecked Sendable {
    // Sendable: `lock` guards all but the chunks' addresses, which are atomic and stay.
    private let lock = Lock()
    /// Chunk k holds 64 << k slots. Chunks never move, so a slot is found without a lock.
    private let chunks: UnsafeMutablePointer<Atomic<UnsafeMutablePointer<Slot>?>>
    private static let chunkLimit = 26
    private static let firstChunkBits = 6
    /// By slot.
    private var ledgers: [Ledger] = []
    private var firstFree = -1
    /// By slot, for the few that have any.
    private var further: [Int: [FurtherMount]] = [:]
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

    // MARK: Marks

    @inline(__always)
    func mark(_ slot: Int, _ mark: NodeMarks) {
        guard let node = address(slot),
            node.pointee.marks.load(ordering: .relaxed) & mark.rawValue == 0
        else { return }
        node.pointee.marks.bitwiseOr(mark.rawValue, ordering: .relaxed)
    }

    func isMarked(_ slot: Int, _ mark: NodeMarks) -> Bool {
        guard let node = address(slot) else { return false }
        return node.pointee.marks.load(ordering: .relaxed) & mark.rawValue != 0
    }

    func unmark(_ slot: Int, _ mark: NodeMarks) {
        guard let node = address(slot) else { return }
        node.pointee.marks.bitwiseAnd(~mark.rawValue, ordering: .relaxed)
    }

    // MARK: References

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
            if key == 0 { note(mount, in: slot) }
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
        node.pointee.setMount(Unmanaged.passRetained(mount))
        node.pointee.marks.store(0, ordering: .relaxed)
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
        let holdings = empty(slot, node)
        lock.unlock()
        release(holdings)
    }

    func forgetAll() {
        for slot in 0..<lock.withLock({ ledgers.count }) {
            lock.lock()
            guard let node = address(slot), node.pointee.nodeID.load(ordering: .relaxed) != 0
            else {
                lock.unlock()
                continue
            }
            let holdings = empty(slot, node)
            lock.unlock()
            release(holdings)
        }
    }

    private func empty(_ slot: Int, _ node: UnsafeMutablePointer<Slot>) -> Holdings {
        remove(slot, hash: ledgers[slot].hash)
        node.pointee.nodeID.store(0, ordering: .releasing)
        var held = Holdings(inode: node.pointee.inode, mount: node.pointee.mount)
        if !further.isEmpty { held.further = further.removeValue(forKey: slot) ?? [] }
        node.pointee.inode = nil
        node.pointee.setMount(nil)
        ledgers[slot].lookups = 0
        ledgers[slot].nextFree = firstFree
        firstFree = slot
        return held
    }

    /// Outside of the lock: the last drop of an inode may call into its filesystem.
    private func release(_ holdings: Holdings) {
        if let inode = holdings.inode {
            inode.takeUnretainedValue().drop()
            inode.release()
        }
        if let mount = holdings.mount {
            mount.takeUnretainedValue().drop()
            mount.release()
        }
        for one in holdings.further {
            if one.isHeld { one.mount.takeUnretainedValue().drop() }
            one.mount.release()
        }
    }

    // MARK: Files that were found through several mounts

    /// Under the lock. The file was found through this mount.
    @inline(__always)
    private func note(_ mount: Mount, in slot: Int) {
        if let node = address(slot),
            node.pointee.mountBits.load(ordering: .relaxed)
                != UInt(bitPattern: Unmanaged.passUnretained(mount).toOpaque())
        {
            noteFurther(mount, in: slot)
        }
    }

    private func noteFurther(_ mount: Mount, in slot: Int) {
        let known = further[slot] ?? []
        if known.contains(where: { $0.isHeld && $0.mount.takeUnretainedValue() === mount }) {
            return
        }
        guard mount.hold() else { return }
        further[slot] = known + [FurtherMount(mount: .passRetained(mount))]
    }

    func isKnown(_ slot: Int, _ nodeID: UInt64, through mount: Mount) -> Bool {
        lock.withLock {
            guard let place = place(slot, nodeID) else { return false }
            return place.mount === mount
                || further[slot]?.contains {
                    $0.isHeld && $0.mount.takeUnretainedValue() === mount
                } ?? false
        }
    }

    func mountIdentity(_ slot: Int, _ nodeID: UInt64) -> UInt64 {
        guard nodeID != 0, let node = address(slot),
            node.pointee.nodeID.load(ordering: .acquiring) == nodeID
        else { return 0 }
        return node.pointee.mount?._withUnsafeGuaranteedRef { $0.identity } ?? 0
    }

    func leave(_ mount: Mount) {
        let dropped = lock.withLock {
            var dropped = 0
            for slot in Array(further.keys) where leave(mount, slot) {
                dropped += 1
            }
            return dropped
        }
        for _ in 0..<dropped {
            mount.drop()
        }
    }

    /// Under the lock. True if one hold of the mount is to be dropped. It stays retained, for who
    /// answers a request may be looking at it.
    private func leave(_ mount: Mount, _ slot: Int) -> Bool {
        guard var mounts = further[slot], let node = address(slot) else { return false }
        if let index = mounts.firstIndex(where: {
            $0.isHeld && $0.mount.takeUnretainedValue() === mount
        }) {
            mounts[index].isHeld = false
            further[slot] = mounts
            return true
        }
        guard let own = node.pointee.mount, own.takeUnretainedValue() === mount,
            let index = mounts.firstIndex(where: { $0.isHeld })
        else { return false }
        node.pointee.setMount(mounts[index].mount)
        mounts[index] = FurtherMount(mount: own, isHeld: false)
        further[slot] = mounts
        return true
    }

    // MARK: Listing

    /// Those of an inode. Through the mount `besides` it is seen as the node that is that mount's
    /// own, or else as the one that mounts share.
    func numbers(of identity: UInt64, hash: UInt64, besides mount: UInt64?) -> [UInt64] {
        lock.withLock {
            var found: [(number: UInt64, key: UInt64)] = []
            var index = Int(truncatingIfNeeded: hash) & (table.count - 1)
            while table[index] >= 0 {
                let slot = Int(table[index])
                if ledgers[slot].inodeIdentity == identity, let node = address(slot) {
                    found.append(
                        (node.pointee.nodeID.load(ordering: .relaxed), ledgers[slot].mountKey))
                }
                index = (index + 1) & (table.count - 1)
            }
            if let mount {
                let known = found.contains { $0.key == mount } ? mount : 0
                found.removeAll { $0.key == known }
            }
            return found.map(\.number)
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
