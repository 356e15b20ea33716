// mfs_disk: the filesystem type on an image or a device.

import CairnBase
import CairnCache
public import CairnVFS

public struct DiskFileSystemType: FileSystemType {
    public let name = "mfs_disk"
    private let environment: DiskEnvironment

    public init(_ environment: DiskEnvironment) {
        self.environment = environment
    }

    /// Options: `DiskOptions`.
    public func open(
        source: String, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        try open(source: source, isReadOnly: false, options: &options, in: vfs)
    }

    public func open(
        source: String, isReadOnly: Bool, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        var chosen = try DiskOptions(taking: &options)
        chosen.isReadOnly = isReadOnly
        let opened = try environment.openDevice(source, chosen.isReadOnly)
        do throws(MountFailure) {
            return try open(opened, source, chosen, in: vfs)
        } catch {
            opened.close()
            throw error
        }
    }

    private func open(
        _ opened: OpenedDevice, _ source: String, _ options: DiskOptions, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        let environment = environment
        let time = vfs.time
        let done = Wait()
        let box = OpeningBox()
        Task(executorPreference: environment.executor) {
            do throws(MountFailure) {
                box.result = .success(
                    try await DiskFileSystemType.open(
                        opened, source, options, environment, time: time))
            } catch {
                box.result = .failure(error)
            }
            done.finish()
        }
        var isFirst = true
        do throws(Errno) {
            try blocking { () throws(Pause) in
                guard isFirst else { return }
                isFirst = false
                throw .wait(done)
            }
        } catch {
            throw MountFailure(error, source, "\(error)")
        }
        guard let result = box.result else {
            preconditionFailure("an opening that ended without a result")
        }
        return try result.get()
    }

    private final class OpeningBox: @unchecked Sendable {
        // Sendable: written before `done` finishes, read after.
        var result: Result<DiskFileSystem, MountFailure>?
    }

    /// Opens a filesystem on a device, carries its log out and starts it. `nodeLimit`: nodes that stay in
    /// memory; nil: as many as suit the cache.
    static func open(
        _ opened: OpenedDevice, _ source: String, _ options: DiskOptions,
        _ environment: DiskEnvironment, time: any TimeSource,
        hashBits: UInt64 = NameKey.hashBits, nodeLimit: Int? = nil
    ) async throws(MountFailure) -> DiskFileSystem {
        do throws(VolumeFailure) {
            let volume = try await Volume.open(
                VolumeEnvironment(
                    device: opened.device, timers: environment.timers, time: time,
                    executor: environment.executor, report: environment.report,
                    progress: environment.progress),
                options.volumeOptions)
            let account = try makeAccount(volume, options, environment)
            let store = DiskStore(
                volume, options,
                StoreEnvironment(
                    account: account, work: environment.work, executor: environment.executor,
                    closed: opened.close, report: environment.report),
                hashBits: hashBits)
            let fileSystem = DiskFileSystem(
                store, time: time, nodeLimit: nodeLimit ?? options.nodeLimit)
            try await volume.start(owner: store)
            do throws(Errno) {
                try await suspending { () throws(Pause) in try fileSystem.start() }
                if !volume.isReadOnly { try await store.emptier.addOrphans() }
            } catch {
                throw VolumeFailure(error, "the root directory", "it cannot be read (\(error))")
            }
            return fileSystem
        } catch {
            throw MountFailure(error.errno, "\(source): \(error.what)", error.why)
        }
    }

    private static func makeAccount(
        _ volume: Volume, _ options: DiskOptions, _ environment: DiskEnvironment
    ) throws(VolumeFailure) -> DirtyAccount {
        do throws(Errno) {
            var settings = PagePool.Settings(
                budget: options.pageCacheBytes, perform: environment.perform)
            settings.pageSize = Int(volume.geometry.blockSize)
            let pool = try PagePool(settings)
            var cacheSettings = PageCacheSettings()
            cacheSettings.dirtyShare = options.dirtyShare
            return DirtyAccount(
                in: PageCache(pool: pool, settings: cacheSettings), timers: environment.timers,
                share: options.dirtyShare)
        } catch {
            throw VolumeFailure(error, "a cache of \(options.cacheBytes) bytes", "\(error)")
        }
    }
}
