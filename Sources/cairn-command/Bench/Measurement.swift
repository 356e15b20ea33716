// One measured operation: how long each call took.

import CSystem

/// The samples of one operation, one by one.
struct Measurement {
    let name: String
    private(set) var nanoseconds: [UInt64] = []
    /// Bytes that all calls together moved.
    var bytes: UInt64 = 0

    init(_ name: String, expected: Int) {
        self.name = name
        nanoseconds.reserveCapacity(expected)
    }

    /// Times one call.
    @inline(__always)
    mutating func time<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) {
        let start = cairn_clock_monotonic()
        try body()
        nanoseconds.append(cairn_clock_monotonic() - start)
    }

    /// Percentiles, in nanoseconds, and operations a second of the time that the calls took.
    var summary: Summary {
        let sorted = nanoseconds.sorted()
        let total = sorted.reduce(0, +)
        func at(_ fraction: Double) -> UInt64 {
            guard let last = sorted.last else { return 0 }
            let index = Int(Double(sorted.count) * fraction)
            return index < sorted.count ? sorted[index] : last
        }
        let seconds = Double(max(total, 1)) / 1e9
        return Summary(
            name: name, count: sorted.count, perSecond: Double(sorted.count) / seconds,
            bytesPerSecond: Double(bytes) / seconds, p50: at(0.5), p90: at(0.9), p99: at(0.99),
            maximum: sorted.last ?? 0)
    }

    struct Summary {
        let name: String
        let count: Int
        let perSecond: Double
        let bytesPerSecond: Double
        let p50: UInt64
        let p90: UInt64
        let p99: UInt64
        let maximum: UInt64

        var json: JSON {
            [
                "name": .string(name), "count": .count(count), "perSecond": .number(perSecond),
                "bytesPerSecond": .number(bytesPerSecond), "p50Nanoseconds": .count(p50),
                "p90Nanoseconds": .count(p90), "p99Nanoseconds": .count(p99),
                "maximumNanoseconds": .count(maximum),
            ]
        }

        var row: [String] {
            let speed = bytesPerSecond > 0 ? humanSize(UInt64(bytesPerSecond)) + "/s" : "-"
            return [name, String(count), fixed(perSecond, 0), speed]
                + [p50, p90, p99, maximum].map { humanDuration(nanoseconds: Double($0)) }
        }

        static let heading = ["operation", "count", "per s", "data", "p50", "p90", "p99", "max"]
    }
}
