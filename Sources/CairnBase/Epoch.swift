// Epoch: reading shared structures without locks, and freeing what was taken out of them.
//
// A reader works inside a *section*. Whoever takes an object out of a shared structure *retires*
// it: it is released once every section that was open then has closed, because only such a
// section can still have seen it. Sections are short, may nest, and never block or suspend.
//
// Why it is safe. `global` only grows. A reader announces the value it saw in its slot, then
// reads the structure. A retirer first takes the object out, then tags it with `global`. To
// reclaim, it advances `global` and reads all slots: an object is freed when every open section
// has announced a value greater than its tag. All four steps are sequentially consistent: if the
// scan found a slot closed, that reader's announcement comes after the scan, so its reads come
// after the removal; and a reader that announced a greater value saw `global` after it was
// advanced, which was after the removal.

public import CSystem
import Glibc
public import Synchronization

/// What one thread has in this module: its slot among the readers. Never freed, but reused.
public struct ThreadSlot: @unchecked Sendable {
    // Sendable: what others read (`shared`) is atomic; the rest belongs to the thread.
    @usableFromInline let base: UnsafeMutablePointer<cairn_thread_slot>

    @inlinable
    init(_ base: UnsafeMutablePointer<cairn_thread_slot>) {
        self.base = base
    }

    /// The calling thread's slot.
    @inlinable @inline(__always)
    public static var current: ThreadSlot {
        if let base = cairn_thread_slot() { return ThreadSlot(base) }
        return SlotRegistry.register()
    }

    /// Small and dense: for picking a shard of a sharded structure.
    @inlinable public var index: Int { Int(base.pointee.index) }

    /// For whoever samples one call in so many: one more each time.
    @inlinable @inline(__always)
    public func nextTick() -> UInt32 {
        base.pointee.tick &+= 1
        return base.pointee.tick
    }

    /// The epoch that the thread's open section saw; 0: no section is open.
    @inlinable @inline(__always)
    var announced: UnsafeMutablePointer<Atomic<UInt64>> {
        shared.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    fileprivate var isTaken: UnsafeMutablePointer<Atomic<UInt64>> {
        (shared + 8).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    /// The locks that the thread holds shared by way of its slot (ReadWriteLock): addresses; 0: none.
    @inlinable @inline(__always)
    var readLocks: UnsafeMutablePointer<Atomic<UInt>> {
        (shared + 16).assumingMemoryBound(to: Atomic<UInt>.self)
    }

    /// What other threads read: `announced`, `is_taken` and `read_locks`.
    @inlinable @inline(__always)
    var shared: UnsafeMutableRawPointer {
        UnsafeMutableRawPointer(base) + CAIRN_THREAD_SLOT_SHARED
    }
}

/// All slots, as a list that only grows, and what their threads have put off.
@usableFromInline
enum SlotRegistry {
    /// The address of the slot that was entered last; each knows the next.
    private static let first = Atomic<UInt>(0)
    private static let count = Atomic<Int>(0)

    /// Every slot there is, taken by a thread or not. Takes no lock and allocates nothing.
    @inline(__always)
    static func forEach(_ body: (ThreadSlot) -> Void) {
        var address = first.load(ordering: .sequentiallyConsistent)
        while let base = UnsafeMutablePointer<cairn_thread_slot>(bitPattern: address) {
            body(ThreadSlot(base))
            address = UInt(bitPattern: base.pointee.next)
        }
    }

    fileprivate static func belongings(of slot: ThreadSlot) -> ThreadBelongings {
        guard let address = slot.base.pointee.belongings else {
            preconditionFailure("a slot that was not registered")
        }
        return Unmanaged<ThreadBelongings>.fromOpaque(address).takeUnretainedValue()
    }

    @usableFromInline @inline(never)
    static func runDeferred(of slot: ThreadSlot) {
        // What is deferred by these is run by the sections that they open themselves.
        let belongings = belongings(of: slot)
        let bodies = belongings.deferred
        belongings.deferred = []
        slot.base.pointee.has_deferred = 0
        if belongings.reclaimsAfterSection {
            belongings.reclaimsAfterSection = false
            belongings.reclaim(olderThan: Epoch.advance())
        }
        for body in bodies {
            body()
        }
    }

    @usableFromInline @inline(never)
    static func register() -> ThreadSlot {
        let slot = takeFree() ?? make()
        cairn_set_thread_slot(slot.base)
        return slot
    }

    /// The slot of a thread that has ended.
    private static func takeFree() -> ThreadSlot? {
        var found: ThreadSlot?
        forEach { slot in
            if found == nil, slot.isTaken.pointee.exchange(1, ordering: .acquiringAndReleasing) == 0
            {
                found = slot
            }
        }
        return found
    }

    private static func make() -> ThreadSlot {
        let size = MemoryLayout<cairn_thread_slot>.size
        guard let memory = aligned_alloc(128, (size + 127) & ~127) else {
            preconditionFailure("no memory for a thread's slot")
        }
        memset(memory, 0, size)
        let base = memory.bindMemory(to: cairn_thread_slot.self, capacity: 1)
        base.pointee.is_taken = 1
        base.pointee.index = Int64(count.add(1, ordering: .relaxed).oldValue)
        base.pointee.belongings = Unmanaged.passRetained(ThreadBelongings()).toOpaque()
        var next = first.load(ordering: .relaxed)
        while true {
            base.pointee.next = UnsafeMutablePointer(bitPattern: next)
            let (done, original) = first.compareExchange(
                expected: next, desired: UInt(bitPattern: base),
                ordering: .sequentiallyConsistent)
            if done { return ThreadSlot(base) }
            next = original
        }
    }
}

/// What one thread has put off: what it retired and nobody has released yet, and what it runs when
/// its section has ended.
private final class ThreadBelongings: @unchecked Sendable {
    // Sendable: `items` is guarded by `lock`; `deferred` belongs to the thread.
    var deferred: [() -> Void] = []
    var reclaimsAfterSection = false
    private let lock = Lock()
    private var items: [Item] = []
    /// How many were left the last time; guarded by `lock`.
    private var kept = 0

    struct Item {
        var tag: UInt64
        var object: Unmanaged<AnyObject>?
        var memory: UnsafeMutableRawPointer?
    }

    /// Whether it is time to reclaim: 64 came since the last time.
    func append(_ item: Item) -> Bool {
        lock.withLock {
            items.append(item)
            return items.count - kept >= 64
        }
    }

    func reclaim(olderThan limit: UInt64) {
        let free = lock.withLock {
            // Tags only grow, so what can go stands at the front.
            let count = items.firstIndex { $0.tag >= limit } ?? items.count
            let free = Array(items[..<count])
            items.removeFirst(count)
            kept = items.count
            return free
        }
        // Outside the lock: a release may run a deinit that retires more.
        for item in free {
            item.object?.release()
            Glibc.free(item.memory)
        }
    }
}

public enum Epoch {
    fileprivate static let global = Atomic<UInt64>(1)
    @usableFromInline static var now: UInt64 { global.load(ordering: .sequentiallyConsistent) }

    /// Runs `body` in a section: what it finds in a shared structure stays alive until it returns.
    @inlinable @inline(__always)
    public static func section<Value: ~Copyable, Failure>(
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let slot = ThreadSlot.current
        if slot.base.pointee.depth == 0 {
            _ = slot.announced.pointee.exchange(now, ordering: .sequentiallyConsistent)
        }
        slot.base.pointee.depth &+= 1
        defer {
            slot.base.pointee.depth &-= 1
            if slot.base.pointee.depth == 0 {
                slot.announced.pointee.store(0, ordering: .releasing)
                if slot.base.pointee.has_deferred != 0 { SlotRegistry.runDeferred(of: slot) }
            }
        }
        return try body()
    }

    /// Runs `body` on this thread when its outermost section has ended; now if none is open. For
    /// what wakes others: their callbacks may do anything, also wait, which a section must not.
    public static func afterSection(_ body: @escaping () -> Void) {
        let slot = ThreadSlot.current
        guard slot.base.pointee.depth > 0 else { return body() }
        SlotRegistry.belongings(of: slot).deferred.append(body)
        slot.base.pointee.has_deferred = 1
    }

    /// Releases the object once no section can see it any more. It must have been taken out of
    /// every shared structure before. Whoever holds a lock calls it in a section: then nothing is
    /// released, and no deinit runs, before that has ended.
    public static func retire(_ object: Unmanaged<AnyObject>) {
        retire(object, nil)
    }

    /// Frees malloc'd memory, and releases the object that it refers to, likewise.
    public static func retire(
        memory: UnsafeMutableRawPointer, object: Unmanaged<AnyObject>? = nil
    ) {
        retire(object, memory)
    }

    private static func retire(
        _ object: Unmanaged<AnyObject>?, _ memory: UnsafeMutableRawPointer?
    ) {
        let slot = ThreadSlot.current
        let list = SlotRegistry.belongings(of: slot)
        let tag = global.load(ordering: .sequentiallyConsistent)
        let isDue = list.append(ThreadBelongings.Item(tag: tag, object: object, memory: memory))
        guard isDue else { return }
        if slot.base.pointee.depth == 0 {
            list.reclaim(olderThan: advance())
        } else {
            list.reclaimsAfterSection = true
            slot.base.pointee.has_deferred = 1
        }
    }

    /// Reclaims, on every thread's behalf, all that was retired and that no open section can see.
    public static func flush() {
        let limit = advance()
        SlotRegistry.forEach { SlotRegistry.belongings(of: $0).reclaim(olderThan: limit) }
    }

    /// Waits until every section that is open now has closed. Not to be called in a section.
    public static func synchronize() {
        precondition(ThreadSlot.current.base.pointee.depth == 0, "would wait for itself")
        let goal = global.add(1, ordering: .sequentiallyConsistent).newValue
        SlotRegistry.forEach { slot in
            while true {
                let announced = slot.announced.pointee.load(ordering: .sequentiallyConsistent)
                if announced == 0 || announced >= goal { break }
                sched_yield()
            }
        }
    }

    /// Moves the epoch on and gives the smallest value that an open section has announced.
    fileprivate static func advance() -> UInt64 {
        var limit = global.add(1, ordering: .sequentiallyConsistent).newValue
        SlotRegistry.forEach { slot in
            let announced = slot.announced.pointee.load(ordering: .sequentiallyConsistent)
            if announced != 0 {
                limit = min(limit, announced)
            }
        }
        return limit
    }
}
