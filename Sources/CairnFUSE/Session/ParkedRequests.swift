// Requests that wait: for a block, a lock, a commit. They hold no thread (requirement V3).
//
// A parked request keeps its message, its reply buffer and what it has waited for. The thread
// that finishes the wait runs the request again and answers it. An interrupt may cancel the wait
// (SignalledRequests); one that comes before its request is parked is remembered for a while.
//
// Threading: `lock` guards the table; never held over a call out.

import CairnBase
import CairnVFS

/// The memory of one request, and the way its answer goes. Belongs to one thread at a time.
protocol MessageHolder: AnyObject {
    var request: Request { get }
    var reply: ReplyBuffer { get }
    /// Called exactly once.
    func answer(_ result: Result<Session.Outcome, Errno>)
}

final class ParkedRequest: @unchecked Sendable {
    // Sendable: `lock` guards `current` and `isCancelled`; the rest belongs to whoever runs it.
    private let session: Session
    private let holder: any MessageHolder
    private let worker = Worker()
    private let started: UInt64
    // The holder has its request until it is answered only.
    private let opcode: Opcode
    private let unique: UInt64
    let caller: UInt32
    private var progress: Session.Progress
    /// Kept until the request is done: a `Wait` holds on to what it fetched.
    private var waits: [Wait] = []
    private let lock = Lock()
    private var current: Wait?
    private var isCancelled = false

    init(
        _ session: Session, _ holder: any MessageHolder, _ progress: Session.Progress,
        started: UInt64
    ) {
        self.session = session
        self.holder = holder
        self.progress = progress
        self.started = started
        opcode = holder.request.opcode
        unique = holder.request.unique
        caller = holder.request.process
        // The reply may have moved to other memory: what was read into it is read again.
        if opcode == .read { self.progress.count = 0 }
    }

    /// Parks the request until `wait` finishes. May run it, and answer it, before it returns.
    static func park(
        _ session: Session, _ holder: any MessageHolder, _ progress: Session.Progress,
        on wait: Wait, started: UInt64
    ) {
        let parked = ParkedRequest(session, holder, progress, started: started)
        let isInterrupted = session.parked.add(parked, parked.unique)
        parked.pause(on: wait)
        if isInterrupted { session.parked.interrupt(parked.unique) }
    }

    /// Waits for what somebody else does with a lock.
    var waitsForOthers: Bool { opcode == .setLockWaiting }

    private func pause(on wait: Wait) {
        if wait.beginsStep { waits = [] }
        waits.append(wait)
        let cancelNow = lock.withLock {
            current = wait
            return isCancelled
        }
        wait.whenFinished { [self] error in
            lock.withLock { current = nil }
            if let error {
                abandon(error)
            } else {
                step()
            }
        }
        if cancelNow { wait.cancel() }
    }

    private func step() {
        do throws(Pause) {
            let outcome = try session.perform(
                holder.request, into: holder.reply, by: worker, &progress)
            end(.success(outcome))
        } catch {
            switch error {
            case .failed(let errno): end(.failure(errno))
            case .wait(let wait): pause(on: wait)
            }
        }
    }

    /// The wait failed, between two runs.
    private func abandon(_ error: Errno) {
        if error == .EINTR, let finished = progress.finished {
            // The caller is being killed. The kernel shall know what has been done.
            finished.withUnsafeBytes { holder.reply.put($0, at: 0) }
            return end(.success(.reply(finished.count)))
        }
        session.abandon(holder.request, progress)
        end(.failure(error))
    }

    private func end(_ result: Result<Session.Outcome, Errno>) {
        holder.answer(result)
        waits = []
        let failed = if case .failure = result { true } else { false }
        session.counters.count(
            opcode, failed: failed, waited: true,
            nanoseconds: monotonicNanoseconds() &- started)
        session.parked.remove(unique)
    }

    func cancel() {
        let wait = lock.withLock {
            isCancelled = true
            return current
        }
        wait?.cancel()
    }
}

final class ParkedRequests: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var table: [UInt64: ParkedRequest] = [:]
    /// Interrupts of requests that were not parked (yet), the newest of them.
    private var early: [UInt64] = []
    private var oldestEarly = 0
    private static let earlyLimit = 64
    private var whenEmpty: (() -> Void)?
    private let signalled = SignalledRequests()

    /// True if an interrupt of it has come before.
    func add(_ request: ParkedRequest, _ unique: UInt64) -> Bool {
        lock.withLock {
            table[unique] = request
            return early.contains(unique)
        }
    }

    func remove(_ unique: UInt64) {
        let emptied: (() -> Void)? = lock.withLock {
            table[unique] = nil
            signalled.remove(unique)
            guard table.isEmpty else { return nil }
            defer { whenEmpty = nil }
            return whenEmpty
        }
        emptied?()
    }

    /// The caller of a request got a signal.
    func interrupt(_ unique: UInt64) {
        let request: ParkedRequest? = lock.withLock {
            if let request = table[unique] {
                if request.waitsForOthers { return request }
                signalled.add(request, unique)
                return nil
            }
            if early.count < Self.earlyLimit {
                early.append(unique)
            } else {
                early[oldestEarly] = unique
                oldestEarly = (oldestEarly + 1) % Self.earlyLimit
            }
            return nil
        }
        request?.cancel()
    }

    var count: Int { lock.withLock { table.count } }

    func cancelAll() {
        for request in lock.withLock({ Array(table.values) }) {
            request.cancel()
        }
    }

    /// Cancels all, and returns when each is answered. No other may come.
    func cancelAllAndWait() {
        let gate = SharedGate()
        let all: [ParkedRequest] = lock.withLock {
            if table.isEmpty {
                gate.open()
            } else {
                whenEmpty = { gate.open() }
            }
            return Array(table.values)
        }
        for request in all {
            request.cancel()
        }
        gate.wait()
        signalled.stop()
    }
}

/// A gate that closures can share.
final class SharedGate: Sendable {
    private let gate = Gate()
    func open() { gate.signal() }
    func wait() { gate.wait() }
}
