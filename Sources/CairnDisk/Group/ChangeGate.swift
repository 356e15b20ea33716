// ChangeGate: what every change passes, and what closes for a moment when a group ends.
//
// An attempt that changes something holds the gate shared for its length; the committer takes it
// alone to close and open it, and to end a group. So when it has closed the gate, no attempt is half
// through; when operations are let in again, they find the next group open.
//
//     open ──close()──▶ closed: operations wait, placing goes on ──nextGroup()──▶ ──open()──▶ open
//
// Threading: any thread. Outermost of the volume's locks, below the nodes' locks of the store.

import CairnBase
import Synchronization

final class ChangeGate: @unchecked Sendable {
    // Sendable: `lock` guards the fields below it.
    private let lock = ReadWriteLock()
    // Guarded by `lock`.
    private var opening: Wait?
    private var group: TransactionGroup

    /// Operations that changed something, since the volume was opened.
    private let operations = Atomic<UInt64>(0)

    init(group: TransactionGroup) {
        self.group = group
    }

    /// Runs an attempt that changes something. Throws a wait while the gate is closed to it.
    func pass<Value>(
        _ kind: ChangePass.Kind, _ body: (borrowing ChangePass) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        lock.lockShared()
        if kind == .operation, let opening {
            lock.unlockShared()
            throw .wait(OperationWait(opening))
        }
        defer { lock.unlockShared() }
        return try body(ChangePass(kind, group: group))
    }

    /// To be called under a pass, after the change.
    func countOperation() {
        operations.add(1, ordering: .releasing)
    }

    /// How many operations there were. All of them are in the group that is open, or in an older
    /// one, when the gate is closed.
    var operationCount: UInt64 { operations.load(ordering: .acquiring) }

    /// The group that changes go to now.
    var openGroup: TransactionGroup { lock.withLockShared { group } }

    /// Closes the gate; returns when no operation is half through.
    func close() {
        let wait = Wait()
        lock.withLock {
            precondition(opening == nil, "the gate is closed already")
            opening = wait
        }
    }

    /// Ends the open group, with nobody half through. `body` may take the tree's lock.
    func nextGroup<Value>(_ body: (TransactionGroup) -> Value) -> Value {
        lock.withLock {
            let value = body(group)
            group = group.next
            return value
        }
    }

    func open() {
        let wait = lock.withLock {
            let wait = opening
            opening = nil
            return wait
        }
        wait?.finish()
    }
}
