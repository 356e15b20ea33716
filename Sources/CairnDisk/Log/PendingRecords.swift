// PendingRecords: what the operations since the last commit or log entry changed, in order, as the
// log has it (docs/format.md §8).
//
// A sync writes it as one entry; a commit makes it superfluous. If it becomes more than a log entry
// should be, it is dropped, and whoever wants it durable needs a commit.
//
// Threading: any thread; `lock` guards all. A leaf; appended to under the tree's lock, so that the
// order is the order in which the edits were applied.

import CairnBase

final class PendingRecords: @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    private let lock = Lock()
    /// Bytes of records that are kept at most.
    private let limit: Int
    // Guarded by `lock`.
    private var batch = EditBatch(capacity: 4096)
    private var hasOverflowed = false

    init(limit: Int) {
        self.limit = limit
    }

    func append(_ more: borrowing EditBatch) {
        guard !more.isEmpty else { return }
        lock.withLock {
            guard !hasOverflowed else { return }
            if batch.count + more.count > limit {
                hasOverflowed = true
                batch.removeAll()
            } else {
                batch.append(more)
            }
        }
    }

    /// Only a commit makes it durable.
    var isTooMuch: Bool { lock.withLock { hasOverflowed } }

    /// What is pending, and from now on is not.
    enum Taken: ~Copyable {
        case records(EditBatch)
        /// Too much: only a commit makes it durable.
        case tooMuch
    }

    func take() -> Taken {
        lock.lock()
        defer { lock.unlock() }
        if hasOverflowed { return .tooMuch }
        var taken = EditBatch(capacity: 4096)
        swap(&taken, &batch)
        return .records(taken)
    }

    /// What was taken found no place in the log: only a commit makes it durable, and what follows it.
    func overflow() {
        lock.withLock {
            hasOverflowed = true
            batch.removeAll()
        }
    }

    /// The group ends, and its commit makes all of it durable. Gives whether something was pending.
    func drop() -> Bool {
        lock.withLock {
            let had = hasOverflowed || !batch.isEmpty
            batch.removeAll()
            hasOverflowed = false
            return had
        }
    }
}
