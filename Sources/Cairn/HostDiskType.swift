// mfs_disk in images and on block devices of this host, for programs that embed Cairn.
//
// What works on those that are open are three loops of threads of their own, which are started when the
// first one is opened, and live as long as the process. Making one has a loop for as long as it takes.

import CairnBase
public import CairnDisk
import CairnIO
public import CairnVFS
import Glibc

/// mfs_disk as a type of filesystem whose sources are paths of this host.
public struct HostDiskType: FileSystemType {
    public let name = "mfs_disk"
    private let report: @Sendable (String) -> Void

    /// `report` gets a line, without its end, for what an operator should know: what recovery did,
    /// damage that was met, a device that failed. It is called from any thread.
    public init(report: @escaping @Sendable (String) -> Void = { _ in }) {
        self.report = report
    }

    private struct Loops {
        let io: ReactorThread
        let work: ReactorThread
        let reads: ReactorThread

        /// Held while they start: who opens another meanwhile needs them, too.
        private static let lock = Lock()
        nonisolated(unsafe) private static var shared: Loops?  // guarded by lock

        /// Starts them if they have not been. Those that fail to start are tried again the next time.
        static func get(for source: String) throws(MountFailure) -> Loops {
            do throws(Errno) {
                return try lock.withLock { () throws(Errno) in
                    if let shared { return shared }
                    let loops = try start()
                    shared = loops
                    return loops
                }
            } catch {
                throw MountFailure(error, "threads for \(source)", "\(error)")
            }
        }

        /// All of them, or none.
        private static func start() throws(Errno) -> Loops {
            var started: [ReactorThread] = []
            do throws(Errno) {
                for name in ["cairn-io", "cairn-work", "cairn-reads"] {
                    started.append(try ReactorThread(name: name))
                }
            } catch {
                for thread in started { thread.stop() }
                throw error
            }
            return Loops(io: started[0], work: started[1], reads: started[2])
        }
    }

    // MARK: Opening

    public func open(
        source: String, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        try open(source: source, isReadOnly: false, options: &options, in: vfs)
    }

    public func open(
        source: String, isReadOnly: Bool, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        let loops = try Loops.get(for: source)
        let environment = DiskEnvironment.host(
            io: loops.io.reactor, work: loops.work.reactor, reads: loops.reads.reactor,
            report: report)
        return try DiskFileSystemType(environment).open(
            source: source, isReadOnly: isReadOnly, options: &options, in: vfs)
    }

    /// Opens the filesystem of an image or a block device, for `Namespace(vfs:root:)` or
    /// `Process.mount`. `options` are those of `cairn mount -o`, such as "compress=lz4,cache=256M".
    ///
    /// Throws EBUSY if it is open elsewhere, EINVAL for what is no mfs_disk and for an option that it
    /// does not know, ENOENT, EACCES and the like; `MountFailure` says it in words.
    public static func open(
        _ source: String, options: String = "", isReadOnly: Bool = false, in vfs: VFS,
        report: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(MountFailure) -> FileSystem {
        var list = MountOptionList(options)
        let opened = try HostDiskType(report: report).open(
            source: source, isReadOnly: isReadOnly, options: &list, in: vfs)
        guard let unknown = list.firstUnknown else { return opened }
        try? blocking { () throws(Pause) in try opened.close() }
        throw MountFailure(.EINVAL, "option \(unknown)", "mfs_disk has none of that name")
    }

    // MARK: Making

    /// Makes an empty filesystem: in a new file of `size` bytes, which takes room only as it is filled;
    /// or, without a size, on all of the file or block device that is there, whose content is lost.
    /// Gives its UUID.
    ///
    /// Throws EEXIST if a file is to be made and there is one, EBUSY if it is open elsewhere, EINVAL
    /// where options and size do not fit together, and what the host says, of the path if it cannot be
    /// opened. No file is left then.
    @discardableResult
    public static func make(
        _ path: String, size: UInt64? = nil, options: FormatOptions = FormatOptions()
    ) throws(VolumeFailure) -> VolumeUUID {
        let loop: ReactorThread
        let device: FileDevice
        do throws(Errno) {
            loop = try ReactorThread(name: "cairn-format")
        } catch {
            throw VolumeFailure(error, "a thread for \(path)", "\(error)")
        }
        defer { loop.stop() }
        do throws(Errno) {
            device =
                if let size {
                    try FileDevice.create(path: path, size: size, reactor: loop.reactor)
                } else {
                    try FileDevice(
                        path: path, options: FileDevice.Options(patience: 2000),
                        reactor: loop.reactor)
                }
        } catch {
            throw VolumeFailure(
                error, path, error == .EBUSY ? "it is mounted, or open elsewhere" : "\(error)")
        }
        defer { device.close() }
        do throws(VolumeFailure) {
            return try result(on: loop.reactor) { () async throws(VolumeFailure) in
                var random = SystemRandomNumberGenerator()
                return try await Formatter.format(
                    device, options, time: SystemTime(), random: &random)
            }
        } catch {
            if size != nil { unlink(path) }
            throw error
        }
    }

    /// Of a task, for which this thread sleeps. It may be one of Swift's few that all other tasks need, so
    /// the task has a thread of its own.
    private static func result<Value: Sendable>(
        on executor: any TaskExecutor,
        of body: @escaping @Sendable () async throws(VolumeFailure) -> Value
    ) throws(VolumeFailure) -> Value {
        let box = Box<Value>()
        let gate = Gate()
        Task(executorPreference: executor) {
            do throws(VolumeFailure) {
                box.result = .success(try await body())
            } catch {
                box.result = .failure(error)
            }
            gate.signal()
        }
        gate.wait()
        guard let result = box.result else { preconditionFailure("a task without a result") }
        return try result.get()
    }

    private final class Box<Value>: @unchecked Sendable {
        // Sendable: written before the signal, read after.
        var result: Result<Value, VolumeFailure>?
    }
}
