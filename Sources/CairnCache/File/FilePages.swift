// FilePages: the bytes of one file, as pages of the pool.
//
//     store ──read, write, cut──▶ FilePages ──pages──▶ PageSet ─▶ PagePool
//                                  │   ▲
//           missing pages: fill ───┘   └─── dirty pages: snapshots, for whoever writes them back
//                     ▼                              ▼
//                PageBacking  ◀──────────  Flusher, or the store's own commits
//
// What a page is, and when it may be evicted, is the pool's affair. Here is what makes a file of
// pages: which are asked for together and ahead, which need not be asked for, what happens to one
// that changes while it is being written, and who hears of it when it cannot be written.
//
// Invariants
//  - A page at or behind `backedEnd` that is not resident is zeros; the backing is never asked for
//    it. Whoever marks a snapshot as flushed raises `backedEnd` before its pages can be evicted.
//  - A page in a snapshot does not change: who writes to it puts a copy in its place. One index is in
//    one snapshot at most, so that no older content can arrive on the device after a newer one.
//  - What dirties pages tells the account, before the call ends.
//
// Threading. `read` is called under the file's lock, shared; `write`, `truncate`, `punch` and `drop`
// under it exclusively (the lock of the store's node: TreeNode.lock). Everything else, from any
// thread. `lock` is held for one page's change at a time, and around the fields below it; under
// it come the pool's locks.

public import CairnBase
import Glibc
import Synchronization

public final class FilePages: @unchecked Sendable {
    // Sendable: immutable, atomic, or guarded by `lock`.
    public let cache: PageCache
    /// The filesystem's, which limits its dirty pages.
    public let account: DirtyAccount
    let pageSet: PageSet
    weak let backing: (any PageBacking)?
    /// What could not be written back.
    public let errors = ErrorSequence()

    /// Counts pages: those from here on that are not resident are zeros.
    let backedEnd: Atomic<UInt64>
    /// Pages whose use starts the next read-ahead, one for each stream; .max: none.
    let markers = Markers()

    let lock = Lock()
    // Guarded by `lock`.
    var readAhead = ReadAhead()
    /// What is being written, in no order.
    var snapshots: [DirtySnapshot] = []
    /// How many dirty pages the account knows of.
    var countedDirty = 0
    /// No page behind it was ever changed.
    var lastChanged: UInt64 = 0
    /// What programs have mapped of it.
    var mappings = FileMappings() {
        didSet { isMapped.store(!mappings.isEmpty, ordering: .relaxed) }
    }
    /// Whether there is anything in `mappings`, to be read without the lock.
    let isMapped = Atomic<Bool>(false)

    let pageShift: UInt64
    let pageSize: Int

    /// `backedPages`: how many pages, from the start of the file, the backing may know of. What lies
    /// behind is zeros until it is written.
    public init(
        _ owner: PageOwner, backedPages: UInt64, backing: any PageBacking, account: DirtyAccount
    ) {
        self.account = account
        self.backing = backing
        cache = account.cache
        pageSet = cache.pool.pages(of: owner)
        backedEnd = Atomic(backedPages)
        pageSize = cache.pool.pageSize
        pageShift = UInt64(cache.pool.pageSize.trailingZeroBitCount)
    }

    deinit {
        pageSet.close()
    }

    var pageMask: UInt64 { UInt64(pageSize &- 1) }

    /// How many pages cover so many bytes.
    @inline(__always)
    func pages(covering bytes: UInt64) -> UInt64 {
        bytes >> pageShift + (bytes & pageMask == 0 ? 0 : 1)
    }

    /// How many pages of the file are dirty or being written.
    public var dirtyCount: Int { pageSet.dirtyCount }
    /// How many are in memory.
    public var residentCount: Int { pageSet.residentCount }
    /// How many pages, from the start, the backing may know of.
    public var backedPages: UInt64 { backedEnd.load(ordering: .acquiring) }

    /// Whether a page is dirty or being written: what the backing holds of it is old.
    public func isDirty(_ index: PageIndex) -> Bool { pageSet.hasDirty(index) }

    /// The first pages that are dirty or being written, not before `index`.
    public func nextDirtyRun(from index: PageIndex) -> Range<PageIndex>? {
        pageSet.unflushedRanges(in: index..<PageSet.everything.upperBound, limit: 1).first
    }

    // MARK: Reading

    /// Fills the whole buffer, for a store that may store these bytes again; others read by `readStep`.
    /// The caller keeps within the file's size. Pages that are missing are
    /// asked for, and waited for; all that was waited for stays pinned until the operation is done.
    public func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        let count = try read(into: buffer, at: offset, isStep: false)
        if isMapped.load(ordering: .relaxed), count > 0 {
            // Stored again, or not: what is mapped there may differ from what is stored.
            lock.withLock {
                mappings.forgetStored(
                    offset >> pageShift..<pages(covering: offset + UInt64(count)))
            }
        }
        return count
    }

    /// Reads into a buffer of any size: gives less than its count, at least 1, where the rest has to
    /// be waited for and a run's worth is done (`PageCacheSettings.largestRunBytes`), or no page can
    /// be had while what was waited for stays pinned. Who goes on with the rest lets go of that
    /// (`inSteps`).
    public func readStep(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        try read(into: buffer, at: offset, isStep: true)
    }

    @inline(__always)
    private func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, isStep: Bool
    ) throws(Pause) -> Int {
        guard var target = buffer.baseAddress, buffer.count > 0 else { return 0 }
        let last = (offset &+ UInt64(buffer.count &- 1)) >> pageShift
        if markers.contain(offset >> pageShift, last) {
            goAhead(in: offset >> pageShift, last)
        }
        var position = offset
        var left = buffer.count
        while left > 0 {
            let index = PageIndex(rawValue: position >> pageShift)
            let inner = Int(truncatingIfNeeded: position & pageMask)
            let count = min(left, pageSize &- inner)
            if pageSet.tryRead(index, from: inner, to: target, count) {
                // The usual case: no pin.
            } else if let page = pageSet.tryGet(index) {
                copy(page, from: inner, to: target, count)
            } else if index.rawValue >= backedEnd.load(ordering: .acquiring) {
                memset(target, 0, count)
            } else {
                let done = buffer.count &- left
                do throws(Pause) {
                    let page = try fetch(
                        index, wanted: last &- index.rawValue &+ 1,
                        holdsNothing: isStep && done == 0)
                    copy(page, from: inner, to: target, count)
                } catch {
                    if isStep, endsStep(error, after: done) { return done }
                    throw error
                }
            }
            target += count
            left &-= count
            position &+= UInt64(count)
        }
        return buffer.count
    }

    /// Whether a read gives what it has, instead of waiting with all of it pinned.
    private func endsStep(_ pause: Pause, after done: Int) -> Bool {
        if case .failed(.ENOBUFS) = pause { return done > 0 }
        if case .failed = pause { return false }
        return done >= cache.largestRun &* pageSize
    }

    @inline(__always)
    private func copy(
        _ page: borrowing PageHandle, from inner: Int, to target: UnsafeMutableRawPointer,
        _ count: Int
    ) {
        if let source = page.bytes.baseAddress { memcpy(target, source + inner, count) }
    }
}
