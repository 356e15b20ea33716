// PageArena: the memory of the pool's pages, as one range of addresses.
//
// A file without a name (memfd) of the pool's whole capacity, mapped once. The system gives memory
// when a page is first touched, and takes it back when it is punched out of the file. That it is a
// file lets others map single pages of it too: a mapping of a cached file and the cache are the
// same memory (C7).
//
// Threading: immutable; who may touch which bytes is the pool's affair.

import CSystem
import CairnBase

final class PageArena: @unchecked Sendable {
    // Sendable: immutable.
    let base: UnsafeMutableRawPointer
    let size: Int
    let descriptor: Int32

    /// `size`: bytes, a multiple of the system's page size. Throws ENOMEM, EMFILE and the like.
    init(size: Int) throws(Errno) {
        let descriptor = cairn_memory_file("cairn-pages", UInt64(size))
        guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
        guard let base = cairn_map_shared(descriptor, size) else {
            _ = cairn_close(descriptor)
            throw .ENOMEM
        }
        self.base = base
        self.size = size
        self.descriptor = descriptor
    }

    deinit {
        cairn_unmap(base, size)
        _ = cairn_close(descriptor)
    }

    /// Gives memory back to the system; the range reads as zeros from then on. False if the system
    /// did not take it.
    func giveBack(offset: Int, length: Int) -> Bool {
        cairn_memory_file_punch(descriptor, UInt64(offset), UInt64(length)) == 0
    }
}
