// FileData: the bytes of one file, sparse, in chunks of up to 64 KiB.
//
//     height 0:  root ─▶ chunk 0
//     height 1:  root ─▶ [64] ─▶ chunks 0…63                     4 MiB
//     height n:  root ─▶ [64] ─▶ … ─▶ [64] ─▶ chunks             64^n chunks, up to 2^63 bytes
//
// Invariants
//  - A chunk holds the bytes from its start on; what lies behind its capacity is a hole, as is a
//    chunk that is not there. Bytes at or after the file's size are zeros, in chunks too.
//  - A table below the root is never empty. `held` is the sum of the chunks' capacities.
//
// Threading: guarded by the node's lock, which whoever calls holds: exclusively for what mutates.

import CairnBase
import Glibc

struct FileData {
    /// The chunk 0 (height 0) or the address of a table.
    private(set) var root: UInt = 0
    private(set) var height: UInt64 = 0
    /// Bytes that chunks take.
    private(set) var held = 0

    /// Nothing is held at all.
    var isEmpty: Bool { root == 0 }

    static var chunkBits: UInt64 { 16 }
    static var chunkSize: Int { 1 << 16 }
    static var fanoutBits: UInt64 { 6 }
    static var fanout: Int { 64 }
    /// A file of so many bytes gets whole chunks at once: what stays unused of the last is little.
    private static var largeFile: UInt64 { 1 << 20 }

    // MARK: The tree of chunks

    typealias Table = UnsafeMutablePointer<UInt>

    /// Entry 64 of a table counts the entries in use.
    @inline(__always)
    static func table(_ reference: UInt) -> Table {
        guard let table = Table(bitPattern: reference) else {
            preconditionFailure("a table that is not there")
        }
        return table
    }

    private static func makeTable() -> Table {
        let table = Table.allocate(capacity: fanout + 1)
        table.initialize(repeating: 0, count: fanout + 1)
        return table
    }

    @inline(__always)
    func chunk(at index: UInt64) -> Chunk {
        if height == 0 { return Chunk(bits: index == 0 ? root : 0) }
        guard index >> (FileData.fanoutBits &* height) == 0 else { return .none }
        var reference = root
        var shift = FileData.fanoutBits &* (height &- 1)
        while true {
            let place = Int(truncatingIfNeeded: (index >> shift) & 63)
            reference = FileData.table(reference)[place]
            if shift == 0 || reference == 0 { return Chunk(bits: reference) }
            shift &-= FileData.fanoutBits
        }
    }

    /// Puts a chunk where there may be one already; the old one is the caller's to free.
    mutating func setChunk(_ chunk: Chunk, at index: UInt64) {
        held += chunk.capacity - self.chunk(at: index).capacity
        if height == 0, index == 0 {
            root = chunk.bits
            return
        }
        while height == 0 || index >> (FileData.fanoutBits * height) != 0 {
            let table = FileData.makeTable()
            if root != 0 {
                table[0] = root
                table[FileData.fanout] = 1
            }
            root = UInt(bitPattern: table)
            height += 1
        }
        var table = FileData.table(root)
        var shift = FileData.fanoutBits * (height - 1)
        while true {
            let place = Int((index >> shift) & 63)
            if shift == 0 {
                if table[place] == 0 { table[FileData.fanout] += 1 }
                table[place] = chunk.bits
                return
            }
            if table[place] == 0 {
                table[place] = UInt(bitPattern: FileData.makeTable())
                table[FileData.fanout] += 1
            }
            table = FileData.table(table[place])
            shift -= FileData.fanoutBits
        }
    }

    /// Frees the chunks with `first` ≤ index ≤ `last`, and tables that become empty.
    mutating func removeChunks(from first: UInt64, through last: UInt64, in space: RAMSpace) {
        guard root != 0, first <= last else { return }
        if height == 0 {
            if first == 0 {
                held -= Chunk(bits: root).capacity
                space.give(Chunk(bits: root))
                root = 0
            }
            return
        }
        held -= FileData.prune(root, height: height, base: 0, first, last, in: space)
        let table = FileData.table(root)
        if table[FileData.fanout] == 0 {
            table.deallocate()
            root = 0
            height = 0
        }
    }

    /// Gives the bytes that were freed below a table. A table that becomes empty is left to the
    /// caller.
    private static func prune(
        _ reference: UInt, height: UInt64, base: UInt64, _ first: UInt64, _ last: UInt64,
        in space: RAMSpace
    ) -> Int {
        let table = table(reference)
        let shift = fanoutBits * (height - 1)
        let from = first <= base ? 0 : (first - base) >> shift
        let through = min(63, (last - base) >> shift)
        guard from <= through else { return 0 }
        var freed = 0
        for place in Int(from)...Int(through) where table[place] != 0 {
            if height == 1 {
                let chunk = Chunk(bits: table[place])
                freed += chunk.capacity
                space.give(chunk)
            } else {
                let below = base + UInt64(place) << shift
                freed += prune(
                    table[place], height: height - 1, base: below, first, last, in: space)
                guard FileData.table(table[place])[fanout] == 0 else { continue }
                FileData.table(table[place]).deallocate()
            }
            table[place] = 0
            table[fanout] -= 1
        }
        return freed
    }

    /// The first index not before `index` that has a chunk.
    func firstChunk(from index: UInt64) -> UInt64? {
        if height == 0 { return index == 0 && root != 0 ? 0 : nil }
        return FileData.first(root, height: height, base: 0, from: index)
    }

    private static func first(
        _ reference: UInt, height: UInt64, base: UInt64, from index: UInt64
    ) -> UInt64? {
        let table = table(reference)
        let shift = fanoutBits * (height - 1)
        let start = index <= base ? 0 : (index - base) >> shift
        guard start < 64 else { return nil }
        for place in Int(start)..<fanout where table[place] != 0 {
            let below = base + UInt64(place) << shift
            if height == 1 { return below }
            if let found = first(table[place], height: height - 1, base: below, from: index) {
                return found
            }
        }
        return nil
    }

    // MARK: Reading

    /// Fills the whole buffer; the caller keeps within the file's size.
    @inline(__always)
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
        guard var target = buffer.baseAddress else { return }
        var left = buffer.count
        var position = offset
        while left > 0 {
            let chunk = chunk(at: position >> FileData.chunkBits)
            let inner = Int(truncatingIfNeeded: position) & (FileData.chunkSize &- 1)
            let count = min(left, FileData.chunkSize &- inner)
            let present = max(0, min(count, chunk.capacity &- inner))
            if present > 0, let source = chunk.address {
                memcpy(target, source + inner, present)
            }
            if present < count { memset(target + present, 0, count &- present) }
            target += count
            left &-= count
            position &+= UInt64(count)
        }
    }

    // MARK: Writing

    /// Writes as much as there is space for; gives the number of bytes. `size`: the file's, before.
    @inline(__always)
    mutating func write(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, size: UInt64, in space: RAMSpace
    ) -> Int {
        guard var source = bytes.baseAddress else { return 0 }
        var left = bytes.count
        var position = offset
        while left > 0 {
            let index = position >> FileData.chunkBits
            let inner = Int(truncatingIfNeeded: position) & (FileData.chunkSize &- 1)
            let count = min(left, FileData.chunkSize &- inner)
            var chunk = chunk(at: index)
            if chunk.capacity < inner &+ count {
                let isLarge = index > 0 && max(size, position) >= FileData.largeFile
                guard
                    let grown = grow(
                        chunk, at: index, to: inner + count, whole: isLarge,
                        leaving: inner..<inner + count, in: space)
                else { break }
                chunk = grown
            }
            guard let target = chunk.address else { break }
            memcpy(target + inner, source, count)
            source += count
            left &-= count
            position &+= UInt64(count)
        }
        return bytes.count - left
    }

    /// Replaces a chunk by a larger one, for `need` bytes or `whole`. What is new in it is zeros,
    /// except for `leaving`, which the caller writes. Nil: no space; nothing has changed then.
    @inline(never)
    mutating func grow(
        _ old: Chunk, at index: UInt64, to need: Int, whole: Bool = false,
        leaving: Range<Int>, isPaid: Bool = false, in space: RAMSpace
    ) -> Chunk? {
        let least = Chunk.sizeClass(for: need)
        var taken: (chunk: Chunk, isZero: Bool)?
        if whole {
            taken = space.take(sizeClass: Chunk.sizeClass(for: Chunk.largestSize), isPaid: isPaid)
        }
        if taken == nil { taken = space.take(sizeClass: least, isPaid: isPaid) }
        if taken == nil, !old.isNone, !isPaid {
            // The old chunk's bytes come back, so only the difference has to be there.
            let difference = (Chunk.smallestSize << least) - old.capacity
            guard space.bytes.take(difference) else { return nil }
            guard let allocated = space.arena.allocate(sizeClass: least) else {
                space.bytes.give(difference)
                return nil
            }
            put(allocated, at: index, after: old, leaving: leaving)
            space.arena.free(old)
            return allocated.chunk
        }
        guard let taken else { return nil }
        put(taken, at: index, after: old, leaving: leaving)
        space.give(old)
        return taken.chunk
    }

    private mutating func put(
        _ taken: (chunk: Chunk, isZero: Bool), at index: UInt64, after old: Chunk,
        leaving: Range<Int>
    ) {
        guard let target = taken.chunk.address else { return }
        if let source = old.address { memcpy(target, source, old.capacity) }
        if !taken.isZero {
            let start = old.capacity
            let end = taken.chunk.capacity
            let hole = max(start, min(leaving.lowerBound, end))
            memset(target + start, 0, hole - start)
            let rest = max(hole, min(leaving.upperBound, end))
            memset(target + rest, 0, end - rest)
        }
        setChunk(taken.chunk, at: index)
    }
}
