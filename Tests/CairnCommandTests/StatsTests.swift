// The figures of a mount: percentiles from a histogram, and their text.

import Testing

@testable import cairn_command

@Suite struct StatsTests {
    @Test func percentilesLieWithinTheirBucket() {
        var histogram = [UInt64](repeating: 0, count: 40)
        #expect(percentile(0.5, of: histogram) == 0)
        histogram[10] = 99  // 1024 ..< 2048
        histogram[20] = 1
        #expect((1024...2048).contains(percentile(0.5, of: histogram)))
        #expect((1024...2048).contains(percentile(0.99, of: histogram)))
        #expect(((1 << 20)...(1 << 21)).contains(percentile(1, of: histogram)))
    }

    @Test func ratesAreOfTheTimeSinceTheLookBefore() {
        func figures(_ count: Int64, at seconds: Double) -> JSON {
            [
                "mountPoint": "/m", "pid": .integer(7), "uptimeSeconds": .number(seconds),
                "operations": [
                    ["name": "lookup", "count": .integer(count), "p50Nanoseconds": .integer(1500)]
                ],
            ]
        }
        let text = StatsText.text(of: figures(300, at: 12), since: figures(100, at: 2))
        #expect(text.hasPrefix("/m: daemon 7, up 0 min 12 s\n"))
        let row = text.split(separator: "\n").first { $0.contains("lookup") }
        #expect(row?.split(separator: " ").prefix(3) == ["lookup", "300", "20.0"])
        #expect(row?.contains("1.5 µs") == true)
    }

    /// An older or newer daemon may tell less, or other things.
    @Test func figuresThatAreMissingDoNoHarm() {
        #expect(StatsText.text(of: [:], since: nil).hasPrefix("?: daemon 0"))
        let odd: JSON = ["operations": .string("none"), "door": ["x": [.null]]]
        #expect(!StatsText.text(of: odd, since: odd).isEmpty)
    }
}
