// cairn df: space and files of filesystems.

import CairnBase
import CairnVFS

enum DiskFreeCommand {
    static let command = Command(
        name: "df", summary: "shows how full filesystems are",
        usage: ["[-hi] [--json] [FILE…]"], operands: .any,
        options: [
            CommandOption("h", "human-readable", "sizes with K, M, G (powers of 1024)"),
            CommandOption("i", "inodes", "files instead of bytes"),
            CommandOption(nil, "json", "a JSON array of objects, in bytes"),
        ] + OpenTrees.options,
        notes: ["Without FILE: all mounts of Cairn. " + OpenTrees.note], run: run)

    private struct Row {
        let source: String
        let statistics: FileSystemStatistics
        let place: String
    }

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments, isReading: true) { trees throws(Failure) in
            let mounts = try MountTable.read()
            let operands =
                arguments.operands.isEmpty
                ? mounts.filter(\.isCairn).map(\.mountPoint) : arguments.operands
            var rows: [Row] = []
            let status = OpenTrees.each(operands) { operand throws(Failure) in
                rows.append(try row(of: try trees.place(operand), mounts))
            }
            if arguments.has("json") {
                standardOutput.write(JSON.array(rows.map(object)).pretty)
            } else if !rows.isEmpty {
                printTable(rows, arguments)
            }
            return status
        }
    }

    private static func row(of place: Place, _ mounts: [KernelMount]) throws(Failure) -> Row {
        let statistics = try place.attempt { tree, path throws(Errno) in
            try tree.statistics(of: path)
        }
        guard place.tree is HostTree else {
            return Row(
                source: String(place.tree.prefix.dropLast()), statistics: statistics,
                place: place.text)
        }
        let path = try mountPointPath(place.path)
        let mount = mounts.filter { path.isWithin($0.mountPoint) }
            .max { $0.mountPoint.bytes.count <= $1.mountPoint.bytes.count }
        return Row(
            source: mount?.source ?? "-", statistics: statistics,
            place: mount.map { printable($0.mountPoint) } ?? place.text)
    }

    private static func object(_ row: Row) -> JSON {
        let figures = row.statistics
        let block = UInt64(figures.blockSize)
        return [
            "source": .string(row.source), "path": .string(row.place),
            "totalBytes": .count(figures.totalBlocks * block),
            "usedBytes": .count(
                (figures.totalBlocks - min(figures.freeBlocks, figures.totalBlocks)) * block),
            "availableBytes": .count(figures.availableBlocks * block),
            "totalFiles": .count(figures.totalNodes),
            "freeFiles": .count(figures.freeNodes),
        ]
    }

    private static func printTable(_ rows: [Row], _ arguments: Arguments) {
        let files = arguments.has("inodes")
        let human = arguments.has("human-readable")
        var table = [
            [
                "Source", files ? "Files" : human ? "Size" : "1K-blocks", "Used", "Free", "Use%",
                "Mounted on",
            ]
        ]
        for row in rows {
            let figures = row.statistics
            let total = files ? figures.totalNodes : figures.totalBlocks
            let used = total - min(files ? figures.freeNodes : figures.freeBlocks, total)
            let free = files ? figures.freeNodes : figures.availableBlocks
            func text(_ count: UInt64) -> String {
                if files { return String(count) }
                let bytes = count * UInt64(figures.blockSize)
                return human ? humanSize(bytes) : String((bytes + 1023) / 1024)
            }
            // As df(1): of what a user can have, rounded up.
            let percent =
                used + free == 0 ? "-" : "\((used * 100 + used + free - 1) / (used + free))%"
            table.append([row.source, text(total), text(used), text(free), percent, row.place])
        }
        let widths = (0..<5).map { column in table.map { $0[column].count }.max() ?? 0 }
        for row in table {
            let numbers = (1..<5).map { row[$0].leading(widths[$0]) }.joined(separator: " ")
            standardOutput.write("\(row[0].trailing(widths[0])) \(numbers) \(row[5])\n")
        }
    }
}
