// StoreTree: the files of a source that the library opens without a mount.
//
// The command acts on it as the owner of the source would with a disk in hand: new files belong
// to the user who runs it, and permissions within do not hold it back.

import CairnBase
import CairnVFS
import Glibc

final class StoreTree: FileTree {
    let prefix: String
    private let composition: Composition
    private let process: CairnVFS.Process

    private init(_ composition: Composition, prefix: String) throws(Errno) {
        self.composition = composition
        self.prefix = prefix
        let mask = Glibc.umask(0)
        _ = Glibc.umask(mask)
        process = try CairnVFS.Process(
            in: composition.namespace,
            credentials: Credentials(user: geteuid(), group: getegid(), capabilities: .all),
            umask: Permissions(rawValue: mask), name: "cairn")
    }

    /// Opens a source by its type.
    static func open(
        source: String, type: String?, options: String
    ) throws(Failure) -> any FileTree {
        let planned = PlannedFileSystem(
            path: FilePath("/"), type: type, source: source, options: options)
        let composition = try Composition([planned], in: makeVFS())
        do throws(Errno) {
            return try StoreTree(composition, prefix: source + ":")
        } catch {
            throw Failure(source, error)
        }
    }

    func status(of path: FilePath, following: Bool) throws(Errno) -> FileStatus {
        let attributes = try process.stat(path.inLibrary, followingLinks: following)
        return FileStatus(attributes: attributes, fileSystem: 0)
    }

    func entries(of path: FilePath) throws(Errno) -> [TreeEntry] {
        let directory = try process.open(path.inLibrary, [.directory, .closeOnExec])
        defer { try? process.close(directory) }
        var entries: [TreeEntry] = []
        while true {
            let part = try process.entries(of: directory)
            if part.isEmpty { return entries }
            for entry in part where entry.name != "." && entry.name != ".." {
                entries.append(
                    TreeEntry(
                        name: FilePath(entry.name.bytes), number: entry.number, kind: entry.kind))
            }
        }
    }

    func readLink(_ path: FilePath) throws(Errno) -> FilePath {
        FilePath(try process.readLink(path.inLibrary))
    }

    func open(_ path: FilePath, for use: FileUse) throws(Errno) -> any TreeFile {
        let flags: OpenFlags
        var permissions: UInt32 = 0
        switch use {
        case .reading: flags = .readOnly
        case .updating: flags = .readWrite
        case .creating(let wanted):
            (flags, permissions) = ([.readWrite, .create, .exclusive], wanted)
        case .overwriting(let wanted):
            (flags, permissions) = ([.readWrite, .create, .truncate], wanted)
        }
        let descriptor = try process.open(
            path.inLibrary, flags, permissions: Permissions(rawValue: permissions))
        return StoreFile(process, descriptor)
    }

    func makeDirectory(_ path: FilePath, permissions: UInt32) throws(Errno) {
        try process.makeDirectory(path.inLibrary, permissions: Permissions(rawValue: permissions))
    }

    func makeNode(
        _ path: FilePath, kind: FileKind, permissions: UInt32, device: UInt64
    ) throws(Errno) {
        try process.makeNode(
            path.inLibrary, kind: kind, permissions: Permissions(rawValue: permissions),
            device: device)
    }

    func link(_ path: FilePath, as newPath: FilePath) throws(Errno) {
        try process.link(path.inLibrary, to: newPath.inLibrary)
    }

    func makeSymbolicLink(to target: FilePath, at path: FilePath) throws(Errno) {
        try process.makeLink(path.inLibrary, to: target.inLibrary)
    }

    func remove(_ path: FilePath, directory: Bool) throws(Errno) {
        if directory {
            try process.removeDirectory(path.inLibrary)
        } else {
            try process.unlink(path.inLibrary)
        }
    }

    func rename(_ path: FilePath, to newPath: FilePath) throws(Errno) {
        try process.rename(path.inLibrary, to: newPath.inLibrary)
    }

    func setPermissions(_ permissions: UInt32, of path: FilePath) throws(Errno) {
        try process.chmod(path.inLibrary, Permissions(rawValue: permissions))
    }

    func setOwner(user: UInt32, group: UInt32, of path: FilePath) throws(Errno) {
        try process.chown(path.inLibrary, user: user, group: group, followingLinks: false)
    }

    func setTimes(
        access: TimeChange, modification: TimeChange, of path: FilePath, following: Bool
    ) throws(Errno) {
        try process.setTimes(
            path.inLibrary, access: access, modification: modification, followingLinks: following)
    }

    func extendedAttributeNames(of path: FilePath) throws(Errno) -> [[UInt8]] {
        try process.extendedAttributeNames(of: path.inLibrary, followingLinks: false).map(\.bytes)
    }

    func extendedAttribute(_ name: [UInt8], of path: FilePath) throws(Errno) -> [UInt8] {
        try process.extendedAttribute(FileName(name), of: path.inLibrary, followingLinks: false)
    }

    func setExtendedAttribute(
        _ name: [UInt8], to value: [UInt8], of path: FilePath
    ) throws(Errno) {
        try process.setExtendedAttribute(
            FileName(name), of: path.inLibrary, to: value, followingLinks: false)
    }

    func statistics(of path: FilePath) throws(Errno) -> FileSystemStatistics {
        try process.fileSystemStatistics(path.inLibrary)
    }

    func close() throws(Errno) {
        process.exit()
        try composition.namespace.close()
    }
}

/// An open file of the library.
final class StoreFile: TreeFile {
    private let process: CairnVFS.Process
    private let descriptor: Descriptor

    init(_ process: CairnVFS.Process, _ descriptor: Descriptor) {
        self.process = process
        self.descriptor = descriptor
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Errno) -> Int {
        do throws(Errno) {
            return try process.read(from: descriptor, into: buffer, at: offset)
        } catch {
            // A stream has no offsets.
            guard error == .ESPIPE else { throw error }
            return try process.read(from: descriptor, into: buffer)
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        var done = 0
        while done < bytes.count {
            done += try process.write(
                UnsafeRawBufferPointer(rebasing: bytes[done...]), to: descriptor,
                at: offset + UInt64(done))
        }
    }

    func truncate(to size: UInt64) throws(Errno) {
        try process.truncate(descriptor, to: size)
    }

    func nextData(from offset: UInt64, size: UInt64) throws(Errno) -> Range<UInt64>? {
        guard offset < size else { return nil }
        do throws(Errno) {
            let start = try process.seek(descriptor, .data(offset))
            let end = try process.seek(descriptor, .hole(start))
            return start < min(end, size) ? start..<min(end, size) : nil
        } catch {
            if error == .ENXIO { return nil }
            if error == .EINVAL || error == .ESPIPE { return offset..<size }
            throw error
        }
    }

    func sync() throws(Errno) { try process.fsync(descriptor) }

    func close() throws(Errno) { try process.close(descriptor) }
}

extension Namespace {
    /// Mounts one more filesystem at a path. Directories that are missing on the way are made.
    func attach(_ opened: OpenedFileSystem, at path: FilePath) throws(Failure) {
        do throws(Errno) {
            let process = try CairnVFS.Process(in: self, name: "cairn mount")
            defer { process.exit() }
            try makeDirectories(to: path, by: process)
            try process.mount(
                opened.fileSystem, at: path.inLibrary, source: opened.source, flags: opened.flags)
        } catch {
            let wayOut =
                error == .EROFS || error == .EPERM || error == .EACCES
                ? "the directory must be there already, or its filesystem be writable" : nil
            throw Failure("--at \(printable(path))", error, wayOut: wayOut)
        }
    }

    private func makeDirectories(
        to path: FilePath, by process: CairnVFS.Process
    ) throws(Errno) {
        do throws(Errno) {
            _ = try process.stat(path.inLibrary)
        } catch {
            guard error == .ENOENT else { throw error }
            try makeDirectories(to: path.directory, by: process)
            try process.makeDirectory(path.inLibrary, permissions: Permissions(rawValue: 0o755))
        }
    }
}
