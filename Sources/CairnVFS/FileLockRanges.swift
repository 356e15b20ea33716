// The ranges of one file that one owner has locked.
//
// Invariants: sorted by start; disjoint; two neighbours that touch differ in kind. So a set of
// locked bytes has exactly one form. A value: guarded by whoever holds it.

struct LockedRanges {
    struct Entry: Equatable {
        var start: UInt64
        var end: UInt64
        var kind: FileLock.Kind
    }

    private(set) var entries: [Entry] = []

    var isEmpty: Bool { entries.isEmpty }
    var count: Int { entries.count }

    /// What a change will do: `replaced` entries give way to `replacement`. Worked out first, so
    /// that a limit can be checked before anything changes.
    struct Change {
        var replaced: Range<Int>
        var replacement: [Entry]
        var growth: Int { replacement.count - replaced.count }
    }

    /// Locks the range with the kind, whatever it had before; nil unlocks it.
    func change(_ range: LockRange, to kind: FileLock.Kind?) -> Change {
        // Neighbours that touch the range take part: they may merge with it.
        var low = firstIndex(endingAtOrAfter: range.start == 0 ? 0 : range.start - 1)
        var high = low
        let reach = range.end == .max ? range.end : range.end + 1
        while high < entries.count, entries[high].start <= reach {
            high += 1
        }
        if low < high, entries[low].end < range.start, entries[low].kind != kind {
            low += 1
        }
        if low < high, entries[high - 1].start > range.end, entries[high - 1].kind != kind {
            high -= 1
        }
        var new = Entry(start: range.start, end: range.end, kind: kind ?? .read)
        var before: Entry?
        var after: Entry?
        for entry in entries[low..<high] {
            if entry.kind == kind {
                new.start = min(new.start, entry.start)
                new.end = max(new.end, entry.end)
                continue
            }
            if entry.start < range.start {
                before = Entry(start: entry.start, end: range.start - 1, kind: entry.kind)
            }
            if entry.end > range.end {
                after = Entry(start: range.end + 1, end: entry.end, kind: entry.kind)
            }
        }
        let parts: [Entry?] = [before, kind == nil ? nil : new, after]
        return Change(replaced: low..<high, replacement: parts.compactMap { $0 })
    }

    mutating func apply(_ change: Change) {
        entries.replaceSubrange(change.replaced, with: change.replacement)
    }

    /// The first entry that keeps another owner from locking the range with the kind.
    func conflict(with range: LockRange, _ kind: FileLock.Kind) -> Entry? {
        var index = firstIndex(endingAtOrAfter: range.start)
        while index < entries.count, entries[index].start <= range.end {
            if kind == .write || entries[index].kind == .write { return entries[index] }
            index += 1
        }
        return nil
    }

    private func firstIndex(endingAtOrAfter position: UInt64) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].end < position {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }
}
