// How a FUSE mount is made.

import CSystem
public import CairnVFS
import Glibc

public struct FUSEMountOptions: Sendable {
    /// How requests come from the kernel.
    public enum Transport: Sendable {
        /// io_uring where the kernel allows it, otherwise the device.
        case automatic
        /// read(2) and write(2) of /dev/fuse.
        case device
        /// FUSE over io_uring; mounting fails where the kernel does not allow it.
        case ioUring
    }

    /// Whether the kernel opens files without asking. It cannot take that back: where a filesystem
    /// that makes its data up (procfs), or a mount that is read-only or noexec, will be mounted
    /// into the namespace later, it must be `off`.
    public enum Openless: Sendable {
        /// If every filesystem that is in the namespace at mount lets its data be cached, no mount
        /// refuses writing or running programs where another allows it, and locks are not shared.
        case automatic
        /// Files of a read-only mount can then be opened for writing, and only writing fails.
        case on
        case off
    }

    /// Users other than the one who mounts may use it. By default if that is root.
    public var allowOther: Bool
    /// What /proc/mounts shows as the source.
    public var sourceName = "cairn"
    /// The type in /proc/mounts is "fuse." and this, by default "cairn.TYPE".
    public var subtype: String?
    /// In addition to those of the namespace's mounts: read-only and noexec hold for each mount by
    /// itself; nosuid and nodev of one hold for all.
    public var flags: MountFlags = []
    /// How long the kernel believes a name, attributes, or that a name does not exist. Long,
    /// because it is told of changes by other doors.
    public var entryTimeout: Duration = .seconds(86_400 * 365)
    public var attributeTimeout: Duration = .seconds(86_400 * 365)
    public var negativeTimeout: Duration = .seconds(86_400 * 365)
    /// The kernel collects writes and sends them late, at close at the latest. Off, because then
    /// ENOSPC would come late too, a file's size and times would be the kernel's while it is open,
    /// whatever another door does, and each file written costs a SETATTR more (measured in
    /// docs/adr/020-fuse.md). Worth it where the mount is the only door and space is plenty: writes
    /// of a few KiB then cost no request each.
    public var writebackCache = false
    /// Serving threads; 0: one for each processor (over the device, at most four).
    public var threads = 0
    public var transport: Transport = .automatic
    public var openless: Openless = .automatic
    /// File locks are seen by the namespace's other doors, and theirs by the mount. Costs a
    /// request at each open, close and lock. Otherwise the kernel keeps locks among the users of
    /// the mount.
    public var sharesLocks = false
    /// For how many microseconds after a request processors are kept from halting, while requests
    /// follow one another closely: it spares waking them, and takes processor time that nothing
    /// else wants. 0: not at all; at most 1 000 000. By default 200 in a virtual machine of at most 8
    /// processors without a quota, otherwise 0.
    public var idlePollMicroseconds: Int = IdlePolling.automaticMicroseconds
    /// What the kernel reads ahead of a sequential reader, in KiB; 0 leaves its default. Setting
    /// it above the kernel's own default of 128 needs root.
    public var readAheadKiB = 1024
    /// The largest read and write in one request, in KiB: 4 … 1024.
    public var transferKiB = 1024

    public init() {
        allowOther = geteuid() == 0
    }

    var transferBytes: Int { min(max(transferKiB, 4), 1024) / 4 * 4 * 1024 }

    var threadCount: Int {
        threads > 0 ? threads : min(Int(cairn_processor_count()), 4)
    }
}
