// Ground: the filesystems that the POSIX suite runs over: the same tree over stores that behave differently.

import CairnBase
import CairnRAM
import CairnTree
import CairnVFS

@testable import CairnDisk

/// A way to make an empty filesystem for a test.
public enum Ground: String, CaseIterable, Sendable {
    /// In memory: nothing waits.
    case memory
    /// In memory, but everything must be fetched first and is lost again at random.
    case missing
    /// Records that nodes are loaded from again and again, with next to no node cache.
    case reloading
    /// Both of the former.
    case missingAndReloading
    /// mfs_disk on a device in memory, with commits in between.
    case disk
    /// The same, compressing.
    case diskLZ4

    /// Bytes that a filesystem over RAMStore has.
    public static var size: UInt64 { 64 << 20 }

    /// What is removed is free in statfs at once. On a disk, trees shrink with a commit, and their own
    /// blocks are in the figures.
    public var countsSpaceAtOnce: Bool { self != .disk && self != .diskLZ4 }

    /// Starts an empty filesystem.
    public func make(seed: UInt64 = 1, time: ManualTime) throws(Errno) -> TreeFileSystem {
        let tree = TreeFileSystem(
            typeName: "test", time: time, store: makeStore(seed: seed, time: time), nodeLimit: 4)
        try blocking { () throws(Pause) in try tree.start() }
        return tree
    }

    private func makeStore(seed: UInt64, time: ManualTime) -> any NodeStore {
        switch self {
        case .memory: return Ground.memoryStore(time: time)
        case .missing: return MissingStore(Ground.memoryStore(time: time), seed: seed)
        case .reloading: return RecordStore(time: time)
        case .missingAndReloading: return MissingStore(RecordStore(time: time), seed: seed)
        case .disk: return Ground.diskStore(.none, seed: seed, time: time)
        case .diskLZ4: return Ground.diskStore(.lz4, seed: seed, time: time)
        }
    }

    private static func diskStore(
        _ compression: Compression, seed: UInt64, time: ManualTime
    ) -> any NodeStore {
        do {
            return try DiskGround.restlessStore(compress: compression, seed: seed, time: time)
        } catch {
            preconditionFailure("no filesystem in memory: \(error)")
        }
    }

    public static func memoryStore(
        bytes: UInt64 = Ground.size, nodes: Int = 1 << 20, time: any TimeSource
    ) -> RAMStore {
        RAMStore(
            byteLimit: Int(bytes), nodeLimit: nodes,
            root: Attributes(
                number: 0, kind: .directory, permissions: Permissions(rawValue: 0o755),
                time: time.now()))
    }
}
