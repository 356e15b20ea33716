// PagePool: pages of files and content-addressed blocks in memory, within a budget (C3, C4).
//
// The pool has frames, places for a page each, in one arena. A page belongs to a PageSet, one for
// each owner (an inode, or content known by its hash), which finds it by index in a radix tree.
//
//     PagePool ── owners: table ──▶ PageSet ── radix tree ──▶ frame number ──▶ Frame (state, pins)
//        │                                                          └───────▶ PageArena (bytes)
//        └─ lock: free frames, eviction queues, budget
//
// A page is being filled, clean, dirty, or being written; the last two together where it was changed
// while it was written. Handles pin it. Only pages that are clean and not pinned are evicted. When
// none is, whoever wants a frame waits, or gets ENOBUFS where waiting could never end.
//
// Threading. Hits, and changes between clean, dirty and being written, take no lock: they read the
// tree in an epoch section and change one atomic word, the frame's. Locks, outermost first:
//
//     PagePool.lock         free frames, queues: taken for a miss, an eviction, a removal
//       PageSet.lock        the shape of one owner's tree
//       owner table stripe
//     PagePool.waitLock     who waits for frames, or for the end of a write; a leaf
//     a frame's content lock   one page's bytes, changed in place; a leaf but for the caller's body
//
// A pin is taken first and checked after: a reader finds a frame number in the tree, adds a pin, and
// then looks whether the frame is still that page's. Eviction makes a frame not live only if there
// is no pin, in one step; so a pinned page that was still that page's stays it.
//
// No callback is called with a lock held, nor on the thread that lets a handle go, which may hold
// locks of its own: `Settings.perform` brings it elsewhere.

import CSystem
public import CairnBase
import Synchronization

public final class PagePool: @unchecked Sendable {
    // Sendable: `lock` and `waitLock` guard what they say; the rest is immutable or atomic.

    public struct Settings: Sendable {
        /// What pages may take, in bytes. Records of pages come on top; what they take beyond a 32nd
        /// of the budget (or 64 KiB, if that is more) is taken from it.
        public var budget: Int
        /// The most that `setBudget` may ask for: address space, no memory. Nil: the budget.
        public var capacity: Int?
        /// A power of two, 4096 … 32768 bytes.
        public var pageSize = 4096
        /// Runs a body soon, on a thread that holds no locks: a reactor's `perform`.
        public var perform: @Sendable (@escaping @Sendable () -> Void) -> Void
        /// For tests: asked before memory for the tree is allocated; false: there is none.
        package var mayAllocate: (@Sendable () -> Bool)?

        public init(
            budget: Int, capacity: Int? = nil, pageSize: Int = 4096,
            perform: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
        ) {
            self.budget = budget
            self.capacity = capacity
            self.pageSize = pageSize
            self.perform = perform
        }
    }

    /// In bytes.
    public let pageSize: Int
    /// The power of two that `pageSize` is.
    public let pageShift: Int
    /// The most that the budget may be, in bytes.
    public let capacity: Int

    let arena: PageArena
    let frames: FrameTable
    let perform: @Sendable (@escaping @Sendable () -> Void) -> Void
    let mayAllocate: (@Sendable () -> Bool)?
    let owners: ConcurrentTable<PageSet>
    let counters = ShardedCounters(counters: PoolCounter.allCases.count, histograms: 0)

    let lock = Lock()
    // Guarded by `lock`.
    var queues: EvictionQueues
    var free: FreeFrames
    var budgetBytes: Int

    /// The last of the frames that came back, or none.
    let returned = Atomic<FrameNumber>(.max)
    /// Pages that are dirty or being written.
    let unflushedCount = Atomic<Int>(0)
    /// Pages that are being filled.
    let fillingCount = Atomic<Int>(0)
    /// Pins of waits: they go when an operation is done, or has done a step.
    let waitPinCount = Atomic<Int>(0)
    /// Pins that were taken out of handles: nobody knows when they go.
    let heldPinCount = Atomic<Int>(0)
    /// Bytes in nodes of trees and in sets.
    let recordBytes = Atomic<Int>(0)

    let waitLock = Lock()
    // Guarded by `waitLock`.
    var frameWaiters: [FrameWait] = []
    var writeWaiters: [FrameNumber: [Wait]] = [:]
    /// How many of `frameWaiters` there are, to be read without the lock.
    let frameWaiterCount = Atomic<Int>(0)

    /// Throws EINVAL for a page size or a budget that cannot be, ENOMEM and the like.
    public init(_ settings: Settings) throws(Errno) {
        let pageSize = settings.pageSize
        guard pageSize.nonzeroBitCount == 1, (4096...32768).contains(pageSize) else {
            throw .EINVAL
        }
        let wanted = max(settings.budget, settings.capacity ?? 0)
        let count = wanted / pageSize
        guard settings.budget >= pageSize, count < Int(Frame.none) else { throw .EINVAL }
        self.pageSize = pageSize
        pageShift = pageSize.trailingZeroBitCount
        capacity = count * pageSize
        budgetBytes = settings.budget
        perform = settings.perform
        mayAllocate = settings.mayAllocate
        arena = try PageArena(size: count * pageSize)
        guard let frames = FrameTable(count: count), let queues = EvictionQueues(frames: frames)
        else { throw .ENOMEM }
        self.frames = frames
        self.queues = queues
        free = FreeFrames(count: count)
        // Small files have a page each, so there may be as many sets as pages; some more, of files whose
        // pages went, make chains a little longer.
        owners = ConcurrentTable(expected: max(64, count))
        self.queues.setFrameLimit(frameLimit)
    }

    /// No handle and no wait for a page is left.
    deinit {
        frames.free()
    }

    /// The memory file that pages stand in, at their handle's `arenaOffset`: for mmap(2).
    public var descriptor: Int32 { arena.descriptor }

    /// All the memory that pages may stand in: for registering with a reactor.
    public var memory: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: arena.base, count: arena.size)
    }

    /// Pages that are dirty or being written.
    public var dirtyCount: Int { unflushedCount.load(ordering: .relaxed) }

    @inline(__always)
    func address(of number: FrameNumber) -> UnsafeMutableRawPointer {
        arena.base + Int(number) &<< pageShift
    }
}

/// A wait until a frame may be had.
final class FrameWait: Wait, @unchecked Sendable {
    // Sendable: immutable.
    private let pool: PagePool

    init(_ pool: PagePool) {
        self.pool = pool
        super.init()
    }

    override func abandoned() {
        pool.withdraw(self)
    }
}
