// What calls hold while they run and wait, and what is given back (V2, V6, V13, V15, V16).

import Cairn
import CairnBase
import CairnTestPace
import Synchronization
import Testing

@Suite struct LifetimeTests {
    let world: World
    let p: Process

    init() throws {
        world = try World()
        p = world.root
        try p.makeDirectory("/mnt")
        try p.make("/file", "0123456789")
    }

    @Test func duplicatingWhileClosingNeverRevivesAFile() throws {
        let p = p
        for _ in 0..<300 {
            let file = try p.open("/file", .readOnly)
            runThreads(2) { index in
                if index == 0 {
                    try? p.close(file)
                } else if let copy = try? p.duplicate(file, from: 100) {
                    try? p.close(copy)
                }
            }
        }
        #expect(p.openFiles.isEmpty)
        try p.unlink("/file")
    }

    @Test func aWaitingCallKeepsItsFileAndMount() throws {
        let held = HeldFileSystem(vfs: world.vfs)
        defer { held.end() }
        try p.mount(held, at: "/mnt")
        held.letGo()
        let file = try p.open("/mnt/file", .readOnly)
        held.hold()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
        defer { buffer.deallocate() }
        nonisolated(unsafe) let target = buffer
        let read = Atomic<Int>(0)
        try p.submitRead(from: file, into: target) { result in
            read.store((try? result.get()) ?? -1, ordering: .relaxed)
        }
        try p.close(file)
        expect(.EBUSY) { () throws(Errno) in try p.unmount("/mnt") }
        held.letGo()
        #expect(read.load(ordering: .relaxed) == 4)
        try p.unmount("/mnt")
    }

    @Test func aLockThatIsWaitedForGoesWithItsLastDescriptor() throws {
        let holder = try p.open("/file", .readWrite)
        try p.flock(holder, .exclusive)
        let waiter = try p.open("/file", .readWrite)
        let granted = Atomic<Int>(0)
        try p.submitFlock(waiter, .exclusive) { _ in granted.add(1, ordering: .relaxed) }
        try p.close(waiter)
        try p.flock(holder, .unlock)
        #expect(granted.load(ordering: .relaxed) == 1)
        try p.flock(holder, .exclusive, nonBlocking: true)
    }

    @Test func leavingALazilyUnmountedDirectoryEndsItsMount() throws {
        let counting = ClosingFileSystem(vfs: world.vfs)
        defer { counting.end() }
        try p.mount(counting, at: "/mnt")
        try p.changeDirectory("/mnt")
        try p.unmount("/mnt", lazily: true)
        expect(.EINVAL) { () throws(Errno) in
            try p.mount(try world.freshFileSystem(), at: ".")
        }
        try p.changeDirectory("/")
        #expect(counting.closes.load(ordering: .relaxed) == 1)
    }

    @Test func deepDirectoriesAreReleasedWithoutADeepStack() throws {
        let other = try World()
        let user = other.root
        for _ in 0..<rounds(30_000) {
            try user.makeDirectory("d")
            try user.changeDirectory("d")
        }
        user.exit()
        try other.namespace.close()
    }

    @Test func whatIsRetiredIsReclaimedAlsoFromInsideSections() throws {
        final class Witness: Sendable {
            let count: Atomic<Int>
            static let live = Atomic<Int>(0)
            init() {
                count = Atomic(0)
                Witness.live.add(1, ordering: .relaxed)
            }
            deinit { Witness.live.subtract(1, ordering: .relaxed) }
        }
        runThreads(1) { _ in
            // Another thread's section may stay open for a while; not for a thousand rounds.
            for _ in 0..<1000 {
                for _ in 0..<1000 {
                    Epoch.section {
                        let witness = Unmanaged.passRetained(Witness())
                        Epoch.retire(Unmanaged<AnyObject>.fromOpaque(witness.toOpaque()))
                    }
                }
                if Witness.live.load(ordering: .relaxed) < 1000 { return }
            }
        }
        #expect(Witness.live.load(ordering: .relaxed) < 1000)
    }

    @Test func aForcedUnmountThatFailsLeavesTheMountInUse() throws {
        expect(.EINVAL) { () throws(Errno) in try p.unmount("/", force: true) }
        #expect(try p.content("/file") == "0123456789")
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        try p.make("/mnt/file", "text")
        let file = try p.open("/mnt/file", .readOnly)
        expect(.EBUSY) { () throws(Errno) in try p.unmount("/mnt", force: true) }
        #expect(try p.get(file) == "text")
    }

    @Test func cancellingOneOperationLeavesOthersThatWaitForTheSame() throws {
        let whole = Wait()
        let results = Atomic<Int>(0)
        func operation() -> PendingOperation {
            nonisolated(unsafe) var hasWaited = false
            return callingBack { () throws(Pause) in
                if hasWaited { return }
                hasWaited = true
                throw .wait(OperationWait(whole))
            } completion: { result in
                switch result {
                case .success: results.add(1, ordering: .relaxed)
                case .failure: results.add(100, ordering: .relaxed)
                }
            }
        }
        let first = operation()
        let second = operation()
        first.cancel()
        #expect(results.load(ordering: .relaxed) == 100)
        whole.finish()
        #expect(results.load(ordering: .relaxed) == 101)
        second.cancel()
        #expect(results.load(ordering: .relaxed) == 101)
    }

    @Test func aWaitThroughTwoMountsIsGivenUpWhole() {
        final class Abandoned: Wait, @unchecked Sendable {
            // Sendable: atomic.
            let times = Atomic<Int>(0)
            override func abandoned() { times.add(1, ordering: .relaxed) }
        }
        let whole = Abandoned()
        let through = OperationWait(OperationWait(whole))
        through.whenFinished { _ in }
        through.cancel()
        #expect(whole.times.load(ordering: .relaxed) == 1)
    }

    @Test func aCancelledUnmountStillClosesTheFilesystem() throws {
        let slow = SlowlyClosingFileSystem(vfs: world.vfs)
        defer { slow.end() }
        try p.mount(slow, at: "/mnt")
        let ended = Atomic<Int>(0)
        let operation = p.submitUnmount("/mnt") { result in
            if case .failure(.EINTR) = result { ended.add(1, ordering: .relaxed) }
        }
        operation.cancel()
        #expect(ended.load(ordering: .relaxed) == 1)
        slow.flushed.finish()
        #expect(slow.closes.load(ordering: .relaxed) == 1)
        #expect(try p.names("/mnt").isEmpty)
    }

    @Test func handlesOnTheWayHaveNoMoreRightsThanTheirBase() throws {  // V15
        let whole = try p.open("/", .directory)
        let base = try p.duplicate(whole, limitingTo: [.read, .lookup])
        expect(.EACCES) { () throws(Errno) in
            _ = try p.open("new", [.create, .writeOnly], at: base)
        }
        expect(.EACCES) { () throws(Errno) in
            _ = try p.open(".", [.temporary, .writeOnly], at: base)
        }
        expect(.EACCES) { () throws(Errno) in
            try p.chmod("", Permissions(rawValue: 0o700), at: base)
        }
        let inner = try p.open("mnt", .directory, at: base)
        expect(.EACCES) { () throws(Errno) in try p.makeDirectory("x", at: inner) }
        let file = try p.open("file", .readOnly, at: base)
        expect(.EACCES) { () throws(Errno) in try p.chmod(file, Permissions(rawValue: 0)) }
        expect(.EACCES) { () throws(Errno) in _ = try p.open("file", .writeOnly, at: base) }
    }

    @Test func numbersFromCallersNeverTrap() throws {
        let file = try p.open("/file", .readWrite)
        expect(.EINVAL) { () throws(Errno) in
            try p.allocate(file, .reserve(keepSize: true), offset: 1, length: .max)
        }
        expect(.EFBIG) { () throws(Errno) in
            try p.allocate(
                file, .reserve(keepSize: true), offset: UInt64(Int64.max), length: 2)
        }
        _ = try p.seek(file, .start(.max))
        #expect(try p.get(file).isEmpty)
        expect(.EOVERFLOW) { () throws(Errno) in _ = try p.seek(file, .current(1)) }
        expect(.EINVAL) { () throws(Errno) in _ = try p.seek(file, .start(-1)) }
        expect(.EINVAL) { () throws(Errno) in try p.truncate(file, to: .max) }
        expect(.EOVERFLOW) { () throws(Errno) in
            _ = try p.copy(from: file, at: .max - 1, to: file, at: 0, length: 1)
        }
    }

    @Test func openChangesNothingWhenThereIsNoNumberLeft() throws {
        let few = try Process(in: world.namespace, descriptorLimit: 1)
        _ = try few.open("/file", .readOnly)
        expect(.EMFILE) { () throws(Errno) in _ = try few.open("/file", [.writeOnly, .truncate]) }
        expect(.EMFILE) { () throws(Errno) in _ = try few.open("/new", [.create, .exclusive]) }
        #expect(try p.content("/file") == "0123456789")
        #expect(try p.names("/") == ["file", "mnt"])
    }

    @Test func anEndedProcessTakesNothingMore() throws {
        let other = try Process(in: world.namespace)
        other.exit()
        expect(.EBADF) { () throws(Errno) in _ = try other.open("/file", .readOnly) }
        expect(.ESRCH) { () throws(Errno) in _ = try other.fork() }
        expect(.ESRCH) { () throws(Errno) in try other.changeDirectory("/mnt") }
    }

    @Test func aMountThatFailedCanBeTriedAgain() throws {
        let fresh = try world.freshFileSystem()
        expect(.ENOTDIR) { () throws(Errno) in try p.mount(fresh, at: "/file") }
        try p.mount(fresh, at: "/mnt")
    }

    @Test func copiedNamespacesKeepMovedMounts() throws {
        try p.makeDirectory("/second")
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        try p.make("/mnt/moved")
        try p.mount(try world.freshFileSystem(), at: "/second")
        try p.makeDirectory("/second/inner")
        try p.moveMount("/mnt", to: "/second/inner")
        let copy = try world.namespace.copy()
        let other = try Process(in: copy)
        #expect(try other.names("/second/inner") == ["moved"])
        other.exit()
        try copy.close()
    }

    @Test func dotDotDoesNotLeaveABindMount() throws {
        try p.makeDirectory("/data")
        try p.makeDirectory("/data/sub")
        try p.makeDirectory("/data/sub/x")
        try p.makeDirectory("/jail")
        try p.bind("/data/sub", at: "/jail")
        let prisoner = try Process(in: world.namespace)
        try prisoner.changeRoot("/jail")
        try prisoner.changeDirectory("/x")
        try p.rename("/data/sub/x", to: "/data/x")
        expect(.ENOENT) { () throws(Errno) in _ = try prisoner.stat("..") }
        prisoner.exit()
    }

    @Test func vectorsAreWrittenAsOne() throws {
        let file = try p.open("/log", [.create, .writeOnly, .append])
        let p = p
        runThreads(4) { index in
            let letter = [UInt8](repeating: 97 + UInt8(index), count: 7)
            letter.withUnsafeBytes { part in
                for _ in 0..<200 { _ = try? p.write([part, part, part], to: file) }
            }
        }
        let text = Array(try p.content("/log").utf8)
        #expect(text.count == 4 * 200 * 21)
        for start in stride(from: 0, to: text.count, by: 21) {
            #expect(Set(text[start..<start + 21]).count == 1)
        }
    }
}

/// Its close waits until the test lets it go.
final class SlowlyClosingFileSystem: FileSystem, @unchecked Sendable {
    let closes = Atomic<Int>(0)
    let flushed = Wait()
    private let hasWaited = Atomic<Bool>(false)
    private var rootStorage: Inode?

    init(vfs: VFS) {
        super.init(typeName: "slow", time: vfs.time)
        rootStorage = EmptyDirectory(number: 1, kind: .directory, fileSystem: self)
    }

    override var root: Inode { rootStorage! }

    override func close() throws(Pause) {
        if !hasWaited.exchange(true, ordering: .relaxed) { throw .wait(flushed) }
        closes.add(1, ordering: .relaxed)
    }

    func end() {
        rootStorage = nil
    }
}
