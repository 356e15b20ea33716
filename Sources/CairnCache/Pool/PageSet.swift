// PageSet: the pages of one owner, an inode or content known by its hash.
//
// Finds pages by index in a radix tree (PageSet+Tree.swift). Whoever works on a file keeps its set,
// so that a hit needs no look-up of the owner. The pages stay in the pool when the last user has
// closed the set; the set goes when it has neither users nor pages.
//
// Threading: everything from any thread. `lock` guards the shape of the tree and who fills a page;
// finding pages, and marking them dirty and clean, takes no lock.
//
// A set must not be used after its pool has gone.

import CairnBase
import Synchronization

public final class PageSet: @unchecked Sendable {
    // Sendable: `lock` guards what it says; the rest is immutable or atomic.
    public let owner: PageOwner
    // The pool's table of owners keeps this object, so this does not keep the pool.
    unowned(unsafe) let pool: PagePool
    /// The same, for hits: without counting a reference for a moment, which all threads would write to.
    let uncountedPool: Unmanaged<PagePool>
    private let hash: UInt64

    let lock = Lock()
    /// The tree: see PageSet+Tree.swift. Changed under `lock`, read without.
    let root = Atomic<UInt>(0)
    /// Pages that are dirty or being written.
    let unflushedCount = Atomic<Int>(0)

    /// Users │ pages, 32 bits each; or `dead`. In one word, so that a set dies exactly when there
    /// is neither.
    private let life: Atomic<UInt64>
    private static var dead: UInt64 { .max }
    private static var onePage: UInt64 { 1 }
    private static var oneUser: UInt64 { 1 << 32 }

    /// In bytes, about: of the object and its entry in the table.
    static var recordSize: Int { 256 }

    /// Has one user.
    init(_ owner: PageOwner, hash: UInt64, in pool: PagePool) {
        self.owner = owner
        self.hash = hash
        self.pool = pool
        uncountedPool = .passUnretained(pool)
        life = Atomic(Self.oneUser)
    }

    /// Pages that are here, whatever their state.
    public var residentCount: Int {
        let seen = life.load(ordering: .relaxed)
        return seen == Self.dead ? 0 : Int(seen & 0xFFFF_FFFF)
    }

    /// Pages that are dirty or being written.
    public var dirtyCount: Int { unflushedCount.load(ordering: .relaxed) }

    // MARK: Identity

    /// What frames know it by.
    @inline(__always)
    var address: UInt { UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque()) }

    /// The set that a live frame belongs to. To be called in an epoch section.
    @inline(__always)
    static func at(_ address: UInt) -> Unmanaged<PageSet> {
        // Not zero: it was made from a reference.
        .fromOpaque(UnsafeRawPointer(bitPattern: address).unsafelyUnwrapped)
    }

    /// Stands for the key of a page.
    @inline(__always)
    func keyHash(_ index: UInt64) -> UInt64 {
        mixHash(hash ^ index, 0x9E37_79B9_7F4A_7C15)
    }

    // MARK: Life

    /// One more user. False: it is dead, and about to leave the table.
    func open() -> Bool {
        var seen = life.load(ordering: .sequentiallyConsistent)
        while seen != Self.dead {
            let (done, original) = life.compareExchange(
                expected: seen, desired: seen + Self.oneUser, ordering: .sequentiallyConsistent)
            if done { return true }
            seen = original
        }
        return false
    }

    /// Ends one use, that `PagePool.pages(of:)` has begun. The pages stay.
    public func close() {
        dieIfUnused(life.subtract(Self.oneUser, ordering: .sequentiallyConsistent).newValue)
    }

    /// Under `lock`, while it has a user.
    func countPage() {
        life.add(Self.onePage, ordering: .sequentiallyConsistent)
    }

    func uncountPages(_ count: Int) {
        guard count > 0 else { return }
        let left = life.subtract(
            UInt64(count) &* Self.onePage, ordering: .sequentiallyConsistent
        ).newValue
        dieIfUnused(left)
    }

    /// Whoever makes the last of both go takes the set out of the table.
    private func dieIfUnused(_ seen: UInt64) {
        guard seen == 0 else { return }
        let (isOurs, _) = life.compareExchange(
            expected: 0, desired: Self.dead, ordering: .sequentiallyConsistent)
        if isOurs { pool.forget(self) }
    }

    /// Eviction has taken this page's frame. Under the pool's lock, in a section.
    func pageIsGone(_ index: UInt64) {
        _ = lock.withLock { removeSlot(index) }
        uncountPages(1)
    }
}
