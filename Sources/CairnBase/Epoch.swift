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

import CSystem
import Glibc
public import Synchronization

/// What one thread has in this module: its slot among the readers. Never freed, but reused.
public final class ThreadSlot: @unchecked Sendable {
    // Sendable: `depth` belongs to the thread; the rest is atomic, or guarded by `lock`.

    /// Small and dense: for picking a stripe of a striped structure.
    public let index: Int
    /// 0: no section is open.
    @usableFromInline let announced = Atomic<UInt64>(0)
    @usableFromInline var depth = 0
    /// What `Epoch.afterSection` was given; belongs to the thread.
    @usableFromInline var hasDeferred = false
    private var deferred: [() -> Void] = []
    /// A tick for whoever samples one call in so many; belongs to the thread.
    public var sampleTick: UInt32 = 0

    private let lock = Lock()
    private var retired: [Retired] = []  // guarded by lock
    private var isTaken = true  // guarded by ThreadSlot.registryLock

    private struct Retired {
        var tag: UInt64
        var object: Unmanaged<AnyObject>?
        var memory: UnsafeMutableRawPointer?
    }

    private init(index: Int) {
        self.index = index
    }

    // MARK: The calling thread's slot

    @inlinable
    public static var current: ThreadSlot {
        if let value = threadValue() {
            return Unmanaged<ThreadSlot>.fromOpaque(value)._withUnsafeGuaranteedRef { $0 }
        }
        return register()
    }

    private static let registryLock = Lock()
    nonisolated(unsafe) private static var registry: [ThreadSlot] = []  // guarded by registryLock

    @usableFromInline @inline(never)
    static func register() -> ThreadSlot {
        cairn_thread_exit_handler { value in
            guard let value else { return }
            let slot = Unmanaged<ThreadSlot>.fromOpaque(value).takeUnretainedValue()
            ThreadSlot.registryLock.withLock { slot.isTaken = false }
        }
        let slot = registryLock.withLock {
            if let free = registry.first(where: { !$0.isTaken }) {
                free.isTaken = true
                return free
            }
            let made = ThreadSlot(index: registry.count)
            registry.append(made)
            return made
        }
        // The registry keeps the slot alive for ever.
        cairn_thread_set_value(Unmanaged.passUnretained(slot).toOpaque())
        return slot
    }

    fileprivate static var all: [ThreadSlot] { registryLock.withLock { registry } }

    // MARK: Deferring

    fileprivate func runAfterSection(_ body: @escaping () -> Void) {
        guard depth > 0 else { return body() }
        deferred.append(body)
        hasDeferred = true
    }

    @usableFromInline @inline(never)
    func runDeferred() {
        // What is deferred by these is run by the sections that they open themselves.
        let bodies = deferred
        deferred = []
        hasDeferred = false
        for body in bodies {
            body()
        }
    }

    // MARK: Retiring

    fileprivate func retire(_ object: Unmanaged<AnyObject>?, _ memory: UnsafeMutableRawPointer?) {
        let tag = Epoch.global.load(ordering: .sequentiallyConsistent)
        let isFull = lock.withLock {
            retired.append(Retired(tag: tag, object: object, memory: memory))
            return retired.count >= 64
        }
        if isFull, depth == 0 {
            reclaim(olderThan: Epoch.advance())
        }
    }

    fileprivate func reclaim(olderThan limit: UInt64) {
        let free = lock.withLock {
            var free: [Retired] = []
            var kept: [Retired] = []
            for item in retired {
                if item.tag < limit { free.append(item) } else { kept.append(item) }
            }
            retired = kept
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
    @usableFromInline static var now: UInt64 { global.load(ordering: .relaxed) }

    /// Runs `body` in a section: what it finds in a shared structure stays alive until it returns.
    @inlinable @inline(__always)
    public static func section<Value: ~Copyable, Failure>(
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let slot = ThreadSlot.current
        if slot.depth == 0 {
            _ = slot.announced.exchange(now, ordering: .sequentiallyConsistent)
        }
        slot.depth &+= 1
        defer {
            slot.depth &-= 1
            if slot.depth == 0 {
                slot.announced.store(0, ordering: .releasing)
                if slot.hasDeferred { slot.runDeferred() }
            }
        }
        return try body()
    }

    /// Runs `body` on this thread when its outermost section has ended; now if none is open. For
    /// what wakes others: their callbacks may do anything, also wait, which a section must not.
    public static func afterSection(_ body: @escaping () -> Void) {
        ThreadSlot.current.runAfterSection(body)
    }

    /// Releases the object once no section can see it any more. It must have been taken out of
    /// every shared structure before.
    public static func retire(_ object: Unmanaged<AnyObject>) {
        ThreadSlot.current.retire(object, nil)
    }

    /// Frees malloc'd memory, and releases the object that it refers to, likewise.
    public static func retire(
        memory: UnsafeMutableRawPointer, object: Unmanaged<AnyObject>? = nil
    ) {
        ThreadSlot.current.retire(object, memory)
    }

    /// Reclaims, on every thread's behalf, all that was retired and that no open section can see.
    public static func flush() {
        let limit = advance()
        for slot in ThreadSlot.all {
            slot.reclaim(olderThan: limit)
        }
    }

    /// Waits until every section that is open now has closed. Not to be called in a section.
    public static func synchronize() {
        let goal = global.add(1, ordering: .sequentiallyConsistent).newValue
        for slot in ThreadSlot.all {
            while true {
                let announced = slot.announced.load(ordering: .sequentiallyConsistent)
                if announced == 0 || announced >= goal { break }
                sched_yield()
            }
        }
    }

    /// Moves the epoch on and gives the smallest value that an open section has announced.
    fileprivate static func advance() -> UInt64 {
        var limit = global.add(1, ordering: .sequentiallyConsistent).newValue
        for slot in ThreadSlot.all {
            let announced = slot.announced.load(ordering: .sequentiallyConsistent)
            if announced != 0 {
                limit = min(limit, announced)
            }
        }
        return limit
    }
}

@usableFromInline @inline(__always)
func threadValue() -> UnsafeMutableRawPointer? {
    cairn_thread_value()
}
