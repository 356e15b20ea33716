// FrameTable: what the pool knows of each frame, a place for one page in the arena.
//
// One record of a cache line for each frame:
//
//      0 word        pins and state, atomic
//      8 owner       the PageSet whose page it is, as an address; atomic
//     16 index       of the page in that set; atomic
//     24 fill        the PageFill that fills it, or 0; guarded by the set's lock
//     32 newer       neighbours in the eviction queue, guarded by the pool's lock
//     36 older
//     40 queue       which queue it is of, guarded by the pool's lock
//     41 isLinked    whether it stands in that queue now, guarded by the pool's lock
//     42 frequency   how often it was used lately, 0…3; atomic, and lost counts do no harm
//     44 nextReturned  belongs to whoever set `stacked`, until it is popped
//     48 content     a Lock around changes of the page's bytes in place
//     52 position    of the page in the run that is filled with it, guarded by the set's lock
//
// The word is the truth. Its low 24 bits count pins: handles, and whoever fills or writes the page. Its
// high 22 bits count the pages that the frame has had: who reads bytes without a pin looks before and after.
// A frame whose page is filled or written always has a pin, so a page can only become evictable
// when the last pin goes.

import CSystem
import CairnBase
import Synchronization

/// What the word says beside the pins.
struct FrameState: OptionSet {
    var rawValue: UInt64

    /// Somebody's page. Without it the frame is free, or about to be, and not to be pinned.
    static let live = FrameState(rawValue: 1 << 32)
    /// Its content is not there yet.
    static let filling = FrameState(rawValue: 1 << 33)
    /// Changed since it was last given to be written.
    static let dirty = FrameState(rawValue: 1 << 34)
    /// Being written. With `dirty`: changed meanwhile, so it stays dirty.
    static let writing = FrameState(rawValue: 1 << 35)
    /// Taken out of its set while somebody had it pinned: free when the last pin goes.
    static let orphan = FrameState(rawValue: 1 << 36)
    /// Found busy by eviction, and in no queue until its last pin goes.
    static let parked = FrameState(rawValue: 1 << 37)
    /// On the stack of frames that came back, or about to be.
    static let stacked = FrameState(rawValue: 1 << 38)
    /// Somebody waits for the end of its writing.
    static let awaited = FrameState(rawValue: 1 << 39)
    /// Fetched ahead, and not used yet.
    static let ahead = FrameState(rawValue: 1 << 40)
    /// Fetched for somebody who has not come for it yet: whose first use is no hit.
    static let fresh = FrameState(rawValue: 1 << 41)

    static let unflushed: FrameState = [.dirty, .writing]
    static let busy: FrameState = [.dirty, .writing, .filling]
}

struct FrameWord {
    var rawValue: UInt64

    init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inline(__always) var pins: UInt64 { rawValue & 0xFF_FFFF }

    /// Counts the pages that the frame has had, in the word's high bits.
    @inline(__always) var generation: UInt64 { rawValue >> 42 }

    /// Nobody's page, and not pinned.
    var free: FrameWord { FrameWord(generation << 42) }

    /// The next page of the frame, pinned once more.
    func next(_ state: FrameState) -> FrameWord {
        FrameWord((generation &+ 1) << 42 | (pins + 1) | state.rawValue)
    }

    /// Any of these.
    @inline(__always)
    func has(_ state: FrameState) -> Bool { rawValue & state.rawValue != 0 }

    /// A page that can be found, filled or not.
    @inline(__always)
    var isUsable: Bool {
        rawValue & (FrameState.live.rawValue | FrameState.orphan.rawValue)
            == FrameState.live.rawValue
    }

    @inline(__always)
    func adding(_ state: FrameState) -> FrameWord { FrameWord(rawValue | state.rawValue) }

    @inline(__always)
    func removing(_ state: FrameState) -> FrameWord { FrameWord(rawValue & ~state.rawValue) }
}

/// Names a frame of a pool: 0 … capacity − 1.
typealias FrameNumber = UInt32

/// One frame's record.
struct Frame: @unchecked Sendable {
    // Sendable: each field says what guards it.
    let base: UnsafeMutableRawPointer

    static var size: Int { 64 }
    /// No frame, in the links of queues and stacks.
    static var none: FrameNumber { .max }

    // MARK: The word

    @inline(__always)
    var atomicWord: UnsafeMutablePointer<Atomic<UInt64>> {
        base.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    @inline(__always)
    var word: FrameWord { FrameWord(atomicWord.pointee.load(ordering: .sequentiallyConsistent)) }

    /// Puts what `change` makes of the word in its place, unless that is nil; gives the word before.
    @inline(__always) @discardableResult
    func update(_ change: (FrameWord) -> FrameWord?) -> (before: FrameWord, isChanged: Bool) {
        var seen = word
        while true {
            guard let wanted = change(seen) else { return (seen, false) }
            let (done, original) = atomicWord.pointee.compareExchange(
                expected: seen.rawValue, desired: wanted.rawValue,
                ordering: .sequentiallyConsistent)
            if done { return (seen, true) }
            seen = FrameWord(original)
        }
    }

    // MARK: Whose page it is

    @inline(__always)
    private var atomicOwner: UnsafeMutablePointer<Atomic<UInt>> {
        (base + 8).assumingMemoryBound(to: Atomic<UInt>.self)
    }

    @inline(__always)
    private var atomicIndex: UnsafeMutablePointer<Atomic<UInt64>> {
        (base + 16).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    /// The address of the set.
    @inline(__always) var owner: UInt { atomicOwner.pointee.load(ordering: .relaxed) }
    @inline(__always) var index: UInt64 { atomicIndex.pointee.load(ordering: .relaxed) }

    func setOwner(_ owner: UInt, index: UInt64) {
        atomicOwner.pointee.store(owner, ordering: .relaxed)
        atomicIndex.pointee.store(index, ordering: .relaxed)
    }

    // MARK: Guarded by locks

    @inline(__always)
    private func field<Value>(_ offset: Int, _: Value.Type) -> UnsafeMutablePointer<Value> {
        (base + offset).assumingMemoryBound(to: Value.self)
    }

    var fill: UInt {
        get { field(24, UInt.self).pointee }
        nonmutating set { field(24, UInt.self).pointee = newValue }
    }

    var newer: FrameNumber {
        get { field(32, FrameNumber.self).pointee }
        nonmutating set { field(32, FrameNumber.self).pointee = newValue }
    }

    var older: FrameNumber {
        get { field(36, FrameNumber.self).pointee }
        nonmutating set { field(36, FrameNumber.self).pointee = newValue }
    }

    var queue: UInt8 {
        get { field(40, UInt8.self).pointee }
        nonmutating set { field(40, UInt8.self).pointee = newValue }
    }

    var isLinked: Bool {
        get { field(41, UInt8.self).pointee != 0 }
        nonmutating set { field(41, UInt8.self).pointee = newValue ? 1 : 0 }
    }

    var nextReturned: FrameNumber {
        get { field(44, FrameNumber.self).pointee }
        nonmutating set { field(44, FrameNumber.self).pointee = newValue }
    }

    @inline(__always)
    var content: UnsafeMutablePointer<Lock> {
        (base + 48).assumingMemoryBound(to: Lock.self)
    }

    var position: UInt32 {
        get { field(52, UInt32.self).pointee }
        nonmutating set { field(52, UInt32.self).pointee = newValue }
    }

    // MARK: Use

    @inline(__always)
    private var atomicFrequency: UnsafeMutablePointer<Atomic<UInt8>> {
        (base + 42).assumingMemoryBound(to: Atomic<UInt8>.self)
    }

    var frequency: UInt8 {
        get { atomicFrequency.pointee.load(ordering: .relaxed) }
        nonmutating set { atomicFrequency.pointee.store(newValue, ordering: .relaxed) }
    }

    static var highestFrequency: UInt8 { 3 }

    /// It was used. Stored only while it changes something, to leave the cache line alone.
    @inline(__always)
    func touch() {
        let seen = frequency
        if seen < Frame.highestFrequency { frequency = seen + 1 }
    }
}

/// All records, in one piece of memory.
struct FrameTable: @unchecked Sendable {
    // Sendable: immutable; see Frame.
    let base: UnsafeMutableRawPointer
    let count: Int

    /// Records of free frames. Nil: no memory.
    init?(count: Int) {
        // Zeroed memory is records of free frames: atomics and locks are stored raw.
        guard let base = cairn_map_anonymous(max(count * Frame.size, 4096), 4096, 0) else {
            return nil
        }
        self.base = base
        self.count = count
    }

    func free() {
        cairn_unmap(base, max(count * Frame.size, 4096))
    }

    @inline(__always)
    subscript(_ number: FrameNumber) -> Frame {
        Frame(base: base + Int(number) &* Frame.size)
    }

    @inline(__always)
    func number(of frame: Frame) -> FrameNumber {
        FrameNumber(truncatingIfNeeded: (frame.base - base) / Frame.size)
    }
}
