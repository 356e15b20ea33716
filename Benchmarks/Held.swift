// What a filesystem whose I/O stands still costs the others of its namespace (requirement V3): the
// same calls, in turns, while many calls wait in it and while none does.

import Cairn
import CairnBase
import CSystem
import Glibc

struct HeldBenchmark {
    /// Calls that wait in the held filesystem meanwhile.
    private static let waiters = 32
    private let rounds = 25

    func run() throws {
        let held = HeldFileSystem()
        let vfs = VFS()
        let namespace = try Namespace(vfs: vfs, root: try RAMFileSystemType.open(in: vfs))
        let process = try Process(in: namespace)
        try process.makeDirectory("/held")
        try process.mount(held, at: "/held")
        try process.makeDirectory("/other")
        try process.mount(try RAMFileSystemType.open(in: vfs), at: "/other")
        for name in ["/file", "/other/file"] {
            let file = try process.open(Path(name), [.create, .writeOnly])
            _ = try [UInt8](repeating: 0x5A, count: 4096).withUnsafeBytes {
                try process.write($0, to: file)
            }
            try process.close(file)
        }
        try table("Through the library", libraryCalls(process), held) { number in
            _ = try? process.stat(Path("/held/\(number)"))
        }
        try throughMount(namespace, held)
        process.exit()
        try namespace.close()
        held.end()
    }

    private func throughMount(_ namespace: Namespace, _ held: HeldFileSystem) throws {
        var template = Array("/tmp/cairn-benchmarks-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
        let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        defer { rmdir(path) }
        var options = FUSEMountOptions()
        options.writebackCache = false
        let mount = try FUSEMount(namespace: namespace, at: path, options: options)
        let serving = startThread { mount.serve() }
        defer {
            if (try? mount.unmount()) == nil { try? mount.unmount(lazy: true, force: true) }
            pthread_join(serving, nil)
        }
        try table("Through a mount", hostCalls(path), held) { number in
            hostStat("\(path)/held/by-mount-\(number)")
        }
    }

    private typealias Call = (name: String, body: @Sendable (Int) -> Void)

    private func libraryCalls(_ process: Process) -> [Call] {
        ["", "/other"].flatMap { place -> [Call] in
            let file = Path("\(place)/file")
            let fresh = Path("\(place)/new")
            return [
                (
                    "stat \(place)/file",
                    { for _ in 0..<$0 { _ = try? process.stat(file) } }
                ),
                (
                    "open, read 4 KiB, close \(place)/file",
                    { count in
                        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
                            for _ in 0..<count {
                                guard let opened = try? process.open(file, .readOnly) else {
                                    return
                                }
                                _ = try? process.read(from: opened, into: buffer, at: 0)
                                try? process.close(opened)
                            }
                        }
                    }
                ),
                (
                    "create, close, unlink \(place)/new",
                    {
                        for _ in 0..<$0 {
                            if let made = try? process.open(fresh, [.create, .writeOnly]) {
                                try? process.close(made)
                            }
                            try? process.unlink(fresh)
                        }
                    }
                ),
            ]
        }
    }

    private func hostCalls(_ mounted: String) -> [Call] {
        ["", "/other"].flatMap { place -> [Call] in
            let file = "\(mounted)\(place)/file"
            let fresh = "\(mounted)\(place)/new"
            return [
                (
                    "write 4 KiB \(place)/file",
                    { count in
                        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
                            let descriptor = Glibc.open(file, O_RDWR)
                            for _ in 0..<count {
                                Glibc.pwrite(descriptor, buffer.baseAddress, 4096, 0)
                            }
                            Glibc.close(descriptor)
                        }
                    }
                ),
                (
                    "create, close, unlink \(place)/new",
                    {
                        for _ in 0..<$0 {
                            Glibc.close(Glibc.open(fresh, O_CREAT | O_WRONLY, 0o644))
                            Glibc.unlink(fresh)
                        }
                    }
                ),
            ]
        }
    }

    /// `call(number)` is one that waits in the held filesystem.
    private func table(
        _ title: String, _ calls: [Call], _ held: HeldFileSystem,
        _ call: @escaping @Sendable (Int) -> Void
    ) throws {
        var names = 0
        let rows = calls.map { name, body in
            let count = calibrate(body)
            var free: [Double] = []
            var beside: [Double] = []
            for _ in 0..<rounds {
                free.append(timeRound(count, body))
                held.hold()
                // New names: that an old one is not there is known.
                let waiting = (0..<Self.waiters).map { _ in
                    names += 1
                    let name = names
                    return startThread { call(name) }
                }
                while held.waiting < Self.waiters { usleep(1000) }
                beside.append(timeRound(count, body))
                held.letGo()
                for thread in waiting { pthread_join(thread, nil) }
            }
            // Of rounds side by side, as the machine may be busy.
            let ratios = Timing(rounds: zip(free, beside).map { $0 / $1 })
            return Row(
                name: name,
                figures: [
                    perSecond(Timing(rounds: free)), perSecond(Timing(rounds: beside)),
                    fixed(ratios.nanoseconds, 2) + "×",
                ])
        }
        printTable(
            "\(title), while \(Self.waiters) calls wait in a filesystem that stands still",
            ["calls of others", "usually, 1/s", "meanwhile, 1/s", "of the usual"], rows)
    }

    private func perSecond(_ timing: Timing) -> String {
        "\(Int((1e9 / timing.nanoseconds).rounded()))"
    }
}

/// A filesystem whose lookups wait until they are let go, and then find nothing.
private final class HeldFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: all that changes is guarded by `lock`, but `rootStorage`, which is set before the
    // filesystem is mounted and cleared when all is over.
    private let lock = Lock()
    private var waits: [Wait] = []
    private var isHeld = false
    private var rootStorage: Inode?

    init() {
        super.init(typeName: "held", time: SystemTime())
        rootStorage = HeldDirectory(number: 1, kind: .directory, fileSystem: self)
    }

    override var root: Inode { rootStorage! }

    var waiting: Int { lock.withLock { waits.count } }

    func hold() {
        lock.withLock { isHeld = true }
    }

    func letGo() {
        let all = lock.withLock {
            isHeld = false
            defer { waits = [] }
            return waits
        }
        for wait in all { wait.finish() }
    }

    /// The root holds the filesystem: this breaks the circle.
    func end() {
        rootStorage = nil
    }

    fileprivate func pass() throws(Pause) {
        let wait: Wait? = lock.withLock {
            guard isHeld else { return nil }
            let wait = Wait()
            waits.append(wait)
            return wait
        }
        if let wait { throw .wait(wait) }
    }
}

private final class HeldDirectory: Inode, @unchecked Sendable {
    // Sendable: nothing in it changes.

    override func attributes() throws(Pause) -> Attributes {
        Attributes(
            number: number, kind: .directory, permissions: Permissions(rawValue: 0o755),
            linkCount: 2, time: Timestamp(seconds: 0))
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        try unsafeDowncast(fileSystem, to: HeldFileSystem.self).pass()
        return nil
    }
}
