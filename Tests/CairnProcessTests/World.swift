// What the tests of this target share: a namespace on mfs_ram, and short ways to say things.

import Cairn
import Testing

/// A namespace whose root is a fresh mfs_ram, with a process of user 0 in it.
final class World {
    let vfs: VFS
    let time = ManualTime()
    let namespace: Namespace
    let root: Process

    init() throws {
        vfs = VFS(time: time)
        namespace = try Namespace(vfs: vfs, root: try RAMFileSystemType.open(in: vfs))
        root = try Process(in: namespace)
    }

    /// A process of an ordinary user.
    func user(_ user: UInt32, group: UInt32? = nil, groups: [UInt32] = []) throws -> Process {
        try Process(
            in: namespace,
            credentials: Credentials(user: user, group: group ?? user, groups: groups))
    }

    func freshFileSystem() throws(Errno) -> FileSystem {
        try RAMFileSystemType.open(in: vfs)
    }
}

extension Process {
    func make(_ path: Path, _ text: String = "", _ permissions: UInt32 = 0o644) throws(Errno) {
        let file = try open(
            path, [.create, .exclusive, .writeOnly],
            permissions: Permissions(rawValue: permissions))
        try put(text, to: file)
        try close(file)
    }

    func put(_ text: String, to file: Descriptor) throws(Errno) {
        let bytes = Array(text.utf8)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: bytes)
        _ = try write(UnsafeRawBufferPointer(buffer), to: file)
    }

    /// Writes at an offset; gives how many bytes.
    func put(_ text: String, to file: Descriptor, at offset: UInt64) throws(Errno) -> Int {
        let bytes = Array(text.utf8)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: bytes)
        return try write(UnsafeRawBufferPointer(buffer), to: file, at: offset)
    }

    func get(_ file: Descriptor, _ count: Int = 4096) throws(Errno) -> String {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
        defer { buffer.deallocate() }
        let got = try read(from: file, into: buffer)
        return String(decoding: buffer[..<got], as: UTF8.self)
    }

    func content(_ path: Path) throws(Errno) -> String {
        let file = try open(path, .readOnly)
        let text = try get(file, 1 << 16)
        try close(file)
        return text
    }

    func names(_ path: Path) throws(Errno) -> [String] {
        let directory = try open(path, .directory)
        var result: [String] = []
        while true {
            let some = try entries(of: directory, limit: 3)
            if some.isEmpty { break }
            result += some.map { String(decoding: $0.name.bytes, as: UTF8.self) }
        }
        try close(directory)
        return result.filter { $0 != "." && $0 != ".." }.sorted()
    }
}

/// Expects an errno.
func expect(
    _ errno: Errno, _ what: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws(Errno) -> Void
) {
    do throws(Errno) {
        try body()
        Issue.record(
            "no error, but \(errno) was expected: \(what ?? "")", sourceLocation: sourceLocation)
    } catch {
        #expect(error == errno, what, sourceLocation: sourceLocation)
    }
}
