// DirectoryIndex: the entries of one directory in memory.
//
// Entries are records in the order in which they were made, in segments of up to 64 KiB; each has
// a cookie that grows from one to the next and never changes. Listing walks the segments. Finding
// goes by an extendible hash: the top bits of a name's hash choose a table, its low 20 bits the
// place in it. A table that is full is split in two, or doubled while it is small, so no step
// touches more than some thousand entries, however large the directory is. Tables and segments
// come from the arena of chunks, whose largest ones lie in huge pages: what a lookup in a large
// directory would otherwise spend most of its time on is translating addresses.
//
//     tables[hash >> (64 - depth)] ─▶ Table ─▶ slot = low 20 bits of hash | address of record
//     segments[i] (sorted by cookie) ─▶ Segment ─▶ record record record …
//
// A removed record is marked dead. A segment goes when its last live record does, and is written
// anew without its dead records when few are left; their cookies stay.
//
// Invariants
//  - Each live record is in exactly one slot; dead ones in none.
//  - Cookies grow within a segment and from segment to segment.
//  - A directory without entries holds no memory, except between `makeRoom` and `insert`.
//  - Several places of `tables` may stand for one table; its `count` is right in the first of them.
//
// Threading: guarded by the directory's node lock; exclusively for what mutates.

import CairnBase
import CairnTree
import CairnVFS
import Glibc

struct DirectoryIndex {
    /// Live entries.
    private(set) var count = 0
    /// How many bits of the hash choose a table.
    var depth: UInt64 = 0
    var tables: UnsafeMutablePointer<Table>?
    var segments: UnsafeMutablePointer<Segment>?
    var segmentCount = 0
    var segmentCapacity = 0
    private var nextCookie: UInt64 = 1
    /// Room was made for a name that is yet to be inserted.
    private var hasRoom = false

    // MARK: Finding

    @inline(__always)
    func find(_ name: Name) -> Record? {
        guard let tables else { return nil }
        let table = tables + (depth == 0 ? 0 : Int(truncatingIfNeeded: name.hash &>> (64 &- depth)))
        let tag = name.hash & Slot.tagMask
        let slots = table.pointee.slots
        let mask = table.pointee.mask
        var place = tag & mask
        while true {
            let slot = slots[Int(truncatingIfNeeded: place)]
            if slot.isEmpty { return nil }
            if slot.tag == tag {
                let record = slot.record
                if equalBytes(record.name, name.bytes) { return record }
            }
            place = (place &+ 1) & mask
        }
    }

    /// Lists live records with a cookie above `cookie`, until `body` says no.
    @inline(__always)
    func list(after cookie: UInt64, _ body: (Record) -> Bool) {
        guard let segments else { return }
        for index in segmentIndex(holding: cookie &+ 1)..<segmentCount {
            let segment = segments[index]
            var offset = 0
            while offset < segment.used {
                let record = segment.record(at: offset)
                if !record.isDead, record.cookie > cookie, !body(record) { return }
                offset &+= record.size
            }
        }
    }

    /// The last segment that begins at or before the cookie.
    private func segmentIndex(holding cookie: UInt64) -> Int {
        guard let segments else { return 0 }
        var low = 0
        var high = segmentCount
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].firstCookie <= cookie { low = middle + 1 } else { high = middle }
        }
        return max(0, low - 1)
    }

    // MARK: Changing

    /// Takes the memory that `insert` of this name will need; names may be removed in between. False:
    /// the machine has none, and nothing has changed.
    mutating func makeRoom(for name: Name, in arena: ChunkArena) -> Bool {
        let size = Record.size(nameLength: name.count)
        guard tableWithRoom(for: name.hash, in: arena) != nil,
            lastSegment(withRoomFor: size, cookie: nextCookie, in: arena) != nil
        else {
            if count == 0 { removeAll(in: arena) }
            return false
        }
        hasRoom = true
        return true
    }

    /// Adds a name that is not there, and for which `makeRoom` has made room.
    mutating func insert(_ name: Name, to node: TreeNode, in arena: ChunkArena) {
        hasRoom = false
        guard let record = appendRecord(name, cookie: nextCookie, node, in: arena),
            let table = tableWithRoom(for: name.hash, in: arena)
        else { preconditionFailure("the machine has no memory for a directory") }
        nextCookie += 1
        table.pointee.insert(Slot(record, tag: name.hash & Slot.tagMask))
        count += 1
    }

    /// Removes the name, which is there.
    mutating func remove(_ name: Name, in arena: ChunkArena) {
        guard let record = find(name) else { preconditionFailure("no such name to remove") }
        let table = table(for: name.hash)
        table.pointee.remove(record, tag: name.hash & Slot.tagMask)
        count -= 1
        if count == 0, !hasRoom {
            removeAll(in: arena)
            return
        }
        record.isDead = true
        shrinkSegment(of: record, in: arena)
        if table.pointee.isSparse {
            // Without memory it stays as large as it is.
            _ = replaceTable(table, capacity: table.pointee.capacity / 2, in: arena)
        }
    }

    /// Frees all memory. Cookies go on from where they were.
    mutating func removeAll(in arena: ChunkArena) {
        if let tables {
            var index = 0
            while index < 1 << depth {
                let table = tables[index]
                index += 1 << Int(depth - table.depth)
                table.free(in: arena)
            }
            tables.deallocate()
        }
        for index in 0..<segmentCount {
            segments?[index].free(in: arena)
        }
        segments?.deallocate()
        tables = nil
        segments = nil
        segmentCount = 0
        segmentCapacity = 0
        depth = 0
        count = 0
    }

    // MARK: Tables

    /// The first place of the table for a hash.
    func table(for hash: UInt64) -> UnsafeMutablePointer<Table> {
        guard let tables else { preconditionFailure("an empty directory has no table") }
        guard depth > 0 else { return tables }
        let place = Int(truncatingIfNeeded: hash >> (64 - depth))
        return tables + (place & ~(width(of: tables[place]) - 1))
    }

    /// How many places stand for the table.
    private func width(of table: Table) -> Int { 1 << Int(depth - table.depth) }

    /// The table for a hash, with room for one more entry. Nil: the machine has no memory.
    private mutating func tableWithRoom(
        for hash: UInt64, in arena: ChunkArena
    ) -> UnsafeMutablePointer<Table>? {
        if tables == nil {
            guard let first = Table(capacity: Table.smallest, depth: 0, in: arena) else {
                return nil
            }
            tables = .allocate(capacity: 1)
            tables?.initialize(to: first)
        }
        while true {
            let table = table(for: hash)
            if !table.pointee.isFull { return table }
            if table.pointee.capacity < Table.largest {
                guard replaceTable(table, capacity: table.pointee.capacity * 2, in: arena) else {
                    return nil
                }
            } else {
                guard split(table, hash: hash, in: arena) else { return nil }
            }
        }
    }

    private mutating func replaceTable(
        _ table: UnsafeMutablePointer<Table>, capacity: Int, in arena: ChunkArena
    ) -> Bool {
        let old = table.pointee
        guard var fresh = Table(capacity: capacity, depth: old.depth, in: arena) else {
            return false
        }
        for place in 0..<old.capacity where !old.slots[place].isEmpty {
            fresh.insert(old.slots[place])
        }
        table.update(repeating: fresh, count: width(of: old))
        old.free(in: arena)
        return true
    }

    private mutating func split(
        _ table: UnsafeMutablePointer<Table>, hash: UInt64, in arena: ChunkArena
    ) -> Bool {
        precondition(table.pointee.depth < Table.deepest, "a hash that does not spread names")
        if table.pointee.depth == depth { doubleTables() }
        let first = self.table(for: hash)
        let old = first.pointee
        let bit = UInt32(1) << UInt32(31 - old.depth)
        guard var low = Table(capacity: old.capacity, depth: old.depth + 1, in: arena) else {
            return false
        }
        guard var high = Table(capacity: old.capacity, depth: old.depth + 1, in: arena) else {
            low.free(in: arena)
            return false
        }
        for place in 0..<old.capacity where !old.slots[place].isEmpty {
            let slot = old.slots[place]
            if slot.record.hashTop & bit == 0 { low.insert(slot) } else { high.insert(slot) }
        }
        let half = width(of: old) / 2
        first.update(repeating: low, count: half)
        (first + half).update(repeating: high, count: half)
        old.free(in: arena)
        return true
    }

    private mutating func doubleTables() {
        guard let old = tables else { return }
        let fresh = UnsafeMutablePointer<Table>.allocate(capacity: 2 << Int(depth))
        for index in 0..<1 << Int(depth) {
            (fresh + 2 * index).initialize(repeating: old[index], count: 2)
        }
        old.deallocate()
        tables = fresh
        depth += 1
    }
}

/// One word: the low 20 bits of a name's hash, and where the record is. 0: empty.
struct Slot {
    let bits: UInt64

    static var tagMask: UInt64 { (1 << 20) - 1 }
    private static var addressBits: UInt64 { 44 }

    /// User addresses have 47 bits, and records stand at multiples of 8.
    init(_ record: Record, tag: UInt64) {
        bits = tag << Slot.addressBits | UInt64(UInt(bitPattern: record.address)) >> 3
    }

    @inline(__always) var isEmpty: Bool { bits == 0 }
    @inline(__always) var tag: UInt64 { bits &>> Slot.addressBits }

    @inline(__always) var record: Record {
        let address = (bits & ((1 << Slot.addressBits) - 1)) << 3
        guard let pointer = UnsafeMutableRawPointer(bitPattern: UInt(address)) else {
            preconditionFailure("an empty slot has no record")
        }
        return Record(address: pointer)
    }
}

/// A part of the hash: linear probing without tombstones.
struct Table {
    /// The slots' chunk, whose size says how many there are.
    private let chunk: Chunk
    private(set) var count: UInt32 = 0
    private let depthBits: UInt32

    static var smallest: Int { Chunk.smallestSize / 8 }
    static var largest: Int { Chunk.largestSize / 8 }
    /// Splitting further would need more bits of the hash than records keep.
    static var deepest: UInt64 { 31 }

    /// Nil: the machine has no memory.
    init?(capacity: Int, depth: UInt64, in arena: ChunkArena) {
        guard let chunk = arena.take(capacity * 8, zeroed: true) else { return nil }
        self.chunk = chunk
        depthBits = UInt32(depth)
    }

    func free(in arena: ChunkArena) { arena.free(chunk) }

    @inline(__always) var mask: UInt64 { (8 &<< UInt64(chunk.sizeClass)) &- 1 }
    @inline(__always) var slots: UnsafeMutablePointer<Slot> {
        guard let address = chunk.address else { preconditionFailure("a table without slots") }
        return address.assumingMemoryBound(to: Slot.self)
    }
    var capacity: Int { Int(mask) + 1 }
    var depth: UInt64 { UInt64(depthBits) }
    var isFull: Bool { (Int(count) + 1) * 4 > capacity * 3 }
    var isSparse: Bool { capacity > Table.smallest && Int(count) * 8 < capacity }

    mutating func insert(_ slot: Slot) {
        var place = slot.tag & mask
        while !slots[Int(place)].isEmpty { place = (place + 1) & mask }
        slots[Int(place)] = slot
        count += 1
    }

    /// The place of a record that is here.
    func place(of record: Record, tag: UInt64) -> UInt64 {
        let wanted = Slot(record, tag: tag).bits
        var place = tag & mask
        while slots[Int(place)].bits != wanted {
            precondition(!slots[Int(place)].isEmpty, "a record without a slot")
            place = (place + 1) & mask
        }
        return place
    }

    /// Empties a slot and closes the gap.
    mutating func remove(_ record: Record, tag: UInt64) {
        var gap = place(of: record, tag: tag)
        var next = (gap + 1) & mask
        while !slots[Int(next)].isEmpty {
            let wanted = slots[Int(next)].tag & mask
            if (next &- wanted) & mask >= (next &- gap) & mask {
                slots[Int(gap)] = slots[Int(next)]
                gap = next
            }
            next = (next + 1) & mask
        }
        UnsafeMutableRawPointer(slots + Int(gap)).storeBytes(of: 0, as: UInt64.self)
        count -= 1
    }
}
