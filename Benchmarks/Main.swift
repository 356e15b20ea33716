// cairn-benchmarks: figures of the library beside its peers. `make bench` runs it.
//
//     cairn-benchmarks library [DIRECTORY]   DIRECTORY is on tmpfs, /dev/shm if not given
//     cairn-benchmarks scale

import Glibc

@main
struct Main {
    static func main() throws {
        setlinebuf(stdout)
        let arguments = CommandLine.arguments.dropFirst()
        switch arguments.first {
        case "library":
            let parent = arguments.dropFirst().first ?? "/dev/shm"
            let directory = "\(parent)/cairn-benchmarks-\(getpid())"
            guard mkdir(directory, 0o755) == 0 else {
                fputs("cairn-benchmarks: \(directory): cannot be made\n", stderr)
                exit(1)
            }
            defer { remove(tree: directory) }
            try LibraryContest(host: directory).run()
        case "scale":
            try ScaleBenchmark().run()
        default:
            fputs("usage: cairn-benchmarks library [DIRECTORY] | scale\n", stderr)
            exit(2)
        }
    }

    /// Removes what the benchmark made on the host.
    private static func remove(tree: String) {
        _ = nftw(tree, { path, _, _, _ in
            if let path { _ = Glibc.remove(path) }
            return 0
        }, 16, FTW_DEPTH.rawValue | FTW_PHYS.rawValue)
    }
}
