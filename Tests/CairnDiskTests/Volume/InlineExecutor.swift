// InlineExecutor: runs tasks on the thread that makes them runnable, one after the other, so that a test
// with a device in memory is over when its call returns, and happens the same way each time.

import CairnBase

final class InlineExecutor: TaskExecutor, @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var jobs: [UnownedJob] = []
    private var isRunning = false

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let mustRun = lock.withLock {
            jobs.append(job)
            defer { isRunning = true }
            return !isRunning
        }
        guard mustRun else { return }
        while true {
            let next: UnownedJob? = lock.withLock {
                if jobs.isEmpty { isRunning = false }
                return jobs.isEmpty ? nil : jobs.removeFirst()
            }
            guard let next else { return }
            next.runSynchronously(on: asUnownedTaskExecutor())
        }
    }

    /// Runs a task to its end, which a test with a device in memory reaches at once.
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
        guard let result = box.result else { throw StillWaiting() }
        return try result.get()
    }

    struct StillWaiting: Error {}

    private final class Box<Value>: @unchecked Sendable {
        // Sendable: written by the task, read when it is over, on one thread.
        var result: Result<Value, any Error>?
    }
}
