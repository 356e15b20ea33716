// Output: what a command prints, gathered and written in large pieces.
//
// Used by the main thread only; the daemon's threads write to its log through `standardError`
// too, so each stream has a lock.

import CairnBase
import Glibc

/// A descriptor with a buffer before it.
final class Output: @unchecked Sendable {
    // Sendable: `lock` guards the fields below it.
    private let descriptor: Int32
    private let limit: Int
    private let lock = Lock()
    private var buffer: [UInt8] = []
    private var failure: Errno?

    init(descriptor: Int32, limit: Int) {
        self.descriptor = descriptor
        self.limit = limit
    }

    /// The first error of writing; later output is dropped.
    var error: Errno? { lock.withLock { failure } }

    /// Somebody looks on: progress and colours make sense, control characters do harm.
    var isTerminal: Bool { isatty(descriptor) == 1 }

    func write(_ text: String) { write(bytes: Array(text.utf8)) }

    func write(bytes: [UInt8]) {
        lock.withLock {
            buffer.append(contentsOf: bytes)
            if buffer.count >= limit { drain() }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer) {
        lock.withLock {
            buffer.append(contentsOf: bytes)
            if buffer.count >= limit { drain() }
        }
    }

    func flush() {
        lock.withLock { drain() }
    }

    private func drain() {
        var done = 0
        while done < buffer.count, failure == nil {
            let count = buffer.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, $0.count - done)
            }
            if count >= 0 {
                done += count
            } else if errno != EINTR {
                failure = Errno(rawValue: errno)
            }
        }
        buffer.removeAll(keepingCapacity: true)
    }
}

let standardOutput = Output(descriptor: 1, limit: 1 << 16)
/// Every write goes out at once.
let standardError = Output(descriptor: 2, limit: 0)
