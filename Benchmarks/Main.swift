// cairn-benchmarks: figures of the library beside its peers. `make bench` runs it.
//
//     cairn-benchmarks library [DIRECTORY]   DIRECTORY is on tmpfs, /dev/shm if not given
//     cairn-benchmarks scale

import Glibc

@main
struct Main {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        switch arguments.first {
        case "library":
            let parent = arguments.dropFirst().first ?? "/dev/shm"
            let directory = "\(parent)/cairn-benchmarks-\(getpid())"
            guard mkdir(directory, 0o755) == 0 else {
                complain("\(directory): cannot be made")
                exit(1)
            }
            defer { remove(tree: directory) }
            try LibraryContest(host: directory).run()
        case "scale":
            try ScaleBenchmark().run()
        default:
            complain("usage: cairn-benchmarks library [DIRECTORY] | scale")
            exit(2)
        }
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
