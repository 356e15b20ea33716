// cairn cp: copies files and trees, also between the host and a source.

import CairnBase
import CairnVFS

enum CopyCommand {
    static let command = Command(
        name: "cp", summary: "copies files and trees, also to and from the host",
        usage: ["[-rpanv] FILE NEWFILE", "[-rpanv] FILE… DIRECTORY"], operands: .atLeast(2),
        options: [
            CommandOption("r", "recursive", "directories with all that is below"),
            CommandOption("R", "Recursive", "the same"),
            CommandOption(
                "p", "preserve",
                "keep mode, owner, times, extended attributes\n"
                    + "and, within one call, hard links"),
            CommandOption("a", "archive", "the same as -rp"),
            CommandOption("n", "no-clobber", "leave a file alone that is there already"),
            CommandOption("v", "verbose", "name each file"),
        ] + OpenTrees.options,
        notes: [
            OpenTrees.note,
            "Symbolic links are copied as links with -r, -p or -a, followed otherwise. Holes stay holes.",
        ], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments) { trees throws(Failure) in
            var sources = arguments.operands
            let target = try trees.place(sources.removeLast())
            let isDirectory =
                try target.statusIfThere(following: true)?.attributes.isDirectory ?? false
            if sources.count > 1, !isDirectory { throw Failure(target.text, Errno.ENOTDIR) }
            let archive = arguments.has("archive")
            let copying = Copying(
                isRecursive: archive || arguments.has("recursive") || arguments.has("Recursive"),
                preserves: archive || arguments.has("preserve"),
                isVerbose: arguments.has("verbose"),
                keepsExisting: arguments.has("no-clobber"))
            let status = OpenTrees.each(sources) { operand throws(Failure) in
                let source = try trees.place(operand)
                let place = isDirectory ? target.appending(source.path.lastName) : target
                try copying.copy(source, to: place)
            }
            copying.progress.end()
            return copying.failures > 0 ? ExitStatus.failed : status
        }
    }
}

/// One call of `cp`: what it remembers from file to file.
final class Copying {
    private let isRecursive: Bool
    private let preserves: Bool
    private let isVerbose: Bool
    private let keepsExisting: Bool
    let progress = Progress()
    /// Files that were reported and left out.
    private(set) var failures = 0

    private struct FileIdentity: Hashable {
        let tree: ObjectIdentifier
        let fileSystem: UInt64
        let number: UInt64
    }
    /// Where the first copy of a file with several names went.
    private var linked: [FileIdentity: Place] = [:]
    /// Directories that this call made, which it must not copy into themselves.
    private var made: Set<FileIdentity> = []

    init(isRecursive: Bool, preserves: Bool, isVerbose: Bool, keepsExisting: Bool = false) {
        self.isRecursive = isRecursive
        self.preserves = preserves
        self.isVerbose = isVerbose
        self.keepsExisting = keepsExisting
    }

    func copy(_ source: Place, to target: Place) throws(Failure) {
        let status = try source.status(following: !isRecursive && !preserves)
        let file = status.attributes
        let there = try target.statusIfThere(following: false)
        if let there, source.tree === target.tree, there.isSameFile(as: status) {
            throw Failure(source.text, "is the same file as \(target.text)")
        }
        if keepsExisting, there != nil, !file.isDirectory { return }
        if isVerbose { standardOutput.write("\(source.text) -> \(target.text)\n") }
        if file.isDirectory {
            return try copyDirectory(source, status, to: target, there)
        }
        if let there, there.attributes.isDirectory { throw Failure(target.text, Errno.EISDIR) }
        if preserves, file.linkCount > 1, try linkToEarlierCopy(source, status, target, there) {
            return
        }
        switch file.kind {
        case .regular: try copyData(source, file, to: target)
        case .symbolicLink:
            try removeIfThere(target, there)
            let text = try source.attempt { tree, path throws(Errno) in try tree.readLink(path) }
            try target.attempt { tree, path throws(Errno) in
                try tree.makeSymbolicLink(to: text, at: path)
            }
        default:
            guard isRecursive else { return try copyData(source, file, to: target) }
            try removeIfThere(target, there)
            try target.attempt { tree, path throws(Errno) in
                try tree.makeNode(
                    path, kind: file.kind, permissions: file.permissions.rawValue & 0o777,
                    device: file.device)
            }
        }
        if preserves { try copyAttributes(source, file, to: target) }
        progress.fileDone()
    }

    private func identity(_ place: Place, _ status: FileStatus) -> FileIdentity {
        FileIdentity(
            tree: ObjectIdentifier(place.tree), fileSystem: status.fileSystem,
            number: status.attributes.number)
    }

    private func removeIfThere(_ target: Place, _ there: FileStatus?) throws(Failure) {
        guard there != nil else { return }
        try target.attempt { tree, path throws(Errno) in try tree.remove(path, directory: false) }
    }

    private func linkToEarlierCopy(
        _ source: Place, _ status: FileStatus, _ target: Place, _ there: FileStatus?
    ) throws(Failure) -> Bool {
        let key = identity(source, status)
        guard let earlier = linked[key], earlier.tree === target.tree else {
            linked[key] = target
            return false
        }
        try removeIfThere(target, there)
        try target.attempt { tree, path throws(Errno) in try tree.link(earlier.path, as: path) }
        return true
    }

    private func copyDirectory(
        _ source: Place, _ status: FileStatus, to target: Place, _ there: FileStatus?
    ) throws(Failure) {
        guard isRecursive else {
            throw Failure(source.text, Errno.EISDIR, wayOut: "-r copies it with all that is below")
        }
        if made.contains(identity(source, status)) {
            throw Failure(source.text, "a directory cannot be copied into itself")
        }
        let mode = status.attributes.permissions.rawValue
        if there == nil {
            // Writable until it is full.
            try target.attempt { tree, path throws(Errno) in
                try tree.makeDirectory(path, permissions: (mode & 0o777) | 0o700)
            }
            made.insert(identity(target, try target.status(following: false)))
        } else if try target.status(following: true).attributes.isDirectory == false {
            throw Failure(target.text, Errno.ENOTDIR)
        }
        for entry in try source.sortedEntries() {
            do throws(Failure) {
                try copy(source.appending(entry.name), to: target.appending(entry.name))
            } catch {
                failures += 1
                report(error)
            }
        }
        if preserves {
            try copyAttributes(source, status.attributes, to: target)
        } else if there == nil, mode & 0o700 != 0o700 {
            try target.attempt { tree, path throws(Errno) in
                let now = try tree.status(of: path, following: false).attributes.permissions
                try tree.setPermissions(now.rawValue & (mode | 0o077), of: path)
            }
        }
    }

    /// Data, with holes where the source has them.
    private func copyData(_ source: Place, _ file: Attributes, to target: Place) throws(Failure) {
        let input = try source.attempt { tree, path throws(Errno) in
            try tree.open(path, for: .reading)
        }
        let permissions = file.permissions.rawValue & 0o777
        let output: any TreeFile
        do throws(Failure) {
            output = try target.attempt { tree, path throws(Errno) in
                try tree.open(path, for: .overwriting(permissions: permissions))
            }
        } catch {
            try? input.close()
            throw error
        }
        var size = file.kind == .regular ? file.size : 0
        var end: UInt64 = 0
        do throws(Failure) {
            // A size of 0 may mean that the filesystem does not know it (procfs, a pipe).
            var offset: UInt64 = 0
            while offset < size {
                let from = offset
                let range = try source.attempt { _, _ throws(Errno) in
                    try input.nextData(from: from, size: size)
                }
                guard let range else { break }
                offset = try pump(source, input, target, output, range.lowerBound, range.upperBound)
                end = offset
                if offset < range.upperBound { size = offset }  // it became shorter meanwhile
            }
            if size == 0 {
                end = try pump(source, input, target, output, 0, .max)
            } else if end < size {
                try target.attempt { _, _ throws(Errno) in try output.truncate(to: size) }
            }
        } catch {
            try? input.close()
            try? output.close()
            throw error
        }
        try? input.close()
        try target.attempt { _, _ throws(Errno) in try output.close() }
    }

    /// Copies from `start` to `end` or to the end of the file; gives where it stopped.
    private func pump(
        _ source: Place, _ input: any TreeFile, _ target: Place, _ output: any TreeFile,
        _ start: UInt64, _ end: UInt64
    ) throws(Failure) -> UInt64 {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var offset = start
        while offset < end {
            let room = UnsafeMutableRawBufferPointer(
                rebasing: buffer[..<Int(min(end - offset, UInt64(buffer.count)))])
            let count = try source.attempt { _, _ throws(Errno) in
                try input.read(into: room, at: offset)
            }
            if count == 0 { break }
            try target.attempt { _, _ throws(Errno) in
                try output.write(UnsafeRawBufferPointer(rebasing: room[..<count]), at: offset)
            }
            offset += UInt64(count)
            progress.bytesDone(UInt64(count))
        }
        return offset
    }

    /// Owner, mode, extended attributes and times, in this order: each clears what comes before
    /// otherwise. Not being allowed to give a file away is no failure, as with cp(1).
    private func copyAttributes(
        _ source: Place, _ file: Attributes, to target: Place
    ) throws(Failure) {
        try target.attempt { tree, path throws(Errno) in
            var mode = file.permissions.rawValue
            do throws(Errno) {
                try tree.setOwner(user: file.user, group: file.group, of: path)
            } catch {
                guard error == .EPERM else { throw error }
                mode &= 0o1777
            }
            if file.kind != .symbolicLink { try tree.setPermissions(mode, of: path) }
            copyExtendedAttributes(source, to: tree, path)
            try tree.setTimes(
                access: .set(file.accessTime), modification: .set(file.modificationTime), of: path,
                following: false)
        }
    }

    /// As many as the target takes: a filesystem without them is no reason to fail.
    private func copyExtendedAttributes(_ source: Place, to tree: any FileTree, _ path: FilePath) {
        guard let names = try? source.tree.extendedAttributeNames(of: source.path) else { return }
        for name in names {
            guard let value = try? source.tree.extendedAttribute(name, of: source.path) else {
                continue
            }
            try? tree.setExtendedAttribute(name, to: value, of: path)
        }
    }
}
