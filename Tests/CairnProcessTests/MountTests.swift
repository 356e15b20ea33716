// V2, V3: mounts and namespaces.

import Cairn
import CairnBase
import CairnTestPace
import Synchronization
import Testing

@Suite struct MountTests {
    let world: World
    let p: Process

    init() throws {
        world = try World()
        p = world.root
        try p.makeDirectory("/mnt")
        try p.make("/mnt/below")
    }

    @Test func mountCoversAndUncovers() throws {
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        expect(.ENOENT) { () throws(Errno) in _ = try p.stat("/mnt/below") }
        try p.make("/mnt/above")
        #expect(try p.names("/mnt") == ["above"])
        #expect(try p.names("/") == ["mnt"], "a mount point shows in its parent")
        #expect(try p.stat("/mnt/..").number == p.stat("/").number)
        try p.unmount("/mnt")
        #expect(try p.names("/mnt") == ["below"])
        expect(.EINVAL) { () throws(Errno) in try p.unmount("/mnt") }
    }

    @Test func mountsStackAndNest() throws {
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        try p.make("/mnt/first")
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        try p.make("/mnt/second")
        try p.makeDirectory("/mnt/deeper")
        try p.mount(try world.freshFileSystem(), at: "/mnt/deeper")
        expect(.EBUSY) { () throws(Errno) in try p.unmount("/mnt") }
        #expect(try p.stat("/mnt/deeper/../second").kind == .regular)
        try p.unmount("/mnt/deeper")
        try p.unmount("/mnt")
        #expect(try p.names("/mnt") == ["first"])
        try p.unmount("/mnt")
        #expect(try p.names("/mnt") == ["below"])
    }

    @Test func usedMountIsBusyUntilItIsNot() throws {
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        try p.make("/mnt/file", "text")
        let file = try p.open("/mnt/file", .readOnly)
        expect(.EBUSY) { () throws(Errno) in try p.unmount("/mnt") }
        try p.close(file)
        let other = try world.user(0)
        try other.changeDirectory("/mnt")
        expect(.EBUSY) { () throws(Errno) in try p.unmount("/mnt") }
        other.exit()
        try p.unmount("/mnt")
    }

    @Test func lazyUnmountLeavesOpenFilesAlone() throws {
        let counting = ClosingFileSystem(vfs: world.vfs)
        defer { counting.end() }
        try p.mount(counting, at: "/mnt")
        let file = try p.open("/mnt", .directory)
        try p.unmount("/mnt", lazily: true)
        #expect(try p.names("/mnt") == ["below"])
        #expect(counting.closes.load(ordering: .relaxed) == 0)
        #expect(try p.stat(file).isDirectory)
        try p.close(file)
        #expect(counting.closes.load(ordering: .relaxed) == 1)
    }

    @Test func lastMountClosesTheFilesystemOnce() throws {
        let counting = ClosingFileSystem(vfs: world.vfs)
        defer { counting.end() }
        try p.makeDirectory("/second")
        try p.mount(counting, at: "/mnt")
        try p.mount(counting, at: "/second")
        try p.unmount("/mnt")
        #expect(counting.closes.load(ordering: .relaxed) == 0)
        try p.unmount("/second")
        #expect(counting.closes.load(ordering: .relaxed) == 1)
        expect(.EBUSY) { () throws(Errno) in try p.mount(counting, at: "/mnt") }
    }

    @Test func filesystemsThatComeAndGoAreLetGo() throws {
        struct Gone {
            weak var fileSystem: FileSystem?
        }
        var gone: [Gone] = []
        for round in 0..<rounds(10_000) {
            let fileSystem = try world.freshFileSystem()
            gone.append(Gone(fileSystem: fileSystem))
            try p.mount(fileSystem, at: "/mnt")
            try p.make("/mnt/file", "text")
            let file = try p.open("/mnt/file", .readOnly)
            if round % 2 == 0 {
                try p.unmount("/mnt", lazily: true)
                try p.close(file)
            } else {
                try p.close(file)
                try p.unmount("/mnt")
            }
        }
        // What readers without a lock may have seen is let go a little later.
        for _ in 0..<1000 where gone.contains(where: { $0.fileSystem != nil }) {
            Epoch.synchronize()
            Epoch.flush()
        }
        #expect(gone.count { $0.fileSystem != nil } == 0)
        #expect(try p.names("/mnt") == ["below"])
    }

    @Test func bindShowsAPlaceTwice() throws {
        try p.makeDirectory("/shown")
        try p.bind("/mnt", at: "/shown")
        #expect(try p.names("/shown") == ["below"])
        try p.make("/shown/new")
        #expect(try p.names("/mnt") == ["below", "new"])
        #expect(try p.stat("/shown/..").number == p.stat("/").number)
        expect(.EXDEV) { () throws(Errno) in try p.rename("/shown/new", to: "/mnt/moved") }
        try p.bind("/mnt", at: "/shown", flags: .readOnly)
        expect(.EROFS) { () throws(Errno) in try p.make("/shown/x") }
        try p.make("/mnt/x")
    }

    @Test func mountsMoveWithWhatStandsOnThem() throws {
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        try p.makeDirectory("/mnt/inner")
        try p.mount(try world.freshFileSystem(), at: "/mnt/inner")
        try p.make("/mnt/inner/file")
        try p.makeDirectory("/to")
        expect(.ELOOP) { () throws(Errno) in try p.moveMount("/mnt", to: "/mnt/inner") }
        try p.moveMount("/mnt", to: "/to")
        #expect(try p.names("/to/inner") == ["file"])
        #expect(try p.names("/mnt") == ["below"])
    }

    @Test func mountPointsCannotBeRemoved() throws {
        try p.makeDirectory("/dir")
        try p.mount(try world.freshFileSystem(), at: "/dir")
        expect(.EBUSY) { () throws(Errno) in try p.removeDirectory("/dir") }
        expect(.EBUSY) { () throws(Errno) in try p.rename("/dir", to: "/other") }
        expect(.EXDEV) { () throws(Errno) in try p.rename("/mnt/below", to: "/dir/x") }
        try p.unmount("/dir")
        try p.removeDirectory("/dir")
    }

    @Test func onlyAdministratorsMount() throws {
        let user = try world.user(1000)
        let fresh = try world.freshFileSystem()
        expect(.EPERM) { () throws(Errno) in try user.mount(fresh, at: "/mnt") }
        expect(.EPERM) { () throws(Errno) in try user.unmount("/mnt") }
    }

    @Test func namespacesHaveTablesOfTheirOwn() throws {
        try p.mount(try world.freshFileSystem(), at: "/mnt")
        try p.make("/mnt/shared")
        let copy = try world.namespace.copy()
        let other = try Process(in: copy)
        #expect(try other.names("/mnt") == ["shared"])
        try other.unmount("/mnt")
        #expect(try other.names("/mnt") == ["below"])
        #expect(try p.names("/mnt") == ["shared"])
        other.exit()
        try copy.close()
        #expect(try p.names("/mnt") == ["shared"])
    }

    @Test func heldFilesystemHoldsNobodyElse() throws {  // V3
        let held = HeldFileSystem(vfs: world.vfs)
        try p.mount(held, at: "/mnt")
        let p = p
        let each = rounds(2000)
        let done = Atomic<Int>(0)
        let stuck = Atomic<Int>(0)
        runThreads(4) { index in
            if index == 0 {
                #expect((try? p.stat("/mnt/file").size) == 4)
                stuck.add(1, ordering: .relaxed)
                return
            }
            // The thread above is in the held filesystem, or on its way.
            while held.waiting == 0 { cairnYield() }
            for round in 0..<each {
                let path = Path("/f\(index)-\(round)")
                try? p.make(path, "x")
                if (try? p.content(path)) == "x" { done.add(1, ordering: .relaxed) }
                try? p.unlink(path)
            }
            if done.load(ordering: .relaxed) == 3 * each {
                #expect(stuck.load(ordering: .relaxed) == 0)
                held.letGo()
            }
        }
        #expect(done.load(ordering: .relaxed) == 3 * each)
        #expect(stuck.load(ordering: .relaxed) == 1)
        try p.unmount("/mnt")
        held.end()
    }

    @Test func forcedUnmountFailsWhatWaits() throws {
        let held = HeldFileSystem(vfs: world.vfs)
        try p.mount(held, at: "/mnt")
        let p = p
        runThreads(2) { index in
            if index == 0 {
                expect(.EIO) { () throws(Errno) in _ = try p.stat("/mnt/file") }
            } else {
                while held.waiting == 0 { cairnYield() }
                #expect(throws: Never.self) { try p.unmount("/mnt", force: true) }
            }
        }
        #expect(try p.names("/mnt") == ["below"])
        held.end()
    }
}

import Glibc

func cairnYield() {
    sched_yield()
}

/// Counts how often it is closed.
final class ClosingFileSystem: FileSystem, @unchecked Sendable {
    let closes = Atomic<Int>(0)
    private var rootStorage: Inode?

    init(vfs: VFS) {
        super.init(typeName: "closing", time: vfs.time)
        rootStorage = EmptyDirectory(number: 1, kind: .directory, fileSystem: self)
    }

    override var root: Inode { rootStorage! }

    override func close() throws(Pause) {
        closes.add(1, ordering: .relaxed)
    }

    func end() {
        rootStorage = nil
    }
}

final class EmptyDirectory: Inode, @unchecked Sendable {
    override func attributes() throws(Pause) -> Attributes {
        Attributes(
            number: number, kind: .directory, permissions: Permissions(rawValue: 0o755),
            linkCount: 2, time: Timestamp(seconds: 0))
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? { nil }

    override func readDirectory(
        after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {}
}
