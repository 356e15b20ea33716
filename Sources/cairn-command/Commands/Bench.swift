// cairn bench: measures a directory, or the library itself.

import CairnBase
import CairnVFS
import Glibc

enum BenchCommand {
    static let command = Command(
        name: "bench", summary: "measures a directory, or the library itself",
        usage: ["[--files N] [--size SIZE] [--json] [DIR]"], operands: .atMost(1),
        options: [
            CommandOption(nil, "files", value: "N", "files and random accesses each: 2000"),
            CommandOption(nil, "size", value: "SIZE", "of the large file: 64M"),
            CommandOption(nil, "json", "a JSON object"),
        ] + OpenTrees.options,
        notes: [
            """
            With DIR, through system calls, in a new directory below DIR that is removed at the end.
            Without, the library's own calls on mfs_ram, with no kernel in between. One thread; each call
            is timed by itself, which adds some 50 ns; the kernel's caches stay as they are, so this is
            what a program sees. What is warm was asked once before.
            """
        ], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let files = try arguments.number("files", in: 1...10_000_000) ?? 2000
        let bytes = try size(arguments.value("size") ?? "64M")
        return try OpenTrees.with(arguments) { trees throws(Failure) in
            let (base, subject) = try subject(arguments, trees)
            let place = base.appending(FilePath(".cairn-bench-\(getpid())"))
            let results = try Workloads(place: place, files: files, fileBytes: bytes).run()
            let summaries = results.map(\.summary)
            if arguments.has("json") {
                let object: JSON = [
                    "subject": .string(subject), "version": .string(cairnVersion),
                    "operations": .array(summaries.map(\.json)),
                ]
                standardOutput.write(object.pretty)
            } else {
                standardOutput.write("\(subject)\n")
                let rows = [Measurement.Summary.heading] + summaries.map(\.row)
                standardOutput.write(columns(rows))
            }
            return ExitStatus.done
        }
    }

    private static func subject(
        _ arguments: Arguments, _ trees: OpenTrees
    ) throws(Failure) -> (Place, String) {
        if let directory = arguments.operands.first {
            let place = try trees.place(directory)
            return (place, place.text)
        }
        let tree = try StoreTree.open(source: "none", type: "mfs_ram", options: "")
        return (Place(tree: tree, path: FilePath("/")), "the library on mfs_ram")
    }

    private static func size(_ text: String) throws(Failure) -> UInt64 {
        guard let bytes = parseSize(text), bytes >= 1 << 20 else {
            throw .usage(
                "option --size", "'\(text)' is no size of 1M at least: a number with K, M, G or T")
        }
        return bytes
    }
}
