// DiskEnvironment: the world that mounts of mfs_disk stand in: passed in by the command, or by a test.

import CairnBase
public import CairnIO
public import CairnVFS

/// A device that a source names, and what lets go of it.
public struct OpenedDevice: Sendable {
    public var device: any BlockDevice
    /// Called once, when nothing is asked of the device any more.
    public var close: @Sendable () -> Void

    public init(_ device: any BlockDevice, close: @escaping @Sendable () -> Void) {
        self.device = device
        self.close = close
    }
}

public struct DiskEnvironment: Sendable {
    /// Opens what stands before the mount point. A device that somebody else writes, or reads if it
    /// is to be written, is refused.
    public var openDevice:
        @Sendable (_ source: String, _ isReadOnly: Bool) throws(MountFailure) -> OpenedDevice
    public var timers: any TimerSource
    /// What commits and placing run on, checksumming and compressing included. Not a thread that devices
    /// complete on, nor one that mounts.
    public var executor: any TaskExecutor
    /// Runs what takes time for a reader (unpacking), soon.
    public var work: @Sendable (@escaping @Sendable () -> Void) -> Void
    /// Runs a short body soon, on a thread that holds nothing.
    public var perform: @Sendable (@escaping @Sendable () -> Void) -> Void
    /// Told of damage, fallbacks and errors. One line each.
    public var report: @Sendable (String) -> Void
    public var progress: (@Sendable (VolumeProgress) -> Void)?

    public init(
        openDevice:
            @escaping @Sendable (_ source: String, _ isReadOnly: Bool)
            throws(MountFailure) -> OpenedDevice,
        timers: any TimerSource, executor: any TaskExecutor,
        work: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void,
        perform: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void,
        report: @escaping @Sendable (String) -> Void,
        progress: (@Sendable (VolumeProgress) -> Void)? = nil
    ) {
        self.openDevice = openDevice
        self.timers = timers
        self.executor = executor
        self.work = work
        self.perform = perform
        self.report = report
        self.progress = progress
    }

    /// Images and block devices of this host: `io` carries out requests and timers, `work` what takes
    /// time for commits, `reads` what takes time for readers. Three loops that outlive the mounts.
    public static func host(
        io: Reactor, work: Reactor, reads: Reactor, report: @escaping @Sendable (String) -> Void,
        progress: (@Sendable (VolumeProgress) -> Void)? = nil
    ) -> DiskEnvironment {
        DiskEnvironment(
            openDevice: { (source, isReadOnly) throws(MountFailure) in
                do throws(Errno) {
                    let device = try FileDevice(
                        path: source,
                        options: FileDevice.Options(isReadOnly: isReadOnly, patience: 2000),
                        reactor: io)
                    return OpenedDevice(device) { device.close() }
                } catch {
                    throw MountFailure(
                        error, source,
                        error == .EBUSY
                            ? "it is mounted, or open elsewhere" : "\(error)")
                }
            },
            timers: io, executor: work, work: { reads.perform($0) }, perform: { io.perform($0) },
            report: report, progress: progress)
    }
}
