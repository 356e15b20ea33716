// DiskGround: mfs_disk over a device in memory, for the suites that run over every store.
//
// Now and then an operation finds that it has to wait, and meanwhile what is dirty is placed, or all is
// committed: so every operation is met in each state of a file's data.

import CairnBase
import CairnCache
import CairnIO
import CairnTree
import CairnVFS
import Dispatch

@testable import CairnDisk

/// Tasks on threads of their own.
final class TaskThreads: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        DispatchQueue.global().async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }

    func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }

    /// Runs a task to its end, sleeping on this thread.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) throws -> Value {
        let box = Box<Value>()
        let gate = DispatchSemaphore(value: 0)
        Task(executorPreference: self) {
            do {
                box.result = .success(try await body())
            } catch {
                box.result = .failure(error)
            }
            gate.signal()
        }
        gate.wait()
        guard let result = box.result else { preconditionFailure("a task without a result") }
        return try result.get()
    }

    private final class Box<Value>: @unchecked Sendable {
        // Sendable: written before the signal, read after.
        var result: Result<Value, any Error>?
    }
}

/// An operation finds dirty data placed, or everything committed, just before it.
private final class RestlessStore: WrappingStore, @unchecked Sendable {
    // Sendable: `lock` guards `random`.
    private let lock = Lock()
    private var random: SeededRandom

    init(_ inner: any NodeStore, seed: UInt64) {
        random = SeededRandom(seed: seed)
        super.init(inner)
    }

    override func pass(_ subject: Subject) throws(Pause) {
        let chance = lock.withLock { random.oneIn(40) ? Int(random.next() % 3) : -1 }
        guard chance >= 0, let store = inner as? DiskStore else { return }
        if chance == 0 { throw .wait(store.volume.commitWait()) }
        let wait = Wait()
        Task(executorPreference: store.environment.executor) {
            await store.placeDirtyData(isLast: false)
            wait.finish()
        }
        throw .wait(wait)
    }
}

/// An image in memory, and mounts of it.
public final class DiskGround: @unchecked Sendable {
    // Sendable: immutable.
    let executor = TaskThreads()
    let device: any BlockDevice
    let time: any TimeSource

    /// A new filesystem.
    init(
        size: UInt64, time: any TimeSource, _ format: FormatOptions = FormatOptions()
    ) throws {
        device = try MemoryDevice(size: size, blockSize: 4096)
        self.time = time
        let device = device
        try executor.run {
            var random = SeededRandom(seed: 1)
            try await Formatter.format(device, format, time: time, random: &random)
        }
    }

    /// A store on it, its log carried out.
    func store(_ options: DiskOptions, timers: any TimerSource = ManualTimers()) throws -> DiskStore
    {
        let executor = executor
        let device = device
        let time = time
        return try executor.run {
            let volume = try await Volume.open(
                VolumeEnvironment(
                    device: device, timers: timers, time: time, executor: executor,
                    report: { print("report:", $0) }),
                options.volumeOptions)
            let pool = try PagePool(
                PagePool.Settings(budget: options.pageCacheBytes) { body in
                    DispatchQueue.global().async { body() }
                })
            let account = DirtyAccount(in: PageCache(pool: pool), timers: timers, share: 0.2)
            let store = DiskStore(
                volume, options,
                StoreEnvironment(
                    account: account, work: { body in DispatchQueue.global().async { body() } },
                    executor: executor, closed: {}, report: { print("report:", $0) }))
            try await volume.start(owner: store)
            return store
        }
    }

    static func restlessStore(
        compress: Compression, seed: UInt64, time: any TimeSource
    ) throws -> any NodeStore {
        var options = DiskOptions()
        options.compression = CompressionSetting(method: compress)
        options.cacheBytes = 8 << 20
        let ground = try DiskGround(size: 256 << 20, time: time)
        return RestlessStore(try ground.store(options), seed: seed)
    }
}
