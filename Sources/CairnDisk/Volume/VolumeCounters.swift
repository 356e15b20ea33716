// VolumeCounters: what a volume has done since it was opened.
//
// Threading: any thread; each figure is an atomic of its own.

import Synchronization

/// Counts since the volume was opened.
public struct VolumeStatistics: Hashable, Sendable {
    public var commits: UInt64 = 0
    public var logEntries: UInt64 = 0
    public var flushes: UInt64 = 0
    /// Bytes written: of file data, nodes, log entries and superblocks.
    public var dataBytes: UInt64 = 0
    public var nodeBytes: UInt64 = 0
    public var logBytes: UInt64 = 0
    public var superblockBytes: UInt64 = 0
    public var discardedBytes: UInt64 = 0
    /// Log entries that were carried out when it was opened.
    public var replayedEntries: UInt64 = 0
    /// How long the last commit took, from the closed gate to the durable superblock, in nanoseconds.
    public var lastCommitNanoseconds: UInt64 = 0
}

final class VolumeCounters: Sendable {
    private let commits = Atomic<UInt64>(0)
    private let logEntries = Atomic<UInt64>(0)
    private let flushes = Atomic<UInt64>(0)
    private let dataBytes = Atomic<UInt64>(0)
    private let nodeBytes = Atomic<UInt64>(0)
    private let logBytes = Atomic<UInt64>(0)
    private let superblockBytes = Atomic<UInt64>(0)
    private let discardedBytes = Atomic<UInt64>(0)
    private let replayedEntries = Atomic<UInt64>(0)
    private let lastCommit = Atomic<UInt64>(0)

    func countCommit(nanoseconds: UInt64) {
        commits.add(1, ordering: .relaxed)
        lastCommit.store(nanoseconds, ordering: .relaxed)
    }

    func countFlush() { flushes.add(1, ordering: .relaxed) }
    func countData(_ bytes: Int) { dataBytes.add(UInt64(bytes), ordering: .relaxed) }
    func countNodes(_ bytes: Int) { nodeBytes.add(UInt64(bytes), ordering: .relaxed) }

    func countLogEntry(_ bytes: Int) {
        logEntries.add(1, ordering: .relaxed)
        logBytes.add(UInt64(bytes), ordering: .relaxed)
    }

    func countSuperblock(_ bytes: Int) { superblockBytes.add(UInt64(bytes), ordering: .relaxed) }
    func countDiscard(_ bytes: Int) { discardedBytes.add(UInt64(bytes), ordering: .relaxed) }
    func countReplay() { replayedEntries.add(1, ordering: .relaxed) }

    var statistics: VolumeStatistics {
        VolumeStatistics(
            commits: commits.load(ordering: .relaxed),
            logEntries: logEntries.load(ordering: .relaxed),
            flushes: flushes.load(ordering: .relaxed),
            dataBytes: dataBytes.load(ordering: .relaxed),
            nodeBytes: nodeBytes.load(ordering: .relaxed),
            logBytes: logBytes.load(ordering: .relaxed),
            superblockBytes: superblockBytes.load(ordering: .relaxed),
            discardedBytes: discardedBytes.load(ordering: .relaxed),
            replayedEntries: replayedEntries.load(ordering: .relaxed),
            lastCommitNanoseconds: lastCommit.load(ordering: .relaxed))
    }
}
