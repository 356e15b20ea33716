// cairn tree: draws what is below a directory.

import CairnVFS

enum TreeCommand {
    static let command = Command(
        name: "tree", summary: "draws what is below a directory",
        usage: ["[-ad] [-L DEPTH] [FILE…]"], operands: .any,
        options: [
            CommandOption("a", "all", "names that begin with a dot too"),
            CommandOption("d", "directories", "directories only"),
            CommandOption("L", "level", value: "DEPTH", "go down DEPTH levels at most"),
        ] + OpenTrees.options, notes: [OpenTrees.note], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let depth = try arguments.number("level", in: 1...1_000_000) ?? .max
        return try OpenTrees.with(arguments, isReading: true) { trees throws(Failure) in
            let operands = arguments.operands.isEmpty ? [FilePath(".")] : arguments.operands
            let drawing = Drawing(arguments)
            let status = OpenTrees.each(operands) { operand throws(Failure) in
                let place = try trees.place(operand)
                _ = try place.sortedEntries()
                standardOutput.write("\(place.text)\n")
                try drawing.draw(place, before: "", depth: depth)
            }
            let directories =
                "\(drawing.directories) \(drawing.directories == 1 ? "directory" : "directories")"
            let files = "\(drawing.files) \(drawing.files == 1 ? "file" : "files")"
            standardOutput.write(
                "\n" + directories + (arguments.has("directories") ? "" : ", \(files)") + "\n")
            return status
        }
    }
}

private final class Drawing {
    private let showsAll: Bool
    private let directoriesOnly: Bool
    private(set) var directories = 0
    private(set) var files = 0

    init(_ arguments: Arguments) {
        showsAll = arguments.has("all")
        directoriesOnly = arguments.has("directories")
    }

    func draw(_ place: Place, before: String, depth: Int) throws(Failure) {
        guard depth > 0 else { return }
        var entries: [(entry: TreeEntry, isDirectory: Bool)] = []
        for entry in try place.sortedEntries()
        where showsAll || entry.name.bytes.first != UInt8(ascii: ".") {
            let isDirectory: Bool
            if let kind = entry.kind {
                isDirectory = kind == .directory
            } else {
                let status = try place.appending(entry.name).statusIfThere(following: false)
                isDirectory = status?.attributes.isDirectory ?? false
            }
            if isDirectory || !directoriesOnly { entries.append((entry, isDirectory)) }
        }
        for (index, (entry, isDirectory)) in entries.enumerated() {
            let isLast = index == entries.count - 1
            let child = place.appending(entry.name)
            standardOutput.write(before + (isLast ? "└── " : "├── "))
            standardOutput.write(bytes: outputBytes(entry.name))
            if entry.kind == .symbolicLink, let target = try? child.tree.readLink(child.path) {
                standardOutput.write(bytes: Array(" -> ".utf8) + outputBytes(target))
            }
            standardOutput.write("\n")
            guard isDirectory else {
                files += 1
                continue
            }
            directories += 1
            do throws(Failure) {
                try draw(child, before: before + (isLast ? "    " : "│   "), depth: depth - 1)
            } catch {
                report(error)
            }
        }
    }
}
