// HostTree: the host's own files, and with them those of every mount, Cairn's too.

import CHost
import CairnBase
import CairnVFS
import Glibc

final class HostTree: FileTree {
    var prefix: String { "" }

    func status(of path: FilePath, following: Bool) throws(Errno) -> FileStatus {
        var status = Glibc.stat()
        try check(path.withCString { following ? stat($0, &status) : lstat($0, &status) })
        return FileStatus(status, path: path, following: following)
    }

    func entries(of path: FilePath) throws(Errno) -> [TreeEntry] {
        guard let directory = path.withCString({ opendir($0) }) else { throw currentErrno() }
        defer { closedir(directory) }
        var entries: [TreeEntry] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                if errno != 0 { throw currentErrno() }
                return entries
            }
            let name = nameBytes(of: entry)
            if name == Array(".".utf8) || name == Array("..".utf8) { continue }
            entries.append(
                TreeEntry(
                    name: FilePath(name), number: UInt64(entry.pointee.d_ino),
                    kind: FileKind(rawValue: entry.pointee.d_type)))
        }
    }

    private func nameBytes(of entry: UnsafeMutablePointer<dirent>) -> [UInt8] {
        let offset = MemoryLayout<dirent>.offset(of: \.d_name) ?? 19
        let start = UnsafeRawPointer(entry) + offset
        let length = strlen(start.assumingMemoryBound(to: CChar.self))
        return Array(UnsafeRawBufferPointer(start: start, count: length))
    }

    func readLink(_ path: FilePath) throws(Errno) -> FilePath {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = path.withCString { readlink($0, &buffer, buffer.count) }
        if count < 0 { throw currentErrno() }
        return FilePath(buffer.prefix(count).map { UInt8(bitPattern: $0) })
    }

    func open(_ path: FilePath, for use: FileUse) throws(Errno) -> any TreeFile {
        let flags: Int32
        var permissions: mode_t = 0
        switch use {
        case .reading: flags = O_RDONLY
        case .updating: flags = O_RDWR
        case .creating(let wanted): (flags, permissions) = (O_RDWR | O_CREAT | O_EXCL, wanted)
        case .overwriting(let wanted): (flags, permissions) = (O_RDWR | O_CREAT | O_TRUNC, wanted)
        }
        let descriptor = path.withCString {
            Glibc.open($0, flags | O_CLOEXEC | O_NOCTTY, permissions)
        }
        try check(descriptor)
        return HostFile(descriptor: descriptor)
    }

    func makeDirectory(_ path: FilePath, permissions: UInt32) throws(Errno) {
        try check(path.withCString { mkdir($0, permissions) })
    }

    func makeNode(
        _ path: FilePath, kind: FileKind, permissions: UInt32, device: UInt64
    ) throws(Errno) {
        let low = UInt32(truncatingIfNeeded: device)
        let number = cairn_host_device(UInt32(truncatingIfNeeded: device >> 32), low)
        try check(path.withCString { mknod($0, kind.modeBits | permissions, dev_t(number)) })
    }

    func link(_ path: FilePath, as newPath: FilePath) throws(Errno) {
        try check(
            path.withCString { from in
                newPath.withCString { linkat(AT_FDCWD, from, AT_FDCWD, $0, 0) }
            })
    }

    func makeSymbolicLink(to target: FilePath, at path: FilePath) throws(Errno) {
        try check(target.withCString { target in path.withCString { symlink(target, $0) } })
    }

    func remove(_ path: FilePath, directory: Bool) throws(Errno) {
        try check(path.withCString { directory ? rmdir($0) : unlink($0) })
    }

    func rename(_ path: FilePath, to newPath: FilePath) throws(Errno) {
        try check(path.withCString { from in newPath.withCString { Glibc.rename(from, $0) } })
    }

    func setPermissions(_ permissions: UInt32, of path: FilePath) throws(Errno) {
        try check(path.withCString { chmod($0, permissions) })
    }

    func setOwner(user: UInt32, group: UInt32, of path: FilePath) throws(Errno) {
        try check(path.withCString { lchown($0, user, group) })
    }

    func setTimes(
        access: TimeChange, modification: TimeChange, of path: FilePath, following: Bool
    ) throws(Errno) {
        let times = [access.timespec, modification.timespec]
        try check(
            path.withCString {
                utimensat(AT_FDCWD, $0, times, following ? 0 : AT_SYMLINK_NOFOLLOW)
            })
    }

    func extendedAttributeNames(of path: FilePath) throws(Errno) -> [[UInt8]] {
        let list = try sizedValue { buffer, size in
            path.withCString {
                cairn_host_list_attributes($0, buffer?.assumingMemoryBound(to: CChar.self), size)
            }
        }
        return list.split(separator: 0).map(Array.init)
    }

    func extendedAttribute(_ name: [UInt8], of path: FilePath) throws(Errno) -> [UInt8] {
        try sizedValue { buffer, size in
            path.withCString { path in
                FilePath(name).withCString { cairn_host_attribute(path, $0, buffer, size) }
            }
        }
    }

    /// Asks for the size, then for the value; again if it grew in between.
    private func sizedValue(
        _ call: (UnsafeMutableRawPointer?, Int) -> Int64
    ) throws(Errno) -> [UInt8] {
        while true {
            let size = call(nil, 0)
            if size < 0 { throw Errno(rawValue: Int32(-size)) }
            if size == 0 { return [] }
            var value = [UInt8](repeating: 0, count: Int(size))
            let count = value.withUnsafeMutableBytes { call($0.baseAddress, $0.count) }
            if count >= 0 { return Array(value.prefix(Int(count))) }
            if Int32(-count) != ERANGE { throw Errno(rawValue: Int32(-count)) }
        }
    }

    func setExtendedAttribute(
        _ name: [UInt8], to value: [UInt8], of path: FilePath
    ) throws(Errno) {
        let result = path.withCString { path in
            FilePath(name).withCString { cairn_host_set_attribute(path, $0, value, value.count) }
        }
        if result < 0 { throw Errno(rawValue: -result) }
    }

    func statistics(of path: FilePath) throws(Errno) -> FileSystemStatistics {
        var status = statvfs()
        try check(path.withCString { statvfs($0, &status) })
        return FileSystemStatistics(
            blockSize: UInt32(status.f_frsize), totalBlocks: UInt64(status.f_blocks),
            freeBlocks: UInt64(status.f_bfree), availableBlocks: UInt64(status.f_bavail),
            totalNodes: UInt64(status.f_files), freeNodes: UInt64(status.f_ffree),
            maximumNameLength: UInt32(status.f_namemax))
    }

    func close() throws(Errno) {}
}

/// An open file of the host.
final class HostFile: TreeFile {
    private let descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Errno) -> Int {
        while true {
            let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
            if count >= 0 { return count }
            // A pipe or a terminal has no offsets.
            if errno == ESPIPE { return try readStream(into: buffer) }
            if errno != EINTR { throw currentErrno() }
        }
    }

    private func readStream(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            if errno != EINTR { throw currentErrno() }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        var done = 0
        while done < bytes.count {
            let rest = bytes.baseAddress.map { $0 + done }
            var count = pwrite(descriptor, rest, bytes.count - done, off_t(offset) + off_t(done))
            if count < 0, errno == ESPIPE {
                count = Glibc.write(descriptor, rest, bytes.count - done)
            }
            if count >= 0 {
                done += count
            } else if errno != EINTR {
                throw currentErrno()
            }
        }
    }

    func truncate(to size: UInt64) throws(Errno) {
        try check(ftruncate(descriptor, off_t(size)))
    }

    func nextData(from offset: UInt64, size: UInt64) throws(Errno) -> Range<UInt64>? {
        guard offset < size else { return nil }
        let (seekData, seekHole): (Int32, Int32) = (3, 4)  // SEEK_DATA, SEEK_HOLE
        let start = lseek(descriptor, off_t(offset), seekData)
        if start < 0 {
            if errno == ENXIO { return nil }
            return offset..<size  // no support: all of it may be data
        }
        let end = lseek(descriptor, start, seekHole)
        guard end > start, UInt64(start) < size else { return nil }
        return UInt64(start)..<min(UInt64(end), size)
    }

    func sync() throws(Errno) { try check(fsync(descriptor)) }

    func close() throws(Errno) {
        // The descriptor is gone whatever the answer is (close(2)).
        if Glibc.close(descriptor) < 0, errno != EINTR { throw currentErrno() }
    }
}

// MARK: The C library's forms

func currentErrno() -> Errno { Errno(rawValue: errno) }

/// Throws the C library's error if a call gave -1.
func check(_ result: Int32) throws(Errno) {
    if result < 0 { throw currentErrno() }
}

extension FileStatus {
    fileprivate init(_ status: Glibc.stat, path: FilePath, following: Bool) {
        let changed = Timestamp(status.st_ctim)
        var attributes = Attributes(
            number: UInt64(status.st_ino), kind: FileKind(mode: status.st_mode) ?? .regular,
            permissions: Permissions(rawValue: status.st_mode & 0o7777),
            linkCount: UInt32(truncatingIfNeeded: status.st_nlink), user: status.st_uid,
            group: status.st_gid, size: UInt64(max(status.st_size, 0)),
            blocks: UInt64(status.st_blocks), blockSize: UInt32(status.st_blksize),
            device: UInt64(cairn_host_major(UInt64(status.st_rdev))) << 32
                | UInt64(cairn_host_minor(UInt64(status.st_rdev))),
            time: changed)
        attributes.accessTime = Timestamp(status.st_atim)
        attributes.modificationTime = Timestamp(status.st_mtim)
        self.init(attributes: attributes, fileSystem: UInt64(status.st_dev))
    }
}

extension Timestamp {
    fileprivate init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }
}

extension TimeChange {
    fileprivate var timespec: Glibc.timespec {
        switch self {
        case .keep: return Glibc.timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2)  // UTIME_OMIT
        case .now: return Glibc.timespec(tv_sec: 0, tv_nsec: (1 << 30) - 1)  // UTIME_NOW
        case .set(let time):
            return Glibc.timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
        }
    }
}
