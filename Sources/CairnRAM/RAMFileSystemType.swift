// mfs_ram: the filesystem type in memory. Options are tmpfs's: size, nr_inodes, mode, uid, gid.

public import CairnBase
public import CairnTree
public import CairnVFS
import Glibc

public struct RAMFileSystemType: FileSystemType {
    public let name = "mfs_ram"
    private let defaultSize: UInt64

    /// `defaultSize`: bytes, where the option `size` is not given; nil: half of the machine's
    /// memory, as tmpfs has it.
    public init(defaultSize: UInt64? = nil) {
        self.defaultSize = defaultSize ?? UInt64(machineMemory / 2)
    }

    public func open(
        source: String, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        let chosen = try options.takeSize("size")
        let nodes = try options.takeSize("nr_inodes")
        let mode = try takeNumber("mode", radix: 8, from: &options) ?? 0o755
        let user = try takeNumber("uid", radix: 10, from: &options) ?? geteuid()
        let group = try takeNumber("gid", radix: 10, from: &options) ?? getegid()
        guard mode <= Permissions.all.rawValue else {
            throw MountFailure(.EINVAL, "option mode", "is at most 7777 (octal)")
        }
        let fileSystem = RAMFileSystemType.make(
            size: chosen ?? defaultSize, nodes: nodes, permissions: Permissions(rawValue: mode),
            user: user, group: group, time: vfs.time, acceptsLateWrites: (chosen ?? 0) == 0)
        do throws(Errno) {
            try blocking { () throws(Pause) in try fileSystem.start() }
        } catch {
            throw MountFailure(error, "mfs_ram", "cannot make its root: \(error)")
        }
        return fileSystem
    }

    /// An empty filesystem in memory that is not started. `size` 0: no limit. `nodes`: at most so
    /// many files; nil: one for each 2 KiB, as if half of all pages were nodes.
    public static func make(
        size: UInt64, nodes: UInt64? = nil, permissions: Permissions = Permissions(rawValue: 0o755),
        user: UInt32 = 0, group: UInt32 = 0, time: any TimeSource, acceptsLateWrites: Bool = false
    ) -> TreeFileSystem {
        // Half of the range keeps sums of limits from overflowing.
        let most = UInt64(Int.max / 2)
        let byteLimit = size == 0 ? most : min(size, most)
        let nodeLimit = nodes == 0 ? most : min(nodes ?? max(byteLimit / 2048, 1024), most)
        let root = Attributes(
            number: 0, kind: .directory, permissions: permissions, user: user, group: group,
            time: time.now())
        let store = RAMStore(
            byteLimit: Int(byteLimit), nodeLimit: Int(nodeLimit), root: root,
            options: size == 0 ? "" : "size=\(byteLimit / 1024)k",
            acceptsLateWrites: acceptsLateWrites)
        return TreeFileSystem(typeName: "mfs_ram", time: time, store: store)
    }

    /// An empty filesystem in memory, ready to be mounted. `size` in bytes; 0: no limit.
    public static func open(size: UInt64 = 0, in vfs: VFS) throws(Errno) -> FileSystem {
        let fileSystem = make(size: size, time: vfs.time)
        try blocking { () throws(Pause) in try fileSystem.start() }
        return fileSystem
    }

    private func takeNumber(
        _ key: String, radix: Int, from options: inout MountOptionList
    ) throws(MountFailure) -> UInt32? {
        guard let text = try options.takeValue(key) else { return nil }
        guard let number = UInt32(text, radix: radix) else {
            throw MountFailure(
                .EINVAL, "option \(key)",
                "'\(text)' is no \(radix == 8 ? "octal" : "decimal") number")
        }
        return number
    }
}
