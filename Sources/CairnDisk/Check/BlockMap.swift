// BlockMap: which blocks of a device are in use, one bit each.
//
// What a check that counts every reference cannot do without: 32 MiB for a TiB in blocks of 4096.
// Whoever marks blocks has checked that they lie on the device.
//
// Threading: one thread at a time.

/// A set of blocks.
struct BlockMap {
    /// How many blocks the device has.
    let count: UInt64
    private var words: [UInt64]

    init(count: UInt64) {
        self.count = count
        words = [UInt64](repeating: 0, count: Int((count &+ 63) / 64))
    }

    func contains(_ block: UInt64) -> Bool {
        words[Int(block / 64)] & (1 << (block & 63)) != 0
    }

    /// Calls `body` for each word that the run touches, with the run's bits in it.
    private static func forEachWord(
        _ start: UInt64, _ count: UInt64, _ body: (Int, UInt64) -> Void
    ) {
        var block = start
        let end = start &+ count
        while block < end {
            let bit = block & 63
            let width = min(64 &- bit, end &- block)
            let mask = width == 64 ? UInt64.max : ((1 << width) &- 1) << bit
            body(Int(block / 64), mask)
            block &+= width
        }
    }

    /// Marks a run. False: some of it was marked already.
    @discardableResult
    mutating func insert(_ start: UInt64, _ count: UInt64) -> Bool {
        var isNew = true
        BlockMap.forEachWord(start, count) { index, mask in
            if words[index] & mask != 0 { isNew = false }
            words[index] |= mask
        }
        return isNew
    }

    mutating func remove(_ start: UInt64, _ count: UInt64) {
        BlockMap.forEachWord(start, count) { index, mask in words[index] &= ~mask }
    }

    /// Whether any block of the run is marked.
    func intersects(_ start: UInt64, _ count: UInt64) -> Bool {
        var isThere = false
        BlockMap.forEachWord(start, count) { index, mask in
            if words[index] & mask != 0 { isThere = true }
        }
        return isThere
    }

    /// The first block from `start` on, and before `end`, that is marked or not; `end` if none is.
    private func next(_ isMarked: Bool, from start: UInt64, to end: UInt64) -> UInt64 {
        var block = start
        while block < end {
            let word = isMarked ? words[Int(block / 64)] : ~words[Int(block / 64)]
            let rest = word >> (block & 63)
            if rest != 0 { return min(block &+ UInt64(rest.trailingZeroBitCount), end) }
            block = (block | 63) &+ 1
        }
        return end
    }

    /// Calls `body` with each longest run of blocks within the range that are marked, or not, until
    /// it gives false.
    func forEachRun(
        marked isMarked: Bool, in range: Range<UInt64>, _ body: (UInt64, UInt64) -> Bool
    ) {
        var block = next(isMarked, from: range.lowerBound, to: range.upperBound)
        while block < range.upperBound {
            let end = next(!isMarked, from: block, to: range.upperBound)
            guard body(block, end &- block) else { return }
            block = next(isMarked, from: end, to: range.upperBound)
        }
    }

    /// How many are marked.
    var markedCount: UInt64 { words.reduce(0) { $0 &+ UInt64($1.nonzeroBitCount) } }

    /// Adds what another map of the same device has.
    mutating func formUnion(_ other: BlockMap) {
        for index in words.indices { words[index] |= other.words[index] }
    }

    /// Calls `body` with each run of blocks that only one of two maps of one device has, and
    /// whether it is this one.
    func forEachDifference(
        from other: BlockMap, _ body: (UInt64, UInt64, _ isHere: Bool) -> Void
    ) {
        var run: (start: UInt64, isHere: Bool)?
        func end(at block: UInt64) {
            if let run { body(run.start, block &- run.start, run.isHere) }
            run = nil
        }
        for index in words.indices {
            let (mine, its) = (words[index], other.words[index])
            let first = UInt64(index) * 64
            if mine == its {
                end(at: first)
                continue
            }
            for bit in 0..<UInt64(64) {
                let (here, there) = (mine >> bit & 1, its >> bit & 1)
                if here == there {
                    end(at: first &+ bit)
                } else if run?.isHere != (here == 1) {
                    end(at: first &+ bit)
                    run = (first &+ bit, here == 1)
                }
            }
        }
        end(at: count)
    }
}

extension BlockMap {
    /// Marks what is nobody's to give out: both sets of superblocks, and the log.
    mutating func insertFixed(_ geometry: VolumeGeometry) {
        let (first, end) = (geometry.firstBlock.rawValue, geometry.endBlock.rawValue)
        insert(0, first)
        insert(end, geometry.totalBlocks - end)
    }
}
