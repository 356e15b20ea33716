// Files whose end was being cut off, in several changes, when the power went: the next mount goes on with
// that while it is used already.

import CairnBase
import CairnIO
import CairnVFS
import Dispatch
import Testing

@testable import CairnDisk
@testable import CairnTestSupport

@Suite struct LargeCutTests {
    private var options: DiskOptions {
        var options = DiskOptions()
        options.cacheBytes = 32 << 20
        options.dirtyBytes = 8 << 20
        return options
    }

    /// What the first change of a cut to 5 bytes leaves of a file with so many extents.
    private func imageOfACut(extents: Int) throws -> MemoryDevice {
        let device = try DiskGround.formatted(size: 16 << 20)
        let ground = DiskGround(device)
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        let inode = try s.file("/f")
        let bytes = [UInt8](repeating: 7, count: 4096)
        for index in 0..<extents { try s.write(inode, bytes, at: .offset(UInt64(index * 8192))) }
        try store.commit()
        let node = try #require(inode as? DiskNode)
        try blocking { () throws(Pause) in
            node.lock.lock()
            defer { node.lock.unlock() }
            try store.volume.changing(.operation) { (pass) throws(Pause) in
                var batch = EditBatch()
                var record = node.record(node.stored, node.state, parent: 0)
                record.size = 5
                record.encoded.withUnsafeBytes {
                    batch.put(
                        object: RecordKind.inode.object(of: node.number), number: 0, tail: .empty,
                        value: $0)
                }
                batch.put(
                    object: RecordKind.orphan.object(of: 0), number: node.number, tail: .empty,
                    value: .empty)
                try store.volume.change(batch, pass)
            }
        }
        try s.close()
        return device
    }

    /// Mounted, and before anything more was taken away.
    private func mounted(
        _ image: MemoryDevice, _ tasks: HeldTasks
    ) throws -> (DiskStore, Session) {
        let ground = DiskGround(image, storeExecutor: tasks)
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        let emptier = try #require(store.emptier)
        try TaskThreads().run { try await emptier.addOrphans() }
        return (store, s)
    }

    // D3: what was not yet taken away does not come to light when the file grows.
    @Test func aFileThatWasBeingCutGrowsWithZeros() throws {
        let image = try imageOfACut(extents: 600)
        let tasks = HeldTasks()
        let (_, s) = try mounted(image, tasks)
        let inode = try s.inode("/f")
        var change = AttributeChange()
        change.size = 5_000_000
        var waits = false
        do throws(Pause) {
            _ = try inode.setAttributes(change, by: .root)
        } catch {
            if case .wait = error { waits = true }
        }
        #expect(waits)
        tasks.release()
        try s.truncate("/f", 5_000_000)
        let found = try s.read(inode, count: 5_000_000)
        #expect(found[..<5].allSatisfy { $0 == 7 } && found[5...].allSatisfy { $0 == 0 })
        try s.close()
        try VolumeGround.expectSound(image)
    }

    // D6, V13: a file that goes meanwhile leaves nothing.
    @Test(arguments: [200, 600])
    func aFileThatIsBeingCutCanBeRemoved(_ extents: Int) throws {
        let image = try imageOfACut(extents: extents)
        let tasks = HeldTasks()
        let (store, s) = try mounted(image, tasks)
        try s.unlink("/f")
        tasks.release()
        try store.finishEmptying()
        try s.close()
        try VolumeGround.expectSound(image)
    }
}

/// Tasks that do not begin before they are let go.
private final class HeldTasks: TaskExecutor, @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var held: [UnownedJob]? = []

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let isHeld = lock.withLock {
            held?.append(job)
            return held != nil
        }
        if !isHeld { run(job) }
    }

    private func run(_ job: UnownedJob) {
        DispatchQueue.global().async {
            job.runSynchronously(on: self.asUnownedTaskExecutor())
        }
    }

    func release() {
        let jobs = lock.withLock {
            defer { held = nil }
            return held ?? []
        }
        for job in jobs { run(job) }
    }
}
