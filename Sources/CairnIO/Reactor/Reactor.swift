// Reactor: the loop of one thread that keeps many requests in flight.
//
// The loop's thread owns a ring of the kernel (io_uring): it alone submits to it and takes
// completions, so neither needs a lock. What other threads hand in goes through `inbox`; they wake
// the loop only if it sleeps. Where the kernel refuses rings, worker threads carry the operations
// out, and all else stays as it is: completions, timers and tasks run on the loop's thread either
// way, one at a time, so what belongs to a loop needs no lock of its own.
//
//     other threads ──inbox──▶ ┌─ loop ────────────────────────────────┐
//                              │ take the inbox: operations, calls,    │
//                              │   jobs of tasks                       │  ◀─▶ ring, or workers
//                              │ call timers that are due              │
//                              │ submit, sleep, deliver completions    │
//                              └───────────────────────────────────────┘
//
// What a callback starts is submitted when the callback returns, so callbacks must be short: they
// may not block, nor compute for long.
//
// Why no wake-up is lost. The loop sets its alarm, then looks into the inbox and at the timers, then
// sleeps. Whoever hands something in does so first, and then rings. Both look into the inbox under
// `lock`: either the loop's look came after, and it does not sleep; or it came before, and then the
// alarm was set before that, and rings.

import CSystem
public import CairnBase
import Synchronization

public final class Reactor: @unchecked Sendable {
    // Sendable: ``lock` and `timerLock` guard what they say; the rest belongs to the loop.

    /// What carries out the operations.
    public enum Engine: String, Sendable, CaseIterable {
        case uring, threads
    }

    public struct Options: Sendable {
        /// Nil: the kernel's ring, or threads where that is refused.
        public var engine: Engine?
        /// The most worker threads that there will be: with `.threads` it is how many requests are
        /// carried out at once.
        public var workerLimit = 32
        /// Called with a line of text when rings are refused; once in a process, whatever the number
        /// of reactors.
        public var report: (@Sendable (String) -> Void)?

        public init(
            engine: Engine? = nil, workerLimit: Int = 32,
            report: (@Sendable (String) -> Void)? = nil
        ) {
            self.engine = engine
            self.workerLimit = workerLimit
            self.report = report
        }
    }

    private let worker: any ReactorEngine
    private let alarm: LoopAlarm

    private let lock = Lock()
    // Guarded by `lock`.
    private var inbox = IOQueue()
    private var calls: [@Sendable () -> Void] = []
    private var jobs: [UnownedJob] = []
    private var isStopping = false
    private var hasEnded = false
    /// After the end: a thread runs what tasks are left.
    private var isRunningLeftovers = false

    private let timerLock = Lock()
    private var timers = TimerHeap()  // guarded by `timerLock`

    // Of the loop: what it took out of `calls` and `jobs`, kept for its memory.
    private var takenCalls: [@Sendable () -> Void] = []
    private var takenJobs: [UnownedJob] = []

    /// Makes a reactor, which does nothing until `run`. Throws what io_uring_setup(2) said if
    /// `.uring` was asked for and is refused, or EMFILE and the like.
    public init(_ options: Options = Options()) throws(Errno) {
        let alarm = try LoopAlarm()
        self.alarm = alarm
        let limit = options.workerLimit
        switch options.engine {
        case .uring?:
            worker = try RingEngine(workerLimit: limit, alarm: alarm)
        case .threads?:
            worker = ThreadEngine(workerLimit: limit, alarm: alarm)
        case nil:
            do throws(Errno) {
                worker = try RingEngine(workerLimit: limit, alarm: alarm)
            } catch {
                if let report = options.report, Self.isFirstRefusal() {
                    report("io_uring cannot be used (\(error)): threads do its work")
                }
                worker = ThreadEngine(workerLimit: limit, alarm: alarm)
            }
        }
    }

    private static let hasReported = Atomic<Bool>(false)
    private static func isFirstRefusal() -> Bool {
        !hasReported.exchange(true, ordering: .relaxed)
    }

    /// What carries out the operations.
    public var engine: Engine { worker.kind }

    // MARK: The loop

    /// Whether the calling thread is this reactor's loop.
    public var isCurrent: Bool {
        cairn_current_loop() == Unmanaged.passUnretained(self).toOpaque()
    }

    /// Makes the calling thread the loop, until `stop`. To be called once.
    public func run() {
        precondition(cairn_current_loop() == nil, "a loop inside a loop")
        cairn_set_current_loop(Unmanaged.passUnretained(self).toOpaque())
        while true {
            takeInbox()
            callTimers()
            alarm.set()
            guard let timeout = timeUntilNext() else { break }
            worker.wait(timeoutNanoseconds: timeout == .max ? nil : timeout)
            alarm.unset()
            worker.deliver()
        }
        alarm.unset()
        worker.end()
        cairn_set_current_loop(nil)
        runLeftovers()
    }

    /// Ends the loop once nothing is under way. Timers that are not due by then are never called.
    /// From any thread; does not wait for the end.
    public func stop() {
        lock.withLock { isStopping = true }
        alarm.ring()
    }

    /// How long the loop may sleep, in nanoseconds (.max: for ever). Nil: it has to end.
    private func timeUntilNext() -> UInt64? {
        let state: (hasWork: Bool, isOver: Bool) = lock.withLock {
            let hasWork = !inbox.isEmpty || !calls.isEmpty || !jobs.isEmpty
            if isStopping, !hasWork, worker.underWay == 0 { hasEnded = true }
            return (hasWork, hasEnded)
        }
        if state.isOver { return nil }
        if state.hasWork { return 0 }
        guard let next = timerLock.withLock({ timers.earliest }) else { return .max }
        let now = cairn_clock_monotonic()
        return next > now ? next - now : 0
    }

    private func takeInbox() {
        var operations = lock.withLock {
            swap(&calls, &takenCalls)
            swap(&jobs, &takenJobs)
            return inbox.takeAll()
        }
        while let operation = operations.removeFirst() {
            worker.start(operation)
        }
        worker.submit()
        for call in takenCalls {
            call()
            worker.submit()
        }
        takenCalls.removeAll(keepingCapacity: true)
        for job in takenJobs {
            run(job)
            worker.submit()
        }
        takenJobs.removeAll(keepingCapacity: true)
    }

    private func callTimers() {
        guard timerLock.withLock({ !timers.isEmpty }) else { return }
        let now = cairn_clock_monotonic()
        while let due = timerLock.withLock({ timers.removeDue(by: now) }) {
            due.body()
            worker.submit()
        }
    }

    // MARK: Handing in

    /// Calls `body` on the loop's thread, soon. False if the loop has ended; then it is never called.
    @discardableResult
    public func perform(_ body: @escaping @Sendable () -> Void) -> Bool {
        let isTaken = lock.withLock {
            if hasEnded { return false }
            calls.append(body)
            return true
        }
        if isTaken { alarm.ring() }
        return isTaken
    }

    /// Starts an operation. Throws EBADF if the loop has ended: then it was not started.
    func start(_ operation: IOOperation) throws(Errno) {
        if isCurrent { return worker.start(operation) }
        let isTaken = lock.withLock {
            if hasEnded { return false }
            inbox.append(operation)
            return true
        }
        guard isTaken else { throw .EBADF }
        alarm.ring()
    }

    /// Starts several, with one wake-up at most.
    func start(_ operations: consuming IOQueue) throws(Errno) {
        if isCurrent {
            while let operation = operations.removeFirst() {
                worker.start(operation)
            }
            return
        }
        let isTaken = lock.withLock {
            if hasEnded { return false }
            while let operation = operations.removeFirst() {
                inbox.append(operation)
            }
            return true
        }
        guard isTaken else { throw .EBADF }
        alarm.ring()
    }

    /// Asks to give an operation up. On the loop's thread.
    func cancel(_ operation: IOOperation) {
        guard operation.isUnderWay, !operation.isCancelled else { return }
        operation.isCancelled = true
        worker.cancel(operation)
    }

    func register(_ file: ReactorFile) { worker.register(file) }
    func unregister(_ file: ReactorFile) { worker.unregister(file) }

    /// Tells the kernel about memory that many requests will be for, such as a cache's: it is pinned
    /// (RLIMIT_MEMLOCK) and need not be looked up for each of them. False if that cannot be, which
    /// changes nothing but the cost.
    @discardableResult
    public func register(memory: UnsafeMutableRawBufferPointer) -> Bool {
        worker.register(memory)
    }

    /// Before the memory is given back, and when no request for it is under way.
    public func unregister(memory: UnsafeMutableRawBufferPointer) {
        worker.unregister(memory)
    }
}

extension Reactor: TimerSource {
    public func monotonicNanoseconds() -> UInt64 { cairn_clock_monotonic() }

    /// Called on the loop's thread.
    @discardableResult
    public func schedule(
        atNanoseconds deadline: UInt64, _ body: @escaping @Sendable () -> Void
    ) -> TimerTicket {
        let (ticket, isEarliest) = timerLock.withLock {
            let isEarliest = deadline < timers.earliest ?? .max
            return (timers.insert(at: deadline, body), isEarliest)
        }
        if isEarliest { alarm.ring() }
        return ticket
    }

    @discardableResult
    public func cancel(_ ticket: TimerTicket) -> Bool {
        timerLock.withLock { timers.cancel(ticket) }
    }
}

// Swift's tasks on the loop: an actor whose executor is the reactor, or a task that prefers it,
// runs on the loop's thread, and what it awaits on the loop resumes it there without a change of
// thread.
extension Reactor: SerialExecutor, TaskExecutor {
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let isOver = lock.withLock {
            jobs.append(job)
            return hasEnded
        }
        if isOver { runLeftovers() } else { alarm.ring() }
    }

    public func checkIsolated() {
        precondition(isCurrent, "not on the reactor's thread")
    }

    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    public func asUnownedTaskExecutor() -> UnownedTaskExecutor {
        UnownedTaskExecutor(ordinary: self)
    }

    private func run(_ job: UnownedJob) {
        job.runSynchronously(
            isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
    }

    /// The loop has ended, and a task must not hang for that: whoever brings it runs it, one thread
    /// at a time.
    private func runLeftovers() {
        while true {
            let left: [UnownedJob] = lock.withLock {
                if isRunningLeftovers { return [] }
                isRunningLeftovers = !jobs.isEmpty
                defer { jobs = [] }
                return jobs
            }
            if left.isEmpty { return }
            for job in left { run(job) }
            lock.withLock { isRunningLeftovers = false }
        }
    }
}
