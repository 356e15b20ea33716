// ByteRanges: parts of a file, few of them, in order: what was written to it since something.
//
// Invariant: ranges are not empty, in order, and do not touch. When there would be too many, they are
// joined to one that covers them all.
//
// A value.

struct ByteRanges: Sendable, Equatable {
    private(set) var ranges: [Range<UInt64>] = []

    private static var limit: Int { 64 }

    var isEmpty: Bool { ranges.isEmpty }

    mutating func insert(_ new: Range<UInt64>) {
        guard !new.isEmpty else { return }
        // Mostly it goes on from the last one.
        if let last = ranges.last, new.lowerBound >= last.lowerBound {
            if new.lowerBound <= last.upperBound {
                ranges[ranges.count - 1] =
                    last.lowerBound..<max(last.upperBound, new.upperBound)
                return
            }
            append(new)
            return
        }
        let first = ranges.firstIndex { $0.upperBound >= new.lowerBound } ?? ranges.count
        let next = ranges[first...].firstIndex { $0.lowerBound > new.upperBound } ?? ranges.count
        guard first < next else {
            ranges.insert(new, at: first)
            return shrink()
        }
        let joined =
            min(
                new.lowerBound, ranges[first].lowerBound)..<max(
                new.upperBound, ranges[next - 1].upperBound)
        ranges.replaceSubrange(first..<next, with: [joined])
    }

    private mutating func append(_ new: Range<UInt64>) {
        ranges.append(new)
        shrink()
    }

    private mutating func shrink() {
        guard ranges.count > ByteRanges.limit, let first = ranges.first, let last = ranges.last
        else { return }
        ranges = [first.lowerBound..<last.upperBound]
    }

    mutating func insert(_ others: ByteRanges) {
        for range in others.ranges { insert(range) }
    }

    /// Takes what lies before an offset.
    mutating func take(before end: UInt64) -> [Range<UInt64>] {
        var taken: [Range<UInt64>] = []
        var left: [Range<UInt64>] = []
        for range in ranges {
            let part = range.clamped(to: 0..<end)
            if !part.isEmpty { taken.append(part) }
            if range.upperBound > end {
                left.append(max(range.lowerBound, end)..<range.upperBound)
            }
        }
        ranges = left
        return taken
    }

    /// How many bytes lie before an offset.
    func count(before end: UInt64) -> Int {
        ranges.reduce(0) { $0 + $1.clamped(to: 0..<end).count }
    }

    /// Without what lies behind an offset.
    func prefix(_ end: UInt64) -> ByteRanges {
        var whole = self
        var result = ByteRanges()
        for range in whole.take(before: end) { result.insert(range) }
        return result
    }

    mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }
}
