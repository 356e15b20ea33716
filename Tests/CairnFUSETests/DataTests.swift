// File data through a mount, with and without the kernel's opening of files.

import CTestCalls
import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Synchronization
import Testing

/// A transport, and whether OPEN is answered.
struct DataCase: Sendable, CustomTestStringConvertible {
    var transport: FUSEMountOptions.Transport
    var openless: FUSEMountOptions.Openless
    var writebackCache: Bool

    var options: FUSEMountOptions {
        var options = FUSEMountOptions()
        options.openless = openless
        options.writebackCache = writebackCache
        return options
    }

    var testDescription: String {
        "\(transport), openless \(openless), write-back \(writebackCache)"
    }

    static let all: [DataCase] = [
        DataCase(transport: .device, openless: .on, writebackCache: true),
        DataCase(transport: .device, openless: .off, writebackCache: true),
        DataCase(transport: .device, openless: .on, writebackCache: false),
        DataCase(transport: .ioUring, openless: .on, writebackCache: true),
        DataCase(transport: .ioUring, openless: .off, writebackCache: false),
    ]
}

extension MountTests {
    @Suite(.serialized) struct Data {
        @Test(arguments: DataCase.all)
        func largeAndSparseFilesKeepEachByte(_ one: DataCase) async throws {
            try await withMount(over: one.transport, options: one.options) { mounted in
                let bytes = (0..<1_300_001).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
                #expect(put(mounted("large"), bytes))
                #expect(contents(mounted("large")) == bytes)
                #expect(status(mounted("large")).map { $0.st_size } == 1_300_001)
                let file = open(mounted("sparse"), O_CREAT | O_RDWR, 0o600)
                #expect(pwrite(file, "x", 1, 1_000_000) == 1)
                close(file)
                let sparse = try #require(contents(mounted("sparse")))
                #expect(sparse.count == 1_000_001 && sparse.last == UInt8(ascii: "x"))
                #expect(sparse.dropLast().allSatisfy { $0 == 0 })
                var past = [UInt8](repeating: 1, count: 8)
                let again = open(mounted("sparse"), O_RDONLY)
                #expect(pread(again, &past, 8, 9_000_000) == 0)
                close(again)
            }
        }

        // Who creates a file to write it writes past the kernel's cache (Session+Data.swift).
        @Test(arguments: DataCase.all)
        func whatIsReadWhileItIsWrittenIsNew(_ one: DataCase) async throws {
            try await withMount(over: one.transport, options: one.options) { mounted in
                let path = mounted("log")
                let writer = open(path, O_CREAT | O_WRONLY, 0o600)
                let bytes = [UInt8](repeating: 0, count: 10_000)
                #expect(write(writer, bytes, bytes.count) == bytes.count)
                let isOver = Atomic<Bool>(false)
                let reading = OwnThread {
                    let reader = open(path, O_RDONLY)
                    var byte: UInt8 = 0
                    while !isOver.load(ordering: .acquiring) {
                        pread(reader, &byte, 1, 5000)
                    }
                    close(reader)
                }
                let reader = open(path, O_RDONLY)
                for round in 1...300 {
                    let new = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: 5000)
                    #expect(pwrite(writer, new, 5000, 4500) == 5000)
                    var found = [UInt8](repeating: 0, count: 5000)
                    #expect(pread(reader, &found, 5000, 4500) == 5000)
                    #expect(found == new)
                }
                isOver.store(true, ordering: .releasing)
                reading.join()
                close(reader)
                close(writer)
                #expect(contents(path)?.count == 10_000)
            }
        }

        @Test(arguments: DataCase.all)
        func writingTakesFileCapabilitiesAway(_ one: DataCase) async throws {
            try await withMount(over: one.transport, options: one.options) { mounted in
                let path = mounted("program")
                let writer = open(path, O_CREAT | O_WRONLY, 0o755)
                // struct vfs_ns_cap_data, revision 2: CAP_CHOWN.
                let capabilities: [UInt8] =
                    [0, 0, 0, 2, 1, 0, 0, 0] + [UInt8](repeating: 0, count: 12)
                let name = "security.capability"
                try #require(
                    cairn_test_set_attribute(path, name, capabilities, capabilities.count, 0) == 0)
                #expect(cairn_test_get_attribute(path, name, nil, 0) == capabilities.count)
                #expect(write(writer, "x", 1) == 1)
                #expect(cairn_test_get_attribute(path, name, nil, 0) == -Int64(ENODATA))
                #expect(write(writer, "y", 1) == 1)
                close(writer)
                #expect(contents(path) == Array("xy".utf8))
            }
        }

        // An archive's files start anywhere in tar's buffer, and end anywhere.
        @Test(arguments: transports)
        func oneWriteIsOneRequest(over transport: FUSEMountOptions.Transport) async throws {
            try await withMount(over: transport) { mounted in
                guard mounted.mount.statistics.protocolMinor >= 40 else {
                    return print("skipped: this kernel writes past its cache at its own risk")
                }
                let bytes = (0..<300_001).map { UInt8(truncatingIfNeeded: $0 >> 2) }
                let file = open(mounted("f"), O_CREAT | O_WRONLY, 0o600)
                #expect(write(file, bytes, 3000) == 3000)
                let before = mounted.settledRequestCount
                let rest = Array(bytes[3000...])
                #expect(write(file, rest, rest.count) == rest.count)
                #expect(mounted.settledRequestCount == before + 1)
                close(file)
                #expect(contents(mounted("f")) == bytes)
            }
        }

        @Test(arguments: DataCase.all)
        func openingTruncatesAppendsAndExcludes(_ one: DataCase) async throws {
            try await withMount(over: one.transport, options: one.options) { mounted in
                #expect(put(mounted("f"), "a long first text"))
                #expect(put(mounted("f"), "short"))
                #expect(contents(mounted("f")) == Array("short".utf8))
                #expect(status(mounted("f")).map { $0.st_size } == 5)
                let first = open(mounted("f"), O_WRONLY | O_APPEND)
                let second = open(mounted("f"), O_WRONLY | O_APPEND)
                for round in 0..<4 {
                    let file = round % 2 == 0 ? first : second
                    #expect(write(file, "\(round)", 1) == 1)
                }
                close(first)
                close(second)
                #expect(contents(mounted("f")) == Array("short0123".utf8))
                #expect(open(mounted("f"), O_CREAT | O_EXCL | O_RDWR, 0o600) == -1)
                #expect(truncate(mounted("f"), 3) == 0)
                #expect(contents(mounted("f")) == Array("sho".utf8))
                #expect(truncate(mounted("f"), 6) == 0)
                #expect(contents(mounted("f")) == Array("sho\0\0\0".utf8))
            }
        }

        @Test(arguments: DataCase.all)
        func programsRunAndMappingsAreShared(_ one: DataCase) async throws {
            try await withMount(over: one.transport, options: one.options) { mounted in
                let program = try #require(contents("/bin/true"))
                #expect(put(mounted("program"), program, mode: 0o755))
                #expect(cairn_test_run(mounted("program"), "x") == 0)
                #expect(put(mounted("script"), Array("#!/bin/sh\nexit 7\n".utf8), mode: 0o755))
                #expect(cairn_test_run(mounted("script"), "x") == -7)

                let file = open(mounted("mapped"), O_CREAT | O_RDWR, 0o600)
                #expect(ftruncate(file, 8192) == 0)
                let memory = mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                let bytes = try #require(memory)
                try #require(bytes != MAP_FAILED)
                memcpy(bytes + 4090, "across a page", 13)
                var read = [UInt8](repeating: 0, count: 13)
                #expect(pread(file, &read, 13, 4090) == 13)
                #expect(read == Array("across a page".utf8))
                #expect(pwrite(file, "WRITTEN", 7, 100) == 7)
                #expect(memcmp(bytes + 100, "WRITTEN", 7) == 0)
                #expect(msync(bytes, 8192, MS_SYNC) == 0)
                munmap(bytes, 8192)
                close(file)
                let kept = try #require(contents(mounted("mapped")))
                #expect(kept[4090..<4103].elementsEqual("across a page".utf8))
            }
        }

        @Test(arguments: transports)
        func rangesAreReservedPunchedSoughtAndCopied(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                let file = open(mounted("f"), O_CREAT | O_RDWR, 0o600)
                #expect(cairn_test_fallocate(file, 0, 0, 10_000) == 0)
                #expect(status(mounted("f")).map { $0.st_size } == 10_000)
                #expect(pwrite(file, [UInt8](repeating: 7, count: 10_000), 10_000, 0) == 10_000)
                #expect(cairn_test_fallocate(file, 3, 4096, 4096) == 0)
                #expect(fsync(file) == 0)
                let bytes = try #require(contents(mounted("f")))
                #expect(bytes[4095] == 7 && bytes[4096] == 0 && bytes[8191] == 0)
                #expect(bytes[8192] == 7 && bytes.count == 10_000)
                #expect(lseek(file, 0, 4) == 10_000)
                #expect(lseek(file, 20_000, 3) == -1 && errno == ENXIO)
                let target = open(mounted("copy"), O_CREAT | O_RDWR, 0o600)
                #expect(cairn_test_copy_range(file, 0, target, 0, 10_000) == 10_000)
                // No request keeps a serving thread for long.
                #expect(ftruncate(file, 20 << 20) == 0)
                let part = 8 << 20
                #expect(cairn_test_copy_range(file, 0, target, 0, 20 << 20) == part)
                #expect(ftruncate(target, 10_000) == 0)
                close(target)
                #expect(contents(mounted("copy")) == bytes)
                close(file)
            }
        }

        @Test(arguments: transports)
        func aFileWithoutANameCanGetOne(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let fileSystem = ScratchFileSystem()
            try await withMount(over: transport, fileSystem) { mounted in
                let file = cairn_test_open_temporary(mounted.path, 0o600)
                try #require(file >= 0)
                #expect(write(file, "text", 4) == 4)
                #expect(names(mounted.path) == [])
                #expect(cairn_test_link_file(file, mounted("named")) == 0)
                close(file)
                #expect(contents(mounted("named")) == Array("text".utf8))
                let other = cairn_test_open_temporary(mounted.path, 0o600)
                try #require(other >= 0)
                close(other)
                #expect(eventually { fileSystem.freedCount == 1 })
            }
        }

        @Test(arguments: transports)
        func generatedFilesAreReadFresh(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let generated = GeneratedFileSystem()
            try await withMount(
                over: transport,
                prepare: { namespace in
                    let made = try blocking { () throws(Pause) in
                        try FileName("gen").withName { (name) throws(Pause) in
                            try namespace.vfs.create(
                                name, in: namespace.root.inode,
                                NewNode(kind: .directory, permissions: .executeAll),
                                by: Caller(.root))
                        }
                    }
                    try namespace.mount(
                        generated, at: Location(mount: namespace.rootMount, inode: made))
                }
            ) { mounted in
                #expect(contents(mounted("gen/count")) == Array("1\n".utf8))
                #expect(contents(mounted("gen/count")) == Array("2\n".utf8))
                #expect(put(mounted("plain"), "cached"))
                #expect(contents(mounted("plain")) == Array("cached".utf8))
                #expect(generated.openCount == 0)
            }
        }
    }
}
