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

/// A device with mfs_disk on it, and mounts of it.
public final class DiskGround: @unchecked Sendable {
    // Sendable: immutable but for `lock` around the lines.
    let device: any BlockDevice
    let time: ManualTime
    let timers: ManualTimers
    private let executor = TaskThreads()
    private let lock = Lock()
    private var lines: [String] = []

    init(_ device: any BlockDevice, time: ManualTime = ManualTime()) {
        self.device = device
        self.time = time
        timers = ManualTimers(time)
    }

    /// A new filesystem on a device in memory.
    static func formatted(
        size: UInt64, blockSize: UInt32 = 4096, nodeSize: UInt32? = nil
    ) throws -> MemoryDevice {
        let device = try MemoryDevice(size: size, blockSize: 4096)
        try TaskThreads().run {
            var random = SeededRandom(seed: 1)
            var options = FormatOptions()
            options.blockSize = blockSize
            options.nodeSize = nodeSize
            try await Formatter.format(device, options, time: ManualTime(), random: &random)
        }
        return device
    }

    /// What was reported.
    var reports: [String] { lock.withLock { lines } }

    private func report(_ line: String) {
        lock.withLock { lines.append(line) }
    }

    /// A store on it, its log carried out.
    func store(
        _ options: DiskOptions = DiskGround.smallOptions, hashBits: UInt64 = NameKey.hashBits
    ) throws -> DiskStore {
        let executor = executor
        return try executor.run { [self] in
            let volume = try await Volume.open(
                VolumeEnvironment(
                    device: device, timers: timers, time: time, executor: executor,
                    report: { self.report($0) }),
                options.volumeOptions)
            var settings = PagePool.Settings(budget: options.pageCacheBytes) { body in
                DispatchQueue.global().async { body() }
            }
            settings.pageSize = Int(volume.geometry.blockSize)
            let account = DirtyAccount(
                in: PageCache(pool: try PagePool(settings)), timers: timers,
                share: options.dirtyShare)
            let store = DiskStore(
                volume, options,
                StoreEnvironment(
                    account: account, work: { body in DispatchQueue.global().async { body() } },
                    executor: executor, closed: {}, report: { self.report($0) }),
                hashBits: hashBits)
            // Bytes that the log has are written into files, which a tree gives.
            let recovering = DiskFileSystem(
                store, time: time, nodeLimit: options.nodeLimit)
            try await volume.start(owner: store)
            withExtendedLifetime(recovering) {}
            return store
        }
    }

    /// With a cache that the tests fill.
    static var smallOptions: DiskOptions {
        var options = DiskOptions()
        options.cacheBytes = 8 << 20
        return options
    }

    static func restlessStore(
        compress: Compression, seed: UInt64, time: ManualTime
    ) throws -> any NodeStore {
        var options = smallOptions
        options.compression = CompressionSetting(method: compress)
        let ground = DiskGround(try formatted(size: 256 << 20), time: time)
        return RestlessStore(try ground.store(options), seed: seed)
    }
}

extension DiskStore {
    /// Commits now.
    func commit() throws(Errno) {
        let wait = volume.commitWait()
        var isNew = true
        try blocking { () throws(Pause) in
            guard isNew else { return }
            isNew = false
            throw .wait(wait)
        }
    }
}
