// cairn ls: lists directories.

import CairnBase
import CairnVFS
import Glibc

enum ListCommand {
    static let command = Command(
        name: "ls", summary: "lists directories",
        usage: ["[-aAhilRd1] [--json] [FILE…]"], operands: .any,
        options: [
            CommandOption("l", nil, "a line of details for each file"),
            CommandOption("a", "all", "names that begin with a dot too"),
            CommandOption("A", "almost-all", "the same, without . and .. (which are never shown)"),
            CommandOption("R", "recursive", "what is below, too"),
            CommandOption("d", "directory", "a directory itself, not what is in it"),
            CommandOption("h", "human-readable", "sizes with K, M, G (powers of 1024)"),
            CommandOption("i", "inode", "inode numbers"),
            CommandOption("1", nil, "one name a line (always so)"),
            CommandOption(nil, "json", "a JSON array of objects"),
        ] + OpenTrees.options, notes: [OpenTrees.note], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments, isReading: true) { trees throws(Failure) in
            let operands = arguments.operands.isEmpty ? [FilePath(".")] : arguments.operands
            let listing = Listing(arguments, hasHeadings: operands.count > 1)
            let status = OpenTrees.each(operands) { operand throws(Failure) in
                try listing.show(try trees.place(operand))
            }
            if arguments.has("json") { standardOutput.write(JSON.array(listing.objects).pretty) }
            return status
        }
    }
}

/// One call of `ls`.
private final class Listing {
    private let arguments: Arguments
    private let hasHeadings: Bool
    private let owners = OwnerNames()
    private var isFirst = true
    private(set) var objects: [JSON] = []

    private struct File {
        let place: Place
        let name: FilePath
        let status: FileStatus
    }

    init(_ arguments: Arguments, hasHeadings: Bool) {
        self.arguments = arguments
        self.hasHeadings = hasHeadings || arguments.has("recursive")
    }

    func show(_ place: Place) throws(Failure) {
        // As ls(1): a link that is named is followed, unless its own details are wanted.
        let follows = !arguments.has("l") && !arguments.has("directory")
        let status = try place.status(following: follows)
        if status.attributes.isDirectory, !arguments.has("directory") {
            try showDirectory(place)
        } else {
            print([File(place: place, name: place.path, status: status)])
        }
    }

    private func showDirectory(_ place: Place) throws(Failure) {
        var files: [File] = []
        let all = arguments.has("all") || arguments.has("almost-all")
        for entry in try place.sortedEntries()
        where all || entry.name.bytes.first != UInt8(ascii: ".") {
            let child = place.appending(entry.name)
            // A file may go while its directory is listed.
            if let status = try child.statusIfThere(following: false) {
                files.append(File(place: child, name: entry.name, status: status))
            }
        }
        if hasHeadings, !arguments.has("json") {
            standardOutput.write("\(isFirst ? "" : "\n")\(place.text):\n")
        }
        isFirst = false
        print(files)
        guard arguments.has("recursive") else { return }
        for file in files where file.status.attributes.isDirectory {
            do throws(Failure) {
                try showDirectory(file.place)
            } catch {
                report(error)
            }
        }
    }

    private func print(_ files: [File]) {
        if arguments.has("json") {
            for file in files { objects.append(describe(file.place, file.status)) }
        } else if arguments.has("l") {
            printDetails(files)
        } else {
            for file in files {
                if arguments.has("inode") {
                    standardOutput.write("\(file.status.attributes.number) ")
                }
                standardOutput.write(bytes: outputBytes(file.name) + [0x0A])
            }
        }
    }

    private func printDetails(_ files: [File]) {
        let rows = files.map { columns(of: $0.status.attributes) }
        let widths = (0..<6).map { index in rows.map { $0[index].count }.max() ?? 0 }
        for (file, row) in zip(files, rows) {
            var line = row[0].isEmpty ? "" : row[0].leading(widths[0]) + " "
            line += modeText(file.status.attributes) + " " + row[1].leading(widths[1]) + " "
            line += row[2].trailing(widths[2]) + " " + row[3].trailing(widths[3]) + " "
            line += row[4].leading(widths[4]) + " " + row[5] + " "
            standardOutput.write(line)
            standardOutput.write(bytes: outputBytes(file.name))
            if file.status.attributes.kind == .symbolicLink,
                let target = try? file.place.tree.readLink(file.place.path)
            {
                standardOutput.write(bytes: Array(" -> ".utf8) + outputBytes(target))
            }
            standardOutput.write("\n")
        }
    }

    /// Inode, links, user, group, size, time.
    private func columns(of attributes: Attributes) -> [String] {
        let size =
            attributes.kind.isDevice
            ? "\(attributes.device >> 32), \(attributes.device & 0xFFFF_FFFF)"
            : arguments.has("human-readable")
                ? humanSize(attributes.size) : String(attributes.size)
        return [
            arguments.has("inode") ? String(attributes.number) : "",
            String(attributes.linkCount), owners.user(attributes.user),
            owners.group(attributes.group), size,
            timeText(attributes.modificationTime, "%Y-%m-%d %H:%M"),
        ]
    }
}

/// A file as JSON: what `ls --json` and `stat --json` print.
func describe(_ place: Place, _ status: FileStatus) -> JSON {
    let attributes = status.attributes
    var members: [JSON.Member] = [
        .init(name: "path", value: .bytes(Array(place.path.bytes))),
        .init(name: "kind", value: .string(attributes.kind.description)),
        .init(name: "inode", value: .count(attributes.number)),
        .init(name: "mode", value: .string(octal(attributes.permissions.rawValue))),
        .init(name: "links", value: .count(attributes.linkCount)),
        .init(name: "user", value: .count(attributes.user)),
        .init(name: "group", value: .count(attributes.group)),
        .init(name: "sizeBytes", value: .count(attributes.size)),
        .init(name: "allocatedBytes", value: .count(attributes.blocks * 512)),
        .init(name: "accessTime", value: .string(fullTimeText(attributes.accessTime))),
        .init(name: "modificationTime", value: .string(fullTimeText(attributes.modificationTime))),
        .init(name: "changeTime", value: .string(fullTimeText(attributes.changeTime))),
    ]
    if attributes.kind.isDevice {
        members.append(.init(name: "major", value: .count(attributes.device >> 32)))
        members.append(.init(name: "minor", value: .count(attributes.device & 0xFFFF_FFFF)))
    }
    if attributes.kind == .symbolicLink, let target = try? place.tree.readLink(place.path) {
        members.append(.init(name: "target", value: .bytes(Array(target.bytes))))
    }
    return .object(members)
}
