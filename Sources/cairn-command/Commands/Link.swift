// cairn ln: gives a file one more name, or makes a symbolic link.

import CairnBase
import CairnVFS

enum LinkCommand {
    static let command = Command(
        name: "ln", summary: "makes hard and symbolic links",
        usage: ["[-sfn] TARGET LINK", "[-sf] TARGET… DIRECTORY"], operands: .atLeast(2),
        options: [
            CommandOption("s", "symbolic", "a symbolic link, with TARGET as it stands"),
            CommandOption("f", "force", "instead of a file that is there"),
            CommandOption(
                "n", "no-dereference",
                "a LINK that is a symbolic link to a directory\n"
                    + "is replaced, not entered"),
        ] + OpenTrees.options, notes: [OpenTrees.note], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments) { trees throws(Failure) in
            var targets = arguments.operands
            let last = try trees.place(targets.removeLast())
            let follows = !arguments.has("no-dereference")
            let isDirectory =
                try last.statusIfThere(following: follows)?.attributes.isDirectory ?? false
            if targets.count > 1, !isDirectory { throw Failure(last.text, Errno.ENOTDIR) }
            return OpenTrees.each(targets) { target throws(Failure) in
                let link = isDirectory ? last.appending(target.lastName) : last
                try make(link, to: target, trees, arguments)
            }
        }
    }

    private static func make(
        _ link: Place, to target: FilePath, _ trees: OpenTrees, _ arguments: Arguments
    ) throws(Failure) {
        if arguments.has("symbolic") {
            // A target within the same source is stored as the path alone.
            let stored = OpenTrees.split(target).map(\.path) ?? target
            let text = link.tree is HostTree ? target : stored
            try replacing(link, if: arguments.has("force")) { path throws(Errno) in
                try link.tree.makeSymbolicLink(to: text, at: path)
            }
            return
        }
        let source = try trees.place(target)
        guard source.tree === link.tree else {
            throw Failure(
                link.text, "a hard link cannot lead to another filesystem",
                wayOut: "use a symbolic link (-s) or copy the file (cairn cp)")
        }
        let status = try source.status(following: false)
        if status.attributes.isDirectory {
            throw Failure(
                source.text, "a directory cannot have a second name",
                wayOut: "use a symbolic link: cairn ln -s")
        }
        if let there = try link.statusIfThere(following: false), there.isSameFile(as: status) {
            if arguments.has("force") { return }
        }
        try replacing(link, if: arguments.has("force")) { path throws(Errno) in
            try link.tree.link(source.path, as: path)
        }
    }

    /// Makes it; what is in the way is replaced in one step, by a rename.
    private static func replacing(
        _ link: Place, if force: Bool, _ make: (FilePath) throws(Errno) -> Void
    ) throws(Failure) {
        try link.attempt { tree, path throws(Errno) in
            do throws(Errno) {
                try make(path)
            } catch {
                guard error == .EEXIST, force else { throw error }
                let temporary = path.directory.appending(
                    ".cairn-ln-\(UInt64.random(in: .min ... .max))".utf8)
                try make(temporary)
                do throws(Errno) {
                    try tree.rename(temporary, to: path)
                } catch {
                    try? tree.remove(temporary, directory: false)
                    throw error
                }
            }
        }
    }
}
