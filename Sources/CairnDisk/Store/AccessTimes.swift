// AccessTimes: nodes whose time of last access is newer than their records.
//
// Reading changes nothing but a time. Were that a change like others, reading a tree would write all
// of its inodes anew, in one commit after another. So the time stays in the node, and is recorded with
// the node's next change, or by the commit that comes when there are many, when the oldest has waited
// for half a minute, at a sync of all, or at the end. A crash may lose it (docs/crash-contract.md).
//
// Invariant: a node with `hasNewAccessTime` is in the list, which keeps it in memory; but for one whose
// time could not be recorded, because the filesystem is full.
//
// Threading: any thread. `lock` comes after the lock of a node, which guards `hasNewAccessTime`.

import CairnBase
import CairnIO
import CairnTree
import CairnVFS

final class AccessTimes: @unchecked Sendable {
    // Sendable: `lock` guards the fields, and each node's `isInAccessTimes`.
    private let lock = Lock()
    private var nodes: [DiskNode] = []
    /// The next commit shall record all of them.
    private var isDue = false
    private var isClosed = false
    /// Makes them due when the oldest has waited for long.
    private var timer: TimerTicket?
    /// So many are kept at most.
    private let limit: Int

    static var patienceNanoseconds: UInt64 { 30_000_000_000 }

    init(limit: Int) {
        self.limit = max(limit, 1)
    }

    enum Answer {
        case kept
        /// Kept, and the oldest.
        case keptFirst
        /// Kept, and the last that finds room.
        case keptLast
        case refused
    }

    /// Enters a node unless it is in the list.
    func add(_ node: DiskNode) -> Answer {
        lock.withLock {
            if node.isInAccessTimes { return .kept }
            guard nodes.count < limit, !isClosed else { return .refused }
            node.isInAccessTimes = true
            nodes.append(node)
            if nodes.count == limit {
                isDue = true
                return .keptLast
            }
            return nodes.count == 1 ? .keptFirst : .kept
        }
    }

    func keep(_ ticket: TimerTicket) {
        lock.withLock { timer = ticket }
    }

    /// The next commit shall record all. False: there are none.
    func makeDue() -> Bool {
        lock.withLock {
            isDue = !nodes.isEmpty
            return isDue
        }
    }

    /// Takes all, if they are due or `isForced`, and the timer that waits for them.
    func take(isForced: Bool) -> (nodes: [DiskNode], timer: TimerTicket?) {
        lock.withLock {
            guard isDue || isForced else { return ([], nil) }
            isDue = false
            for node in nodes { node.isInAccessTimes = false }
            defer {
                nodes = []
                timer = nil
            }
            return (nodes, timer)
        }
    }

    var count: Int { lock.withLock { nodes.count } }

    /// No more come.
    func close() {
        lock.withLock { isClosed = true }
    }
}

extension DiskStore {
    /// Somebody has read: the time stays in the node for now. Where there are too many, it is a change
    /// like others.
    func noteAccess(_ attributes: Attributes, of node: TreeNode) throws(Pause) {
        let node = DiskStore.node(node)
        switch accessTimes.add(node) {
        case .kept: break
        case .keptFirst:
            let ticket = volume.environment.timers.schedule(
                afterNanoseconds: AccessTimes.patienceNanoseconds
            ) { [weak self] in
                guard let self, accessTimes.makeDue() else { return }
                volume.requestCommit()
            }
            accessTimes.keep(ticket)
        case .keptLast: volume.requestCommit()
        case .refused:
            var change = Change()
            change.append(.attributes(EditedNode(node), attributes))
            return try apply(change)
        }
        node.hasNewAccessTime = true
    }

    func makeLateChanges(isUnmounting: Bool) async {
        for node in takeAccessTimes(isForced: isUnmounting) {
            do throws(Errno) {
                try await suspending { () throws(Pause) in
                    try recordAccessTime(of: node, .late)
                }
            } catch {
                // A full filesystem keeps the old time, until the node's next change.
                if error == .ENOSPC { continue }
                if error == .EROFS { return }
                report("inode \(node.number): its time of access cannot be recorded: \(error)")
            }
        }
    }

    /// Nobody will record them.
    func dropAccessTimes() {
        accessTimes.close()
        _ = takeAccessTimes(isForced: true)
    }

    private func takeAccessTimes(isForced: Bool) -> [DiskNode] {
        let (nodes, timer) = accessTimes.take(isForced: isForced)
        if let timer { volume.environment.timers.cancel(timer) }
        return nodes
    }

    /// Brings the record after the node's time of access. `mayUseReserve`: it takes no room for longer
    /// than until the next commit.
    func recordAccessTime(
        of node: DiskNode, _ kind: ChangePass.Kind, mayUseReserve: Bool = false
    ) throws(Pause) {
        node.lock.lock()
        defer { node.lock.unlock() }
        guard node.hasNewAccessTime else { return }
        try volume.changing(kind) { (pass) throws(Pause) in
            var batch = EditBatch()
            batch.mayUseReserve = mayUseReserve
            let record = node.record(node.stored, node.state, parent: node.directoryAbove)
            record.encoded.withUnsafeBytes {
                batch.put(
                    object: RecordKind.inode.object(of: node.number), number: 0, tail: .empty,
                    value: $0)
            }
            try volume.change(batch, pass)
        }
        node.hasNewAccessTime = false
    }
}
