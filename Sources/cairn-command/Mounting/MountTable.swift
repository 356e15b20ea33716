// The kernel's mount table, as /proc/self/mountinfo tells it (proc(5)). Reading it never asks the
// mounted filesystem, so it answers also where a daemon is stuck or dead.

import CairnBase
import Glibc

/// One mount that the kernel knows.
struct KernelMount: Sendable {
    /// The mount's own number; two mounts of one connection have two.
    let number: UInt32
    let mountPoint: FilePath
    /// st_dev's minor number: the number of the FUSE connection.
    let connection: UInt32
    let type: String
    let source: String
    /// Those of the filesystem, such as user_id=0.
    let options: [String]

    /// Whether Cairn made it: this command, or a program that embeds the library.
    var isCairn: Bool { type == "fuse.cairn" || type.hasPrefix("fuse.cairn.") }

    /// Who mounted it.
    var user: UInt32? {
        options.first { $0.hasPrefix("user_id=") }.flatMap { UInt32($0.dropFirst(8)) }
    }
}

enum MountTable {
    /// All mounts, each after what it stands on.
    static func read() throws(Failure) -> [KernelMount] {
        let path = "/proc/self/mountinfo"
        guard let bytes = readWholeFile(FilePath(path)) else {
            throw Failure(path, currentErrno())
        }
        return bytes.split(separator: 0x0A).compactMap(parse)
    }

    /// The mounts whose mount point is this path, each below the next.
    static func mounts(at path: FilePath) throws(Failure) -> [KernelMount] {
        try read().filter { $0.mountPoint == path }
    }

    /// The topmost of them: the one that umount2(2) would take away.
    static func mount(at path: FilePath) throws(Failure) -> KernelMount? {
        try mounts(at: path).last
    }

    /// "36 35 0:42 / /mnt rw,nosuid shared:1 - fuse.cairn mfs_ram rw,user_id=0"
    static func parse(_ line: ArraySlice<UInt8>) -> KernelMount? {
        let fields = line.split(separator: UInt8(ascii: " "))
        guard let dash = fields.firstIndex(where: { $0.elementsEqual("-".utf8) }), dash >= 6,
            fields.count > dash + 3
        else { return nil }
        let numbers = String(decoding: fields[2], as: UTF8.self).split(separator: ":")
        guard numbers.count == 2, let minor = UInt32(numbers[1]),
            let number = UInt32(String(decoding: fields[0], as: UTF8.self))
        else { return nil }
        return KernelMount(
            number: number, mountPoint: FilePath(unescape(fields[4])), connection: minor,
            type: String(decoding: fields[dash + 1], as: UTF8.self),
            source: String(decoding: unescape(fields[dash + 2]), as: UTF8.self),
            options: String(decoding: fields[dash + 3], as: UTF8.self)
                .split(separator: ",").map(String.init))
    }

    /// Space, tab, line feed and backslash stand as three octal digits.
    private static func unescape(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }
}

/// The bytes of a file whose size stat(2) may not know (procfs); nil with errno. With `owner`, only
/// of a regular file of that user, which is not behind a symbolic link.
func readWholeFile(
    _ path: FilePath, limit: Int = 1 << 26, ownedBy owner: UInt32? = nil
) -> [UInt8]? {
    let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (owner == nil ? 0 : O_NOFOLLOW)
    let descriptor = path.withCString { open($0, flags) }
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    if let owner {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == owner else {
            errno = EPERM
            return nil
        }
    }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count < limit {
        let count = read(descriptor, &piece, piece.count)
        if count < 0, errno == EINTR { continue }
        if count < 0 { return nil }
        if count == 0 { break }
        bytes += piece.prefix(count)
    }
    return bytes
}

/// The path that the kernel's mount table has for what the user named. The last name is not
/// asked for: behind it may stand a mount whose daemon is gone.
func mountPointPath(_ path: FilePath) throws(Failure) -> FilePath {
    let trimmed = path.trimmed
    if trimmed.text == "/" { return trimmed }
    let last = trimmed.lastName
    let whole = last.text == "." || last.text == ".."
    let resolved = (whole ? trimmed : trimmed.directory).withCString { realpath($0, nil) }
    guard let resolved else { throw Failure(printable(path), currentErrno()) }
    defer { free(resolved) }
    let directory = FilePath(UnsafeRawBufferPointer(start: resolved, count: strlen(resolved)))
    if whole { return directory }
    let candidate = directory.appending(last)
    // A symbolic link to a mount point stands for it.
    guard let target = candidate.withCString({ realpath($0, nil) }) else { return candidate }
    defer { free(target) }
    return FilePath(UnsafeRawBufferPointer(start: target, count: strlen(target)))
}
