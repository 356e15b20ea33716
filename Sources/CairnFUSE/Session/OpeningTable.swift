// The handles of files whose data goes through an `Opening`, such as procfs's. Others have none.
//
// Threading: one lock, held to find or change an entry only.

import CairnBase
import CairnVFS

final class OpeningTable: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var openings: [UInt64: Opening] = [:]
    private var lastHandle: UInt64 = 0

    /// Never 0, which stands for "no opening".
    func add(_ opening: Opening) -> UInt64 {
        lock.withLock {
            lastHandle += 1
            openings[lastHandle] = opening
            return lastHandle
        }
    }

    @inline(__always)
    func find(_ handle: UInt64) -> Opening? {
        handle == 0 ? nil : lock.withLock { openings[handle] }
    }

    func remove(_ handle: UInt64) -> Opening? {
        handle == 0 ? nil : lock.withLock { openings.removeValue(forKey: handle) }
    }

    /// Takes everything out, for the end of the connection.
    func removeAll() -> [Opening] {
        lock.withLock {
            defer { openings = [:] }
            return Array(openings.values)
        }
    }
}
