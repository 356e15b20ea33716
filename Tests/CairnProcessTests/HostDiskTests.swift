// mfs_disk in an image of this host, by what a program imports: it stays, and bad input is refused.

import Cairn
import Glibc
import Testing

/// A directory of the host, for images.
private final class Scratch {
    let path: String

    init() {
        var template = Array("/tmp/cairn-host-disk.XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    var image: String { path + "/image" }

    deinit {
        for name in ["/image", "/other"] { unlink(path + name) }
        rmdir(path)
    }
}

struct HostDiskTests {
    /// Calls the body with a process at the root of the image.
    private func with(
        _ image: String, options: String = "", isReadOnly: Bool = false,
        _ body: (Process) throws -> Void
    ) throws {
        let vfs = VFS()
        let disk = try HostDiskType.open(image, options: options, isReadOnly: isReadOnly, in: vfs)
        let namespace = try Namespace(vfs: vfs, root: disk)
        let process = try Process(in: namespace)
        try body(process)
        process.exit()
        try namespace.close()
    }

    private func failure(_ body: () throws -> Void) -> Errno? {
        do {
            try body()
            return nil
        } catch let error as MountFailure {
            return error.errno
        } catch let error as VolumeFailure {
            return error.errno
        } catch {
            return error as? Errno
        }
    }

    // D1: what a program writes into an image is there when it is opened again
    @Test(arguments: ["", "compress=lz4", "compress=zstd,cache=16M"])
    func anImageKeepsWhatItWasGiven(options: String) throws {
        let scratch = Scratch()
        try HostDiskType.make(scratch.image, size: 64 << 20)
        let text = Array(repeating: Array("what stays\n".utf8), count: 30_000).joined().map { $0 }
        try with(scratch.image, options: options) { process in
            try process.makeDirectory("/a")
            let file = try process.open("/a/file", [.create, .readWrite])
            let written = try text.withUnsafeBytes { try process.write($0, to: file) }
            #expect(written == text.count)
            try process.fsync(file)
            try process.close(file)
        }
        try with(scratch.image, isReadOnly: true) { process in
            let file = try process.open("/a/file", .readOnly)
            var read = [UInt8](repeating: 0, count: text.count + 1)
            let count = try read.withUnsafeMutableBytes { try process.read(from: file, into: $0) }
            #expect(count == text.count)
            #expect(Array(read.prefix(count)) == text)
            let refused = failure { try process.unlink("/a/file") }
            #expect(refused == .EROFS)
        }
    }

    @Test func badInputIsRefused() throws {
        let scratch = Scratch()
        try HostDiskType.make(scratch.image, size: 64 << 20)
        // One is made in a new file, or over what is there when no size is given.
        let exists = failure { try HostDiskType.make(scratch.image, size: 64 << 20) }
        #expect(exists == .EEXIST)
        let tooSmall = failure { try HostDiskType.make(scratch.path + "/other", size: 4096) }
        #expect(tooSmall == .EINVAL)
        #expect(access(scratch.path + "/other", F_OK) != 0)
        let missing = failure { try HostDiskType.make(scratch.path + "/other") }
        #expect(missing == .ENOENT)
        try with(scratch.image) { _ in
            let second = failure { _ = try HostDiskType.open(scratch.image, in: VFS()) }
            #expect(second == .EBUSY)
            let inUse = failure { try HostDiskType.make(scratch.image) }
            #expect(inUse == .EBUSY)
        }
        let unknown = failure {
            _ = try HostDiskType.open(scratch.image, options: "compres=lz4", in: VFS())
        }
        #expect(unknown == .EINVAL)
        // What was refused holds nothing: it can be opened.
        try with(scratch.image) { process in
            let root = try process.stat("/")
            #expect(root.isDirectory)
        }
        let directory = failure { _ = try HostDiskType.open(scratch.path, in: VFS()) }
        #expect(directory != nil)
        let descriptor = open(scratch.path + "/other", O_CREAT | O_WRONLY, 0o600)
        ftruncate(descriptor, 1 << 20)
        close(descriptor)
        let empty = failure { _ = try HostDiskType.open(scratch.path + "/other", in: VFS()) }
        #expect(empty == .EINVAL)
    }
}
