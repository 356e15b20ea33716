// cairn rm: removes files and trees.

import CairnBase
import CairnVFS

enum RemoveCommand {
    static let command = Command(
        name: "rm", summary: "removes files and trees",
        usage: ["[-rfd] FILE…"], operands: .some,
        options: [
            CommandOption("r", "recursive", "directories with all that is below"),
            CommandOption("R", "Recursive", "the same"),
            CommandOption("f", "force", "no error if a FILE is missing"),
            CommandOption("d", "dir", "empty directories"),
        ] + OpenTrees.options, notes: [OpenTrees.note], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let isRecursive = arguments.has("recursive") || arguments.has("Recursive")
        return try OpenTrees.with(arguments) { trees throws(Failure) in
            OpenTrees.each(arguments.operands) { operand throws(Failure) in
                let place = try trees.place(operand)
                try refuseDangerous(place)
                let found =
                    arguments.has("force")
                    ? try place.statusIfThere(following: false)
                    : try place.status(following: false)
                guard let status = found else { return }
                let isDirectory = status.attributes.isDirectory
                if isDirectory, !isRecursive, !arguments.has("dir") {
                    throw Failure(
                        place.text, Errno.EISDIR, wayOut: "-r removes it with all that is below")
                }
                if isDirectory, isRecursive {
                    try removeTree(place)
                } else {
                    try place.attempt { tree, path throws(Errno) in
                        try tree.remove(path, directory: isDirectory)
                    }
                }
            }
        }
    }

    private static func refuseDangerous(_ place: Place) throws(Failure) {
        let name = place.path.lastName.text
        if name == "/" || name == "." || name == ".." || place.path.isEmpty {
            throw Failure(place.text, "refusing to remove '\(name)'")
        }
    }

    /// Removes a directory with all that is below. Goes on after what cannot be removed; the last
    /// error is thrown.
    static func removeTree(_ place: Place) throws(Failure) {
        var failure: Failure?
        for entry in try place.sortedEntries() {
            let child = place.appending(entry.name)
            do throws(Failure) {
                let isDirectory: Bool
                if let kind = entry.kind {
                    isDirectory = kind == .directory
                } else {
                    isDirectory = try child.status(following: false).attributes.isDirectory
                }
                if isDirectory {
                    try removeTree(child)
                } else {
                    try child.attempt { tree, path throws(Errno) in
                        try tree.remove(path, directory: false)
                    }
                }
            } catch {
                if let failure { report(failure) }
                failure = error
            }
        }
        if let failure { throw failure }
        try place.attempt { tree, path throws(Errno) in try tree.remove(path, directory: true) }
    }
}
