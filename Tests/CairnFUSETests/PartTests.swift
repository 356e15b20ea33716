// Filesystems that are mounted, moved and unmounted inside a namespace while the kernel has it
// mounted.

import CTestCalls
import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Testing

extension MountTests {
    @Suite(.serialized) struct Parts {
        @Test(arguments: transports)  // V2
        func aForcedUnmountFailsWhatIsInFlight(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let slow = ScratchFileSystem()
            try await withMount(
                over: transport, prepare: { try $0.mount(slow, on: "slow") }
            ) { mounted in
                #expect(put(mounted("slow/f"), "12345"))
                let part = try #require(mounted.namespace.mounts.last)
                slow.holdBack()
                defer { slow.letGo() }
                let code = Counter()
                let path = mounted("slow/f")
                let caller = OwnThread {
                    if truncate(path, 2) == -1 { code.add(Int(errno)) }
                }
                #expect(eventually { mounted.mount.statistics.waiting == 1 })
                try mounted.namespace.unmount(part, force: true)
                #expect(eventually { code.value != 0 })
                slow.letGo()
                caller.join()
                #expect(code.value == Int(EIO))
                #expect(eventually { mounted.mount.statistics.waiting == 0 })
                #expect(names(mounted("slow")) == [])
                #expect(slow.isClosed)
            }
        }

        @Test(arguments: transports)  // V2
        func whatIsMountedLaterShows(over transport: FUSEMountOptions.Transport) async throws {
            try await withMount(over: transport) { mounted in
                let namespace = mounted.namespace
                for place in ["here", "there"] {
                    #expect(mkdir(mounted(place), 0o755) == 0)
                    #expect(put(mounted("\(place)/below"), "x"))
                    #expect(names(mounted(place)) == ["below"])
                    #expect(status(mounted("\(place)/f")) == nil)
                }
                let part = try namespace.mount(ScratchFileSystem(), on: "here")
                #expect(eventually { names(mounted("here")) == [] })
                #expect(put(mounted("here/f"), "text"))
                #expect(contents(mounted("here/f")) == Array("text".utf8))
                #expect(status(mounted("here/below")) == nil)

                try namespace.move(part, to: try namespace.directory("there"))
                #expect(eventually { names(mounted("here")) == ["below"] })
                #expect(eventually { contents(mounted("there/f")) == Array("text".utf8) })

                try namespace.mount(ScratchFileSystem(), on: "there")
                #expect(eventually { names(mounted("there")) == [] })
                try namespace.unmount(try #require(namespace.mounts.last))
                #expect(eventually { names(mounted("there")) == ["f"] })

                try namespace.unmount(part)
                #expect(eventually { names(mounted("there")) == ["below"] })
            }
        }

        @Test(arguments: transports)  // V2
        func aFileIsCoveredToo(over transport: FUSEMountOptions.Transport) async throws {
            try await withMount(over: transport) { mounted in
                #expect(put(mounted("covered"), "below"))
                #expect(put(mounted("shown"), "above"))
                let root = mounted.namespace.rootMount
                let shown = Location(mount: root, inode: try mounted.find("shown"))
                let covered = Location(mount: root, inode: try mounted.find("covered"))
                let part = try mounted.namespace.bind(shown, at: covered)
                #expect(eventually { contents(mounted("covered")) == Array("above".utf8) })
                try mounted.namespace.unmount(part, lazily: true)
                #expect(eventually { contents(mounted("covered")) == Array("below".utf8) })
            }
        }

        // What the kernel only remembers keeps no filesystem busy; what it uses does.
        @Test(arguments: transports)  // V2
        func aPartIsBusyOnlyWhileItIsUsed(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let fileSystem = ScratchFileSystem()
            try await withMount(over: transport) { mounted in
                let part = try mounted.namespace.mount(fileSystem, on: "part")
                #expect(mkdir(mounted("part/d"), 0o755) == 0)
                for number in 0..<100 {
                    #expect(put(mounted("part/d/\(number)"), "text"))
                }
                #expect(names(mounted("part/d"))?.count == 100)
                let file = open(mounted("part/d/7"), O_RDONLY)
                #expect(throws: Errno.EBUSY) { try mounted.namespace.unmount(part) }
                #expect(contents(of: file) == Array("text".utf8))
                #expect(contents(mounted("part/d/8")) == Array("text".utf8))
                close(file)
                try mounted.namespace.unmount(part)
                #expect(fileSystem.isClosed)
                #expect(eventually { names(mounted("part")) == [] })
            }
        }

        @Test(arguments: transports)  // V2
        func aPartThatLeavesLazilyEndsWithItsLastUse(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                let fileSystem = ScratchFileSystem()
                let part = try mounted.namespace.mount(fileSystem, on: "part")
                try mounted.namespace.mount(ScratchFileSystem(), on: "part/inner")
                #expect(put(mounted("part/f"), "text"))
                let file = open(mounted("part/f"), O_RDONLY)
                try mounted.namespace.unmount(part, lazily: true)
                #expect(eventually { names(mounted("part")) == [] })
                #expect(contents(of: file) == Array("text".utf8))
                #expect(!fileSystem.isClosed)
                close(file)
                #expect(eventually { fileSystem.isClosed })
            }
        }

        @Test(arguments: transports)
        func partsThatComeAndGoLeaveNothing(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                var gone: [WeakFileSystem] = []
                for _ in 0..<100 {
                    let fileSystem = ScratchFileSystem()
                    gone.append(WeakFileSystem(fileSystem: fileSystem))
                    let part = try mounted.namespace.mount(fileSystem, on: "part")
                    #expect(eventually { put(mounted("part/f"), "text") })
                    _ = names(mounted("part"))
                    try mounted.namespace.unmount(part)
                }
                #expect(
                    eventually {
                        Epoch.flush()
                        return gone.allSatisfy { $0.fileSystem == nil }
                    })
            }
        }

        // MARK: One filesystem in two places

        @Test(arguments: transports)  // V2
        func namesMadeInOnePlaceShowInTheOther(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(
                over: transport, prepare: { try $0.showTwice(ScratchFileSystem()) }
            ) { mounted in
                #expect(status(mounted("b/f")) == nil)
                #expect(names(mounted("b")) == [])
                #expect(put(mounted("a/f"), "text"))
                #expect(eventually { status(mounted("b/f")) != nil })
                #expect(eventually { names(mounted("b")) == ["f"] })
                #expect(contents(mounted("b/f")) == Array("text".utf8))

                #expect(mkdir(mounted("b/d"), 0o755) == 0)
                #expect(eventually { status(mounted("a/d")) != nil })
                #expect(rename(mounted("b/f"), mounted("b/d/g")) == 0)
                #expect(eventually { status(mounted("a/f")) == nil })
                #expect(eventually { names(mounted("a/d")) == ["g"] })
                #expect(unlink(mounted("a/d/g")) == 0)
                #expect(eventually { status(mounted("b/d/g")) == nil })
                #expect(chmod(mounted("a/d"), 0o700) == 0)
                #expect(eventually { status(mounted("b/d"))?.st_mode == S_IFDIR | 0o700 })
                #expect(mkdir(mounted("a/d/e"), 0o755) == 0)
                #expect(keepsItsName(mounted("a/d/e")), "what was made here is not taken back")
            }
        }

        @Test(arguments: transports)  // V2
        func whatIsWrittenShowsWhereItIsReadOnly(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(
                over: transport, prepare: { try $0.showTwice(ScratchFileSystem(), .readOnly) }
            ) { mounted in
                #expect(put(mounted("a/f"), "one"))
                #expect(eventually { contents(mounted("b/f")) == Array("one".utf8) })
                #expect(put(mounted("a/f"), "and two"))
                #expect(eventually { contents(mounted("b/f")) == Array("and two".utf8) })
                let file = open(mounted("a/f"), O_RDWR)
                #expect(pwrite(file, "AND", 3, 0) == 3)
                #expect(eventually { contents(mounted("b/f")) == Array("AND two".utf8) })
                #expect(ftruncate(file, 3) == 0)
                #expect(eventually { status(mounted("b/f"))?.st_size == 3 })
                close(file)
            }
        }

        @Test(arguments: transports)  // V2
        func linksAndMovesStayInOnePlace(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(
                over: transport, prepare: { try $0.showTwice(ScratchFileSystem()) }
            ) { mounted in
                #expect(put(mounted("a/f"), "text"))
                #expect(link(mounted("a/f"), mounted("b/g")) == -1 && errno == EXDEV)
                #expect(rename(mounted("a/f"), mounted("b/g")) == -1 && errno == EXDEV)
                #expect(link(mounted("a/f"), mounted("a/g")) == 0)
                #expect(eventually { status(mounted("b/g"))?.st_nlink == 2 })
                #expect(link(mounted("b/g"), mounted("b/h")) == 0)
            }
        }

        // A file has one node and one set of pages, whichever way it was found.
        @Test(arguments: transports, ["a", "b"])  // V2
        func aFileOutlivesOneOfItsPlaces(
            over transport: FUSEMountOptions.Transport, going: String
        ) async throws {
            try await withMount(
                over: transport, prepare: { try $0.showTwice(ScratchFileSystem()) }
            ) { mounted in
                #expect(put(mounted("a/f"), "text"))
                #expect(contents(mounted("b/f")) == Array("text".utf8))
                let (staying, index) = going == "a" ? ("b", 1) : ("a", 2)
                let file = open(mounted("\(staying)/f"), O_RDWR)
                let part = mounted.namespace.mounts[index]
                try mounted.namespace.unmount(part, force: true)
                #expect(eventually { names(mounted(going)) == [] })
                #expect(pwrite(file, "TE", 2, 0) == 2)
                #expect(contents(of: file) == Array("TExt".utf8))
                #expect(contents(mounted("\(staying)/f")) == Array("TExt".utf8))
                #expect(link(mounted("\(staying)/f"), mounted("\(staying)/g")) == 0)
                close(file)
                try mounted.namespace.unmount(try #require(mounted.namespace.mounts.last))
            }
        }
    }
}

/// Whether the kernel still knows a directory by its name, for who is in it.
private func keepsItsName(_ path: String) -> Bool {
    let directory = open(path, O_RDONLY | O_DIRECTORY)
    defer { close(directory) }
    usleep(20_000)  // for what would wrongly be taken back
    return linkTarget("/proc/self/fd/\(directory)") == path
}

private struct WeakFileSystem {
    weak var fileSystem: ScratchFileSystem?
}

extension Namespace {
    /// Mounts a filesystem on a directory, which is made if it is missing.
    @discardableResult
    func mount(
        _ fileSystem: FileSystem, on path: String, flags: MountFlags = []
    ) throws -> Mount {
        try mount(fileSystem, at: try directory(path), flags: flags)
    }

    /// Mounts a filesystem on `a`, and shows it on `b`.
    func showTwice(_ fileSystem: FileSystem, _ flags: MountFlags = []) throws {
        let part = try mount(fileSystem, on: "a")
        try bind(Location(mount: part, inode: part.root), at: try directory("b"), flags: flags)
    }

    /// A directory, made if it is missing.
    func directory(_ path: String) throws -> Location {
        try path.split(separator: "/").reduce(root) { place, part in
            let inode = try blocking { () throws(Pause) in
                try FileName(String(part)).withName { (name) throws(Pause) in
                    if let found = try vfs.lookup(name, in: place.inode) { return found }
                    return try vfs.create(
                        name, in: place.inode,
                        NewNode(kind: .directory, permissions: Permissions(rawValue: 0o755)),
                        by: Caller(.root))
                }
            }
            return crossed(Location(mount: place.mount, inode: inode))
        }
    }
}
