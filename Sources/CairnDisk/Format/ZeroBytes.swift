// Whether bytes are all zero, as reserved ones must be.

import Glibc

extension UnsafeRawBufferPointer {
    /// By comparing them with themselves one further on.
    var isZero: Bool {
        guard let start = baseAddress, count > 0 else { return true }
        return self[0] == 0 && memcmp(start, start + 1, count - 1) == 0
    }

    /// A part of these bytes; the range was checked.
    @inline(__always)
    func part(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[range])
    }
}
