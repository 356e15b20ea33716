// Ground: the filesystems that the POSIX suite runs over: the same tree over stores that behave differently.

import CairnBase
import CairnRAM
import CairnTree
import CairnVFS

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

    /// Bytes that a filesystem over RAMStore has.
    public static var size: UInt64 { 64 << 20 }

    /// Starts an empty filesystem.
    public func make(seed: UInt64 = 1, time: any TimeSource) throws(Errno) -> TreeFileSystem {
        let tree = TreeFileSystem(
            typeName: "test", time: time, store: makeStore(seed: seed, time: time), nodeLimit: 4)
        try blocking { () throws(Pause) in try tree.start() }
        return tree
    }

    private func makeStore(seed: UInt64, time: any TimeSource) -> any NodeStore {
        switch self {
        case .memory: return Ground.memoryStore(time: time)
        case .missing: return MissingStore(Ground.memoryStore(time: time), seed: seed)
        case .reloading: return RecordStore(time: time)
        case .missingAndReloading: return MissingStore(RecordStore(time: time), seed: seed)
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
