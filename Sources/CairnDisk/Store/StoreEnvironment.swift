// StoreEnvironment: what the store of a mounted filesystem is given from outside, beside the volume.

import CairnBase
import CairnCache

struct StoreEnvironment: Sendable {
    /// Its dirty pages, in the cache that its files' pages are in. Pages are as large as blocks.
    var account: DirtyAccount
    /// Runs what takes time (unpacking) soon, on a thread that may be kept busy.
    var work: @Sendable (@escaping @Sendable () -> Void) -> Void
    /// What the background work of the store runs on.
    var executor: any TaskExecutor
    /// Called when the store is closed and needs the device no more.
    var closed: @Sendable () -> Void
    /// Told of damage and of errors. One line each.
    var report: @Sendable (String) -> Void
}

/// Counts what became of data.
final class DataCounters: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var packed: UInt64 = 0
    private var packedInto: UInt64 = 0

    struct Values {
        /// Bytes that were compressed, and what became of them.
        var packed: UInt64
        var packedInto: UInt64
    }

    func count(packed whole: Int, into stored: Int) {
        lock.withLock {
            packed += UInt64(whole)
            packedInto += UInt64(stored)
        }
    }

    var values: Values {
        lock.withLock { Values(packed: packed, packedInto: packedInto) }
    }
}
