// FileData over ranges: truncation, holes, reservation, and where data is.

import CairnBase
import Glibc

extension FileData {
    private static var lastIndex: UInt64 { UInt64.max >> chunkBits }

    /// Lets go of everything.
    mutating func removeAll(in space: RAMSpace) {
        removeChunks(from: 0, through: FileData.lastIndex, in: space)
    }

    /// Cuts the data at `size`. What chunks still hold behind it becomes zeros, and a chunk that
    /// is far too large by now gets smaller.
    mutating func cut(to size: UInt64, in space: RAMSpace) {
        let index = size >> FileData.chunkBits
        let inner = Int(size) & (FileData.chunkSize - 1)
        if inner == 0 {
            removeChunks(from: index, through: FileData.lastIndex, in: space)
            return
        }
        removeChunks(from: index + 1, through: FileData.lastIndex, in: space)
        let chunk = chunk(at: index)
        guard inner < chunk.capacity, let address = chunk.address else { return }
        let least = Chunk.sizeClass(for: inner)
        if least < chunk.sizeClass, let smaller = space.arena.allocate(sizeClass: least),
            let target = smaller.chunk.address
        {
            memcpy(target, address, inner)
            memset(target + inner, 0, smaller.chunk.capacity - inner)
            setChunk(smaller.chunk, at: index)
            space.bytes.give(chunk.capacity - smaller.chunk.capacity)
            space.arena.free(chunk)
        } else {
            memset(address + inner, 0, chunk.capacity - inner)
        }
    }

    /// The range becomes a hole, as far as whole chunks go; the rest of it becomes zeros.
    mutating func punch(_ range: Range<UInt64>, in space: RAMSpace) {
        guard !range.isEmpty else { return }
        let size = UInt64(FileData.chunkSize)
        let firstWhole = range.lowerBound.roundedUp(to: size) / size
        let endWhole = range.upperBound / size
        if firstWhole < endWhole {
            removeChunks(from: firstWhole, through: endWhole - 1, in: space)
        }
        let first = range.lowerBound / size
        let last = (range.upperBound - 1) / size
        clear(range, inChunk: first)
        if last != first { clear(range, inChunk: last) }
    }

    /// The range becomes zeros, and what has a place keeps it.
    func zero(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        let last = (range.upperBound - 1) >> FileData.chunkBits
        var next = firstChunk(from: range.lowerBound >> FileData.chunkBits)
        while let index = next, index <= last {
            clear(range, inChunk: index)
            next = firstChunk(from: index + 1)
        }
    }

    /// Zeros what the chunk has of the range.
    private func clear(_ range: Range<UInt64>, inChunk index: UInt64) {
        let chunk = chunk(at: index)
        guard let address = chunk.address else { return }
        let start = index << FileData.chunkBits
        let present = range.clamped(to: start..<start + UInt64(chunk.capacity))
        guard !present.isEmpty else { return }
        memset(address + Int(present.lowerBound - start), 0, present.count)
    }

    // MARK: Reservation

    /// Bytes that have to be taken so that every byte of the range has a place.
    func cost(of range: Range<UInt64>) -> Int {
        guard !range.isEmpty else { return 0 }
        var total = 0
        for index in range.lowerBound >> FileData.chunkBits...(range.upperBound - 1)
            >> FileData.chunkBits
        {
            let needed = Chunk.smallestSize << Chunk.sizeClass(for: need(of: range, in: index))
            // Growing takes the new chunk before it gives the old one back.
            if chunk(at: index).capacity < needed { total += needed }
        }
        return total
    }

    /// Gives every byte of the range a place that is paid for with `cost`. False if the machine
    /// has no memory; chunks that were added by then read as zeros.
    mutating func reserve(_ range: Range<UInt64>, in space: RAMSpace) -> Bool {
        guard !range.isEmpty else { return true }
        for index in range.lowerBound >> FileData.chunkBits...(range.upperBound - 1)
            >> FileData.chunkBits
        {
            let old = chunk(at: index)
            let need = need(of: range, in: index)
            guard old.capacity < Chunk.smallestSize << Chunk.sizeClass(for: need) else { continue }
            guard
                grow(old, at: index, to: need, leaving: 0..<0, isPaid: true, in: space) != nil
            else { return false }
        }
        return true
    }

    /// How many bytes of a chunk, from its start, the range asks for.
    private func need(of range: Range<UInt64>, in index: UInt64) -> Int {
        let start = index << FileData.chunkBits
        return Int(min(UInt64(FileData.chunkSize), range.upperBound - start))
    }

    // MARK: Data and holes

    /// The first byte not before `offset`, and before `size`, that has a place.
    func firstData(from offset: UInt64, size: UInt64) -> UInt64? {
        var index = offset >> FileData.chunkBits
        while let found = firstChunk(from: index) {
            let start = found << FileData.chunkBits
            guard start < size else { return nil }
            if start + UInt64(chunk(at: found).capacity) > offset { return max(start, offset) }
            index = found + 1
        }
        return nil
    }

    /// The first byte not before `offset`, and before `size`, that has none.
    func firstHole(from offset: UInt64, size: UInt64) -> UInt64? {
        var position = offset
        while position < size {
            let start = position & ~UInt64(FileData.chunkSize - 1)
            let end = start + UInt64(chunk(at: position >> FileData.chunkBits).capacity)
            if position >= end { return position }
            position = end
        }
        return nil
    }
}

extension UInt64 {
    /// The next multiple of a power of two; saturates below the last.
    fileprivate func roundedUp(to size: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(size - 1)
        return overflow ? UInt64.max & ~(size - 1) : sum & ~(size - 1)
    }
}
