// FreeMap: which blocks of a region are free, one bit each (1: free).
//
// A value of 8 KiB at most for two maps of a region, whatever its fragmentation: that bounds what
// free space costs in memory, and makes giving out and coalescing the same simple search. Block
// numbers here count from the start of the region.

struct FreeMap: Equatable, Sendable {
    private(set) var words: [UInt64]
    /// Blocks of the region.
    let count: Int

    /// Nothing is free.
    init(count: Int) {
        self.count = count
        words = [UInt64](repeating: 0, count: (count + 63) / 64)
    }

    var freeCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    func isFree(_ block: Int) -> Bool { words[block >> 6] >> UInt64(block & 63) & 1 != 0 }

    /// The bits of a range of blocks within one word.
    private static func mask(_ from: Int, _ to: Int) -> UInt64 {
        (to - from == 64 ? ~0 : (1 << UInt64(to - from)) - 1) << UInt64(from & 63)
    }

    /// Calls `body` with each word that the range has bits in, and those bits.
    @inline(__always)
    private static func forEachWord(_ range: Range<Int>, _ body: (Int, UInt64) -> Void) {
        var block = range.lowerBound
        while block < range.upperBound {
            let end = min(range.upperBound, (block | 63) + 1)
            body(block >> 6, mask(block, end))
            block = end
        }
    }

    /// Makes the blocks free; gives how many were not.
    @discardableResult
    mutating func insert(_ range: Range<Int>) -> Int {
        var changed = 0
        FreeMap.forEachWord(range) { word, bits in
            changed += (bits & ~words[word]).nonzeroBitCount
            words[word] |= bits
        }
        return changed
    }

    /// Makes the blocks used; gives how many were free.
    @discardableResult
    mutating func remove(_ range: Range<Int>) -> Int {
        var changed = 0
        FreeMap.forEachWord(range) { word, bits in
            changed += (bits & words[word]).nonzeroBitCount
            words[word] &= ~bits
        }
        return changed
    }

    func isAllFree(_ range: Range<Int>) -> Bool {
        var isFree = true
        FreeMap.forEachWord(range) { word, bits in
            if words[word] & bits != bits { isFree = false }
        }
        return isFree
    }

    /// The first free block from there on, before `end`.
    func firstFree(from start: Int, before end: Int) -> Int? {
        first(from: start, before: end, inverting: 0)
    }

    /// The first used block from there on; `end` if there is none before it.
    func firstUsed(from start: Int, before end: Int) -> Int {
        first(from: start, before: end, inverting: ~0) ?? end
    }

    private func first(from start: Int, before end: Int, inverting flip: UInt64) -> Int? {
        guard start < end else { return nil }
        var word = start >> 6
        var bits = (words[word] ^ flip) & (~0 << UInt64(start & 63))
        while bits == 0 {
            word += 1
            if word << 6 >= end { return nil }
            bits = words[word] ^ flip
        }
        let block = word << 6 + bits.trailingZeroBitCount
        return block < end ? block : nil
    }

    /// The first run of at least so many free blocks that starts in the range; all of the run.
    func run(ofAtLeast wanted: Int, startingIn range: Range<Int>) -> Range<Int>? {
        var start = range.lowerBound
        while let free = firstFree(from: start, before: range.upperBound) {
            let end = firstUsed(from: free, before: count)
            if end - free >= wanted { return free..<end }
            start = end
        }
        return nil
    }

    /// Calls `body` with each run of free blocks in the range, cut at its ends.
    func forEachRun(in range: Range<Int>, _ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        while let free = firstFree(from: start, before: range.upperBound) {
            let end = firstUsed(from: free, before: range.upperBound)
            body(free..<end)
            start = end
        }
    }

    var longestRun: Int {
        var longest = 0
        forEachRun(in: 0..<count) { longest = max(longest, $0.count) }
        return longest
    }

    /// The runs of free blocks in which two maps differ: all blocks from the first to the last
    /// that one of them has in another run than the other. Nil if they are the same.
    func differingRange(_ other: FreeMap) -> Range<Int>? {
        guard let firstWord = words.indices.first(where: { words[$0] != other.words[$0] }),
            let lastWord = words.indices.last(where: { words[$0] != other.words[$0] })
        else { return nil }
        var start = firstWord << 6
        var end = min((lastWord + 1) << 6, count)
        while start > 0, isFree(start - 1) { start -= 1 }
        while end < count, isFree(end) { end += 1 }
        return start..<end
    }
}
