// Making the kernel mount a FUSE filesystem, and take it away again.
//
// Root mounts with mount(2). Others go through fusermount3, which is set-user-id root and hands
// the descriptor of the device back over a socket.

import CSystem
import CairnBase
import CairnVFS
import Glibc

struct KernelMount: Sendable {
    /// Absolute, without symbolic links.
    let path: String
    /// The connection's device.
    let descriptor: Int32
    private static let helper = "fusermount3"
    private static let messageSize = 1024

    /// Mounts at `mountPoint`. `sourceName` and `type` are what /proc/mounts shall show.
    init(
        at mountPoint: String, type: String, root: Inode, flags: MountFlags,
        options: FUSEMountOptions
    ) throws(MountFailure) {
        path = try Self.checkedPath(mountPoint, for: root)
        if geteuid() == 0 {
            descriptor = try Self.openDevice()
            do throws(MountFailure) {
                try Self.mountAsRoot(path, descriptor, type, root, flags, options)
            } catch {
                _ = cairn_close(descriptor)
                throw error
            }
        } else {
            descriptor = try Self.mountByHelper(path, type, flags, options)
        }
    }

    // MARK: Before mounting

    private static func checkedPath(
        _ mountPoint: String, for root: Inode
    ) throws(MountFailure) -> String {
        guard let resolved = realpath(mountPoint, nil) else {
            let error = Errno(rawValue: errno)
            switch error {
            case .ENOENT:
                throw MountFailure(
                    error, mountPoint, "the mount point does not exist; make it with mkdir")
            case .ENOTCONN:
                throw MountFailure(
                    error, mountPoint,
                    "a dead FUSE mount stands here; take it away with umount -l")
            default:
                throw MountFailure(error, mountPoint, "\(error)")
            }
        }
        defer { free(resolved) }
        let path = String(cString: resolved)
        var mode: UInt32 = 0
        var device: UInt64 = 0
        let result = cairn_stat_path(path, &mode, &device)
        if result < 0 {
            let error = Errno(rawValue: -result)
            let why =
                error == .ENOTCONN
                ? "a dead FUSE mount stands here; take it away with umount -l" : "\(error)"
            throw MountFailure(error, path, why)
        }
        let isDirectory = FileKind(mode: mode) == .directory
        guard isDirectory == root.isDirectory else {
            throw MountFailure(
                isDirectory ? .EISDIR : .ENOTDIR, path,
                isDirectory
                    ? "the mount point is a directory, but what is mounted is none"
                    : "the mount point is not a directory")
        }
        return path
    }

    private static func openDevice() throws(MountFailure) -> Int32 {
        let descriptor = cairn_fuse_open_device()
        guard descriptor < 0 else { return descriptor }
        let error = Errno(rawValue: -descriptor)
        switch error {
        case .ENOENT, .ENODEV, .ENXIO:
            throw MountFailure(
                error, "/dev/fuse",
                "the kernel has no FUSE; load it with modprobe fuse, or hand the device into the "
                    + "container")
        default:
            throw MountFailure(error, "/dev/fuse", "\(error)")
        }
    }

    // MARK: Mounting

    private static func mountAsRoot(
        _ path: String, _ descriptor: Int32, _ type: String, _ root: Inode, _ flags: MountFlags,
        _ options: FUSEMountOptions
    ) throws(MountFailure) {
        var words = [
            "fd=\(descriptor)", "rootmode=\(String(root.kind.modeBits, radix: 8))",
            "user_id=\(getuid())", "group_id=\(getgid())", "default_permissions",
            "max_read=\(options.transferBytes)",
        ]
        if options.allowOther { words.append("allow_other") }
        let result = cairn_fuse_mount(
            options.sourceName, path, "fuse.\(type)", kernelFlags(flags),
            words.joined(separator: ","))
        guard result < 0 else { return }
        let error = Errno(rawValue: -result)
        switch error {
        case .ENODEV:
            throw MountFailure(error, path, "the kernel has no FUSE; load it with modprobe fuse")
        case .EPERM:
            throw MountFailure(
                error, path, "mounting is not permitted here (CAP_SYS_ADMIN is missing)")
        default:
            throw MountFailure(error, path, "mount: \(error)")
        }
    }

    private static func kernelFlags(_ flags: MountFlags) -> UInt64 {
        let pairs: [(MountFlags, UInt64)] = [
            (.readOnly, CAIRN_MS_RDONLY), (.noSetID, CAIRN_MS_NOSUID),
            (.noDevices, CAIRN_MS_NODEV), (.noExecute, CAIRN_MS_NOEXEC),
            (.synchronous, CAIRN_MS_SYNCHRONOUS), (.noAccessTime, CAIRN_MS_NOATIME),
            (.noDirectoryAccessTime, CAIRN_MS_NODIRATIME),
            (.strictAccessTime, CAIRN_MS_STRICTATIME),
        ]
        return pairs.reduce(0) { flags.contains($1.0) ? $0 | $1.1 : $0 }
    }

    private static func mountByHelper(
        _ path: String, _ type: String, _ flags: MountFlags, _ options: FUSEMountOptions
    ) throws(MountFailure) -> Int32 {
        // A comma in a value would begin the next option.
        func escaped(_ text: String) -> String {
            text.reduce(into: "") { $0 += $1 == "," || $1 == "\\" ? "\\\($1)" : "\($1)" }
        }
        var words = [
            "fsname=\(escaped(options.sourceName))", "subtype=\(escaped(type))",
            "default_permissions", "max_read=\(options.transferBytes)",
        ]
        if options.allowOther { words.append("allow_other") }
        let named: [(MountFlags, String)] = [
            (.readOnly, "ro"), (.noExecute, "noexec"), (.synchronous, "sync"),
            (.noAccessTime, "noatime"),
        ]
        words += named.filter { flags.contains($0.0) }.map(\.1)
        let (result, said) = callHelper { message, size in
            cairn_fuse_mount_by_helper(
                helper, words.joined(separator: ","), path, message, size)
        }
        guard result < 0 else { return result }
        throw helperFailure(Errno(rawValue: -result), path, said)
    }

    private static func callHelper(
        _ body: (UnsafeMutablePointer<CChar>, Int) -> Int32
    ) -> (Int32, String) {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: messageSize) { buffer in
            guard let base = buffer.baseAddress else { return (-Errno.ENOMEM.rawValue, "") }
            base[0] = 0
            let result = body(base, buffer.count)
            let text = String(cString: base)
            return (result, String(text.drop { $0.isWhitespace }.prefix { $0 != "\n" }))
        }
    }

    private static func helperFailure(
        _ error: Errno, _ path: String, _ said: String
    ) -> MountFailure {
        if error == .ENOENT {
            return MountFailure(
                error, helper,
                "the program is not installed, and only root mounts without it; install the "
                    + "package fuse3")
        }
        if said.contains("user_allow_other") {
            return MountFailure(
                error, path,
                "allow_other needs the line 'user_allow_other' in /etc/fuse.conf")
        }
        if said.contains("/dev/fuse") {
            return MountFailure(error, "/dev/fuse", said)
        }
        return MountFailure(error, path, said.isEmpty ? "fusermount3: \(error)" : said)
    }

    // MARK: Afterwards

    /// Lets the kernel read further ahead than INIT can ask for. Best effort: needs root.
    func raiseReadAhead(to kibibytes: Int) {
        if kibibytes > 0 { tune([("read_ahead_kb", "\(kibibytes)")]) }
    }

    /// Lets writers fill as much of the kernel's page cache as those of other filesystems. Of FUSE the
    /// kernel expects servers that it cannot trust, and slows writers down at 1 % of memory. Best
    /// effort: needs root, and Linux 6.2.
    func liftDirtyLimit() {
        tune([("strict_limit", "0"), ("max_ratio", "100")])
    }

    /// Writes settings of the mount's backing device.
    private func tune(_ settings: [(name: String, value: String)]) {
        var mode: UInt32 = 0
        var device: UInt64 = 0
        guard cairn_stat_path_cached(path, &mode, &device) == 0 else { return }
        for setting in settings {
            let place = "/sys/class/bdi/\(device >> 32):\(device & 0xffff_ffff)/\(setting.name)"
            _ = cairn_write_text(place, setting.value)
        }
    }

    /// `lazy` detaches now and ends when the last user is gone; `force` fails what is in flight.
    func unmount(lazy: Bool, force: Bool) throws(MountFailure) {
        var flags = CAIRN_UMOUNT_NOFOLLOW
        if lazy { flags |= CAIRN_MNT_DETACH }
        if force { flags |= CAIRN_MNT_FORCE }
        let result = cairn_fuse_unmount(path, flags)
        if result == 0 { return }
        let error = Errno(rawValue: -result)
        if error == .EPERM {
            let (helped, said) = Self.callHelper { message, size in
                cairn_fuse_unmount_by_helper(Self.helper, path, lazy ? 1 : 0, message, size)
            }
            if helped == 0 { return }
            let helpersError = Errno(rawValue: -helped)
            throw MountFailure(helpersError, path, Self.whyHelperFailed(helpersError, said))
        }
        let why: String
        switch error {
        case .EBUSY: why = Self.isInUse
        case .EINVAL: why = "not mounted"
        case .EACCES: why = "a directory above the mount point may not be searched any more"
        default: why = "\(error)"
        }
        throw MountFailure(error, path, why)
    }

    private static let isInUse = "the mount is in use; -l detaches it and ends it on last use"

    /// Why the helper has not unmounted, and what it needs for that.
    private static func whyHelperFailed(_ error: Errno, _ said: String) -> String {
        switch error {
        case .EBUSY: isInUse
        case .ENOENT: "\(helper) is not installed, and only root unmounts without it"
        case .EPERM where said.isEmpty: "\(helper) failed, and does not say why"
        case .EPERM where said.contains("mtab"):
            "\(said); /etc/mtab has to be a link to /proc/self/mounts"
        case .EPERM where said.contains("not permitted"):
            "\(said); \(helper) needs its set-user-id bit, where new rights may be gained"
        case .EPERM: said
        default: "\(helper): \(error)"
        }
    }
}
