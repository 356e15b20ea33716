// procfs (requirement A2): what it shows, and that it shows it while others are busy.

import CairnBase
import CairnProc
import CairnRAM
import CairnVFS
import Testing

/// mfs_ram at the root, procfs at /proc, and a process of user 0.
private final class World {
    let vfs = VFS(time: ManualTime())
    let namespace: Namespace
    let process: Process

    init() throws {
        var options = MountOptionList("")
        let ram = RAMFileSystemType(defaultSize: 1 << 24)
        vfs.register(ram)
        vfs.register(ProcFileSystemType())
        namespace = try Namespace(
            vfs: vfs, root: try ram.open(source: "none", options: &options, in: vfs),
            source: "my disk")
        process = try Process(in: namespace, name: "worker")
        try process.makeDirectory("/proc")
        let type = try #require(vfs.type(named: "procfs"))
        try process.mount(
            try type.open(source: "none", options: &options, in: vfs), at: "/proc", source: "proc")
    }

    func content(_ path: Path) throws -> String {
        let file = try process.open(path, .readOnly)
        defer { try? process.close(file) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 100)
        while true {
            let count = try buffer.withUnsafeMutableBytes { bytes in
                try process.read(from: file, into: bytes)
            }
            if count == 0 { return String(decoding: text, as: UTF8.self) }
            text += buffer[..<count]
        }
    }

    func names(_ path: Path) throws -> [String] {
        let directory = try process.open(path, .directory)
        defer { try? process.close(directory) }
        var result: [String] = []
        while true {
            let some = try process.entries(of: directory, limit: 3)
            if some.isEmpty { return result.filter { $0 != "." && $0 != ".." } }
            result += some.map { String(decoding: $0.name.bytes, as: UTF8.self) }
        }
    }

    func link(_ path: Path) throws -> String {
        String(decoding: try process.readLink(path), as: UTF8.self)
    }
}

/// A filesystem that never answers.
private final class SilentFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: set once; `waits` is guarded by lock.
    private var top: Inode?
    private let lock = Lock()
    private var waits: [Wait] = []

    init(time: any TimeSource) {
        super.init(typeName: "silent", time: time)
        top = SilentDirectory(number: 1, kind: .directory, fileSystem: self)
    }

    override var root: Inode {
        guard let top else { preconditionFailure("closed") }
        return top
    }

    var newWait: Wait {
        let wait = Wait()
        lock.withLock { waits.append(wait) }
        return wait
    }

    func fail() {
        for wait in lock.withLock({ waits }) { wait.finish(.EIO) }
        top = nil
    }
}

private final class SilentDirectory: Inode, @unchecked Sendable {
    override func attributes() throws(Pause) -> Attributes { throw silence }
    override func lookup(_ name: Name) throws(Pause) -> Inode? { throw silence }

    private var silence: Pause {
        guard let owner = fileSystem as? SilentFileSystem else { return .failed(.EIO) }
        return .wait(owner.newWait)
    }
}

@Suite("procfs", .timeLimit(.minutes(1)))
struct ProcTests {
    private let world: World

    init() throws { world = try World() }

    private var process: Process { world.process }

    @Test("mounts and mountinfo show sources, paths, types and options, with spaces escaped")  // A2
    func mounts() throws {
        try process.makeDirectory("/a b")
        try process.makeDirectory("/c")
        try process.makeDirectory("/c/d")
        try process.bind("/c/d", at: "/a b", flags: [.readOnly, .noSetID])
        let lines = try world.content("/proc/mounts").split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0].hasPrefix("my\\040disk / mfs_ram rw,relatime"))
        #expect(lines[1] == "proc /proc procfs rw,relatime 0 0")
        #expect(lines[2].hasPrefix("my\\040disk /a\\040b mfs_ram ro,nosuid,relatime"))
        let info = try world.content("/proc/mountinfo").split(separator: "\n")
        let bind = info[2].split(separator: " ")
        #expect(bind[1] == info[0].split(separator: " ")[0])
        #expect(bind[3...4] == ["/c/d", "/a\\040b"])
        #expect(bind[6...7] == ["-", "mfs_ram"])
        let json = try world.content("/proc/mounts.json")
        #expect(json.contains(#""source": "my disk", "path": "/a b", "type": "mfs_ram""#))
    }

    @Test("filesystems lists the types that are registered")
    func fileSystems() throws {
        #expect(try world.content("/proc/filesystems") == "nodev\tmfs_ram\nnodev\tprocfs\n")
    }

    @Test("The root lists every report and every process, each once, also in small pieces")
    func listing() throws {
        let child = try process.fork()
        let names = try world.names("/proc")
        #expect(Set(names).count == names.count)
        for name in ["mounts", "locks", "caches", "operations", "operations.json", "memory"] {
            #expect(names.contains(name))
            #expect(!(try world.content(Path("/proc/\(name)"))).isEmpty || name == "locks")
        }
        #expect(names.contains("\(process.identifier)"))
        #expect(names.contains("\(child.identifier)"))
        child.exit()
        #expect(!(try world.names("/proc")).contains("\(child.identifier)"))
        #expect(throws: Errno.ENOENT) {
            try world.content(Path("/proc/\(child.identifier)/status"))
        }
        #expect(throws: Errno.ENOENT) { try world.content("/proc/01") }
    }

    @Test("A process shows its status, places and descriptors")  // A2
    func processDirectory() throws {
        let base = "/proc/\(process.identifier)"
        try process.makeDirectory("/home")
        try process.changeDirectory("/home")
        let file = try process.open("note", [.create, .readWrite, .append, .closeOnExec])
        _ = try [UInt8]("hello".utf8).withUnsafeBytes { try process.write($0, to: file) }
        let status = try world.content(Path(base + "/status"))
        #expect(status.contains("Name:\tworker\n"))
        #expect(status.contains("Pid:\t\(process.identifier)\n"))
        #expect(status.contains("Umask:\t0022\n"))
        #expect(try world.link(Path(base + "/cwd")) == "/home")
        #expect(try world.link(Path(base + "/root")) == "/")
        #expect(try world.link(Path(base + "/fd/\(file.rawValue)")) == "/home/note")
        #expect(try world.names(Path(base + "/fd")).contains("\(file.rawValue)"))
        let details = try world.content(Path(base + "/fdinfo/\(file.rawValue)"))
        #expect(details.hasPrefix("pos:\t5\nflags:\t02002002\n"))
        // The link leads to the file.
        #expect(try process.stat(Path(base + "/fd/\(file.rawValue)")).size == 5)
        try process.unlink("/home/note")
        #expect(try world.link(Path(base + "/fd/\(file.rawValue)")) == "/home/note (deleted)")
        try process.close(file)
        #expect(throws: Errno.ENOENT) { try world.link(Path(base + "/fd/\(file.rawValue)")) }
    }

    @Test("Only the owner sees what a process has open")
    func ownership() throws {
        let stranger = try Process(
            in: world.namespace, credentials: Credentials(user: 7, group: 7))
        let path = Path("/proc/\(process.identifier)/fd")
        #expect(throws: Errno.EACCES) { try stranger.open(path, .directory) }
        let own = Path("/proc/\(stranger.identifier)/fd")
        #expect(throws: Never.self) { try stranger.close(try stranger.open(own, .directory)) }
        #expect(throws: Errno.EACCES) { try stranger.open("/proc/mounts", .writeOnly) }
        stranger.exit()
    }

    @Test("Captured streams show the last bytes that went through them")
    func streams() throws {
        let stream = process.streams[.output]
        for number in 0..<20_000 {
            [UInt8]("line \(number)\n".utf8).withUnsafeBytes { stream.append($0) }
        }
        let text = try world.content(Path("/proc/\(process.identifier)/stdout"))
        #expect(text.utf8.count == stream.capacity)
        #expect(text.hasSuffix("line 19998\nline 19999\n"))
        #expect(stream.contents.offset + UInt64(stream.capacity) == stream.totalCount)
        #expect(try world.content(Path("/proc/\(process.identifier)/stderr")).isEmpty)
    }

    @Test("locks shows who holds and who waits, as /proc/locks does")
    func locks() throws {
        let file = try process.open("/f", [.create, .readWrite])
        let range = try #require(LockRange(offset: 10, length: 5))
        try process.setLock(file, .write, range: range)
        let node = try #require(process.openFile(file)).inode
        let waiting = callingBack { () throws(Pause) in
            try node.setLock(
                FileLock(.read, .whole, processID: 99), owner: .remote(door: 9, 9), wait: true)
        } completion: { _ in
        }
        try process.flock(file, .exclusive)
        let lines = try world.content("/proc/locks").split(separator: "\n")
        #expect(lines.count == 3)
        let pid = process.identifier
        #expect(lines[0].hasPrefix("1: POSIX  ADVISORY  WRITE \(pid) 00:"))
        #expect(lines[0].hasSuffix(":\(node.number) 10 14"))
        #expect(lines[1].hasPrefix("2: -> POSIX  ADVISORY  READ  99 "))
        #expect(lines[1].hasSuffix(" 0 EOF"))
        #expect(lines[2].hasPrefix("3: FLOCK  ADVISORY  WRITE \(pid) "))
        let details = try world.content(Path("/proc/\(pid)/fdinfo/\(file.rawValue)"))
        #expect(details.contains("lock:\t1: POSIX  ADVISORY  WRITE"))
        #expect(details.contains("lock:\t1: FLOCK  ADVISORY  WRITE"))
        waiting.cancel()
    }

    @Test("operations counts calls and errors, as text and as JSON")
    func operations() throws {
        for _ in 0..<200 { _ = try process.stat("/") }
        #expect(throws: Errno.ENOENT) { try process.stat("/missing") }
        let text = try world.content("/proc/operations")
        let stat = try #require(
            text.split(separator: "\n").map { $0.split(separator: " ") }
                .first { $0.prefix(2) == ["vfs", "stat"] })
        #expect(stat[2] == "201")
        #expect(stat[3] == "1")
        let json = try world.content("/proc/operations.json")
        #expect(json.contains(#""scope": "vfs", "call": "stat", "count": 201, "errors": 1"#))
        #expect(json.hasPrefix("[\n") && json.hasSuffix("\n]\n"))
    }

    @Test("An open file keeps the text of its opening, whatever part is read when")
    func textStays() throws {
        let file = try process.open("/proc/mounts", .readOnly)
        let whole = try world.content("/proc/mounts")
        try process.makeDirectory("/later")
        try process.bind("/", at: "/later")
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = try buffer.withUnsafeMutableBytes {
            try process.read(from: file, into: $0, at: 3)
        }
        #expect(String(decoding: buffer[..<count], as: UTF8.self) == whole.dropFirst(3))
        #expect(try world.content("/proc/mounts") != whole)
    }

    @Test("Every report is served while a filesystem does not answer")  // A2, V3
    func servedWhileOthersAreBusy() throws {
        try process.makeDirectory("/silent")
        let silent = SilentFileSystem(time: world.vfs.time)
        try process.mount(silent, at: "/silent")
        let stuck = process.submitStat("/silent/file") { _ in }
        for name in try world.names("/proc") where Int(name) == nil {
            _ = try world.content(Path("/proc/\(name)"))
        }
        let base = "/proc/\(process.identifier)/"
        for name in ["status", "mounts", "mountinfo", "stdout"] {
            _ = try world.content(Path(base + name))
        }
        _ = try world.names(Path(base + "fd"))
        stuck.cancel()
        silent.fail()
    }
}
