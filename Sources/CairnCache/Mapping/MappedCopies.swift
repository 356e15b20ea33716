// MappedCopies: pages of a snapshot that are mapped, as they were at one moment.
//
// A program may change mapped memory at any time, also while it is checksummed and written. So the
// snapshot writes a copy of it; the digest is the copy's (FileMappings.swift). The copies take memory
// from the pool's budget while they are there.
//
// Threading: immutable.

import CairnBase
import CairnIO
import Synchronization

final class MappedCopies: Sendable {
    private let pool: PagePool
    private let buffer: AlignedBuffer
    /// By index: the number of the page in the buffer.
    private let places: [UInt64: Int]

    private init(_ pool: PagePool, _ buffer: AlignedBuffer, _ places: [UInt64: Int]) {
        self.pool = pool
        self.buffer = buffer
        self.places = places
        pool.recordBytes.add(buffer.memory.count, ordering: .relaxed)
    }

    deinit {
        pool.recordBytes.subtract(buffer.memory.count, ordering: .relaxed)
    }

    /// Copies those of the pages that are mapped. Nil: there are none. Under the lock of the file's
    /// pages. Throws ENOMEM.
    static func take(
        of writes: [PageWriteRun], in pages: FilePages
    ) throws(Errno) -> MappedCopies? {
        var found: [(index: UInt64, bytes: UnsafeRawBufferPointer)] = []
        for write in writes {
            for position in 0..<write.count {
                let index = write.first.rawValue + UInt64(position)
                if pages.mappings.has(index) { found.append((index, write.bytes(of: position))) }
            }
        }
        guard !found.isEmpty else { return nil }
        let size = pages.pageSize
        let buffer = try AlignedBuffer(count: found.count * size)
        var places: [UInt64: Int] = [:]
        for (number, (index, bytes)) in found.enumerated() {
            let copy = UnsafeMutableRawBufferPointer(
                rebasing: buffer.memory[number * size..<(number + 1) * size])
            copy.copyMemory(from: bytes)
            pages.mappings.noteStored(index, UnsafeRawBufferPointer(copy))
            pages.zeroBehindEnd(of: index, in: copy)
            places[index] = number
        }
        return MappedCopies(pages.cache.pool, buffer, places)
    }

    /// The bytes of a run, with copies where there are any.
    func segments(of write: PageWriteRun) -> [BlockSegment] {
        var result: [BlockSegment] = []
        let size = pool.pageSize
        for position in 0..<write.count {
            let copy = places[write.first.rawValue + UInt64(position)].flatMap { number in
                buffer.memory.baseAddress.map { $0 + number * size }
            }
            let own = UnsafeMutableRawPointer(mutating: write.bytes(of: position).baseAddress)
            guard let start = copy ?? own else { continue }
            if let last = result.last, last.address.map({ $0 + last.count }) == start {
                result[result.count - 1].count += size
            } else {
                result.append(BlockSegment(address: start, count: size))
            }
        }
        return result
    }
}
