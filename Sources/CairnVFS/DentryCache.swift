// DentryCache: which inode a name in a directory leads to, or that there is none.
//
// Never stale, at no moment: what it says is what the filesystem would say. Each directory has a
// `namesState`: how many changes of names are under way (low 16 bits), and how many there have
// been (above).
//
//  - A change counts itself in, takes its name out of the cache, and only then lets the
//    filesystem act; when it has, it may enter the result, and counts itself out. While the
//    filesystem acts, the cache knows nothing of the name, so readers ask the filesystem, whose
//    own locks put them before or after the change.
//  - A lookup reads the state, asks the filesystem, and enters the answer only if the state is
//    still the same and no change is under way. The check and the entering are one step under
//    the lock of the name's stripe, and a change takes its name out under the same lock after it
//    has counted itself in: so either the change takes out what the lookup entered, or the
//    lookup sees that there was a change.
//
// Reads take no lock (ConcurrentTable). Entries hold their inode. The count is bounded.

import CairnBase
import Synchronization

public final class DentryCache: Sendable {
    private let table: ConcurrentTable<Inode>
    /// Hits, then misses.
    private let counters = ShardedCounters(counters: 2, histograms: 0)

    init(limit: Int) {
        table = ConcurrentTable(expected: limit, limit: limit)
    }

    enum Found {
        case inode(Inode)
        case absent
        case unknown
    }

    func find(_ name: Name, in directory: Inode) -> Found {
        Epoch.section {
            switch table.find(owner: directory.identity, name) {
            case .unknown: return .unknown
            case .absent: return .absent
            case .object(let inode): return .inode(inode.takeUnretainedValue())
            }
        }
    }

    /// For path walk.
    var reader: ConcurrentTable<Inode>.Reader { table.reader }

    /// Enters what a lookup found (nil: nothing), if no name of the directory has changed since
    /// the state was read.
    func insert(
        _ name: Name, in directory: Inode, _ inode: Inode?, ifStateIs state: UInt64
    ) {
        guard state & NameChange.underWayMask == 0 else { return }
        table.insert(owner: directory.identity, name, inode) {
            directory.namesState.load(ordering: .sequentiallyConsistent) == state
        }
    }

    func beginChange(of name: Name, in directory: Inode) -> NameChange {
        let state = directory.namesState.add(
            NameChange.begin, ordering: .sequentiallyConsistent
        ).newValue
        table.remove(owner: directory.identity, name)
        return NameChange(cache: self, directory: directory, name: name, state: state)
    }

    fileprivate func enter(_ name: Name, in directory: Inode, _ inode: Inode?, by state: UInt64) {
        table.insert(owner: directory.identity, name, inode) {
            directory.namesState.load(ordering: .sequentiallyConsistent) == state
        }
    }

    // MARK: The whole

    public var count: Int { table.count }
    public var limit: Int { table.limit }
    public var evictions: Int { table.evictions }
    public var hitCount: Int { Int(counters.counts[0]) }
    public var missCount: Int { Int(counters.counts[1]) }

    func countHits(_ count: Int) { counters.add(UInt64(count), to: 0) }
    func countMiss() { counters.add(1, to: 1) }

    /// Gives memory back: keeps `count` entries at most, those that were used lately.
    public func shrink(to count: Int) {
        table.shrink(to: count)
        Epoch.flush()
    }

    /// Lets go of every inode of a filesystem that is being closed.
    func purge(_ fileSystem: FileSystem) {
        table.removeAll { inode in inode?.fileSystem === fileSystem }
        Epoch.flush()
    }
}

/// One change of one name, from before the filesystem acts until after.
struct NameChange {
    // Both are kept by whoever makes the change, for longer than it lasts.
    private let cache: Unmanaged<DentryCache>
    private let directory: Unmanaged<Inode>
    private let name: Name
    private let state: UInt64
    private var isOpen = true

    /// One more under way, and one more that there has been.
    static var begin: UInt64 { 1 << 16 | 1 }
    static var underWayMask: UInt64 { 0xFFFF }

    fileprivate init(cache: DentryCache, directory: Inode, name: Name, state: UInt64) {
        self.cache = .passUnretained(cache)
        self.directory = .passUnretained(directory)
        self.name = name
        self.state = state
    }

    /// The filesystem has acted: the name leads there now (nil: nowhere). Kept only if this change
    /// was the only one in the directory meanwhile.
    func leads(to inode: Inode?) {
        guard state & Self.underWayMask == 1 else { return }
        directory._withUnsafeGuaranteedRef { directory in
            guard directory.hasCacheableNames else { return }
            cache._withUnsafeGuaranteedRef { $0.enter(name, in: directory, inode, by: state) }
        }
    }

    /// Must be called; a second call does nothing.
    mutating func end() {
        guard isOpen else { return }
        isOpen = false
        directory._withUnsafeGuaranteedRef {
            _ = $0.namesState.subtract(1, ordering: .sequentiallyConsistent)
        }
    }
}

extension Inode {
    var currentNamesState: UInt64 { namesState.load(ordering: .sequentiallyConsistent) }
}
