// AlignedBuffer: memory of its own for requests.
//
// Threading: the memory is whoever's has it in use; the object may be held by any thread.

import Glibc
public import CairnBase

public final class AlignedBuffer: @unchecked Sendable {
    // Sendable: says where memory is; whoever uses it answers for it.
    public let memory: UnsafeMutableRawBufferPointer

    /// Zeros, aligned to pages unless said otherwise. Throws ENOMEM, EINVAL for an alignment that is
    /// no power of two.
    public init(count: Int, alignment: Int = 4096) throws(Errno) {
        guard alignment > 0, alignment & (alignment - 1) == 0, count >= 0 else { throw .EINVAL }
        var address: UnsafeMutableRawPointer?
        guard posix_memalign(&address, max(alignment, 16), max(count, 1)) == 0, let address else {
            throw .ENOMEM
        }
        memset(address, 0, count)
        memory = UnsafeMutableRawBufferPointer(start: address, count: count)
    }

    deinit {
        free(memory.baseAddress)
    }

    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(memory) }
}
