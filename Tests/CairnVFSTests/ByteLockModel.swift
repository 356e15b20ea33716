// What byte-range locks are, said as simply as possible: to compare the real ones with.

import CairnVFS

/// Locks kept for each byte by itself. The last one stands for
/// all that follow.
struct ByteLockModel {
    static let size = 24
    private var bytes: [[FileLock.Kind?]] = Array(
        repeating: Array(repeating: nil, count: size), count: 3)

    static func range(_ bytes: ClosedRange<Int>) -> LockRange {
        let end = bytes.upperBound == size - 1 ? .max : UInt64(bytes.upperBound)
        return LockRange(start: UInt64(bytes.lowerBound), end: end) ?? .whole
    }

    /// False: somebody stands in the way.
    mutating func set(_ range: ClosedRange<Int>, _ kind: FileLock.Kind?, owner: Int) -> Bool {
        if let kind {
            for other in 0..<3 where other != owner {
                for byte in range {
                    guard let held = bytes[other][byte] else { continue }
                    if held == .write || kind == .write { return false }
                }
            }
        }
        for byte in range { bytes[owner][byte] = kind }
        return true
    }

    /// The list says the same, each run of equal bytes being one lock.
    func matches(_ list: [ListedLock]) -> Bool {
        var expected: Set<FileLock> = []
        for owner in 0..<3 {
            var start = 0
            for byte in 1...Self.size {
                if byte < Self.size, bytes[owner][byte] == bytes[owner][start] { continue }
                if let kind = bytes[owner][start] {
                    expected.insert(
                        FileLock(
                            kind, Self.range(start...(byte - 1)), processID: Int32(owner)))
                }
                start = byte
            }
        }
        return expected == Set(list.map(\.lock)) && expected.count == list.count
    }
}
