// ChunkArena: memory for file data, in chunks of 64 bytes to 64 KiB (powers of two), that goes back
// to the machine when it is freed.
//
// Below 4 KiB chunks come from malloc. From 4 KiB on they come from slabs: 64 places of one size,
// mapped and aligned as a whole, the first of which holds the slab's header. A slab without chunks
// is unmapped; each pool keeps one, so that a file that comes and goes does not map and unmap. When
// more places were freed between used ones than are in use, the machine gets their pages back.
// Slabs for 64 KiB chunks, which large files are made of, ask for huge pages: first-touch faults
// are what sequential writing would otherwise spend most of its time on.
//
// Threading: pools are striped by thread, each with a lock; a chunk goes back to its slab's pool.

import CSystem
import CairnBase
import Glibc

/// One piece of a file's data: an address and the power of two of its size, in one word.
struct Chunk {
    /// The address; in its low four bits, the size class. 0: no chunk.
    var bits: UInt

    static var none: Chunk { Chunk(bits: 0) }
    static var smallestSize: Int { 64 }
    static var largestSize: Int { 65536 }

    init(bits: UInt) { self.bits = bits }

    init(_ address: UnsafeMutableRawPointer, sizeClass: Int) {
        bits = UInt(bitPattern: address) | UInt(sizeClass)
    }

    @inline(__always) var isNone: Bool { bits == 0 }
    @inline(__always) var sizeClass: Int { Int(bits & 15) }
    /// Bytes; 0 without a chunk.
    @inline(__always) var capacity: Int { bits == 0 ? 0 : Chunk.smallestSize << sizeClass }
    /// Nil without a chunk.
    @inline(__always) var address: UnsafeMutableRawPointer? {
        UnsafeMutableRawPointer(bitPattern: bits & ~15)
    }

    /// The class of the smallest chunk that has room for `size` bytes (1 … 64 KiB).
    @inline(__always)
    static func sizeClass(for size: Int) -> Int {
        size <= smallestSize ? 0 : Int.bitWidth - (size - 1).leadingZeroBitCount - 6
    }
}

final class ChunkArena: @unchecked Sendable {
    // Sendable: pools are guarded by their locks; the rest is immutable.

    /// The first class that comes from slabs: 4 KiB.
    private static var firstSlabClass: Int { 6 }
    private static var slabClassCount: Int { 5 }
    private static var placesInSlab: Int { 64 }
    private static var poolStripes: Int { 4 }
    /// So much may stand free and unreturned in a pool, in bytes, however little is in use.
    private static var dirtyLimit: Int { 8 << 20 }

    /// At the start of each slab, guarded by its pool's lock.
    private struct SlabHeader {
        /// Bit n: place n is free. Place 0 is the header's.
        var free: UInt64
        /// Bit n: place n was never used since the machine gave it, so it is zeros.
        var clean: UInt64
        /// Neighbours in the pool's list of slabs with free places.
        var next: UnsafeMutablePointer<SlabHeader>?
        var previous: UnsafeMutablePointer<SlabHeader>?
        /// Index of the pool.
        var pool: Int

        /// Free places whose pages are still there.
        var dirty: UInt64 { free & ~clean & ChunkArena.allPlaces }
    }

    /// Guarded by the lock of the same index. Locks stand apart, because a change of one field is
    /// formally a change of the whole struct.
    private struct Pool {
        /// Slabs with free places.
        var available: UnsafeMutablePointer<SlabHeader>?
        /// How many of them have nothing but free places.
        var emptyCount = 0
        /// Places that are in use.
        var usedCount = 0
        /// Free places that are not clean: their pages are still there.
        var dirtyCount = 0
    }

    private let pools: UnsafeMutablePointer<Pool>
    private let locks: UnsafeMutablePointer<PaddedLock>
    private static var poolCount: Int { poolStripes * slabClassCount }

    init() {
        pools = .allocate(capacity: ChunkArena.poolCount)
        pools.initialize(repeating: Pool(), count: ChunkArena.poolCount)
        locks = .allocate(capacity: ChunkArena.poolCount)
        for index in 0..<ChunkArena.poolCount {
            (locks + index).initialize(to: PaddedLock())
        }
    }

    /// All chunks were freed before: what is left are the empty slabs that pools keep.
    deinit {
        for index in 0..<ChunkArena.poolCount {
            let size = ChunkArena.slabSize(ofPool: index)
            while let slab = pools[index].available {
                unlink(slab, from: pools + index)
                cairn_unmap(slab, size)
            }
        }
        pools.deallocate()
        locks.deinitialize(count: ChunkArena.poolCount)
        locks.deallocate()
    }

    private static func chunkSize(ofPool index: Int) -> Int {
        Chunk.smallestSize << (firstSlabClass + index % slabClassCount)
    }

    private static func slabSize(ofPool index: Int) -> Int {
        chunkSize(ofPool: index) * placesInSlab
    }

    // MARK: Use

    /// A chunk, and whether it is all zeros already. Nil: the machine has no memory.
    func allocate(sizeClass: Int) -> (chunk: Chunk, isZero: Bool)? {
        if sizeClass < ChunkArena.firstSlabClass {
            guard let address = malloc(Chunk.smallestSize << sizeClass) else { return nil }
            return (Chunk(address, sizeClass: sizeClass), false)
        }
        let stripe = stripeOfThisThread() % ChunkArena.poolStripes
        let index = stripe * ChunkArena.slabClassCount + sizeClass - ChunkArena.firstSlabClass
        let pool = pools + index
        locks[index].lock.lock()
        defer { locks[index].lock.unlock() }
        guard let slab = pool.pointee.available ?? addSlab(toPool: index) else { return nil }
        if slab.pointee.free == ChunkArena.allPlaces { pool.pointee.emptyCount -= 1 }
        let place = slab.pointee.free.trailingZeroBitCount
        let bit = UInt64(1) << UInt64(place)
        let isZero = slab.pointee.clean & bit != 0
        slab.pointee.free &= ~bit
        slab.pointee.clean &= ~bit
        pool.pointee.usedCount += 1
        if !isZero { pool.pointee.dirtyCount -= 1 }
        if slab.pointee.free == 0 { unlink(slab, from: pool) }
        let address = UnsafeMutableRawPointer(slab) + place * ChunkArena.chunkSize(ofPool: index)
        return (Chunk(address, sizeClass: sizeClass), isZero)
    }

    /// A chunk of at least `size` bytes for the filesystem's own use. Nil: the machine has no memory.
    func take(_ size: Int, zeroed: Bool) -> Chunk? {
        guard let taken = allocate(sizeClass: Chunk.sizeClass(for: size)),
            let address = taken.chunk.address
        else { return nil }
        if zeroed, !taken.isZero { memset(address, 0, taken.chunk.capacity) }
        return taken.chunk
    }

    func free(_ chunk: Chunk) {
        guard let address = chunk.address else { return }
        if chunk.sizeClass < ChunkArena.firstSlabClass {
            Glibc.free(address)
            return
        }
        let slabSize = chunk.capacity * ChunkArena.placesInSlab
        let base = UInt(bitPattern: address) & ~UInt(slabSize - 1)
        guard let start = UnsafeMutableRawPointer(bitPattern: base) else { return }
        let slab = start.assumingMemoryBound(to: SlabHeader.self)
        let place = (UInt(bitPattern: address) - base) / UInt(chunk.capacity)
        // The header's `pool` never changes, and this chunk keeps the slab.
        let index = slab.pointee.pool
        let pool = pools + index
        var unused: UnsafeMutablePointer<SlabHeader>?
        locks[index].lock.lock()
        precondition(slab.pointee.free & (1 << UInt64(place)) == 0, "a chunk was freed twice")
        if slab.pointee.free == 0 { link(slab, into: pool) }
        slab.pointee.free |= 1 << UInt64(place)
        pool.pointee.usedCount -= 1
        pool.pointee.dirtyCount += 1
        if slab.pointee.free == ChunkArena.allPlaces {
            if pool.pointee.emptyCount > 0 {
                unlink(slab, from: pool)
                pool.pointee.dirtyCount -= slab.pointee.dirty.nonzeroBitCount
                unused = slab
            } else {
                pool.pointee.emptyCount += 1
            }
        }
        if pool.pointee.dirtyCount > pool.pointee.usedCount,
            pool.pointee.dirtyCount * chunk.capacity > ChunkArena.dirtyLimit
        {
            cleanSlabs(ofPool: index)
        }
        locks[index].lock.unlock()
        if let unused { cairn_unmap(unused, slabSize) }
    }

    // MARK: Slabs, under the pool's lock

    /// Every place but the header's.
    private static var allPlaces: UInt64 { ~1 }

    private func addSlab(toPool index: Int) -> UnsafeMutablePointer<SlabHeader>? {
        let size = ChunkArena.slabSize(ofPool: index)
        let isHuge = ChunkArena.chunkSize(ofPool: index) == Chunk.largestSize
        guard let memory = cairn_map_anonymous(size, size, isHuge ? 1 : 0) else { return nil }
        let slab = memory.bindMemory(to: SlabHeader.self, capacity: 1)
        slab.initialize(
            to: SlabHeader(
                free: ChunkArena.allPlaces, clean: ChunkArena.allPlaces, next: nil, previous: nil,
                pool: index))
        link(slab, into: pools + index)
        pools[index].emptyCount += 1
        return slab
    }

    /// Gives the pages of free places back to the machine, run by run.
    private func cleanSlabs(ofPool index: Int) {
        let size = ChunkArena.chunkSize(ofPool: index)
        var next = pools[index].available
        while let slab = next {
            next = slab.pointee.next
            var dirty = slab.pointee.dirty
            slab.pointee.clean |= dirty
            while dirty != 0 {
                let first = dirty.trailingZeroBitCount
                let count = (~(dirty >> UInt64(first))).trailingZeroBitCount
                let start = UnsafeMutableRawPointer(slab) + first * size
                if madvise(start, count * size, MADV_DONTNEED) != 0 {
                    // Their pages stay, and what was in them.
                    memset(start, 0, count * size)
                }
                dirty &= ~(((1 << UInt64(count)) - 1) << UInt64(first))
            }
        }
        pools[index].dirtyCount = 0
    }

    private func link(
        _ slab: UnsafeMutablePointer<SlabHeader>, into pool: UnsafeMutablePointer<Pool>
    ) {
        slab.pointee.previous = nil
        slab.pointee.next = pool.pointee.available
        pool.pointee.available?.pointee.previous = slab
        pool.pointee.available = slab
    }

    private func unlink(
        _ slab: UnsafeMutablePointer<SlabHeader>, from pool: UnsafeMutablePointer<Pool>
    ) {
        if let previous = slab.pointee.previous {
            previous.pointee.next = slab.pointee.next
        } else {
            pool.pointee.available = slab.pointee.next
        }
        slab.pointee.next?.pointee.previous = slab.pointee.previous
        slab.pointee.next = nil
        slab.pointee.previous = nil
    }
}
