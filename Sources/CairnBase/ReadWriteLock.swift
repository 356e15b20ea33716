// ReadWriteLock: a lock that many readers share, or one writer holds alone.
//
// Four bytes, as Lock is, and for the same short sections. As long as its readers do not meet, they
// count themselves in its word. Readers that meet often would pass that word's cache line between
// their processors, and two would be slower than one. So after 64 meetings without a writer the lock is
// *read by slot*: a reader writes the lock's address into its own thread's slot, where nobody else
// writes, and looks at the word once more. A writer that takes such a lock sees to it that it is
// read by its word again, then waits until no slot names it (D. Dice, A. Kogan: "BRAVO: Biased Locking
// for Reader-Writer Locks", 2019; what limits the writers' costs there is a clock, here the count).
//
// Why no writer misses a reader. A reader announces itself in its slot, then reads the word; a writer
// changes the word, then reads the slots; all in sequentially consistent order. So the reader sees the
// writer and leaves, or the writer sees the reader and waits.
//
// A waiting writer keeps new readers out, so a thread must not take the lock shared twice. It is
// unlocked on the thread that locked it.

public import CSystem
public import Synchronization

public struct ReadWriteLock: ~Copyable, Sendable {
    /// Bits 0…21 count readers.
    @usableFromInline static var readers: UInt32 { (1 << 22) - 1 }
    /// Bits 22…28 count how often readers met since the last writer, up to `often`.
    @usableFromInline static var meeting: UInt32 { 1 << 22 }
    @usableFromInline static var often: UInt32 { 1 << 28 }
    /// Readers use their slots.
    @usableFromInline static var bySlot: UInt32 { 1 << 29 }
    @usableFromInline static var writer: UInt32 { 1 << 30 }
    @usableFromInline static var waiters: UInt32 { 1 << 31 }
    @usableFromInline let state = Atomic<UInt32>(0)

    @inlinable
    public init() {}

    // MARK: Shared

    @inlinable
    public borrowing func lockShared() {
        let seen = state.load(ordering: .relaxed)
        if seen & (Self.bySlot | Self.writer | Self.waiters) == Self.bySlot {
            if lockInSlot() { return }
        } else if seen & (Self.readers | Self.writer | Self.waiters) == 0,
            state.compareExchange(
                expected: seen, desired: seen &+ 1,
                successOrdering: .acquiring, failureOrdering: .relaxed
            ).exchanged
        {
            return
        }
        lockSharedSlowly()
    }

    @inlinable
    public borrowing func unlockShared() {
        let slot = ThreadSlot.current
        if slot.base.pointee.read_lock_count != 0, unlock(in: slot) { return }
        let left = state.subtract(1, ordering: .releasing).newValue
        if left & (Self.readers | Self.waiters) == Self.waiters {
            wakeAfterLastReader()
        }
    }

    @inlinable
    public borrowing func withLockShared<Value: ~Copyable, Failure>(
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        lockShared()
        defer { unlockShared() }
        return try body()
    }

    @usableFromInline @inline(never)
    borrowing func lockSharedSlowly() {
        var spins = 0
        while true {
            let seen = state.load(ordering: .relaxed)
            guard seen < Self.writer else {
                sleepUnlessSpinning(&spins, seen: seen)
                continue
            }
            var wanted = seen &+ 1
            if seen & Self.readers != 0, seen & Self.bySlot == 0 {
                wanted &+= Self.meeting
                if wanted & Self.often != 0 { wanted |= Self.bySlot }
            }
            if state.compareExchange(
                expected: seen, desired: wanted,
                successOrdering: .acquiring, failureOrdering: .relaxed
            ).exchanged {
                return
            }
        }
    }

    // MARK: In slots

    @inlinable @inline(__always)
    borrowing func address() -> UInt { withAddress(of: state) { UInt(bitPattern: $0) } }

    /// False: the slot is full, or a writer came.
    @inlinable
    borrowing func lockInSlot() -> Bool {
        let slot = ThreadSlot.current
        guard let place = slot.place(of: 0) else { return false }
        _ = place.pointee.exchange(address(), ordering: .sequentiallyConsistent)
        let seen = state.load(ordering: .sequentiallyConsistent)
        if seen & (Self.bySlot | Self.writer | Self.waiters) == Self.bySlot {
            slot.base.pointee.read_lock_count &+= 1
            return true
        }
        Self.leave(place)
        return false
    }

    /// False: it was not locked in the slot.
    @inlinable
    borrowing func unlock(in slot: ThreadSlot) -> Bool {
        guard let place = slot.place(of: address()) else { return false }
        slot.base.pointee.read_lock_count &-= 1
        Self.leave(place)
        return true
    }

    @inlinable @inline(__always)
    static func leave(_ place: UnsafeMutablePointer<Atomic<UInt>>) {
        if place.pointee.exchange(0, ordering: .sequentiallyConsistent) & 1 != 0 { wake(place) }
    }

    // MARK: Alone

    @inlinable
    public borrowing func lock() {
        let seen = state.load(ordering: .relaxed)
        if seen & (Self.readers | Self.writer | Self.waiters) != 0
            || !state.compareExchange(
                expected: seen, desired: Self.writer,
                successOrdering: .sequentiallyConsistent, failureOrdering: .relaxed
            ).exchanged
        {
            lockSlowly()
        } else if seen & Self.bySlot != 0 {
            awaitSlots()
        }
    }

    @inlinable
    public borrowing func unlock() {
        if state.exchange(0, ordering: .releasing) & Self.waiters != 0 {
            wakeAll()
        }
    }

    @inlinable
    public borrowing func withLock<Value: ~Copyable, Failure>(
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        lock()
        defer { unlock() }
        return try body()
    }

    @usableFromInline @inline(never)
    borrowing func lockSlowly() {
        var spins = 0
        while true {
            let seen = state.load(ordering: .relaxed)
            guard seen & (Self.readers | Self.writer) == 0 else {
                sleepUnlessSpinning(&spins, seen: seen)
                continue
            }
            if state.compareExchange(
                expected: seen, desired: seen & Self.waiters | Self.writer,
                successOrdering: .sequentiallyConsistent, failureOrdering: .relaxed
            ).exchanged {
                if seen & Self.bySlot != 0 { awaitSlots() }
                return
            }
        }
    }

    /// Waits until no thread's slot names the lock, which the caller has taken.
    @usableFromInline @inline(never)
    borrowing func awaitSlots() {
        let address = address()
        SlotRegistry.forEach { slot in
            for index in 0..<ThreadSlot.readLockCount {
                Self.awaitChange(of: slot.readLocks + index, from: address)
            }
        }
    }

    /// Spins for a while, then marks the place and sleeps until the reader leaves it.
    private static func awaitChange(of place: UnsafeMutablePointer<Atomic<UInt>>, from lock: UInt) {
        var spins = 0
        while true {
            let held = place.pointee.load(ordering: .sequentiallyConsistent)
            guard held & ~1 == lock else { return }
            if spins < spinLimit {
                spins += 1
                cairn_spin_hint()
            } else if held != lock
                || place.pointee.compareExchange(
                    expected: lock, desired: lock | 1, ordering: .sequentiallyConsistent
                ).exchanged
            {
                _ = cairn_futex_wait(
                    word(place), UInt32(truncatingIfNeeded: lock | 1), -1)
            }
        }
    }

    @usableFromInline @inline(never)
    static func wake(_ place: UnsafeMutablePointer<Atomic<UInt>>) {
        _ = cairn_futex_wake(word(place), .max)
    }

    /// Its low half, which the kernel compares.
    private static func word(
        _ place: UnsafeMutablePointer<Atomic<UInt>>
    ) -> UnsafePointer<UInt32> {
        UnsafeRawPointer(place).assumingMemoryBound(to: UInt32.self)
    }

    // MARK: Sleeping

    /// Spins for a while, then announces a waiter and sleeps until the state changes.
    private borrowing func sleepUnlessSpinning(_ spins: inout Int, seen: UInt32) {
        if spins < spinLimit {
            spins += 1
            cairn_spin_hint()
            return
        }
        let announced = seen | Self.waiters
        if seen == announced
            || state.compareExchange(
                expected: seen, desired: announced, ordering: .relaxed
            ).exchanged
        {
            futexWait(state, expected: announced)
        }
    }

    /// The last reader left and someone waits: the flag goes first, so that a sleeper that
    /// loses the race for the lock announces itself anew.
    @usableFromInline @inline(never)
    borrowing func wakeAfterLastReader() {
        let seen = state.load(ordering: .relaxed)
        guard seen & (Self.readers | Self.writer | Self.waiters) == Self.waiters else { return }
        if state.compareExchange(
            expected: seen, desired: seen & ~Self.waiters, ordering: .relaxed
        ).exchanged {
            wakeAll()
        }
    }

    @usableFromInline @inline(never)
    borrowing func wakeAll() {
        futexWake(state, count: .max)
    }
}

extension ThreadSlot {
    @usableFromInline static var readLockCount: Int { Int(CAIRN_THREAD_READ_LOCKS) }

    /// Where the thread's slot names this lock; of 0, where there is room for one.
    @inlinable @inline(__always)
    func place(of lock: UInt) -> UnsafeMutablePointer<Atomic<UInt>>? {
        for index in 0..<Self.readLockCount {
            // A writer may have marked it.
            if readLocks[index].load(ordering: .relaxed) & ~1 == lock { return readLocks + index }
        }
        return nil
    }
}
