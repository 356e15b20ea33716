// Changes that are durable before the call returns: all of them with `-o sync`, and those of files and
// directories that have the flag S.

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Testing

/// A call that changes something: below /d, which has a file `f`, a directory `e` and a link `l`.
private struct ChangingCall: Sendable, CustomTestStringConvertible {
    /// What becomes durable: the names in a directory, or a file.
    enum Subject: Sendable { case names, file }

    let testDescription: String
    let subject: Subject
    /// With /d/f, open.
    let run: @Sendable (Process, Descriptor) async throws(Errno) -> Void

    init(
        _ name: String, _ subject: Subject,
        _ run: @escaping @Sendable (Process, Descriptor) async throws(Errno) -> Void
    ) {
        testDescription = name
        self.subject = subject
        self.run = run
    }

    static let user = FileName("user.key")

    static let all: [ChangingCall] = [
        ChangingCall("mkdir", .names) { (p, _) throws(Errno) in try p.makeDirectory("/d/new") },
        ChangingCall("mknod", .names) { (p, _) throws(Errno) in
            try p.makeNode("/d/new", kind: .fifo, permissions: Permissions(rawValue: 0o600))
        },
        ChangingCall("symlink", .names) { (p, _) throws(Errno) in
            try p.makeLink("/d/new", to: "f")
        },
        ChangingCall("link", .names) { (p, _) throws(Errno) in try p.link("/d/f", to: "/d/new") },
        ChangingCall("unlink", .names) { (p, _) throws(Errno) in try p.unlink("/d/l") },
        ChangingCall("rmdir", .names) { (p, _) throws(Errno) in try p.removeDirectory("/d/e") },
        ChangingCall("rename", .names) { (p, _) throws(Errno) in
            try p.rename("/d/f", to: "/d/new")
        },
        ChangingCall("open, creating", .names) { (p, _) throws(Errno) in
            try p.close(try p.open("/d/new", [.create, .exclusive, .writeOnly]))
        },
        ChangingCall("open, cutting", .file) { (p, _) throws(Errno) in
            try p.close(try p.open("/d/f", [.truncate, .writeOnly]))
        },
        ChangingCall("write", .file) { (p, file) throws(Errno) in try put("new", to: file, by: p) },
        ChangingCall("copy_file_range", .file) { (p, file) throws(Errno) in
            _ = try p.copy(from: file, at: 0, to: file, at: 100, length: 4)
        },
        ChangingCall("truncate", .file) { (p, _) throws(Errno) in try p.truncate("/d/f", to: 1) },
        ChangingCall("ftruncate", .file) { (p, file) throws(Errno) in try p.truncate(file, to: 1) },
        ChangingCall("fallocate", .file) { (p, file) throws(Errno) in
            try p.allocate(file, .reserve(keepSize: false), offset: 0, length: 9000)
        },
        ChangingCall("chmod", .file) { (p, _) throws(Errno) in
            try p.chmod("/d/f", Permissions(rawValue: 0o600))
        },
        ChangingCall("fchown", .file) { (p, file) throws(Errno) in
            try p.chown(file, user: 7, group: nil)
        },
        ChangingCall("utimensat", .file) { (p, _) throws(Errno) in
            try p.setTimes("/d/f", access: .now, modification: .now)
        },
        ChangingCall("setxattr", .file) { (p, file) throws(Errno) in
            try p.setExtendedAttribute(user, of: file, to: [1])
        },
        ChangingCall("removexattr", .file) { (p, _) throws(Errno) in
            try p.removeExtendedAttribute(FileName("user.old"), of: "/d/f")
        },
        ChangingCall("mkdir, suspending", .names) { (p, _) async throws(Errno) in
            try await p.makeDirectory("/d/new")
        },
        ChangingCall("open, suspending", .names) { (p, _) async throws(Errno) in
            try p.close(try await p.open("/d/new", [.create, .exclusive, .writeOnly]))
        },
        ChangingCall("mkdir, calling back", .names) { (p, _) async throws(Errno) in
            let result = await withCheckedContinuation { continuation in
                _ = p.submitMakeDirectory("/d/new") { continuation.resume(returning: $0) }
            }
            try result.get()
        },
    ]
}

private func put(_ text: String, to file: Descriptor, by process: Process) throws(Errno) {
    let result = Array(text.utf8).withUnsafeBytes { bytes in
        Result { () throws(Errno) in try process.write(bytes, to: file, at: 0) }
    }
    _ = try result.get()
}

@Suite struct SynchronousChangeTests {
    private let store: SyncStore
    private let process: Process
    private let mount: Mount
    private let file: Descriptor

    init() throws {
        let time = ManualTime()
        store = SyncStore(Ground.memoryStore(time: time))
        let tree = TreeFileSystem(typeName: "test", time: time, store: store, nodeLimit: 4)
        try blocking { () throws(Pause) in try tree.start() }
        let namespace = try Namespace(vfs: VFS(time: time), root: tree)
        process = try Process(in: namespace)
        mount = try #require(namespace.mounts.first)
        try process.makeDirectory("/d")
        file = try process.open("/d/f", [.create, .readWrite])
        try put("text", to: file, by: process)
        try process.setExtendedAttribute(FileName("user.old"), of: file, to: [1])
        try process.makeDirectory("/d/e")
        try process.makeLink("/d/l", to: "f")
        #expect(store.takeSynced() == [])
    }

    private func number(_ path: Path) throws -> UInt64 { try process.stat(path).number }

    private func numbers() throws -> [ChangingCall.Subject: UInt64] {
        [.names: try number("/d"), .file: try number("/d/f")]
    }

    private func setFlags(_ path: Path, _ flags: FileFlags) throws {
        let descriptor = try process.open(path, .readOnly)
        try process.setFlags(descriptor, flags)
        try process.close(descriptor)
    }

    // D5
    @Test(arguments: ChangingCall.all)
    fileprivate func withSyncEveryChangeIsDurable(_ call: ChangingCall) async throws {
        let numbers = try numbers()
        mount.flags.insert(.synchronous)
        try await call.run(process, file)
        #expect(store.takeSynced() == [numbers[call.subject]])
    }

    @Test(arguments: ChangingCall.all)
    fileprivate func withoutItNoneIs(_ call: ChangingCall) async throws {
        try await call.run(process, file)
        #expect(store.takeSynced() == [])
    }

    // V11: as on ext4
    @Test(arguments: ChangingCall.all)
    fileprivate func theFlagOfADirectoryKeepsItsNames(_ call: ChangingCall) async throws {
        let numbers = try numbers()
        try setFlags("/d", .sync)
        #expect(store.takeSynced() == [numbers[.names]])
        try await call.run(process, file)
        #expect(store.takeSynced() == (call.subject == .names ? [numbers[.names]] : []))
        try setFlags("/d", [])
        _ = store.takeSynced()
        try await process.makeDirectory("/d/last")
        #expect(store.takeSynced() == [])
    }

    @Test(arguments: ChangingCall.all)
    fileprivate func theFlagOfAFileKeepsWhatIsItsOwn(_ call: ChangingCall) async throws {
        let numbers = try numbers()
        try setFlags("/d/f", .sync)
        #expect(store.takeSynced() == [numbers[.file]])
        try await call.run(process, file)
        #expect(store.takeSynced() == (call.subject == .file ? [numbers[.file]] : []))
    }

    @Test func aMoveIsDurableInBothDirectories() throws {
        let numbers = [try number("/d"), try number("/d/e")]
        try setFlags("/d/e", .sync)
        _ = store.takeSynced()
        try process.rename("/d/f", to: "/d/e/f")
        #expect(store.takeSynced().sorted() == numbers.sorted())
        // What is new in there has the flag too.
        try process.close(try process.open("/d/e/new", [.create, .writeOnly]))
        _ = store.takeSynced()
        try process.truncate("/d/e/new", to: 5)
        #expect(store.takeSynced() == [try number("/d/e/new")])
        try process.truncate("/d/e/f", to: 5)
        #expect(store.takeSynced() == [])
    }

    // The call fails, and what it changed is there, once
    @Test func whatCannotBeMadeDurableFails() throws {
        mount.flags.insert(.synchronous)
        store.fail(with: .EIO)
        func expectEIO(_ body: () throws(Errno) -> Void) {
            #expect(throws: Errno.EIO) { try body() }
        }
        expectEIO { () throws(Errno) in try process.makeDirectory("/d/new") }
        expectEIO { () throws(Errno) in try process.unlink("/d/l") }
        expectEIO { () throws(Errno) in
            _ = try process.open("/d/made", [.create, .exclusive, .writeOnly])
        }
        expectEIO { () throws(Errno) in _ = try process.open("/d/f", [.truncate, .writeOnly]) }
        expectEIO { () throws(Errno) in try put("new", to: file, by: process) }
        expectEIO { () throws(Errno) in
            _ = try process.copy(from: file, at: 0, to: file, at: 50, length: 2)
        }
        store.fail(with: nil)
        #expect(try process.stat("/d/new").kind == .directory)
        #expect(throws: Errno.ENOENT) { try process.stat("/d/l", followingLinks: false) }
        #expect(try process.stat("/d/made").size == 0)
        #expect(try process.stat("/d/f").size == 52)
        // No descriptor is left, nor a file that somebody holds.
        #expect(process.openFiles.map(\.descriptor) == [file])
        try process.unlink("/d/made")
    }
}
