// A filesystem of one's own, in a page: a directory whose files are numbers, and hold their square.
//
//     swift run example-filesystem

import Cairn

/// The filesystem. Its names are made up as they are asked for, so nobody may keep them.
final class Squares: FileSystem, @unchecked Sendable {
    init(time: any TimeSource) {
        super.init(typeName: "squares", time: time)
    }

    // Inodes hold their filesystem, so the root is made when it is asked for, not kept.
    override var root: Inode { SquareDirectory(number: 1, kind: .directory, fileSystem: self) }
    override var namesAreCacheable: Bool { false }
    override var isReadOnly: Bool { true }
}

final class SquareDirectory: Inode, @unchecked Sendable {
    override func attributes() throws(Pause) -> Attributes {
        Attributes(
            number: number, kind: .directory, permissions: Permissions(rawValue: 0o555),
            linkCount: 2, time: fileSystem.time.now())
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        let text = String(decoding: name.bytes, as: UTF8.self)
        guard let value = UInt32(text), String(value) == text else { return nil }
        return SquareFile(number: UInt64(value) + 2, kind: .regular, fileSystem: fileSystem)
    }

    override func readDirectory(
        after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        for value in cookie..<max(cookie, 10) {
            let goesOn = FileName("\(value)").withName { name in
                body(
                    DirectoryEntry(
                        name: name, number: value + 2, kind: .regular, cookie: value + 1))
            }
            guard goesOn else { return }
        }
    }
}

final class SquareFile: Inode, @unchecked Sendable {
    private var content: [UInt8] {
        let value = number - 2
        return Array("\(value * value)\n".utf8)
    }

    override func attributes() throws(Pause) -> Attributes {
        Attributes(
            number: number, kind: .regular, permissions: Permissions(rawValue: 0o444),
            size: UInt64(content.count), time: fileSystem.time.now())
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        let rest = content.dropFirst(Int(clamping: offset)).prefix(buffer.count)
        buffer.copyBytes(from: rest)
        return rest.count
    }
}

@main
struct Example {
    static func main() throws {
        let vfs = VFS()
        let namespace = try Namespace(vfs: vfs, root: Squares(time: vfs.time))
        let process = try Process(in: namespace)
        let directory = try process.open("/", .directory)
        for entry in try process.entries(of: directory) where entry.kind == .regular {
            let file = try process.open(Path(entry.name.bytes), .readOnly, at: directory)
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 8)
            defer { buffer.deallocate() }
            let count = try process.read(from: file, into: buffer)
            let square = String(decoding: buffer[..<count], as: UTF8.self)
            print("\(entry.name) squared is \(square)", terminator: "")
            try process.close(file)
        }
        process.exit()
        try namespace.close()
    }
}
