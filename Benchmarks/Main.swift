// cairn-benchmarks: figures of the library beside its peers. `make bench` runs it.
//
//     cairn-benchmarks library [DIRECTORY]   DIRECTORY is on tmpfs, /dev/shm if not given
//     cairn-benchmarks scale
//     cairn-benchmarks tree                   the B+tree of mfs_disk, and CRC32C
//     cairn-benchmarks disk FILE [FILES]      mfs_disk in an image that is made; a million files unless told
//     cairn-benchmarks held                   a filesystem that stands still, and its neighbours
//     cairn-benchmarks cache [DIRECTORY]      the page cache; DIRECTORY is on the peer's filesystem
//     cairn-benchmarks eviction               which pages to give up, beside other policies
//     cairn-benchmarks arena                  where the bytes of pages stand
//     cairn-benchmarks device FILE            beside fio; FILE is made, and takes 2 GiB
//     cairn-benchmarks storage FILE           a file of 4 GiB through the page cache, beside fio
//     cairn-benchmarks cache-alone WHICH      the pool or the mutex with 8 threads, for strace
//     cairn-benchmarks profile CALL COUNT     one call of the library, for perf and callgrind

import Glibc

@main
struct Main {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        switch arguments.first {
        case "library":
            try onScratch(in: arguments.dropFirst().first ?? "/dev/shm") { directory in
                try LibraryContest(host: directory).run()
            }
        case "profile":
            guard arguments.count == 3, let count = Int(arguments[arguments.startIndex + 2]) else {
                complain("usage: cairn-benchmarks profile CALL COUNT")
                exit(2)
            }
            try onScratch(in: "/dev/shm") { directory in
                let contest = try LibraryContest(host: directory)
                if try !contest.profile(arguments[arguments.startIndex + 1], count) {
                    complain("no such call")
                }
            }
        case "scale":
            try ScaleBenchmark().run()
        case "held":
            try HeldBenchmark().run()
        case "tree":
            try TreeBenchmark().run()
        case "cache":
            try CacheBenchmark().run(in: arguments.dropFirst().first ?? ".")
        case "eviction":
            try EvictionBenchmark().run()
        case "arena":
            ArenaBenchmark().run()
        case "device":
            guard let path = arguments.dropFirst().first else { usage() }
            try DeviceBenchmark(path).run()
        case "storage":
            guard let path = arguments.dropFirst().first else { usage() }
            try StorageBenchmark(path).run()
        case "disk":
            guard let path = arguments.dropFirst().first,
                let files = Int(arguments.dropFirst(2).first ?? "1000000"), files > 0
            else { usage() }
            try DiskBenchmark(path, files: files).run()
        case "cache-alone":
            guard try CacheBenchmark().runAlone(arguments.dropFirst().first ?? "") else {
                complain("usage: cairn-benchmarks cache-alone pool|mutex")
                exit(2)
            }
        default: usage()
        }
    }

    private static func usage() -> Never {
        complain(
            "usage: cairn-benchmarks library [DIRECTORY] | scale | tree | cache [DIRECTORY]"
                + " | held | eviction | arena | device FILE | storage FILE | disk FILE [FILES]"
                + " | cache-alone pool|mutex | profile CALL COUNT"
        )
        exit(2)
    }

    private static func onScratch(
        in parent: String, _ body: (String) throws -> Void
    ) throws {
        let directory = "\(parent)/cairn-benchmarks-\(getpid())"
        guard mkdir(directory, 0o755) == 0 else {
            complain("\(directory): cannot be made")
            exit(1)
        }
        defer { remove(tree: directory) }
        try body(directory)
    }

    private static func complain(_ text: String) {
        let line = "cairn-benchmarks: \(text)\n"
        write(2, line, line.utf8.count)
    }

    /// Removes what the benchmark made on the host: a few directories, one in the other.
    private static func remove(tree: String) {
        for name in ["/a/b/c/d/e/f/g/file", "/two", "/one", "/a/new"] { unlink(tree + name) }
        var parts = ["", "a", "b", "c", "d", "e", "f", "g"]
        while !parts.isEmpty {
            rmdir(tree + parts.joined(separator: "/"))
            parts.removeLast()
        }
    }
}
