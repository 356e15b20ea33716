// DirectoryIndex: the entries of one directory in memory.
//
// Entries are records in the order in which they were made, in segments of up to 16 KiB; each has
// a cookie that grows from one to the next and never changes. Listing walks the segments. Finding
// goes by an extendible hash: the top bits of a name's hash choose a table, its low 20 bits the
// place in it. A table that is full is split in two, or doubled while it is small, so no step
// touches more than about a thousand entries, however large the directory is.
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
//  - A directory without entries holds no memory.
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

    // MARK: Finding

    @inline(__always)
    func find(_ name: Name) -> Record? {
        guard let tables else { return nil }
        let table = tables[depth == 0 ? 0 : Int(truncatingIfNeeded: name.hash &>> (64 &- depth))]
        let tag = name.hash & Slot.tagMask
        let slots = table.slots
        let mask = table.mask
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

    /// Adds a name that is not there.
    mutating func insert(_ name: Name, to node: TreeNode) {
        let record = appendRecord(name, cookie: nextCookie, node)
        nextCookie += 1
        makeRoom(for: name.hash)
        table(for: name.hash).insert(Slot(record, tag: name.hash & Slot.tagMask))
        count += 1
    }

    /// Removes the name, which is there.
    mutating func remove(_ name: Name) {
        guard let record = find(name) else { preconditionFailure("no such name to remove") }
        var table = table(for: name.hash)
        table.remove(record, tag: name.hash & Slot.tagMask)
        count -= 1
        if count == 0 {
            removeAll()
            return
        }
        record.isDead = true
        shrinkSegment(of: record)
        if table.isSparse { replaceTable(&table, hash: name.hash, capacity: table.capacity / 2) }
    }

    /// Frees all memory. Cookies go on from where they were.
    mutating func removeAll() {
        if let tables {
            var index = 0
            while index < 1 << depth {
                let table = tables[index]
                index += 1 << Int(depth - table.depth)
                table.free()
            }
            tables.deallocate()
        }
        for index in 0..<segmentCount {
            segments?[index].free()
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

    func table(for hash: UInt64) -> Table {
        guard let tables else { preconditionFailure("an empty directory has no table") }
        return tables[depth == 0 ? 0 : Int(hash >> (64 - depth))]
    }

    /// Makes sure that one more entry fits into the table for `hash`.
    private mutating func makeRoom(for hash: UInt64) {
        if tables == nil {
            tables = .allocate(capacity: 1)
            tables?.initialize(to: Table(capacity: Table.smallest, depth: 0))
            return
        }
        while true {
            var table = table(for: hash)
            guard table.isFull else { return }
            if table.capacity < Table.largest || table.depth >= Table.deepest {
                replaceTable(&table, hash: hash, capacity: table.capacity * 2)
                return
            }
            split(table, hash: hash)
        }
    }

    /// The indices in `tables` that lead to the table of a hash.
    private func places(of table: Table, hash: UInt64) -> Range<Int> {
        guard depth > 0 else { return 0..<1 }
        let width = depth - table.depth
        let first = Int(hash >> (64 - depth)) & ~((1 << Int(width)) - 1)
        return first..<first + 1 << Int(width)
    }

    private mutating func replaceTable(_ table: inout Table, hash: UInt64, capacity: Int) {
        let fresh = Table(capacity: capacity, depth: table.depth)
        for place in 0..<table.capacity where !table.slots[place].isEmpty {
            fresh.insert(table.slots[place])
        }
        for place in places(of: table, hash: hash) {
            tables?[place] = fresh
        }
        table.free()
        table = fresh
    }

    private mutating func split(_ table: Table, hash: UInt64) {
        if table.depth == depth { doubleTables() }
        let bit = UInt32(1) << UInt32(31 - table.depth)
        let low = Table(capacity: table.capacity, depth: table.depth + 1)
        let high = Table(capacity: table.capacity, depth: table.depth + 1)
        for place in 0..<table.capacity where !table.slots[place].isEmpty {
            let slot = table.slots[place]
            (slot.record.hashTop & bit == 0 ? low : high).insert(slot)
        }
        let places = places(of: table, hash: hash)
        let middle = places.lowerBound + places.count / 2
        for place in places {
            tables?[place] = place < middle ? low : high
        }
        table.free()
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
    /// Before the slots: mask, count, depth.
    private let header: UnsafeMutablePointer<UInt64>

    static var smallest: Int { 8 }
    static var largest: Int { 1024 }
    /// Splitting further would need more bits of the hash than records keep.
    static var deepest: UInt64 { 24 }
    private static var headerWords: Int { 3 }

    init(capacity: Int, depth: UInt64) {
        header = .allocate(capacity: Table.headerWords + capacity)
        header.initialize(repeating: 0, count: Table.headerWords + capacity)
        header[0] = UInt64(capacity - 1)
        header[2] = depth
    }

    func free() { header.deallocate() }

    @inline(__always) var mask: UInt64 { header[0] }
    @inline(__always) var slots: UnsafeMutablePointer<Slot> {
        UnsafeMutableRawPointer(header + Table.headerWords).assumingMemoryBound(to: Slot.self)
    }
    var capacity: Int { Int(header[0]) + 1 }
    var count: Int {
        get { Int(header[1]) }
        nonmutating set { header[1] = UInt64(newValue) }
    }
    var depth: UInt64 { header[2] }
    var isFull: Bool { (count + 1) * 4 > capacity * 3 }
    var isSparse: Bool { capacity > Table.smallest && count * 8 < capacity }

    func insert(_ slot: Slot) {
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
    func remove(_ record: Record, tag: UInt64) {
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
