// Histogram: how often a value of each size was seen, within 1/16 of its size.
//
// Log-linear buckets, as in HdrHistogram: 16 for each power of two. Values below 16 have a bucket
// of their own; from 2^40 on (18 minutes, in nanoseconds) they share the last.

/// Where values go, and where they came from.
public enum HistogramBuckets {
    @usableFromInline static var subBucketBits: Int { 4 }
    @usableFromInline static var subBuckets: Int { 1 << subBucketBits }
    @usableFromInline static var largestExponent: Int { 40 }
    public static var count: Int { (largestExponent - subBucketBits + 1) * subBuckets }

    @inlinable
    public static func index(of value: UInt64) -> Int {
        if value < UInt64(subBuckets) { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        if exponent >= largestExponent { return count - 1 }
        let shift = exponent - subBucketBits
        return (shift + 1) * subBuckets + Int(value >> UInt64(shift)) - subBuckets
    }

    /// The largest value of a bucket.
    public static func upperBound(of index: Int) -> UInt64 {
        if index < subBuckets { return UInt64(index) }
        let shift = UInt64(index / subBuckets - 1)
        return ((UInt64(index % subBuckets + subBuckets) + 1) << shift) - 1
    }
}

/// A histogram at some moment. A value: add them up, ask them.
public struct Histogram: Equatable, Sendable {
    /// Values in each bucket, as HistogramBuckets numbers them; empty if there are none at all.
    private var buckets: [UInt64] = []
    public private(set) var count: UInt64 = 0
    public private(set) var sum: UInt64 = 0
    public private(set) var maximum: UInt64 = 0

    public init() {}

    public mutating func record(_ value: UInt64) {
        add(1, inBucket: HistogramBuckets.index(of: value))
        sum &+= value
        maximum = max(maximum, value)
    }

    public mutating func add(_ other: Histogram) {
        for (index, amount) in other.buckets.enumerated() where amount > 0 {
            add(amount, inBucket: index)
        }
        sum &+= other.sum
        maximum = max(maximum, other.maximum)
    }

    mutating func add(_ amount: UInt64, inBucket index: Int) {
        if buckets.isEmpty {
            buckets = Array(repeating: 0, count: HistogramBuckets.count)
        }
        buckets[index] += amount
        count += amount
    }

    mutating func add(sum more: UInt64, maximum seen: UInt64) {
        sum &+= more
        maximum = max(maximum, seen)
    }

    /// The value that this part of all (0 … 1) does not exceed, at most 1/16 too high; 0 if there
    /// are none.
    public func percentile(_ part: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = max(1, UInt64((part * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, amount) in buckets.enumerated() {
            seen += amount
            if seen >= rank { return min(HistogramBuckets.upperBound(of: index), maximum) }
        }
        return maximum
    }

    public var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }
}
