// Names through a mount: made, found, moved, listed and taken away.

import CTestCalls
import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Testing

extension MountTests {
    @Suite(.serialized) struct Names {
        @Test(arguments: transports)
        func filesAreMadeRenamedAndRemoved(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                let text = Array("hello, world".utf8)
                let file = open(mounted("a"), O_CREAT | O_RDWR | O_EXCL, 0o640)
                try #require(file >= 0)
                #expect(write(file, text, text.count) == text.count)
                #expect(close(file) == 0)
                let found = try #require(status(mounted("a")))
                #expect(found.st_size == 12 && found.st_mode & 0o777 == 0o640)
                #expect(open(mounted("a"), O_CREAT | O_EXCL, 0o600) == -1 && errno == EEXIST)
                #expect(rename(mounted("a"), mounted("b")) == 0)
                #expect(status(mounted("a")) == nil && errno == ENOENT)
                #expect(contents(mounted("b")) == text)
                #expect(unlink(mounted("b")) == 0)
                #expect(unlink(mounted("b")) == -1 && errno == ENOENT)
            }
        }

        @Test(arguments: transports)
        func everyKindOfNodeIsMade(over transport: FUSEMountOptions.Transport) async throws {
            try await withMount(over: transport) { mounted in
                #expect(mkdir(mounted("d"), 0o750) == 0)
                #expect(symlink("d/target", mounted("s")) == 0)
                #expect(mknod(mounted("fifo"), S_IFIFO | 0o600, 0) == 0)
                let device = dev_t(0x1234_5678 & 0xfff_ffff)
                #expect(mknod(mounted("block"), S_IFBLK | 0o600, device) == 0)
                #expect(status(mounted("d")).map { $0.st_mode & S_IFMT } == S_IFDIR)
                #expect(status(mounted("block")).map { $0.st_rdev } == device)
                #expect(status(mounted("fifo")).map { $0.st_mode & S_IFMT } == S_IFIFO)
                #expect(linkTarget(mounted("s")) == "d/target")
                #expect(put(mounted("s"), "x"))
                #expect(contents(mounted("d/target")) == Array("x".utf8))
                #expect(link(mounted("d/target"), mounted("l")) == 0)
                #expect(status(mounted("l")).map { $0.st_nlink } == 2)
                #expect(status(mounted("l"))?.st_ino == status(mounted("d/target"))?.st_ino)
                #expect(rmdir(mounted("d")) == -1 && errno == ENOTEMPTY)
                #expect(unlink(mounted("d")) == -1 && errno == EISDIR)
                #expect(rmdir(mounted("l")) == -1 && errno == ENOTDIR)
                #expect(mkdir(mounted("d"), 0o700) == -1 && errno == EEXIST)
            }
        }

        @Test(arguments: transports)
        func umaskAndNamesAtTheLimitAreKept(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                let before = umask(0o027)
                defer { umask(before) }
                #expect(put(mounted("masked"), [], mode: 0o666))
                #expect(status(mounted("masked")).map { $0.st_mode & 0o777 } == 0o640)
                #expect(mkdir(mounted("dir"), 0o777) == 0)
                #expect(status(mounted("dir")).map { $0.st_mode & 0o777 } == 0o750)
                let longest = String(repeating: "n", count: 255)
                #expect(put(mounted(longest), "1"))
                #expect(contents(mounted(longest)) == Array("1".utf8))
                #expect(!put(mounted(longest + "n"), "1") && errno == ENAMETOOLONG)
            }
        }

        @Test(arguments: transports)
        func aDirectoryOfManyIsListedOnceEach(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                let count = 3000
                let wanted = (0..<count).map { "file-\($0)" }
                for name in wanted {
                    #expect(put(mounted(name), []))
                }
                #expect(names(mounted.path) == wanted.sorted())
                // Removing while listing: what stays throughout appears exactly once.
                let directory = try #require(opendir(mounted.path))
                defer { closedir(directory) }
                var seen: [String] = []
                while let entry = readdir(directory) {
                    let name = withUnsafePointer(to: &entry.pointee.d_name) {
                        $0.withMemoryRebound(to: CChar.self, capacity: 256) {
                            String(cString: $0)
                        }
                    }
                    guard name != ".", name != ".." else { continue }
                    seen.append(name)
                    #expect(unlink(mounted(name)) == 0)
                }
                #expect(seen.sorted() == wanted.sorted())
                #expect(names(mounted.path) == [])
            }
        }

        @Test(arguments: transports)
        func aFileWithoutANameLivesWhileItIsOpen(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let fileSystem = ScratchFileSystem()
            try await withMount(over: transport, fileSystem) { mounted in
                let file = open(mounted("gone"), O_CREAT | O_RDWR, 0o600)
                try #require(file >= 0)
                #expect(write(file, "abc", 3) == 3)
                #expect(unlink(mounted("gone")) == 0)
                #expect(write(file, "def", 3) == 3)
                #expect(fsync(file) == 0)
                #expect(lseek(file, 0, SEEK_SET) == 0)
                #expect(contents(of: file) == Array("abcdef".utf8))
                var found = stat()
                #expect(fstat(file, &found) == 0 && found.st_nlink == 0)
                #expect(fileSystem.freedCount == 0)
                close(file)
                #expect(eventually { fileSystem.freedCount == 1 })
            }
        }

        @Test(arguments: transports)
        func creatingWhatIsThereAlreadyChecksWhoMay(
            over transport: FUSEMountOptions.Transport
        ) async throws {
            try await withMount(over: transport) { mounted in
                #expect(chmod(mounted.path, 0o777) == 0)
                // Made behind the back of the VFS, so the kernel is not told of it.
                let root = mounted.namespace.root.inode
                for (name, mode) in [("closed", UInt32(0o600)), ("shared", 0o666)] {
                    #expect(status(mounted(name)) == nil)
                    try blocking { () throws(Pause) in
                        _ = try FileName(name).withName { (name) throws(Pause) in
                            try root.create(
                                name,
                                NewNode(kind: .regular, permissions: .init(rawValue: mode)),
                                by: .root)
                        }
                    }
                }
                let flags = O_CREAT | O_RDWR
                #expect(cairn_test_open_as(mounted("closed"), flags, 12345) == -EACCES)
                #expect(cairn_test_open_as(mounted("closed"), flags | O_TRUNC, 12345) == -EACCES)
                #expect(cairn_test_open_as(mounted("shared"), flags, 12345) == 0)
                #expect(cairn_test_open_as(mounted("shared"), flags | O_EXCL, 12345) == -EEXIST)
            }
        }

        @Test(arguments: transports)
        func renameKnowsItsFlags(over transport: FUSEMountOptions.Transport) async throws {
            try await withMount(over: transport) { mounted in
                #expect(put(mounted("a"), "a") && put(mounted("b"), "b"))
                #expect(renameWith(1, mounted("a"), mounted("b")) == -EEXIST)
                #expect(renameWith(2, mounted("a"), mounted("b")) == 0)
                #expect(contents(mounted("a")) == Array("b".utf8))
                #expect(contents(mounted("b")) == Array("a".utf8))
                #expect(renameWith(3, mounted("a"), mounted("b")) == -EINVAL)
                #expect(rename(mounted("a"), mounted("b")) == 0)
                #expect(names(mounted.path) == ["b"])
                #expect(contents(mounted("b")) == Array("b".utf8))
            }
        }
    }
}
