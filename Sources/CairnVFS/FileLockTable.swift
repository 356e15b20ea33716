// FileLockTable: the locks of one file, those who hold them and those who wait.
//
// A request that must wait is queued in the same critical section that found the conflict, so no
// wake-up can be lost. Whenever locks are given back, the queue is walked from its front, and
// each request that nothing stands against any more gets a *reservation*: from then on others see
// it as held, until the attempt runs again and turns it into the lock. So what is freed goes to
// who asked first, and no newcomer slips in between. The reservation belongs to the `LockWait`;
// an operation that ends otherwise (its descriptor was closed meanwhile) drops the wait, and
// with it the reservation.
//
// A newcomer that conflicts with nothing held is granted although others wait, as on Linux:
// to make readers stand behind a waiting writer would deadlock programs that are right on Linux.
//
// Threading: `lock` guards everything; then LockWaitGraph's lock may be taken. Waits finish when
// the thread holds nothing, because finishing one may run the next attempt on it.

import CairnBase

final class FileLockTable: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var holders: [Holder] = []
    private var reservations: [Reservation] = []
    private var queue: [LockWait] = []
    /// Ranges held, over all owners.
    private var rangeCount = 0

    /// In the order in which they came, so that a run can be repeated exactly.
    private struct Holder {
        var owner: LockOwner
        var processID: Int32
        var ranges = LockedRanges()
    }

    private struct Reservation {
        var ticket: UInt64
        var owner: LockOwner
        var lock: FileLock

        init(_ wait: LockWait) {
            ticket = wait.ticket
            owner = wait.owner
            lock = wait.request
        }

        func stands(against request: FileLock) -> Bool {
            lock.range.overlaps(request.range) && (lock.kind == .write || request.kind == .write)
        }
    }

    // MARK: Asking

    /// A lock of somebody else that stands against this one.
    func conflict(_ request: FileLock, owner: LockOwner) -> FileLock? {
        lock.withLock { firstConflict(request, owner)?.lock }
    }

    // MARK: Locking

    /// Takes the lock, replacing what the owner had on these bytes. EAGAIN, or a wait; EDEADLK if
    /// the wait would never end; ENOLCK beyond `limit` ranges.
    func set(
        _ request: FileLock, owner: LockOwner, wait: Bool, limit: Int
    ) throws(Pause) {
        lock.lock()
        if firstConflict(request, owner) != nil {
            throw refusal(request, owner, wait)
        }
        try grant(request, owner, limit: limit)
    }

    /// Gives bytes back. ENOLCK if a range would have to be split beyond `limit`.
    func unset(_ range: LockRange, owner: LockOwner, limit: Int) throws(Pause) {
        lock.lock()
        guard let index = holderIndex(owner) else {
            lock.unlock()
            return
        }
        let change = holders[index].ranges.change(range, to: nil)
        guard change.growth <= 0 || rangeCount + change.growth <= limit else {
            lock.unlock()
            throw .failed(.ENOLCK)
        }
        apply(change, at: index)
        unlockAndWake()
    }

    /// flock(2): changing between shared and exclusive gives up the one before taking the other,
    /// so a failed upgrade leaves nothing. (Going down needs no gap, and has none.)
    func setWhole(
        _ kind: FileLock.Kind, processID: Int32, owner: LockOwner, wait: Bool, limit: Int
    ) throws(Pause) {
        let request = FileLock(kind, .whole, processID: processID)
        lock.lock()
        guard firstConflict(request, owner) != nil else {
            return try grant(request, owner, limit: limit)
        }
        if let index = holderIndex(owner) {
            apply(holders[index].ranges.change(.whole, to: nil), at: index)
        }
        let granted = promote()
        let pause = refusal(request, owner, wait)
        finish(granted)
        throw pause
    }

    func release(_ owner: LockOwner) {
        lock.lock()
        guard let index = holderIndex(owner) else {
            lock.unlock()
            return
        }
        rangeCount -= holders[index].ranges.count
        holders.remove(at: index)
        unlockAndWake()
    }

    // MARK: Waiting

    /// Ends a wait that is still queued; false if it has been granted.
    func leave(_ wait: LockWait) -> Bool {
        lock.withLock {
            guard let index = queue.firstIndex(where: { $0 === wait }) else { return false }
            // Not the last reference: the caller has one.
            queue.remove(at: index)
            LockWaitGraph.shared.remove(wait.ticket, of: wait.owner)
            return true
        }
    }

    func dropReservation(_ ticket: UInt64) {
        lock.lock()
        guard let index = reservations.firstIndex(where: { $0.ticket == ticket }) else {
            lock.unlock()
            return
        }
        reservations.remove(at: index)
        unlockAndWake()
    }

    /// EAGAIN, or a queued wait. Called with the lock, which it gives back.
    private func refusal(_ request: FileLock, _ owner: LockOwner, _ wait: Bool) -> Pause {
        defer { lock.unlock() }
        guard wait else { return .failed(.EAGAIN) }
        let ticket = LockWait.newTicket()
        if owner.canDeadlock,
            !LockWaitGraph.shared.add(ticket, of: owner, behind: blockers(request, owner))
        {
            return .failed(.EDEADLK)
        }
        // Made only now: a wait must not go under the lock, for it takes it then.
        let waiting = LockWait(table: self, ticket: ticket, owner: owner, request: request)
        queue.append(waiting)
        return .wait(waiting)
    }

    /// Gives reservations to those in the queue that nothing stands against, the first first, and
    /// tells the graph what the others wait for now. The result is to be finished without the lock.
    private func promote() -> [LockWait] {
        guard !queue.isEmpty else { return [] }
        var granted: [LockWait] = []
        var left: [LockWait] = []
        for wait in queue {
            if firstConflict(wait.request, wait.owner) == nil {
                reservations.append(Reservation(wait))
                LockWaitGraph.shared.remove(wait.ticket, of: wait.owner)
                granted.append(wait)
            } else {
                left.append(wait)
            }
        }
        queue = left
        for wait in queue where wait.owner.canDeadlock {
            LockWaitGraph.shared.update(
                wait.ticket, of: wait.owner, behind: blockers(wait.request, wait.owner))
        }
        return granted
    }

    private func finish(_ granted: [LockWait]) {
        guard !granted.isEmpty else { return }
        Epoch.afterSection {
            for wait in granted {
                wait.finish()
            }
        }
    }

    private func unlockAndWake() {
        let granted = promote()
        lock.unlock()
        finish(granted)
    }

    // MARK: Under the lock

    /// Called with the lock, which it gives back.
    private func grant(_ request: FileLock, _ owner: LockOwner, limit: Int) throws(Pause) {
        var index = holderIndex(owner) ?? holders.count
        let ranges = index < holders.count ? holders[index].ranges : LockedRanges()
        let change = ranges.change(request.range, to: request.kind)
        guard change.growth <= 0 || rangeCount + change.growth <= limit else {
            lock.unlock()
            throw .failed(.ENOLCK)
        }
        if index == holders.count {
            holders.append(Holder(owner: owner, processID: request.processID))
            index = holders.count - 1
        }
        holders[index].processID = request.processID
        apply(change, at: index)
        if let reserved = reservations.firstIndex(where: {
            $0.owner == owner && $0.lock.range == request.range && $0.lock.kind == request.kind
        }) {
            reservations.remove(at: reserved)
        }
        unlockAndWake()
    }

    private func apply(_ change: LockedRanges.Change, at index: Int) {
        rangeCount += change.growth
        holders[index].ranges.apply(change)
        if holders[index].ranges.isEmpty {
            holders.remove(at: index)
        }
    }

    private func holderIndex(_ owner: LockOwner) -> Int? {
        holders.firstIndex { $0.owner == owner }
    }

    private func firstConflict(
        _ request: FileLock, _ owner: LockOwner
    ) -> (lock: FileLock, owner: LockOwner)? {
        for holder in holders where holder.owner != owner {
            if let entry = holder.ranges.conflict(with: request.range, request.kind) {
                return (Self.asTold(Self.lock(entry, of: holder), holder.owner), holder.owner)
            }
        }
        for reservation in reservations
        where reservation.owner != owner && reservation.stands(against: request) {
            return (Self.asTold(reservation.lock, reservation.owner), reservation.owner)
        }
        return nil
    }

    /// Everybody who stands against the request.
    private func blockers(_ request: FileLock, _ owner: LockOwner) -> [LockOwner] {
        var owners: [LockOwner] = []
        for holder in holders
        where holder.owner != owner
            && holder.ranges.conflict(with: request.range, request.kind) != nil
        {
            owners.append(holder.owner)
        }
        for reservation in reservations
        where reservation.owner != owner && reservation.stands(against: request) {
            owners.append(reservation.owner)
        }
        return owners
    }

    private static func lock(_ entry: LockedRanges.Entry, of holder: Holder) -> FileLock {
        guard let range = LockRange(start: entry.start, end: entry.end) else {
            preconditionFailure("a locked range ends before it starts")
        }
        return FileLock(entry.kind, range, processID: holder.processID)
    }

    /// F_GETLK names no process for a lock that belongs to a description.
    private static func asTold(_ lock: FileLock, _ owner: LockOwner) -> FileLock {
        var lock = lock
        if owner.kind == .description { lock.processID = -1 }
        return lock
    }

    // MARK: Listing

    /// Every lock that is held, then every one that is waited for.
    func list() -> (held: [(FileLock, LockOwner)], waiting: [(FileLock, LockOwner)]) {
        lock.withLock {
            var held: [(FileLock, LockOwner)] = []
            for holder in holders {
                for entry in holder.ranges.entries {
                    held.append((Self.lock(entry, of: holder), holder.owner))
                }
            }
            return (held, queue.map { ($0.request, $0.owner) })
        }
    }

    var isIdle: Bool {
        lock.withLock { holders.isEmpty && reservations.isEmpty && queue.isEmpty }
    }
}
