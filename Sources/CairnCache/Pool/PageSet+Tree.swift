// The radix tree of a set: from page index to frame number.
//
// A node has 64 slots, for six bits of the index. Slots of the lowest level hold frame numbers, plus
// one; those above hold addresses of nodes. The root word holds the address of the top node and, in
// its low six bits, the height. A set with the one page 0 has no node: the root word holds the frame.
//
//     root │ node, height 2 ▶ ┌ 64 slots ┐
//                             │ 0 │ ● │ …│──▶ ┌ 64 slots ───────────┐
//                             └──────────┘    │ 0 │ frame + 1 │ … │
//
// A node has a bit for each slot, *unflushed*: below it there may be a page that is dirty or being
// written. What is set is a hint to look; what is not set is certain.
//
//  - Whoever makes a page dirty sets the bits from the lowest level up, without a lock, each time: also
//    if the page was dirty already, because who made it so may not have come so far.
//  - Only gang look-ups clear bits, and they hold `lock`. They clear first and look below after, and
//    set the bit again if there is something: so a bit that was set meanwhile is not lost.
//
// Readers follow the tree in an epoch section. Only holders of `lock` change slots. A node without
// pages is taken out and retired at once; the tree grows at the top, and shrinks when it is empty.

import CairnBase
import Glibc
import Synchronization

/// A node, in memory of its own.
struct PageNode {
    // 0 parent │ 8 unflushed │ 16 count (Int) │ 24 shift (Int) │ 32 slot in the parent (Int) │ 64 slots
    let base: UnsafeMutableRawPointer

    static var size: Int { 64 + 64 * 8 }
    static var bitsOfLevel: Int { 6 }

    init(_ base: UnsafeMutableRawPointer) { self.base = base }

    @inline(__always)
    init?(bits: UInt) {
        guard let base = UnsafeMutableRawPointer(bitPattern: bits & ~63) else { return nil }
        self.base = base
    }

    @inline(__always) var bits: UInt { UInt(bitPattern: base) }

    @inline(__always)
    private func word<Value: ~Copyable>(_ offset: Int, _: Value.Type) -> UnsafeMutablePointer<Value>
    {
        (base + offset).assumingMemoryBound(to: Value.self)
    }

    /// Address of the node above; 0: none. Set when the tree grows.
    var parent: UnsafeMutablePointer<Atomic<UInt>> { word(0, Atomic<UInt>.self) }

    var unflushed: UnsafeMutablePointer<Atomic<UInt64>> { word(8, Atomic<UInt64>.self) }

    /// Slots that are not empty. Under the set's lock.
    var count: Int {
        get { word(16, Int.self).pointee }
        nonmutating set { word(16, Int.self).pointee = newValue }
    }

    /// How far an index is shifted to give a slot; 0 at the lowest level. Immutable.
    var shift: Int {
        get { word(24, Int.self).pointee }
        nonmutating set { word(24, Int.self).pointee = newValue }
    }

    /// Written before `parent`.
    var slotInParent: Int {
        get { word(32, Int.self).pointee }
        nonmutating set { word(32, Int.self).pointee = newValue }
    }

    @inline(__always)
    func slot(_ number: Int) -> UnsafeMutablePointer<Atomic<UInt>> {
        (base + (64 + number &* 8)).assumingMemoryBound(to: Atomic<UInt>.self)
    }

    @inline(__always)
    func slotNumber(_ index: UInt64) -> Int { Int(truncatingIfNeeded: index >> UInt64(shift)) & 63 }

    @inline(__always)
    func value(_ number: Int) -> UInt { slot(number).pointee.load(ordering: .acquiring) }

    func mark(_ number: Int) {
        let bit = UInt64(1) << UInt64(number)
        if unflushed.pointee.load(ordering: .sequentiallyConsistent) & bit == 0 {
            unflushed.pointee.bitwiseOr(bit, ordering: .sequentiallyConsistent)
        }
    }

    func unmark(_ number: Int) {
        unflushed.pointee.bitwiseAnd(
            ~(UInt64(1) << UInt64(number)), ordering: .sequentiallyConsistent)
    }

    /// The first slot from `number` on that may have something unflushed.
    func firstMarked(from number: Int) -> Int? {
        guard number < 64 else { return nil }
        let rest = unflushed.pointee.load(ordering: .sequentiallyConsistent) >> UInt64(number)
        return rest == 0 ? nil : number + rest.trailingZeroBitCount
    }
}

extension PageSet {
    @inline(__always)
    private static func height(_ root: UInt) -> Int { Int(root & 63) }

    /// Whether a tree of this height has a place for the index.
    @inline(__always)
    private static func reaches(_ index: UInt64, height: Int) -> Bool {
        height >= 11 || index >> UInt64(height &* PageNode.bitsOfLevel) == 0
    }

    // MARK: Finding

    /// The frame that stands at the index, or none. In an epoch section, or under `lock`.
    @inline(__always)
    func find(_ index: UInt64) -> FrameNumber? {
        let root = root.load(ordering: .acquiring)
        guard root != 0 else { return nil }
        guard Self.height(root) > 0 else {
            return index == 0 ? FrameNumber(truncatingIfNeeded: root >> 6 &- 1) : nil
        }
        guard let node = lowestNode(root, index) else { return nil }
        let value = node.value(Int(truncatingIfNeeded: index) & 63)
        return value == 0 ? nil : FrameNumber(truncatingIfNeeded: value &- 1)
    }

    /// The node of the lowest level that is for the index. `root` has a height of one at least.
    @inline(__always)
    private func lowestNode(_ root: UInt, _ index: UInt64) -> PageNode? {
        let height = Self.height(root)
        guard Self.reaches(index, height: height), var node = PageNode(bits: root) else {
            return nil
        }
        var shift = (height &- 1) &* PageNode.bitsOfLevel
        while shift > 0 {
            let value = node.value(Int(truncatingIfNeeded: index >> UInt64(shift)) & 63)
            guard let next = PageNode(bits: value) else { return nil }
            node = next
            shift &-= PageNode.bitsOfLevel
        }
        return node
    }

    // MARK: Changing, under `lock`

    /// Enters a frame where there is none. False: no memory, and nothing has changed.
    func insertSlot(_ index: UInt64, _ number: FrameNumber) -> Bool {
        if root.load(ordering: .relaxed) == 0, index == 0 {
            root.store((UInt(number) + 1) << 6, ordering: .sequentiallyConsistent)
            return true
        }
        guard let node = makePath(index) else { return false }
        node.count += 1
        node.slot(Int(index & 63)).pointee.store(
            UInt(number) + 1, ordering: .sequentiallyConsistent)
        return true
    }

    /// Takes the frame out that stands at the index.
    func removeSlot(_ index: UInt64) -> FrameNumber? {
        let seen = root.load(ordering: .relaxed)
        guard seen != 0 else { return nil }
        if Self.height(seen) == 0 {
            guard index == 0 else { return nil }
            root.store(0, ordering: .sequentiallyConsistent)
            return FrameNumber(truncatingIfNeeded: seen >> 6 &- 1)
        }
        guard let node = lowestNode(seen, index) else { return nil }
        let number = Int(index & 63)
        let value = node.value(number)
        guard value != 0 else { return nil }
        node.slot(number).pointee.store(0, ordering: .sequentiallyConsistent)
        node.unmark(number)
        node.count -= 1
        removeEmpty(node)
        return FrameNumber(truncatingIfNeeded: value &- 1)
    }

    /// Takes out nodes without slots, from this one up.
    private func removeEmpty(_ lowest: PageNode) {
        var node = lowest
        while node.count == 0 {
            let parent = PageNode(bits: node.parent.pointee.load(ordering: .relaxed))
            if let parent {
                parent.slot(node.slotInParent).pointee.store(0, ordering: .sequentiallyConsistent)
                parent.unmark(node.slotInParent)
                parent.count -= 1
            } else {
                root.store(0, ordering: .sequentiallyConsistent)
            }
            pool.recordBytes.subtract(PageNode.size, ordering: .relaxed)
            Epoch.retire(memory: node.base)
            guard let parent else { return }
            node = parent
        }
    }

    /// The lowest node for the index, made with all above it where they are not there. Nil: no
    /// memory; what was made on the way is empty and has gone again.
    private func makePath(_ index: UInt64) -> PageNode? {
        guard var node = makeRoot(reaching: index) else { return nil }
        while node.shift > 0 {
            let number = node.slotNumber(index)
            if let next = PageNode(bits: node.value(number)) {
                node = next
                continue
            }
            guard let next = makeNode(shift: node.shift - PageNode.bitsOfLevel) else {
                removeEmpty(node)
                return nil
            }
            next.slotInParent = number
            next.parent.pointee.store(node.bits, ordering: .relaxed)
            node.count += 1
            node.slot(number).pointee.store(next.bits, ordering: .sequentiallyConsistent)
            node = next
        }
        return node
    }

    /// The top node, of a tree that is made high enough.
    private func makeRoot(reaching index: UInt64) -> PageNode? {
        while true {
            let seen = root.load(ordering: .relaxed)
            let height = Self.height(seen)
            if height > 0, Self.reaches(index, height: height) { return PageNode(bits: seen) }
            if seen == 0 {
                var wanted = 1
                while !Self.reaches(index, height: wanted) { wanted += 1 }
                guard let node = makeNode(shift: (wanted - 1) * PageNode.bitsOfLevel) else {
                    return nil
                }
                root.store(node.bits | UInt(wanted), ordering: .sequentiallyConsistent)
                return node
            }
            guard grow(seen, height) else { return nil }
        }
    }

    /// One level more at the top. Whoever makes a page dirty meanwhile reads the root, or the old top
    /// node's parent, after it has marked what it knows; the mark is copied after both are stored.
    private func grow(_ seen: UInt, _ height: Int) -> Bool {
        guard let node = makeNode(shift: height * PageNode.bitsOfLevel) else { return false }
        node.count = 1
        guard height > 0, let old = PageNode(bits: seen) else {
            // The one page of a tree without nodes.
            let number = FrameNumber(truncatingIfNeeded: seen >> 6 &- 1)
            node.slot(0).pointee.store(UInt(number) + 1, ordering: .relaxed)
            root.store(node.bits | 1, ordering: .sequentiallyConsistent)
            if pool.frames[number].word.has(.unflushed) { node.mark(0) }
            return true
        }
        old.slotInParent = 0
        node.slot(0).pointee.store(old.bits, ordering: .relaxed)
        root.store(node.bits | UInt(height + 1), ordering: .sequentiallyConsistent)
        old.parent.pointee.store(node.bits, ordering: .sequentiallyConsistent)
        if old.unflushed.pointee.load(ordering: .sequentiallyConsistent) != 0 { node.mark(0) }
        return true
    }

    private func makeNode(shift: Int) -> PageNode? {
        if let mayAllocate = pool.mayAllocate, !mayAllocate() { return nil }
        guard let memory = aligned_alloc(64, PageNode.size) else { return nil }
        memset(memory, 0, PageNode.size)
        pool.recordBytes.add(PageNode.size, ordering: .relaxed)
        let node = PageNode(memory)
        node.shift = shift
        return node
    }

    // MARK: Marks

    /// The page at the index, which is pinned, was made dirty. In an epoch section.
    func mark(_ index: UInt64) {
        let root = root.load(ordering: .sequentiallyConsistent)
        // Where there is no node, the frame says it all; and the page may have been removed.
        guard Self.height(root) > 0, var node = lowestNode(root, index) else { return }
        node.mark(Int(index & 63))
        while let parent = PageNode(
            bits: node.parent.pointee.load(ordering: .sequentiallyConsistent))
        {
            parent.mark(node.slotInParent)
            node = parent
        }
    }

    /// The first page from `index` up to `last` that is dirty or being written. Under `lock`.
    func firstUnflushed(from index: UInt64, through last: UInt64) -> (UInt64, FrameNumber)? {
        let seen = root.load(ordering: .relaxed)
        guard seen != 0, index <= last else { return nil }
        guard Self.height(seen) > 0, let top = PageNode(bits: seen) else {
            let number = FrameNumber(truncatingIfNeeded: seen >> 6 &- 1)
            guard index == 0, pool.frames[number].word.has(.unflushed) else { return nil }
            return (0, number)
        }
        guard Self.reaches(index, height: Self.height(seen)) else { return nil }
        return firstUnflushed(below: top, prefix: 0, from: index, through: last)
    }

    /// `prefix`: the index of the node's first page.
    private func firstUnflushed(
        below node: PageNode, prefix: UInt64, from index: UInt64, through last: UInt64
    ) -> (UInt64, FrameNumber)? {
        let shift = UInt64(node.shift)
        var next = index <= prefix ? 0 : Int(truncatingIfNeeded: (index - prefix) >> shift)
        while let number = node.firstMarked(from: next) {
            next = number + 1
            let start = prefix + UInt64(number) << shift
            if start > last { return nil }
            let value = node.value(number)
            if node.shift > 0 {
                guard let child = PageNode(bits: value) else {
                    node.unmark(number)
                    continue
                }
                if let found = firstUnflushed(
                    below: child, prefix: start, from: index, through: last)
                {
                    return found
                }
                unmark(number, of: node) {
                    child.unflushed.pointee.load(ordering: .sequentiallyConsistent) != 0
                }
                continue
            }
            guard value != 0 else {
                node.unmark(number)
                continue
            }
            let frame = FrameNumber(truncatingIfNeeded: value &- 1)
            let isThere = unmark(number, of: node) { pool.frames[frame].word.has(.unflushed) }
            if isThere { return (start, frame) }
        }
        return nil
    }

    /// Clears the mark, unless there is something: looked for before, and again after.
    @discardableResult
    private func unmark(_ number: Int, of node: PageNode, unless isThere: () -> Bool) -> Bool {
        if isThere() { return true }
        node.unmark(number)
        guard isThere() else { return false }
        node.mark(number)
        return true
    }

    // MARK: Resident pages

    /// The first page from `index` up to `last` that is here. Under `lock`.
    func firstResident(from index: UInt64, through last: UInt64) -> (UInt64, FrameNumber)? {
        let seen = root.load(ordering: .relaxed)
        guard seen != 0, index <= last else { return nil }
        guard Self.height(seen) > 0, let top = PageNode(bits: seen) else {
            return index == 0 ? (0, FrameNumber(truncatingIfNeeded: seen >> 6 &- 1)) : nil
        }
        guard Self.reaches(index, height: Self.height(seen)) else { return nil }
        return firstResident(below: top, prefix: 0, from: index, through: last)
    }

    private func firstResident(
        below node: PageNode, prefix: UInt64, from index: UInt64, through last: UInt64
    ) -> (UInt64, FrameNumber)? {
        let shift = UInt64(node.shift)
        let first = index <= prefix ? 0 : Int(truncatingIfNeeded: (index - prefix) >> shift)
        guard first < 64 else { return nil }
        for number in first..<64 {
            let start = prefix + UInt64(number) << shift
            if start > last { return nil }
            let value = node.value(number)
            guard value != 0 else { continue }
            if node.shift == 0 { return (start, FrameNumber(truncatingIfNeeded: value &- 1)) }
            guard let child = PageNode(bits: value) else { continue }
            if let found = firstResident(below: child, prefix: start, from: index, through: last) {
                return found
            }
        }
        return nil
    }
}
