// SyncStore: a store that notes what is made durable, and takes its time for it.

import CairnBase
import CairnTree
import CairnVFS
import Dispatch

public final class SyncStore: WrappingStore, @unchecked Sendable {
    private let lock = Lock()
    // Guarded by lock:
    private var begun: Set<UInt64> = []
    private var done: [UInt64] = []
    private var error: Errno?

    /// Numbers of the nodes that were made durable since this was asked last.
    public func takeSynced() -> [UInt64] {
        lock.withLock {
            defer { done = [] }
            return done
        }
    }

    /// From now on nothing can be made durable; nil: it can.
    public func fail(with error: Errno?) {
        lock.withLock { self.error = error }
    }

    /// The first attempt waits, and the second is the last.
    public override func sync(
        _ node: TreeNode?, dataOnly: Bool, _ point: inout SyncPoint
    ) throws(Pause) {
        guard let number = node?.number else { return }
        let failure: Errno?? = lock.withLock {
            if begun.insert(number).inserted { return nil }
            begun.remove(number)
            if error == nil { done.append(number) }
            return .some(error)
        }
        guard let failure else {
            let wait = Wait()
            DispatchQueue.global().async { wait.finish() }
            throw .wait(wait)
        }
        if let failure { throw .failed(failure) }
    }
}
