// cairn mkdir: makes directories.

import CairnBase
import Glibc

enum MakeDirectoryCommand {
    static let command = Command(
        name: "mkdir", summary: "makes directories",
        usage: ["[-p] [-m MODE] DIRECTORY…"], operands: .some,
        options: [
            CommandOption("p", "parents", "what is missing above too; no error if it is there"),
            CommandOption("m", "mode", value: "MODE", "permissions, in octal, whatever the umask"),
        ] + OpenTrees.options, notes: [OpenTrees.note], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let mode = try arguments.value("mode").map { text throws(Failure) in try parseMode(text) }
        return try OpenTrees.with(arguments) { trees throws(Failure) in
            OpenTrees.each(arguments.operands) { operand throws(Failure) in
                let place = try trees.place(operand)
                if arguments.has("parents") {
                    try makeParents(of: place)
                    let status = try place.statusIfThere(following: true)
                    if status?.attributes.isDirectory == true { return }
                }
                try place.attempt { tree, path throws(Errno) in
                    try tree.makeDirectory(path, permissions: mode ?? 0o777)
                    if let mode { try tree.setPermissions(mode, of: path) }
                }
            }
        }
    }

    /// Makes the directories that lead to `place`, with u+wx so that the next one can be made.
    static func makeParents(of place: Place) throws(Failure) {
        let parent = Place(tree: place.tree, path: place.path.directory)
        if parent.path == place.path { return }
        if try parent.statusIfThere(following: true) != nil { return }
        try makeParents(of: parent)
        try parent.attempt { tree, path throws(Errno) in
            do throws(Errno) {
                try tree.makeDirectory(path, permissions: 0o777)
            } catch {
                // Somebody else may have made it meanwhile.
                if error != .EEXIST { throw error }
            }
        }
    }

    /// Permissions in octal, as chmod(1) takes them.
    static func parseMode(_ text: String) throws(Failure) -> UInt32 {
        guard let mode = UInt32(text, radix: 8), mode <= 0o7777 else {
            throw .usage("option --mode", "'\(text)' is no octal number from 0 to 7777")
        }
        return mode
    }
}
