// HostDisk: images and block devices of this host, for mounts and for the commands that work on them.

import Cairn
import CairnBase
import CairnDisk
import CairnIO
import CairnVFS
import Glibc

/// mfs_disk, with loops that are started when the first one is mounted and live as long as the process.
struct HostDiskType: FileSystemType {
    let name = "mfs_disk"

    private static let loops: Result<DiskEnvironment, Errno> = {
        do throws(Errno) {
            let io = try ReactorThread(name: "cairn-io")
            let work = try ReactorThread(name: "cairn-work")
            let reads = try ReactorThread(name: "cairn-reads")
            return .success(
                .host(io: io.reactor, work: work.reactor, reads: reads.reactor) { line in
                    standardError.write("cairn: \(line)\n")
                })
        } catch {
            return .failure(error)
        }
    }()

    func open(
        source: String, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        try open(source: source, isReadOnly: false, options: &options, in: vfs)
    }

    func open(
        source: String, isReadOnly: Bool, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        let environment: DiskEnvironment
        do throws(Errno) {
            environment = try HostDiskType.loops.get()
        } catch {
            throw MountFailure(error, "threads for \(source)", "\(error)")
        }
        return try DiskFileSystemType(environment).open(
            source: source, isReadOnly: isReadOnly, options: &options, in: vfs)
    }
}

enum HostDisk {
    /// Runs a body with the device of an image, and closes it.
    static func with<Value>(
        _ image: FilePath, isReadOnly: Bool, creating size: UInt64? = nil,
        _ body: (FileDevice) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let loop: ReactorThread
        let device: FileDevice
        do throws(Errno) {
            loop = try ReactorThread()
            if let size {
                device = try FileDevice.create(
                    path: image.text, size: size, reactor: loop.reactor)
            } else {
                device = try FileDevice(
                    path: image.text,
                    options: FileDevice.Options(isReadOnly: isReadOnly, patience: 2000),
                    reactor: loop.reactor)
            }
        } catch {
            if error == .EBUSY {
                throw Failure(printable(image), "it is mounted, or open elsewhere")
            }
            // A directory, a character device: what the system says of them is no help.
            if error == .EINVAL || error == .EISDIR {
                throw Failure(printable(image), SourceLook(at: image.text).why)
            }
            throw Failure(printable(image), error)
        }
        defer {
            device.close()
            loop.stop()
        }
        return try body(device)
    }

    /// Runs a task to its end, sleeping on this thread.
    static func run<Value: Sendable>(
        _ body: @escaping @Sendable () async throws(VolumeFailure) -> Value
    ) throws(VolumeFailure) -> Value {
        let box = Box<Value>()
        let gate = Gate()
        Task.detached {
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
