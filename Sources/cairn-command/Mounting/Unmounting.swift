// Unmounting: taking a mount away, as root or as the user who made it, whether its daemon lives
// or not.

import CHost
import CSystem
import CairnBase
import CairnVFS
import Glibc

enum Unmounting {
    /// umount2(2), or fusermount3 where only root may do that. `lazily`: it leaves the tree now and
    /// ends with its last use.
    static func unmount(_ mountPoint: FilePath, lazily: Bool) throws(MountFailure) {
        let result = mountPoint.withCString { cairn_host_unmount($0, lazily ? 1 : 0, 0) }
        if result == 0 { return }
        guard -result == EPERM, geteuid() != 0 else {
            let error = Errno(rawValue: -result)
            throw MountFailure(error, printable(mountPoint), error.description)
        }
        try runFusermount(mountPoint, lazily: lazily)
    }

    private static func runFusermount(
        _ mountPoint: FilePath, lazily: Bool
    ) throws(MountFailure) {
        var said = [CChar](repeating: 0, count: 1024)
        let result = mountPoint.withCString {
            cairn_fuse_unmount_by_helper("fusermount3", $0, lazily ? 1 : 0, &said, said.count)
        }
        if result == 0 { return }
        let error = Errno(rawValue: -result)
        if error == .ENOENT { throw MountFailure(error, "fusermount3", error.description) }
        let words = said.prefix { $0 != 0 && $0 != 0x0A }.map { UInt8(bitPattern: $0) }
        throw MountFailure(
            error, printable(mountPoint),
            words.isEmpty ? error.description : printable(FilePath(words)))
    }

    /// Ends a mount's connection: what is in flight, and what comes, fails. Root does it with
    /// umount2(2), whether the mount goes by that or not; who made the mount, through fusectl.
    static func abort(_ mount: KernelMount) throws(Failure) {
        if geteuid() == 0 {
            _ = mount.mountPoint.withCString { cairn_host_unmount($0, 0, 1) }
        } else {
            try abort(connection: mount.connection)
        }
    }

    /// Through fusectl, by number: it needs no path that leads to the mount.
    static func abort(connection: UInt32) throws(Failure) {
        let path = FilePath("/sys/fs/fuse/connections/\(connection)/abort")
        let descriptor = path.withCString { open($0, O_WRONLY | O_CLOEXEC) }
        guard descriptor >= 0 else {
            throw Failure(
                path.text, currentErrno(), wayOut: "is fusectl mounted on /sys/fs/fuse/connections?"
            )
        }
        defer { close(descriptor) }
        if write(descriptor, "1", 1) < 0 { throw Failure(path.text, currentErrno()) }
    }

    /// Processes that keep a mount busy: "bash (4711), vim (4712)". Of other users only root sees
    /// them. Empty if none is found.
    static func users(of mountPoint: FilePath) -> String {
        var found: [String] = []
        guard let directory = opendir("/proc") else { return "" }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let pid = Int32(name), pid != getpid(), uses(mountPoint, pid) else { continue }
            let command = readWholeFile(FilePath("/proc/\(pid)/comm")) ?? []
            let text = String(decoding: command.filter { $0 >= 0x20 }, as: UTF8.self)
            found.append("\(text) (\(pid))")
        }
        let shown = found.prefix(8).joined(separator: ", ")
        return found.count > 8 ? shown + " and \(found.count - 8) more" : shown
    }

    private static func uses(_ mountPoint: FilePath, _ pid: Int32) -> Bool {
        let process = "/proc/\(pid)"
        for link in ["cwd", "root", "exe"] where leads("\(process)/\(link)", into: mountPoint) {
            return true
        }
        if let directory = opendir("\(process)/fd") {
            defer { closedir(directory) }
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if leads("\(process)/fd/\(name)", into: mountPoint) { return true }
            }
        }
        let maps = readWholeFile(FilePath("\(process)/maps")) ?? []
        return maps.split(separator: 0x0A).contains { line in
            line.firstIndex(of: FilePath.slash).map { FilePath(line[$0...]).isWithin(mountPoint) }
                ?? false
        }
    }

    private static func leads(_ link: String, into mountPoint: FilePath) -> Bool {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(link, &buffer, buffer.count)
        guard count > 0 else { return false }
        return FilePath(buffer.prefix(count).map { UInt8(bitPattern: $0) }).isWithin(mountPoint)
    }
}
