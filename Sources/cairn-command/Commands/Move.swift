// cairn mv: renames files, or moves them to another filesystem.

import CairnBase
import CairnVFS

enum MoveCommand {
    static let command = Command(
        name: "mv", summary: "renames and moves files",
        usage: ["[-n] FILE NEWNAME", "[-n] FILE… DIRECTORY"], operands: .atLeast(2),
        options: [
            CommandOption("n", "no-clobber", "leave a file alone that is there already"),
            CommandOption("f", "force", "replace a file that is there (always so)"),
        ] + OpenTrees.options,
        notes: [
            OpenTrees.note,
            """
            Within one filesystem this is one step, a rename. To another one, a copy is made and
            then the original removed; if the copy fails, the original stays.
            """,
        ], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments) { trees throws(Failure) in
            var sources = arguments.operands
            let target = try trees.place(sources.removeLast())
            let isDirectory =
                try target.statusIfThere(following: true)?.attributes.isDirectory ?? false
            if sources.count > 1, !isDirectory { throw Failure(target.text, Errno.ENOTDIR) }
            return OpenTrees.each(sources) { operand throws(Failure) in
                let source = try trees.place(operand)
                let place = isDirectory ? target.appending(source.path.lastName) : target
                try move(source, to: place, keeping: arguments.has("no-clobber"))
            }
        }
    }

    private static func move(
        _ source: Place, to target: Place, keeping: Bool
    ) throws(Failure) {
        let status = try source.status(following: false)
        let there = try target.statusIfThere(following: false)
        if keeping, there != nil { return }
        if source.tree === target.tree {
            if let there, there.isSameFile(as: status), source.path.trimmed == target.path.trimmed {
                throw Failure(source.text, "is the same file as \(target.text)")
            }
            do throws(Errno) {
                return try source.tree.rename(source.path, to: target.path)
            } catch {
                if error == .EINVAL {
                    throw Failure(source.text, "a directory cannot move into itself")
                }
                if error != .EXDEV { throw Failure(source.text, error) }
            }
        }
        try copyAcross(source, status.attributes, to: target)
        if status.attributes.isDirectory {
            try RemoveCommand.removeTree(source)
        } else {
            try source.attempt { tree, path throws(Errno) in
                try tree.remove(path, directory: false)
            }
        }
    }

    /// Copies under a name of its own, then replaces what is at the target in one step: if
    /// anything fails, both files are as they were.
    private static func copyAcross(
        _ source: Place, _ file: Attributes, to target: Place
    ) throws(Failure) {
        let name = ".cairn-mv-\(UInt64.random(in: .min ... .max))"
        let copy = Place(tree: target.tree, path: target.path.directory.appending(name.utf8))
        let copying = Copying(isRecursive: true, preserves: true, isVerbose: false)
        do throws(Failure) {
            try copying.copy(source, to: copy)
            copying.progress.end()
            guard copying.failures == 0 else {
                throw Failure(source.text, "not everything could be copied, so it stays")
            }
            do throws(Errno) {
                try copy.tree.rename(copy.path, to: target.path)
            } catch {
                throw Failure(target.text, error)
            }
        } catch {
            copying.progress.end()
            if file.isDirectory {
                try? RemoveCommand.removeTree(copy)
            } else {
                try? copy.tree.remove(copy.path, directory: false)
            }
            throw error
        }
    }
}
