// How costs grow: with mounts, with entries of a directory, with files in memory.

import Cairn
import CSystem
import Glibc

struct ScaleBenchmark {
    func run() throws {
        try mounts()
        try directories()
        try memory()
    }

    /// Latencies of single calls, in nanoseconds, sorted.
    private func sample(_ count: Int, _ body: (Int) -> Void) -> [UInt64] {
        var times: [UInt64] = []
        times.reserveCapacity(count)
        for index in 0..<count {
            let start = cairn_clock_monotonic()
            body(index)
            times.append(cairn_clock_monotonic() - start)
        }
        return times.sorted()
    }

    // MARK: Mounts

    private func mounts() throws {
        var rows: [Row] = []
        for count in [1, 100, 10_000] {
            let vfs = VFS()
            let namespace = try Namespace(vfs: vfs, root: try RAMFileSystemType.open(in: vfs))
            let process = try Process(in: namespace)
            for index in 0..<count {
                try process.makeDirectory(Path("/m\(index)"))
                try process.mount(try RAMFileSystemType.open(in: vfs), at: Path("/m\(index)"))
                try process.makeDirectory(Path("/m\(index)/dir"))
                try process.close(try process.open(Path("/m\(index)/dir/file"), [.create]))
            }
            // The same number of names whatever the number of mounts, so that what is compared is
            // the table and not the processor's caches.
            let paths = (0..<64).map { Path("/m\($0 * 157 % count)/dir/file") }
            for path in paths { _ = try process.stat(path) }
            let times = sample(400_000) { _ = try? process.stat(paths[$0 & 63]) }
            let everywhere = (0..<count).map { Path("/m\($0)/dir/file") }
            let cold = sample(200_000) { _ = try? process.stat(everywhere[$0 &* 7919 % count]) }
            rows.append(
                Row(
                    name: "\(count)",
                    figures: [
                        times[times.count / 2], times[times.count * 99 / 100],
                        cold[cold.count / 2], cold[cold.count * 99 / 100],
                    ].map { nanosecondsText(Double($0)) }))
            process.exit()
            try namespace.close()
        }
        printTable(
            "Resolving /mN/dir/file among mounts (each time includes ~25 ns of clock)",
            ["mounts", "p50", "p99", "p50 over all mounts", "p99 over all mounts"], rows)
    }

    // MARK: Directories

    private func directories() throws {
        var rows: [Row] = []
        let vfs = VFS()
        let namespace = try Namespace(vfs: vfs, root: try RAMFileSystemType.open(in: vfs))
        let process = try Process(in: namespace)
        for count in [1_000, 1_000_000] {
            let place = Path("/d\(count)")
            try process.makeDirectory(place)
            let directory = try process.open(place, .directory)
            for index in 0..<count {
                try process.close(
                    try process.open(Path("file-\(index)"), [.create, .writeOnly], at: directory))
            }
            let inode = process.openFiles.last?.file.inode
            guard let inode else { continue }
            let same = names(count, stride: count / 1000, 1000)
            let all = names(count, stride: 7919, 50_000)
            func lookups(_ list: [FileName]) -> Double {
                let body: (Int) -> Void = { calls in
                    var index = 0
                    for _ in 0..<calls {
                        _ = list[index].withName { name in try? inode.lookup(name) }
                        index = index + 1 == list.count ? 0 : index + 1
                    }
                }
                return timeInTurns(rounds: 5, [body])[0].nanoseconds
            }
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: 32 << 10, alignment: 8)
            defer { buffer.deallocate() }
            let calls = sample(count / 1000 + 8) { _ in
                _ = try? process.directoryRecords(directory, into: buffer)
            }
            rows.append(
                Row(
                    name: "\(count)",
                    figures: [
                        nanosecondsText(lookups(same)), nanosecondsText(lookups(all)),
                        nanosecondsText(Double(calls[calls.count - 1])),
                    ]))
            try process.close(directory)
        }
        process.exit()
        try namespace.close()
        printTable(
            "Lookup in the filesystem itself, and the longest getdents of 32 KiB",
            ["entries", "lookup among 1000 names", "lookup among all", "longest getdents"], rows)
    }

    private func names(_ count: Int, stride: Int, _ wanted: Int) -> [FileName] {
        (0..<wanted).map { FileName("file-\($0 * stride % count)") }
    }

    // MARK: Memory

    private func memory() throws {
        let before = residentBytes()
        let vfs = VFS()
        let namespace = try Namespace(vfs: vfs, root: try RAMFileSystemType.open(in: vfs))
        let process = try Process(in: namespace)
        let idle = residentBytes()
        let content = [UInt8](repeating: 7, count: 1024)
        for directory in 0..<1000 {
            try process.makeDirectory(Path("/d\(directory)"))
            for file in 0..<1000 {
                let descriptor = try process.open(
                    Path("/d\(directory)/f\(file)"), [.create, .writeOnly])
                _ = try content.withUnsafeBytes { try process.write($0, to: descriptor) }
                try process.close(descriptor)
            }
        }
        let full = residentBytes()
        for directory in 0..<1000 {
            for file in 0..<1000 {
                try process.unlink(Path("/d\(directory)/f\(file)"))
            }
            try process.removeDirectory(Path("/d\(directory)"))
        }
        let after = residentBytes()
        process.exit()
        try namespace.close()
        func mebibytes(_ bytes: Int) -> String { fixed(Double(bytes) / 1048576, 1) + " MiB" }
        printTable(
            "Memory of this process", ["moment", "resident"],
            [
                Row(name: "before", figures: [mebibytes(before)]),
                Row(name: "an empty mfs_ram", figures: [mebibytes(idle)]),
                Row(name: "a million files of 1 KiB", figures: [mebibytes(full)]),
                Row(name: "after removing them", figures: [mebibytes(after)]),
            ])
    }

    /// VmRSS.
    private func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let bytes = line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let text = String(decoding: bytes, as: UTF8.self)
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}
