// Stepper: everything that happens in a simulated run, on one thread, in an order that a seed decides.
//
// It is the executor of a filesystem's tasks, its place for bodies that run soon, and the device's
// hand that completes requests. Nothing runs but in `spin` and `finish`; so the same seed gives the
// same run, whatever the machine does.
//
// Used by one thread.

import CairnBase
import CairnIO
import CairnTestSupport

final class Stepper: TaskExecutor, @unchecked Sendable {
    // Sendable: one thread, as said above.
    let timers: ManualTimers
    let time: ManualTime
    private var random: SeededRandom
    private var jobs: [() -> Void] = []
    /// Requests that were submitted and are not carried out.
    private var held: [() -> Void] = []

    init(seed: UInt64) {
        time = ManualTime()
        timers = ManualTimers(time)
        random = SeededRandom(seed: seed)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        jobs.append { [unowned self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }

    func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }

    func perform(_ body: @escaping @Sendable () -> Void) { jobs.append(body) }

    /// A request that is carried out, and completes, when it is its turn.
    fileprivate func hold(_ request: @escaping () -> Void) { held.append(request) }

    private func runJobs() {
        while !jobs.isEmpty {
            let body = jobs.removeFirst()
            body()
        }
    }

    private func completeOne() -> Bool {
        guard !held.isEmpty else { return false }
        held.remove(at: random.number(below: held.count))()
        runJobs()
        return true
    }

    /// Lets what is under way get further: now and then nowhere, now and then to its end.
    func spin() {
        switch random.number(below: 4) {
        case 0: return
        case 1: settle()
        default:
            runJobs()
            for _ in 0..<random.number(below: 6) where completeOne() {}
        }
    }

    /// Lets what is under way come to its end, as far as no clock is needed for it.
    func settle() {
        runJobs()
        while completeOne() {}
    }

    struct Hung: Error {}

    /// Runs until the box is filled.
    private func wait<Value>(for box: Box<Value>) throws -> Value {
        while true {
            if let result = box.result { return try result.get() }
            runJobs()
            if box.result == nil, !completeOne(), box.result == nil, !timers.advanceToNext() {
                throw Hung()
            }
        }
    }

    /// Runs an operation to its end.
    func finish<Value>(
        _ submit: (@escaping @Sendable (Result<Value, Errno>) -> Void) throws(Errno)
            -> PendingOperation
    ) throws -> Value {
        let box = Box<Value>()
        let operation = try submit { result in
            box.result = result.mapError { $0 as any Error }
        }
        defer { withExtendedLifetime(operation) {} }
        return try wait(for: box)
    }

    /// Runs a task to its end.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) throws -> Value {
        let box = Box<Value>()
        Task(executorPreference: self) {
            do {
                box.result = .success(try await body())
            } catch {
                box.result = .failure(error)
            }
        }
        return try wait(for: box)
    }

    private final class Box<Value>: @unchecked Sendable {
        // Sendable: one thread.
        var result: Result<Value, any Error>?
    }
}

/// A device whose writes and flushes are carried out when the stepper says, in any order.
final class HeldDevice: BlockDevice, @unchecked Sendable {
    // Sendable: used by the stepper's thread.
    private let base: any BlockDevice
    private let stepper: Stepper

    init(_ base: any BlockDevice, _ stepper: Stepper) {
        self.base = base
        self.stepper = stepper
    }

    var size: UInt64 { base.size }
    var blockSize: Int { base.blockSize }
    var memoryAlignment: Int { base.memoryAlignment }
    var isReadOnly: Bool { base.isReadOnly }
    var canDiscard: Bool { base.canDiscard }
    var queueDepth: Int { base.queueDepth }
    var statistics: BlockStatistics { base.statistics }

    func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        try base.check(request)
        if request.operation == .read { return try base.submit(request, completion: completion) }
        stepper.hold { [base] in
            do throws(Errno) {
                try base.submit(request, completion: completion)
            } catch {
                completion(.failed(error))
            }
        }
        return BlockTicket(rawValue: 0)
    }

    func cancel(_ ticket: BlockTicket) {}
    func setQueueDepth(_ depth: Int) throws(Errno) {}
    func close() throws(Errno) {}
}
