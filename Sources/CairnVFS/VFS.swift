// VFS: the core that filesystems stand under and doors stand on.
//
// The functions here are what Linux calls vfs_create, vfs_unlink and so on: one operation on
// inodes, without path walk and without permission checks (`Process` and the kernel do those).
// They keep the dentry cache exact, tell watchers and observers, and count. Each is an attempt
// (Wait.swift). `origin` is the observer that needs not be told, because it asked.

public import CairnBase

public final class VFS: Sendable {
    public let time: any TimeSource
    let dentries: DentryCache
    public let statistics: OperationStatistics

    /// `dentryLimit`: how many names, found or known to be absent, are kept at most.
    public init(time: any TimeSource = SystemTime(), dentryLimit: Int = 1 << 17) {
        self.time = time
        self.dentries = DentryCache(limit: dentryLimit)
        self.statistics = OperationStatistics()
    }
}
