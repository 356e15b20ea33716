// FileTree: the files that a command works on, wherever they are.
//
// Two kinds: the host's files, through system calls (HostTree), and those of a source that the
// library opens without a mount (StoreTree). The commands know this face only, so that each works
// on both and `cp` and `mv` from one to the other. Used by one thread.

import CairnBase
import CairnVFS

protocol FileTree: AnyObject {
    /// What messages put before a path: "" on the host, "SOURCE:" elsewhere.
    var prefix: String { get }

    /// stat(2), or lstat(2) if not `following`.
    func status(of path: FilePath, following: Bool) throws(Errno) -> FileStatus
    /// The entries of a directory, without "." and "..", in no order.
    func entries(of path: FilePath) throws(Errno) -> [TreeEntry]
    func readLink(_ path: FilePath) throws(Errno) -> FilePath

    func open(_ path: FilePath, for use: FileUse) throws(Errno) -> any TreeFile
    func makeDirectory(_ path: FilePath, permissions: UInt32) throws(Errno)
    /// mknod(2). The device is (major << 32) | minor.
    func makeNode(_ path: FilePath, kind: FileKind, permissions: UInt32, device: UInt64)
        throws(Errno)
    func link(_ path: FilePath, as newPath: FilePath) throws(Errno)
    func makeSymbolicLink(to target: FilePath, at path: FilePath) throws(Errno)
    /// unlink(2), or rmdir(2) if `directory`.
    func remove(_ path: FilePath, directory: Bool) throws(Errno)
    func rename(_ path: FilePath, to newPath: FilePath) throws(Errno)

    func setPermissions(_ permissions: UInt32, of path: FilePath) throws(Errno)
    /// Of the file itself, not of what a symbolic link points to.
    func setOwner(user: UInt32, group: UInt32, of path: FilePath) throws(Errno)
    func setTimes(
        access: TimeChange, modification: TimeChange, of path: FilePath, following: Bool
    ) throws(Errno)

    func extendedAttributeNames(of path: FilePath) throws(Errno) -> [[UInt8]]
    func extendedAttribute(_ name: [UInt8], of path: FilePath) throws(Errno) -> [UInt8]
    func setExtendedAttribute(_ name: [UInt8], to value: [UInt8], of path: FilePath) throws(Errno)

    /// statfs(2).
    func statistics(of path: FilePath) throws(Errno) -> FileSystemStatistics
    /// Makes all changes durable and lets the source go. Nothing to do on the host.
    func close() throws(Errno)
}

/// What stat(2) tells.
struct FileStatus {
    var attributes: Attributes
    /// Names the filesystem that the file is on, within its tree.
    var fileSystem: UInt64

    func isSameFile(as other: FileStatus) -> Bool {
        fileSystem == other.fileSystem && attributes.number == other.attributes.number
    }
}

/// One entry of a directory. `kind` is nil where the filesystem does not say.
struct TreeEntry {
    var name: FilePath
    var number: UInt64
    var kind: FileKind?
}

enum FileUse {
    case reading
    /// Made anew; EEXIST if there is one, also a symbolic link.
    case creating(permissions: UInt32)
    /// Emptied, or made if there is none.
    case overwriting(permissions: UInt32)
    /// As it is, for reading and writing.
    case updating
}

/// An open file. Closed by `close`, exactly once.
protocol TreeFile: AnyObject {
    /// Bytes read; 0 at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(Errno) -> Int
    /// Writes all of it.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno)
    func truncate(to size: UInt64) throws(Errno)
    /// The next range of data from `offset` on; nil: only a hole follows.
    func nextData(from offset: UInt64, size: UInt64) throws(Errno) -> Range<UInt64>?
    func sync() throws(Errno)
    func close() throws(Errno)
}

/// A file in a tree: what an operand of a command names.
struct Place {
    let tree: any FileTree
    let path: FilePath

    /// For messages.
    var text: String { tree.prefix + printable(path) }

    func appending(_ name: FilePath) -> Place { Place(tree: tree, path: path.appending(name)) }

    func status(following: Bool) throws(Failure) -> FileStatus {
        do throws(Errno) {
            return try tree.status(of: path, following: following)
        } catch {
            throw Failure(text, error)
        }
    }

    /// Nil if there is no such file.
    func statusIfThere(following: Bool) throws(Failure) -> FileStatus? {
        do throws(Errno) {
            return try tree.status(of: path, following: following)
        } catch {
            if error == .ENOENT { return nil }
            throw Failure(text, error)
        }
    }

    /// Entries in the order of their names' bytes.
    func sortedEntries() throws(Failure) -> [TreeEntry] {
        do throws(Errno) {
            return try tree.entries(of: path).sorted {
                $0.name.bytes.lexicographicallyPrecedes($1.name.bytes)
            }
        } catch {
            throw Failure(text, error)
        }
    }

    /// Runs one call on it; an error becomes a failure that names this place.
    func attempt<Value>(_ body: (any FileTree, FilePath) throws(Errno) -> Value) throws(Failure)
        -> Value
    {
        do throws(Errno) {
            return try body(tree, path)
        } catch {
            throw Failure(text, error)
        }
    }
}
