// Mounting and unmounting, and namespaces of several mounts.

import CTestCalls
import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Testing

extension MountTests {
    @Suite(.serialized) struct Mounting {
        @Test func aBadMountPointIsExplained() async throws {
            try await onOwnThread {
                let namespace = try Namespace(vfs: VFS(), root: ScratchFileSystem())
                let cases: [(String, Errno, String)] = [
                    ("/tmp/cairn-no-such-place", .ENOENT, "does not exist"),
                    ("/etc/passwd", .ENOTDIR, "not a directory"),
                ]
                for (path, errno, text) in cases {
                    do throws(MountFailure) {
                        _ = try FUSEMount(namespace: namespace, at: path)
                        Issue.record("\(path) was mounted")
                    } catch {
                        #expect(error.errno == errno && error.description.contains(text))
                    }
                }
            }
        }

        @Test(arguments: transports)
        func aMountInUseIsBusyAndCanBeDetached(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                #expect(put(mounted("f"), "text"))
                let file = open(mounted("f"), O_RDONLY)
                do throws(MountFailure) {
                    try mounted.mount.unmount()
                    Issue.record("a mount in use was unmounted")
                } catch {
                    #expect(error.errno == .EBUSY)
                }
                try mounted.mount.unmount(lazy: true)
                #expect(names(mounted.path) == [])
                #expect(contents(of: file) == Array("text".utf8))
                close(file)
            }
        }

        // D5: -o sync, where the kernel asks us to open and to cut at once
        @Test(arguments: transports)
        func whatIsCutAsItIsOpenedIsDurable(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let scratch = ScratchFileSystem()
            var options = FUSEMountOptions()
            options.openless = .off
            try await withMount(over: transport, scratch, options: options, prepare: synchronous) {
                mounted in
                #expect(put(mounted("f"), "12345"))
                let before = scratch.syncCount
                scratch.holdSyncsBack()
                defer { scratch.letGo() }
                let opened = Counter()
                let path = mounted("f")
                let thread = OwnThread {
                    let file = open(path, O_WRONLY | O_TRUNC)
                    opened.add(1)
                    close(file)
                }
                #expect(eventually { mounted.mount.statistics.waiting == 1 })
                #expect(opened.value == 0 && scratch.syncCount == before)
                scratch.letGo()
                thread.join()
                #expect(opened.value == 1 && scratch.syncCount == before + 1)
                #expect(status(path)?.st_size == 0)
            }
        }

        // The probe has a file open for a moment; nobody else shall see the mount busy by it.
        @Test func aMountCanBeTakenAwayAtOnce() async throws {
            try await onOwnThread {
                for _ in 0..<50 {
                    let mounted = try MountedNamespace(ScratchFileSystem())
                    defer { mounted.end() }
                    try mounted.mount.unmount()
                }
            }
        }

        @Test func theMountTableShowsWhatWasAskedFor() async throws {
            var options = FUSEMountOptions()
            options.sourceName = "some source"
            options.flags = [.readOnly, .noSetID, .noExecute]
            try await withMount(options: options) { mounted in
                let table = String(decoding: contents("/proc/mounts") ?? [], as: UTF8.self)
                let line = table.split(separator: "\n").first { $0.contains(mounted.path) }
                let found = try #require(line)
                #expect(found.hasPrefix("some\\040source \(mounted.path) fuse.cairn.scratch ro,"))
                #expect(found.contains("nosuid") && found.contains("noexec"))
                #expect(!put(mounted("f"), "x") && errno == EROFS)
            }
        }

        @Test func theStrictestMountDecidesWhatMayRun() async throws {
            try await withMount(
                prepare: { namespace in
                    let place = try blocking { () throws(Pause) in
                        try FileName("below").withName { (name) throws(Pause) in
                            try namespace.vfs.create(
                                name, in: namespace.root.inode,
                                NewNode(kind: .directory, permissions: .executeAll),
                                by: Caller(.root))
                        }
                    }
                    try namespace.mount(
                        ScratchFileSystem(),
                        at: Location(mount: namespace.rootMount, inode: place),
                        flags: [.noSetID, .noDevices, .noExecute, .readOnly])
                }
            ) { mounted in
                let table = String(decoding: contents("/proc/mounts") ?? [], as: UTF8.self)
                let line = table.split(separator: "\n").first { $0.contains(mounted.path) }
                let found = try #require(line)
                for word in [" rw,", "nosuid", "nodev"] {
                    #expect(found.contains(word))
                }
                // Asked for and refused file by file, so that the root's programs still run.
                #expect(!found.contains("noexec"))
            }
        }

        @Test(arguments: transports)
        func mountsBelowAreCrossed(over transport: FUSEMountOptions.Transport) async throws {
            let inner = ScratchFileSystem()
            let frozen = ScratchFileSystem()
            let kept = FileName("kept")
            try blocking { () throws(Pause) in
                _ = try kept.withName { (name) throws(Pause) in
                    try VFS().create(
                        name, in: frozen.root,
                        NewNode(kind: .regular, permissions: .init(rawValue: 0o644)),
                        by: Caller(.root))
                }
            }
            try await withMount(
                over: transport,
                prepare: { namespace in
                    for (name, fileSystem, flags) in [
                        ("inner", inner, MountFlags()), ("frozen", frozen, .readOnly),
                    ] {
                        let place = try blocking { () throws(Pause) in
                            try FileName(name).withName { (name) throws(Pause) in
                                try namespace.vfs.create(
                                    name, in: namespace.root.inode,
                                    NewNode(kind: .directory, permissions: .executeAll),
                                    by: Caller(.root))
                            }
                        }
                        try namespace.mount(
                            fileSystem, at: Location(mount: namespace.rootMount, inode: place),
                            flags: flags)
                    }
                }
            ) { mounted in
                #expect(put(mounted("inner/f"), "inner"))
                #expect(put(mounted("f"), "outer"))
                #expect(contents(mounted("inner/../f")) == Array("outer".utf8))
                #expect(names(mounted("inner")) == ["f"])
                #expect(rename(mounted("f"), mounted("inner/g")) == -1 && errno == EXDEV)
                #expect(link(mounted("f"), mounted("inner/g")) == -1 && errno == EXDEV)
                #expect(rmdir(mounted("inner")) == -1 && errno == EBUSY)
                #expect(mkdir(mounted("frozen/d"), 0o700) == -1 && errno == EROFS)
                #expect(chmod(mounted("frozen"), 0o700) == -1 && errno == EROFS)
                let changing = [O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_TRUNC]
                for flags in changing {
                    #expect(open(mounted("frozen/kept"), flags) == -1 && errno == EROFS)
                }
                #expect(contents(mounted("frozen/kept")) == [])
                let inner = try #require(status(mounted("inner/f")))
                let outer = try #require(status(mounted("f")))
                #expect(inner.st_ino != outer.st_ino)
                #expect(inner.st_dev == outer.st_dev)
            }
        }

        // The kernel knows one mount and its flags; the namespace's other mounts have their own.
        @Test(arguments: transports)
        func whatAPartRefusesIsRefusedThereOnly(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let program = contents("/bin/true") ?? []
            let parts = ["frozen": MountFlags.readOnly, "inert": [.noExecute], "safe": [.noSetID]]
            let frozen = ScratchFileSystem()
            try await withMount(
                over: transport,
                prepare: { namespace in
                    try make("program", program, in: frozen.root, of: namespace)
                    for (name, flags) in parts {
                        let place = try makeDirectory(name, in: namespace)
                        try namespace.mount(
                            name == "frozen" ? frozen : ScratchFileSystem(),
                            at: Location(mount: namespace.rootMount, inode: place), flags: flags)
                    }
                }
            ) { mounted in
                let readBefore = try frozen.accessTime(of: "program")
                let file = mounted("frozen/program")
                for flags in [O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC] {
                    #expect(open(file, flags) == -1 && errno == EROFS)
                }
                #expect(unlink(file) == -1 && errno == EROFS)
                #expect(!put(mounted("frozen/new"), "x") && errno == EROFS)
                #expect(cairn_test_set_attribute(file, "user.a", "v", 1, 0) == -EROFS)
                #expect(contents(file) == program)
                #expect(cairn_test_run(file, "x") == 0)
                #expect(try frozen.accessTime(of: "program") == readBefore)

                #expect(put(mounted("inert/program"), program, mode: 0o755))
                #expect(access(mounted("inert/program"), R_OK | W_OK) == 0)
                #expect(cairn_test_run(mounted("inert/program"), "x") != 0)
                #expect(put(mounted("program"), program, mode: 0o755))
                #expect(cairn_test_run(mounted("program"), "x") == 0)

                let table = String(decoding: contents("/proc/mounts") ?? [], as: UTF8.self)
                let line = table.split(separator: "\n").first { $0.contains(mounted.path) }
                #expect(try #require(line).contains("nosuid"))
            }
        }

        @Test(arguments: transports)
        func aPartOfAReadOnlyNamespaceCanBeWritten(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let root = ScratchFileSystem()
            try await withMount(
                over: transport, root,
                prepare: { namespace in
                    namespace.rootMount.flags = .readOnly
                    try make("fixed", [1], in: root.root, of: namespace)
                    let place = try makeDirectory("writable", in: namespace)
                    try namespace.mount(
                        ScratchFileSystem(),
                        at: Location(mount: namespace.rootMount, inode: place))
                }
            ) { mounted in
                #expect(put(mounted("writable/f"), "x"))
                #expect(!put(mounted("f"), "x") && errno == EROFS)
                #expect(!put(mounted("fixed"), "x") && errno == EROFS)
                #expect(rmdir(mounted("writable")) == -1)
            }
        }
    }
}

@discardableResult
private func makeDirectory(_ name: String, in namespace: Namespace) throws -> Inode {
    try blocking { () throws(Pause) in
        try FileName(name).withName { (name) throws(Pause) in
            try namespace.vfs.create(
                name, in: namespace.root.inode,
                NewNode(kind: .directory, permissions: .executeAll), by: Caller(.root))
        }
    }
}

/// Makes a program, before it is mounted read-only.
private func make(
    _ name: String, _ bytes: [UInt8], in directory: Inode, of namespace: Namespace
) throws {
    try blocking { () throws(Pause) in
        let file = try FileName(name).withName { (name) throws(Pause) in
            try namespace.vfs.create(
                name, in: directory,
                NewNode(kind: .regular, permissions: Permissions(rawValue: 0o755)),
                by: Caller(.root))
        }
        var result: Result<Written, Pause>?
        bytes.withUnsafeBytes { bytes in
            result = Result { () throws(Pause) in
                try namespace.vfs.write(
                    bytes, to: file, at: .offset(0), options: [], by: Caller(.root))
            }
        }
        _ = try result?.get()
    }
}
