// CapturedStream: the last bytes of a stream of a process, for whoever looks later (procfs).
//
// A ring of fixed size: memory is taken with the first byte and never grows. What does not fit
// any more is forgotten from the front, and counted. Safe from any thread; `lock` guards all.

import CairnBase

public final class CapturedStream: @unchecked Sendable {
    // Sendable: guarded by `lock`.

    /// Bytes that are kept at most.
    public let capacity: Int

    private let lock = Lock()
    private var ring: [UInt8] = []
    /// Bytes written so far; the next goes to this index, modulo the capacity.
    private var written: UInt64 = 0

    public init(capacity: Int = 64 << 10) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    /// Adds bytes at the end. Never waits.
    public func append(_ bytes: UnsafeRawBufferPointer) {
        lock.withLock {
            if ring.isEmpty, !bytes.isEmpty {
                ring = Array(repeating: 0, count: capacity)
            }
            // Of a long piece only the end can stay.
            let skipped = max(0, bytes.count - capacity)
            var position = Int((written &+ UInt64(skipped)) % UInt64(capacity))
            for byte in bytes[skipped...] {
                ring[position] = byte
                position += 1
                if position == capacity { position = 0 }
            }
            written &+= UInt64(bytes.count)
        }
    }

    /// Bytes that were ever written.
    public var totalCount: UInt64 { lock.withLock { written } }

    /// What is kept, and where in the whole stream it begins.
    public var contents: (offset: UInt64, bytes: [UInt8]) {
        lock.withLock {
            let kept = min(written, UInt64(capacity))
            let start = Int((written - kept) % UInt64(capacity))
            guard kept > 0 else { return (0, []) }
            if kept < UInt64(capacity) { return (0, Array(ring[..<Int(kept)])) }
            return (written - kept, Array(ring[start...] + ring[..<start]))
        }
    }
}

/// The standard streams of a process. Whoever runs the program behind a `Process` appends what it
/// reads and writes; each stream is made when first asked for.
public final class CapturedStreams: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    public enum Kind: Int, CaseIterable, Sendable {
        case input, output, error

        /// As procfs names it.
        public var name: String {
            switch self {
            case .input: "stdin"
            case .output: "stdout"
            case .error: "stderr"
            }
        }
    }

    private let lock = Lock()
    private var streams: [CapturedStream?] = Array(repeating: nil, count: Kind.allCases.count)

    init() {}

    public subscript(kind: Kind) -> CapturedStream {
        lock.withLock {
            if let stream = streams[kind.rawValue] { return stream }
            let stream = CapturedStream()
            streams[kind.rawValue] = stream
            return stream
        }
    }

    /// The stream, if anybody ever asked for it.
    public func existing(_ kind: Kind) -> CapturedStream? {
        lock.withLock { streams[kind.rawValue] }
    }
}
