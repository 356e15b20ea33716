// LockWait: an operation in the queue for a lock, and the graph of who waits for whom.
//
// The graph spans all files, for EDEADLK (fcntl(2)): an owner that would wait for one who waits,
// however indirectly, for itself is refused. It is touched only by requests that wait, and by
// changes of files that are waited for.

import CairnBase
import Synchronization

/// A queued request for a lock. Finishes when the lock is reserved for it (FileLockTable.swift);
/// the reservation goes when this object goes.
final class LockWait: Wait, @unchecked Sendable {
    // Sendable: immutable.
    let ticket: UInt64
    let owner: LockOwner
    let request: FileLock
    private let table: FileLockTable

    private static let lastTicket = Atomic<UInt64>(0)

    static func newTicket() -> UInt64 {
        lastTicket.add(1, ordering: .relaxed).newValue
    }

    init(table: FileLockTable, ticket: UInt64, owner: LockOwner, request: FileLock) {
        self.ticket = ticket
        self.owner = owner
        self.request = request
        self.table = table
    }

    /// Leaves the queue, and the operation fails with EINTR. Does nothing once the lock has been
    /// reserved: then the operation gets it.
    override func cancel() {
        if table.leave(self) {
            finish(.EINTR)
        }
    }

    override func abandoned() {
        _ = table.leave(self)
    }

    deinit {
        table.dropReservation(ticket)
    }
}

/// Which owners wait, and for whom. `lock` is a leaf: taken under a table's lock, and nothing
/// else is taken under it.
final class LockWaitGraph: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    static let shared = LockWaitGraph()

    private let lock = Lock()
    private var waiting: [LockOwner: [Edge]] = [:]

    private struct Edge {
        var ticket: UInt64
        var blockers: [LockOwner]
    }

    /// False, and nothing is added, if one of the blockers waits for the owner already.
    func add(_ ticket: UInt64, of owner: LockOwner, behind blockers: [LockOwner]) -> Bool {
        lock.withLock {
            var seen: Set<LockOwner> = []
            var open = blockers
            while let next = open.popLast() {
                if next == owner { return false }
                guard seen.insert(next).inserted, let edges = waiting[next] else { continue }
                for edge in edges {
                    open.append(contentsOf: edge.blockers)
                }
            }
            waiting[owner, default: []].append(Edge(ticket: ticket, blockers: blockers))
            return true
        }
    }

    /// Others hold now what the request waits for.
    func update(_ ticket: UInt64, of owner: LockOwner, behind blockers: [LockOwner]) {
        lock.withLock {
            guard let index = waiting[owner]?.firstIndex(where: { $0.ticket == ticket }) else {
                return
            }
            waiting[owner]?[index].blockers = blockers
        }
    }

    func remove(_ ticket: UInt64, of owner: LockOwner) {
        lock.withLock {
            guard var edges = waiting[owner] else { return }
            edges.removeAll { $0.ticket == ticket }
            waiting[owner] = edges.isEmpty ? nil : edges
        }
    }
}
