// DiskFileSystem: mfs_disk as everybody else sees it: the tree over a DiskStore, with its figures.

public import CairnBase
public import CairnTree
public import CairnVFS

public final class DiskFileSystem: TreeFileSystem, @unchecked Sendable {
    // Sendable: as TreeFileSystem.
    let diskStore: DiskStore

    init(_ store: DiskStore, time: any TimeSource, nodeLimit: Int) {
        diskStore = store
        super.init(typeName: "mfs_disk", time: time, store: store, nodeLimit: nodeLimit)
    }

    public override func close() throws(Pause) {
        diskStore.isClosing.store(true, ordering: .releasing)
        try super.close()
        if let error = diskStore.closingError { throw .failed(error) }
    }

    public override var figures: [FigureGroup] {
        let volume = diskStore.volume
        let commits = volume.statistics
        let data = diskStore.counters.values
        let account = diskStore.environment.account
        let pool = account.cache.pool.statistics
        let size = UInt64(diskStore.blockSize)
        let space = volume.spaceFigures
        return super.figures + [
            FigureGroup(
                .cache, "pages",
                [
                    .init("budget_bytes", UInt64(account.cache.pool.budget)),
                    .init("hits", pool.hits), .init("misses", pool.misses),
                    .init("evictions", pool.evictions),
                    .init("dirty_bytes", UInt64(account.dirtyPages) * size),
                ]),
            FigureGroup(
                .commit, "volume",
                [
                    .init("commits", commits.commits), .init("log_entries", commits.logEntries),
                    .init("flushes", commits.flushes), .init("data_bytes", commits.dataBytes),
                    .init("node_bytes", commits.nodeBytes), .init("log_bytes", commits.logBytes),
                    .init("superblock_bytes", commits.superblockBytes),
                    .init("discarded_bytes", commits.discardedBytes),
                    .init("packed_bytes", data.packed),
                    .init("packed_into_bytes", data.packedInto),
                    .init("last_commit_ns", commits.lastCommitNanoseconds),
                ]),
            FigureGroup(
                .space, "space",
                [
                    .init("total_bytes", space.total * size),
                    .init("free_bytes", space.free * size),
                    .init("longest_free_runs_bytes", space.longestRuns * size),
                    .init("file_data_bytes", space.data * size),
                    .init("promised_bytes", space.promised * size),
                ]),
        ]
    }
}
