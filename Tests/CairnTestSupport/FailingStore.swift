// FailingStore: a store whose n-th call fails (requirement T3).

import CairnBase
import CairnTree
import CairnVFS

public final class FailingStore: WrappingStore, @unchecked Sendable {
    private let lock = Lock()
    // Guarded by lock: calls to let pass before one fails; nil: none fails.
    private var remaining: Int?
    private var errno = Errno.EIO

    /// The n-th call from now on (1: the next) fails, once.
    public func fail(call number: Int, with errno: Errno) {
        lock.withLock {
            remaining = number
            self.errno = errno
        }
    }

    /// No call fails any more. True if the failure has happened.
    public func disarm() -> Bool {
        lock.withLock {
            let hasFailed = remaining == nil
            remaining = nil
            return hasFailed
        }
    }

    public override func pass(_ subject: Subject) throws(Pause) {
        lock.lock()
        guard let left = remaining else {
            lock.unlock()
            return
        }
        remaining = left > 1 ? left - 1 : nil
        let error = errno
        lock.unlock()
        if left == 1 { throw .failed(error) }
    }
}
