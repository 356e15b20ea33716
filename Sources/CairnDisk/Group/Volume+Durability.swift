// What becomes durable when, as callers see it: syncs, waits for commits, the timer, the end.
//
// Two tasks may run, on the executor that was passed in: one commits as long as a commit is wanted,
// one serves syncs as long as somebody waits for one. They are made when needed, and end.
//
// Threading: any thread; `stateLock` guards what callers and the two tasks share.

import CairnBase
import CairnIO
import Synchronization

/// Operations up to a certain one.
struct SyncTarget: Hashable, Comparable, Sendable {
    let operations: UInt64

    static func < (one: SyncTarget, other: SyncTarget) -> Bool {
        one.operations < other.operations
    }
}

/// What a caller of sync waits for.
final class SyncWait: Wait, @unchecked Sendable {
    // Sendable: set once.
    let target: SyncTarget

    init(_ target: SyncTarget) {
        self.target = target
    }
}

extension Volume {
    // MARK: Syncs

    /// All operations so far: what a sync that begins now must reach.
    func syncTarget() -> SyncTarget { SyncTarget(operations: gate.operationCount) }

    func isDurable(_ target: SyncTarget) -> Bool {
        stateLock.withLock { durableOperations >= target.operations }
    }

    /// Throws a wait until all operations up to the target are durable, by the log or by a commit;
    /// fails with what the device said if they cannot be made so. The target is taken once, before the
    /// first attempt: who takes it anew in each may wait as long as others write.
    func sync(_ target: SyncTarget) throws(Pause) {
        let wait = SyncWait(target)
        enum Answer { case done, failed(Errno), wait(mustStart: Bool) }
        let answer: Answer = stateLock.withLock {
            if durableOperations >= target.operations { return .done }
            if let failure { return .failed(failure) }
            if isClosed { return .failed(.EBADF) }
            syncWaits.append(wait)
            defer { isSyncing = true }
            return .wait(mustStart: !isSyncing)
        }
        switch answer {
        case .done: return
        case .failed(let error): throw .failed(error)
        case .wait(let mustStart):
            if mustStart { start { await $0.serveSyncs() } }
            throw .wait(wait)
        }
    }

    private func serveSyncs() async {
        while true {
            let isOver = stateLock.withLock {
                if syncWaits.isEmpty { isSyncing = false }
                return syncWaits.isEmpty
            }
            if isOver { return }
            if await !syncToLog() {
                // Those that wait are told of an error by `fail`.
                _ = await finished(commitWait())
            }
        }
    }

    /// Waits, and gives the error if there is one.
    func finished(_ wait: Wait) async -> Errno? {
        await withUnsafeContinuation { continuation in
            wait.whenFinished { continuation.resume(returning: $0) }
        }
    }

    /// Operations up to this one are durable: tells those who wait for them.
    func raiseDurable(to operations: UInt64) {
        let done = stateLock.withLock {
            durableOperations = max(durableOperations, operations)
            let done = syncWaits.filter { $0.target.operations <= durableOperations }
            syncWaits.removeAll { $0.target.operations <= durableOperations }
            return done
        }
        for wait in done { wait.finish() }
    }

    // MARK: Commits

    /// A commit shall come soon: the changes take much memory.
    func requestCommit() {
        let mustStart = stateLock.withLock {
            guard !isClosed, !isStarting, failure == nil else { return false }
            isCommitWanted = true
            defer { isCommitting = true }
            return !isCommitting
        }
        if mustStart { start { await $0.serveCommits() } }
    }

    /// Finishes when a commit has ended that begins after this call, with its error if it failed.
    func commitWait() -> Wait {
        let wait = commitWaitAfterPass()
        startDueCommit()
        return wait
    }

    /// As `commitWait`, under a pass: the commit is started when the pass is given back.
    func commitWaitAfterPass() -> Wait {
        let wait = Wait()
        let refusal: Errno? = stateLock.withLock {
            if let failure { return failure }
            if isClosed { return .EBADF }
            commitWaits.append(wait)
            return nil
        }
        if let refusal {
            wait.finish(refusal)
        } else {
            isCommitDue.store(true, ordering: .releasing)
        }
        return wait
    }

    /// Starts what was wanted under a pass.
    func startDueCommit() {
        guard isCommitDue.load(ordering: .relaxed),
            isCommitDue.exchange(false, ordering: .acquiringAndReleasing)
        else { return }
        requestCommit()
    }

    private func serveCommits() async {
        while true {
            let waits: [Wait]? = stateLock.withLock {
                guard isCommitWanted else {
                    isCommitting = false
                    return nil
                }
                isCommitWanted = false
                defer { commitWaits = [] }
                return commitWaits
            }
            guard let waits else { return }
            disarmTimer()
            let error = await commitOnce()
            for wait in waits { wait.finish(error) }
        }
    }

    private func start(_ work: @escaping @Sendable (Volume) async -> Void) {
        Task(executorPreference: environment.executor) { await work(self) }
    }

    // MARK: The timer

    /// There is something to commit: it will be, in time.
    func armTimer() {
        guard !isArmed.load(ordering: .relaxed),
            !isArmed.exchange(true, ordering: .acquiringAndReleasing)
        else { return }
        let ticket = environment.timers.schedule(
            afterNanoseconds: options.commitIntervalNanoseconds
        ) { [weak self] in self?.requestCommit() }
        stateLock.withLock { timer = ticket }
    }

    /// A commit begins: what is changed from now on needs the timer anew.
    func disarmTimer() {
        let ticket = stateLock.withLock {
            defer { timer = nil }
            return timer
        }
        if let ticket { environment.timers.cancel(ticket) }
        isArmed.store(false, ordering: .releasing)
    }

    // MARK: The end

    /// Something could not be written: nothing is written any more, and all who wait are told.
    func fail(_ error: Errno, _ what: String) {
        let (isFirst, waits) = stateLock.withLock {
            let isFirst = failure == nil
            if isFirst { failure = error }
            defer {
                syncWaits = []
                commitWaits = []
            }
            return (isFirst, syncWaits + commitWaits)
        }
        if isFirst {
            environment.report("\(what): \(error): the filesystem is read-only from now on")
        }
        for wait in waits { wait.finish(error) }
    }

    /// Places and commits everything, and marks the filesystem as unmounted in both sets of
    /// superblocks. Nothing may be changed any more. Throws what the last commit failed with.
    func unmount() async throws(VolumeFailure) {
        guard !isReadOnly else { return try endReadOnly() }
        let isFirst = stateLock.withLock {
            defer { isClosed = true }
            return !isClosed
        }
        guard isFirst else { return }
        disarmTimer()
        let error = await commitOnce(isUnmounting: true)
        if let error { throw VolumeFailure(error, "unmount", "what was changed is not durable") }
    }

    private func endReadOnly() throws(VolumeFailure) {
        let before: Errno? = stateLock.withLock {
            isClosed = true
            return failure
        }
        if let before {
            throw VolumeFailure(
                before, "unmount", "an error before; what was changed since is lost")
        }
    }
}
