// The handles of open files. Only those have one whose data goes through an `Opening`, such as
// procfs's, those that fsync may have to tell errors, and all where locks are shared with other doors.
//
// The top bit of a handle says that the kernel writes through it past its cache; a handle may be that alone.
//
// Threading: one lock, held to find or change an entry only.

import CairnBase
import CairnVFS

final class OpeningTable: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    struct OpenFile {
        var opening: Opening?
        /// Up to where it was told what could not be written.
        var errors: ErrorSequence.Position?
        /// Who took locks through this handle, as the kernel numbers owners.
        var lockOwners: Set<UInt64> = []
    }

    static let writesPastCache: UInt64 = 1 << 63

    private let lock = Lock()
    private var files: [UInt64: OpenFile] = [:]
    private var lastHandle: UInt64 = 0

    /// Never 0, which stands for "no handle".
    func add(_ opening: Opening?, _ errors: ErrorSequence.Position?) -> UInt64 {
        lock.withLock {
            lastHandle += 1
            files[lastHandle] = OpenFile(opening: opening, errors: errors)
            return lastHandle
        }
    }

    @inline(__always)
    func find(_ handle: UInt64) -> Opening? {
        let handle = handle & ~Self.writesPastCache
        return handle == 0 ? nil : lock.withLock { files[handle]?.opening }
    }

    /// What could not be written of a file since its handle was told last.
    func takeWriteError(of inode: Inode, through handle: UInt64) -> Errno? {
        let handle = handle & ~Self.writesPastCache
        guard handle != 0 else { return nil }
        return lock.withLock {
            guard var position = files[handle]?.errors else { return nil }
            defer { files[handle]?.errors = position }
            return inode.writeError(since: &position)
        }
    }

    func note(_ owner: UInt64, lockedThrough handle: UInt64) {
        lock.withLock {
            _ = files[handle & ~Self.writesPastCache]?.lockOwners.insert(owner)
        }
    }

    func remove(_ handle: UInt64) -> OpenFile? {
        let handle = handle & ~Self.writesPastCache
        return handle == 0 ? nil : lock.withLock { files.removeValue(forKey: handle) }
    }

    /// Takes everything out, for the end of the connection.
    func removeAll() -> [OpenFile] {
        lock.withLock {
            defer { files = [:] }
            return Array(files.values)
        }
    }
}
