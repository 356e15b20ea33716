// LogRing: where the next entry of the log goes (docs/format.md §8).
//
// The log is a ring of blocks. Entries stand in one piece; one that does not fit before the end
// starts at block 0. What stands behind the position that the last durable superblock names is
// needed until the next one is durable, so nothing is written over it.
//
// A value, the committer's.

struct LogRing: Sendable {
    /// Blocks of the log.
    let blocks: UInt64
    /// Where the next entry goes, and its number.
    private(set) var position: UInt64
    private(set) var sequence: UInt64
    /// The checksum of the entry before; 0 if operations came between that only a commit made
    /// durable, or nothing came before.
    private(set) var previous: UInt32 = 0
    /// From here on entries are needed.
    private var start: UInt64
    private var isEmpty = true

    init(blocks: UInt64, position: UInt64, sequence: UInt64) {
        self.blocks = blocks
        self.position = position
        self.sequence = sequence
        start = position
    }

    /// Where the first entry after a commit stands that ends now.
    struct Cut: Hashable, Sendable {
        var position: UInt64
        var sequence: UInt64
    }

    var cut: Cut { Cut(position: position, sequence: sequence) }

    /// Blocks that are needed, counted along the ring.
    var usedBlocks: UInt64 {
        if isEmpty { return 0 }
        return position > start ? position - start : position + blocks - start
    }

    /// Where an entry of so many blocks would go; nil: it has no room. One block stays free, so that
    /// full and empty differ.
    func place(for count: UInt64) -> UInt64? {
        guard count > 0, count < blocks else { return nil }
        if isEmpty { return position + count <= blocks ? position : 0 }
        if position > start {
            let end = position + count
            if end < blocks || (end == blocks && start > 0) { return position }
            return count < start ? 0 : nil
        }
        return position + count < start ? position : nil
    }

    /// An entry was put there.
    mutating func advance(from place: UInt64, by count: UInt64, checksum: UInt32) {
        if isEmpty { start = place }
        position = place + count == blocks ? 0 : place + count
        sequence += 1
        previous = checksum
        isEmpty = false
    }

    /// The group that ended at this cut is durable: what stands before is not needed any more.
    mutating func release(before cut: Cut) {
        if cut.sequence == sequence {
            isEmpty = true
        }
        start = cut.position
    }

    /// Operations come between that are in no entry.
    mutating func breakChain() { previous = 0 }
}
