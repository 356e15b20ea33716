// A POSIX tree inside a program: files, a child process of its own, a second filesystem mounted, and one
// in an image that stays.
//
//     swift run example-embed

import Cairn
import Glibc

@main
struct Embed {
    static func main() throws {
        // A VFS, a filesystem in memory of at most 64 MiB, a namespace with it as the root.
        let vfs = VFS()
        let namespace = try Namespace(
            vfs: vfs, root: try RAMFileSystemType.open(size: 64 << 20, in: vfs))
        let process = try Process(in: namespace, name: "embed")

        // Calls are Linux's, and so are their errors.
        try process.makeDirectory("/notes")
        let file = try process.open("/notes/first", [.create, .readWrite])
        let text = Array("a note\n".utf8)
        try text.withUnsafeBytes { bytes in _ = try process.write(bytes, to: file) }
        try process.setExtendedAttribute("user.author", of: "/notes/first", to: Array("me".utf8))
        try process.rename("/notes/first", to: "/notes/renamed")
        do {
            _ = try process.stat("/notes/first")
        } catch {
            print("stat /notes/first: \(error)")
        }

        // A child with another user shares the descriptor, and is refused what it may not.
        let child = try process.fork(name: "child")
        child.credentials = Credentials(user: 1000, group: 1000)
        _ = try child.seek(file, .start(0))
        print("the child reads: \(try read(file, as: child))", terminator: "")
        do {
            try child.unlink("/notes/renamed")
        } catch {
            print("unlink as user 1000: \(error)")
        }
        child.exit()

        // Another filesystem under the same tree.
        try process.makeDirectory("/scratch")
        try process.mount(try RAMFileSystemType.open(size: 1 << 20, in: vfs), at: "/scratch")
        print("free in /scratch: \(try process.fileSystemStatistics("/scratch").freeBlocks) blocks")

        // And one that stays: an image, which `cairn mount` mounts as well.
        let image = "/tmp/example-embed-\(getpid()).img"
        defer { unlink(image) }
        try HostDiskType.make(image, size: 256 << 20)
        try process.makeDirectory("/kept")
        try process.mount(
            try HostDiskType.open(image, options: "compress=lz4", in: vfs), at: "/kept")
        let kept = try process.open("/kept/note", [.create, .readWrite])
        try text.withUnsafeBytes { bytes in _ = try process.write(bytes, to: kept) }
        try process.fsync(kept)  // it outlives the machine's power from here on
        try process.close(kept)
        try process.unmount("/kept")
        try process.mount(try HostDiskType.open(image, isReadOnly: true, in: vfs), at: "/kept")
        print("kept: \(try process.stat("/kept/note").size) bytes")

        let directory = try process.open("/", .directory)
        for entry in try process.entries(of: directory) {
            print(entry.name, entry.kind)
        }
        process.exit()
        try namespace.close()
    }

    static func read(_ file: Descriptor, as process: Process) throws -> String {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
        defer { buffer.deallocate() }
        let count = try process.read(from: file, into: buffer)
        return String(decoding: buffer[..<count], as: UTF8.self)
    }
}
