// FileState: the data of one regular file in memory: its pages, and what is to become of those that
// are dirty.
//
// Space. A page that becomes dirty takes a block of the volume's free space into reserve, also when
// it has one on the device already: nothing is overwritten in place. `reserved` blocks belong to dirty
// pages that nobody is placing; a placement takes its own along. What has to be placed beside them has
// `spare` (SpareBlocks).
//
// Invariants, whenever the node's lock is free and nothing of the file is being placed
//  - `reserved` is the number of dirty pages, but for what there was no room for after a placement failed.
//  - A file with dirty pages is in the store's list of dirty nodes, which keeps its node in memory.
//
// Threading: guarded by the node's lock, but for `pages`, which is made once, and what is atomic.

import CairnBase
import CairnCache
import Synchronization

final class FileState: @unchecked Sendable {
    // Sendable: guarded by the node's lock, atomic, or constant.
    let number: UInt64
    unowned(unsafe) let store: DiskStore
    private let madePages = AtomicLazyReference<FilePages>()

    /// Counts changes of the extents: who has read blocks looks whether they were still the file's.
    let generation = Atomic<UInt64>(0)
    /// Bytes of the file that the device has; what it has behind is without meaning.
    let recordedEnd = Atomic<UInt64>(0)

    /// The node is in the list of dirty nodes, whose lock guards this.
    var isListed = false

    // Guarded by the node's lock.
    var reserved = 0
    /// Node places that are promised for the records of what is dirty.
    var reservedNodes = 0
    /// For what is clean and has to be placed along with what is dirty.
    var spare: SpareBlocks
    /// How often writers went to another place since nothing was dirty, and where they are.
    private var places = 0
    private var lastWritten: UInt64 = 0
    /// What was written since it was logged or placed (DiskStore+Log.swift).
    var unlogged = ByteRanges()
    /// Finishes when the placement that is under way has ended; nil: there is none.
    var placing: Wait?
    /// The first and the last page of that placement lie at the ends of this.
    var pagesBeingPlaced: Range<UInt64> = 0..<0
    /// Records that may be compressed stay as they are: what is being placed shall be cut.
    var placesPlain = false
    /// The node was freed.
    var isDropped = false
    /// What lies behind the end is still being removed: finishes when it is.
    var emptying: Wait?
    /// Behind where data of this file was placed last.
    var lastPlaced: BlockNumber?
    var stubbornness = Stubbornness()

    init(of number: UInt64, in store: DiskStore) {
        self.number = number
        self.store = store
        spare = SpareBlocks(blockSize: store.blockSize)
    }

    /// The file's pages, if any of them was ever used.
    var pagesIfMade: FilePages? { madePages.load() }

    /// The caller holds the node's lock, so that the size stands still.
    func pages(recordedSize: UInt64) -> FilePages {
        if let made = madePages.load() { return made }
        let pages = FilePages(
            .inode(fileSystem: store.tree.identity, number: number),
            backedPages: store.layout.blocks(recordedSize), backing: self,
            account: store.environment.account)
        return madePages.storeIfNil(pages)
    }

    var hasUnplacedData: Bool { (madePages.load()?.dirtyCount ?? 0) > 0 }

    /// What was cut off is gone from the device, too, or the wait for it.
    func requireSettled() throws(Pause) {
        if let emptying { throw .wait(OperationWait(emptying)) }
    }

    /// The node left memory, or ceased to be.
    func drop() {
        madePages.load()?.drop()
    }

    // MARK: Reservation

    /// Gives back what no dirty page needs. `isExact`: also if nothing seems to be too much. Gives how
    /// many blocks are missing, which can be only after a placement.
    @discardableResult
    func settleReservation(isExact: Bool = false) -> Int {
        guard placing == nil else { return 0 }
        let dirty = madePages.load()?.dirtyCount ?? 0
        if dirty == 0 {
            if reservedNodes > 0 {
                store.volume.release(SpacePromise(blocks: 0, nodes: reservedNodes))
            }
            reservedNodes = 0
            places = 0
        }
        guard dirty == 0 || isExact || reserved > dirty else { return 0 }
        let held = reserved + spare.blocks
        let clean = pagesIfMade.map { spare.settle($0) } ?? 0
        if held > dirty + clean {
            store.volume.release(SpacePromise(blocks: held - dirty - clean))
        }
        reserved = min(held, dirty)
        spare.blocks = min(held - reserved, clean)
        return max(0, dirty + clean - held)
    }

    /// What was missing was promised.
    func keep(missing blocks: Int) {
        reserved += blocks
        let surplus = max(0, reserved - (pagesIfMade?.dirtyCount ?? 0))
        reserved -= surplus
        spare.blocks += surplus
    }

    /// What a write needs beside what is promised already.
    struct Need {
        /// Blocks for its pages.
        var blocks = 0
        /// So many of them are promised already, as spare ones.
        fileprivate(set) var hadSpare = 0
        /// Spare blocks, and the windows of the file that they are for.
        fileprivate(set) var spare = 0
        fileprivate(set) var windows: [(window: UInt64, pages: Int)] = []
        var nodes = 0

        var promise: SpacePromise {
            SpacePromise(blocks: blocks - hadSpare + spare, nodes: nodes)
        }
    }

    /// What a write to these pages needs. Records of extents that lie side by side share their nodes;
    /// each other place in the file may need one of its own. `packed`: which pages of a window have to be placed
    /// if one of them is, from its start.
    func need(
        forPages range: Range<UInt64>, _ pages: FilePages,
        packed: (Range<UInt64>) throws(Pause) -> Int
    ) throws(Pause) -> Need {
        var need = Need()
        need.blocks = unreservedPages(range, pages)
        guard need.blocks > 0 else { return need }
        let wanted =
            1 + places + (isElsewhere(range) ? 1 : 0) + (pages.dirtyCount + need.blocks) / 128
        need.nodes = max(0, wanted - reservedNodes)
        for window in spare.windows(of: range) {
            if let known = spare.pages(of: window) {
                need.hadSpare += unreservedPages(range.clamped(to: known), pages)
                continue
            }
            let count = try packed(spare.pages(of: window, before: .max))
            guard count > 0 else { continue }
            need.windows.append((window, count))
            let start = spare.pages(of: window, before: .max).lowerBound
            need.spare += count - range.clamped(to: start..<start + UInt64(count)).count
        }
        need.hadSpare = min(need.hadSpare, spare.blocks)
        return need
    }

    private func isElsewhere(_ range: Range<UInt64>) -> Bool {
        range.lowerBound > lastWritten + 1 || range.upperBound < lastWritten
    }

    /// It was promised, and the pages will be written.
    func keep(_ need: Need, forPages range: Range<UInt64>) {
        if isElsewhere(range) { places += 1 }
        lastWritten = range.upperBound
        reserved += need.blocks
        reservedNodes += need.nodes
        spare.blocks += need.spare - need.hadSpare
        for (window, pages) in need.windows { spare.enter(window, pages: pages) }
    }

    /// The part of the promised nodes that goes with so many of the dirty pages.
    func takeNodes(forPages count: Int) -> Int {
        let dirty = max(pagesIfMade?.dirtyCount ?? 0, count)
        let taken = count >= dirty ? reservedNodes : reservedNodes * count / dirty
        reservedNodes -= taken
        if count >= dirty { places = 0 }
        return taken
    }

    /// How many of the pages may need a block more than is reserved.
    func unreservedPages(_ range: Range<UInt64>, _ pages: FilePages) -> Int {
        // One that is being placed needs another one, once it is written to again.
        if placing != nil || pages.dirtyCount == 0 { return range.count }
        var count = 0
        for index in range where !pages.isDirty(PageIndex(rawValue: index)) { count += 1 }
        return count
    }
}

/// Data that does not shrink is not tried for a while, for longer each time.
struct Stubbornness: Sendable {
    private var failures = 0
    private var skips = 0

    /// Whether the next record shall be tried.
    mutating func admits() -> Bool {
        guard skips > 0 else { return true }
        skips -= 1
        return false
    }

    mutating func note(shrank: Bool) {
        if shrank {
            failures = 0
            return
        }
        failures = min(failures + 1, 8)
        if failures >= 2 { skips = 2 << (failures - 2) }
    }
}
