// The library on mfs_ram beside system calls on tmpfs, in one process and one run.

import Cairn
import CSystem
import Glibc

/// A tree in the library and the same tree on tmpfs.
struct LibraryContest {
    let process: Process
    /// A directory on tmpfs.
    let host: String
    private let deep = "a/b/c/d/e/f/g"

    init(host: String) throws {
        self.host = host
        let vfs = VFS()
        let root = try RAMFileSystemType.open(in: vfs)
        let namespace = try Namespace(vfs: vfs, root: root)
        process = try Process(in: namespace)
        try build()
    }

    private func build() throws {
        var path = ""
        for part in deep.split(separator: "/") {
            path += "/" + part
            try process.makeDirectory(Path(path))
            mkdir(host + path, 0o755)
        }
        let block = [UInt8](repeating: 0x5A, count: 4096)
        for name in ["/a/b/c/d/e/f/g/file", "/two", "/one"] {
            let file = try process.open(Path(name), [.create, .readWrite])
            _ = try block.withUnsafeBytes { try process.write($0, to: file) }
            try process.close(file)
            let descriptor = Glibc.open(host + name, O_CREAT | O_RDWR, 0o644)
            _ = Glibc.write(descriptor, block, block.count)
            Glibc.close(descriptor)
        }
    }

    /// Each operation's two bodies: the library's and tmpfs's.
    private func contests() throws -> [(String, (Int) -> Void, (Int) -> Void)] {
        let process = process
        let path = Path("/a/b/c/d/e/f/g/file")
        let hostPath = host + "/a/b/c/d/e/f/g/file"
        let missing = Path("/a/b/c/d/e/f/g/none")
        let hostMissing = host + "/a/b/c/d/e/f/g/none"
        let fresh = Path("/a/new")
        let hostFresh = host + "/a/new"
        let file = try process.open("/one", .readWrite)
        let hostFile = Glibc.open(host + "/one", O_RDWR)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        return [
            (
                "stat, 8 parts",
                { for _ in 0..<$0 { _ = try? process.stat(path) } },
                { count in
                    for _ in 0..<count { hostStat(hostPath) }
                }
            ),
            (
                "stat of a missing name",
                { for _ in 0..<$0 { _ = try? process.stat(missing) } },
                { count in
                    for _ in 0..<count { hostStat(hostMissing) }
                }
            ),
            (
                "pread 4 KiB",
                { for _ in 0..<$0 { _ = try? process.read(from: file, into: buffer, at: 0) } },
                { for _ in 0..<$0 { Glibc.pread(hostFile, buffer.baseAddress, 4096, 0) } }
            ),
            (
                "pwrite 4 KiB",
                {
                    let bytes = UnsafeRawBufferPointer(buffer)
                    for _ in 0..<$0 { _ = try? process.write(bytes, to: file, at: 0) }
                },
                { for _ in 0..<$0 { Glibc.pwrite(hostFile, buffer.baseAddress, 4096, 0) } }
            ),
            (
                "open + close",
                {
                    for _ in 0..<$0 {
                        if let file = try? process.open(path, .readOnly) {
                            try? process.close(file)
                        }
                    }
                },
                { for _ in 0..<$0 { Glibc.close(Glibc.open(hostPath, O_RDONLY)) } }
            ),
            (
                "create + unlink",
                {
                    for _ in 0..<$0 {
                        if let file = try? process.open(fresh, [.create, .exclusive, .writeOnly]) {
                            try? process.close(file)
                        }
                        try? process.unlink(fresh)
                    }
                },
                {
                    for _ in 0..<$0 {
                        Glibc.close(Glibc.open(hostFresh, O_CREAT | O_EXCL | O_WRONLY, 0o644))
                        Glibc.unlink(hostFresh)
                    }
                }
            ),
        ]
    }

    /// One call of the library, so often: for a profiler. "threads": two threads that call stat;
    /// "readers": that read; "creators": that create and unlink; "two": only what is said of two threads.
    func profile(_ wanted: String, _ count: Int) throws -> Bool {
        if wanted == "two" {
            try runThreads()
            return true
        }
        if let index = ["threads": 0, "readers": 1, "creators": 2][wanted] {
            let works = try threadWorks()
            _ = timeThreads([{ works[index].2(0, count) }, { works[index].2(1, count) }])
            return true
        }
        guard let (_, library, _) = try contests().first(where: { $0.0.hasPrefix(wanted) }) else {
            return false
        }
        library(count)
        return true
    }

    func run() throws {
        var rows: [Row] = []
        for (name, library, host) in try contests() {
            let times = timeInTurns([library, host])
            rows.append(
                Row(
                    name: name,
                    figures: times.map { nanosecondsText($0.nanoseconds) } + [
                        fixed(times[1].nanoseconds / times[0].nanoseconds, 1) + "×"
                    ]))
        }
        printTable(
            "Library on mfs_ram, one thread, beside system calls on tmpfs",
            ["call", "library", "tmpfs", "faster"], rows)
        try runThreads()
    }

    /// What threads do, each in a directory of its own. A third thread's directory is in a tree of
    /// its own, which shares nothing with that of the others.
    private func threadWorks() throws -> [(String, Int, @Sendable (Int, Int) -> Void)] {
        let vfs = VFS()
        let other = try Process(
            in: Namespace(vfs: vfs, root: try RAMFileSystemType.open(in: vfs)))
        let processes = [process, process, other]
        for (index, process) in processes.enumerated() {
            try? process.makeDirectory(Path("/thread\(index)"))
            let file = try process.open(Path("/thread\(index)/file"), [.create, .readWrite])
            let block = [UInt8](repeating: 1, count: 4096)
            _ = try block.withUnsafeBytes { try process.write($0, to: file) }
            try process.close(file)
        }
        return [
            (
                "stat", 2_000_000,
                { index, count in
                    let process = processes[index]
                    let path = Path("/thread\(index)/file")
                    for _ in 0..<count { _ = try? process.stat(path) }
                }
            ),
            (
                "pread 4 KiB", 2_000_000,
                { index, count in
                    let process = processes[index]
                    let buffer = UnsafeMutableRawBufferPointer.allocate(
                        byteCount: 4096, alignment: 4096)
                    defer { buffer.deallocate() }
                    guard let file = try? process.open(Path("/thread\(index)/file"), .readOnly)
                    else { return }
                    for _ in 0..<count { _ = try? process.read(from: file, into: buffer, at: 0) }
                    try? process.close(file)
                }
            ),
            (
                "create + unlink", 200_000,
                { index, count in
                    let process = processes[index]
                    let path = Path("/thread\(index)/new")
                    for _ in 0..<count {
                        if let file = try? process.open(path, [.create, .writeOnly]) {
                            try? process.close(file)
                        }
                        try? process.unlink(path)
                    }
                }
            ),
        ]
    }

    /// Two threads on different files beside one: calls a second, as a ratio; and what the machine
    /// gives two threads that share nothing.
    private func runThreads() throws {
        var rows: [Row] = []
        for (name, count, work) in try threadWorks() {
            var shared: [Double] = []
            var apart: [Double] = []
            for _ in 0..<7 {
                let one = timeThreads([{ work(0, count) }])
                let two = timeThreads([{ work(0, count) }, { work(1, count) }])
                let twoApart = timeThreads([{ work(0, count) }, { work(2, count) }])
                shared.append(2 * Double(one) / Double(two))
                apart.append(2 * Double(one) / Double(twoApart))
            }
            rows.append(Row(name: name, figures: [shared, apart].flatMap(ratioFigures)))
        }
        printTable(
            "Library, two threads on different files beside one",
            ["call", "ratio", "range", "in trees apart", "range"], rows)
    }

    private func ratioFigures(_ ratios: [Double]) -> [String] {
        let ratio = Timing(rounds: ratios)
        return [
            fixed(ratio.nanoseconds, 2) + "×",
            "\(fixed(ratio.spread.low, 2))–\(fixed(ratio.spread.high, 2))",
        ]
    }
}

func hostStat(_ path: String) {
    var status = stat()
    stat(path, &status)
}
