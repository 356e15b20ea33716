// Pause, Wait and the three drivers: how an operation waits without holding anything.
//
// Fetch, then act (design rule 2). An operation is a plain synchronous function, an *attempt*.
// It runs under short locks on what is in memory. If something is missing, it changes nothing,
// starts what will bring it (a `Wait`) and throws `Pause.wait`. A driver waits with no lock held
// and runs the attempt again from its start. The driver keeps every `Wait` of the operation until
// the operation is done; a `Wait` holds on to what it fetched, so that each attempt gets further
// than the one before.
//
//     attempt ──value / errno──────────────▶ caller
//        ▲ │
//        │ └─Pause.wait(w)─▶ driver: keep w; block, suspend or register ─▶ w finishes ─┐
//        └────────────────────────────────────────────────────────────────────────────┘
//
// There are three drivers, and one attempt serves them all: `blocking` sleeps on the thread,
// `suspending` suspends the task, `callingBack` returns at once and calls back exactly once.

/// Why an attempt did not give a value.
public enum Pause: Error, Sendable {
    /// The operation failed. Nothing was changed.
    case failed(Errno)
    /// Something must happen first. Nothing was changed; run the attempt again when it has.
    case wait(Wait)
}

/// Something that will have happened: a block read, a lock granted, a commit made durable.
///
/// Finishes exactly once. Subclasses carry what was fetched and keep it resident while they live.
/// Safe to call from any thread.
open class Wait: @unchecked Sendable {
    // Sendable: the fields below are guarded by `lock`.
    private let lock = Lock()
    private var isFinished = false
    private var failure: Errno?
    private var callbacks: [Int: @Sendable (Errno?) -> Void] = [:]
    private var lastTicket = 0
    /// The operation has done a part of its work, and needs nothing any more of what it waited for
    /// before this: drivers let go of that. Set before anybody else has this object.
    public fileprivate(set) final var beginsStep = false

    public init() {}

    /// Finishes with success, or with the error that the waiting operation shall fail with.
    /// Calls what waits, on this thread. A second call does nothing and gives false.
    @discardableResult
    public final func finish(_ error: Errno? = nil) -> Bool {
        lock.lock()
        if isFinished {
            lock.unlock()
            return false
        }
        isFinished = true
        failure = error
        let waiting = callbacks.sorted { $0.key < $1.key }
        callbacks = [:]
        lock.unlock()
        for (_, callback) in waiting {
            callback(error)
        }
        return true
    }

    /// Calls `body` exactly once: when this finishes, or now if it has. The ticket withdraws it.
    @discardableResult
    public final func whenFinished(_ body: @escaping @Sendable (Errno?) -> Void) -> Int {
        lock.lock()
        lastTicket += 1
        let ticket = lastTicket
        if !isFinished {
            callbacks[ticket] = body
            lock.unlock()
            return ticket
        }
        let error = failure
        lock.unlock()
        body(error)
        return ticket
    }

    /// Who has this ticket waits no more, and is not called. When nobody is left, `abandoned` is.
    public final func withdraw(_ ticket: Int) {
        lock.lock()
        let body = callbacks.removeValue(forKey: ticket)
        let isAbandoned = body != nil && callbacks.isEmpty && !isFinished
        lock.unlock()
        if isAbandoned { abandoned() }
    }

    /// Hook: nobody waits any more for this, which has not finished. What is under way may be given
    /// up, or arrive and be dropped.
    open func abandoned() {}

    /// The operation that waits is no longer wanted (a signal, a cancelled task): it fails with
    /// EINTR. Where several operations may wait for one thing, each waits through an
    /// `OperationWait`, and cancels that.
    open func cancel() {
        if finish(.EINTR) { abandoned() }
    }
}

/// The part that one operation has in a wait: it can fail alone, and leaves the others waiting.
public final class OperationWait: Wait, @unchecked Sendable {
    // Sendable: `ticket` is written before anybody else has this object.
    private let whole: Wait
    private var ticket = 0

    public init(_ whole: Wait, beginsStep: Bool = false) {
        self.whole = whole
        super.init()
        self.beginsStep = beginsStep || whole.beginsStep
        ticket = whole.whenFinished { error in self.finish(error) }
    }

    /// Ends this operation's wait with an error. Does nothing if it has ended.
    public func fail(_ error: Errno) {
        if finish(error) { whole.withdraw(ticket) }
    }

    public override func cancel() {
        fail(.EINTR)
    }

    /// Where another part stood for this one, that has ended: the whole has nobody here any more.
    public override func abandoned() {
        whole.withdraw(ticket)
    }
}

/// One attempt of an operation that moves up to `count` bytes, in steps: `step` gets how many are
/// done, moves some more, and gives how many, 0 at the end. What was done before a wait is kept in
/// `done` for the next attempt, and the operation lets go of what it waited for until then: so a read
/// that is longer than the cache never holds more than one step of it. An error after the first
/// bytes ends the operation with these.
@inlinable
public func inSteps(
    of count: Int, _ done: inout Int, _ step: (_ done: Int) throws(Pause) -> Int
) throws(Pause) -> Int {
    let start = done
    while true {
        do throws(Pause) {
            let more = try step(done)
            done += more
            if more <= 0 || done >= count { return done }
        } catch {
            switch error {
            case .failed:
                if done > 0 { return done }
            case .wait(let wait):
                if done > start { throw .wait(OperationWait(wait, beginsStep: true)) }
            }
            throw error
        }
    }
}

/// Runs an attempt to its end, sleeping on this thread while it has to wait.
@inlinable
public func blocking<Value: ~Copyable>(
    _ attempt: () throws(Pause) -> Value
) throws(Errno) -> Value {
    do throws(Pause) {
        return try attempt()
    } catch {
        var pause = error
        let waits = WaitList()
        while true {
            try waits.block(on: pause)
            do throws(Pause) {
                return try attempt()
            } catch {
                pause = error
            }
        }
    }
}

/// Runs an attempt to its end, suspending the task while it has to wait. Cancelling the task
/// cancels the wait, and the operation fails with EINTR.
@inlinable
nonisolated(nonsending)
    public func suspending<Value>(
        _ attempt: () throws(Pause) -> Value
    ) async throws(Errno) -> Value
{
    let waits = WaitList()
    while true {
        let pause: Pause
        do throws(Pause) {
            return try attempt()
        } catch {
            pause = error
        }
        try await waits.suspend(on: pause)
    }
}

/// Runs an attempt to its end without ever waiting on this thread: `completion` is called exactly
/// once, on this thread before the return if nothing has to be waited for, otherwise on the
/// thread that finished the last wait. The result can cancel the operation.
@discardableResult
public func callingBack<Value>(
    _ attempt: @escaping () throws(Pause) -> Value,
    completion: @escaping (Result<Value, Errno>) -> Void
) -> PendingOperation {
    let operation = PendingOperation()
    operation.step = { [unowned operation] in
        let pause: Pause
        do throws(Pause) {
            let value = try attempt()
            operation.end()
            completion(.success(value))
            return
        } catch {
            pause = error
        }
        switch pause {
        case .failed(let errno):
            operation.end()
            completion(.failure(errno))
        case .wait(let wait):
            operation.pause(on: wait) { errno in
                operation.end()
                completion(.failure(errno))
            }
        }
    }
    operation.step()
    return operation
}

/// An operation that was submitted by `callingBack`.
public final class PendingOperation: @unchecked Sendable {
    // Sendable: `lock` guards what two threads touch; `step` is set before anything is shared.
    private let lock = Lock()
    private var waits: [Wait] = []
    private var current: Wait?
    private var isCancelled = false
    var step: () -> Void = {}

    /// Ends the wait, if there is one: the operation completes with EINTR. An operation that
    /// completes anyway is left alone.
    public func cancel() {
        lock.lock()
        isCancelled = true
        let wait = current
        lock.unlock()
        wait?.cancel()
    }

    func pause(on wait: Wait, failed: @escaping (Errno) -> Void) {
        lock.lock()
        let kept = waits
        waits = wait.beginsStep ? [wait] : kept + [wait]
        current = wait
        let cancelNow = isCancelled
        lock.unlock()
        // The closure below is what keeps this object alive while it waits.
        nonisolated(unsafe) let failed = failed  // called once, by whoever finishes the wait
        wait.whenFinished { [self] error in
            lock.withLock { current = nil }
            if let error {
                failed(error)
            } else {
                step()
            }
        }
        if cancelNow {
            wait.cancel()
        }
    }

    func end() {
        // Released outside the lock: what a wait holds may call back as it goes.
        let kept = lock.withLock {
            let kept = waits
            waits = []
            return kept
        }
        _ = kept
    }
}

/// What an operation has waited for so far, kept until it is done. Used by one task or thread.
@usableFromInline
final class WaitList {
    private var waits: [Wait] = []

    @usableFromInline init() {}

    private func keep(_ wait: Wait) {
        if wait.beginsStep { waits = [] }
        waits.append(wait)
    }

    @usableFromInline
    func block(on pause: Pause) throws(Errno) {
        switch pause {
        case .failed(let errno):
            throw errno
        case .wait(let wait):
            keep(wait)
            let sleeper = Sleeper()
            wait.whenFinished { sleeper.wake($0) }
            if let error = sleeper.sleep() { throw error }
        }
    }

    @usableFromInline
    nonisolated(nonsending)
        func suspend(on pause: Pause) async throws(Errno)
    {
        switch pause {
        case .failed(let errno):
            throw errno
        case .wait(let wait):
            keep(wait)
            let error: Errno? = await withTaskCancellationHandler {
                await withUnsafeContinuation { continuation in
                    wait.whenFinished { continuation.resume(returning: $0) }
                }
            } onCancel: {
                wait.cancel()
            }
            if let error { throw error }
        }
    }
}

/// One thread asleep until a wait finishes.
private final class Sleeper: @unchecked Sendable {
    // Sendable: `error` is written before the gate opens and read after.
    private let gate = Gate()
    private var error: Errno?

    func wake(_ error: Errno?) {
        self.error = error
        gate.signal()
    }

    func sleep() -> Errno? {
        gate.wait()
        return error
    }
}
