// Counting of calls and their latency.

import CairnBase
import Testing

@testable import CairnVFS

@Suite("Operation statistics", .timeLimit(.minutes(1)))
struct OperationStatisticsTests {
    @Test("Each value falls into a bucket that is at most 1/16 too wide, and buckets leave no gap")
    func buckets() {
        var previous: UInt64?
        for index in 0..<HistogramBuckets.count {
            let upper = HistogramBuckets.upperBound(of: index)
            let lower = previous.map { $0 + 1 } ?? 0
            #expect(HistogramBuckets.index(of: lower) == index)
            #expect(HistogramBuckets.index(of: upper) == index)
            #expect(upper - lower <= lower / 16)
            previous = upper
        }
        #expect(HistogramBuckets.index(of: .max) == HistogramBuckets.count - 1)
    }

    @Test("Percentiles agree with the sorted values within 1/16")
    func percentiles() {
        var random = SeededGenerator(seed: runSeed)
        var histogram = Histogram()
        var values: [UInt64] = []
        for _ in 0..<10_000 {
            let value = UInt64.random(in: 0...(1 << UInt64.random(in: 0...32, using: &random)))
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        for part in [0.5, 0.9, 0.99, 0.999] {
            let exact = values[Int((part * Double(values.count)).rounded(.up)) - 1]
            let got = histogram.percentile(part)
            #expect(got >= exact && got <= exact + exact / 16, "CAIRN_SEED=\(runSeed), \(part)")
        }
        #expect(histogram.maximum == values.last)
        #expect(histogram.percentile(1) == values.last)
        #expect(histogram.sum == values.reduce(0, +))
        #expect(Histogram().percentile(0.5) == 0)
    }

    @Test("Nothing is lost when threads count at once, come and go")
    func threads() {
        let statistics = OperationStatistics(time: ManualTime())
        for _ in 0..<3 {
            onThreads(5) { thread in
                for index in 0..<1000 {
                    statistics.count(.read)
                    statistics.record(.read, nanoseconds: UInt64(thread * 1000 + index))
                    if index % 10 == 0 { statistics.failed(.stat) }
                }
            }
        }
        let figures = statistics.snapshot()
        #expect(figures.map(\.call) == [.read, .stat])
        #expect(figures[0].count == 15_000)
        #expect(figures[0].latency.count == 15_000)
        #expect(figures[0].latency.maximum == 4999)
        #expect(figures[1].errors == 1500)
        #expect(figures[1].count == 0)
    }

    @Test("Threads beyond the number of shards share one and lose nothing")
    func sharedShard() {
        let counters = ShardedCounters(counters: 1, histograms: 1)
        onThreads(4) { _ in
            for _ in 0..<5000 { counters.add(1, to: 0, slot: 1_000_000) }
        }
        #expect(counters.counts == [20_000])
    }

    @Test("One call in 64 is timed, and the time is what the clock says")
    func sampling() {
        let time = ManualTime()
        time.advance(nanoseconds: 1)
        let statistics = OperationStatistics(time: time)
        for _ in 0..<640 {
            let start = statistics.begin(.write)
            time.advance(nanoseconds: 1000)
            statistics.end(.write, startedAt: start)
        }
        let figures = statistics.snapshot()[0]
        #expect(figures.count == 640)
        #expect(figures.latency.count == 10)
        #expect(figures.latency.maximum == 1000)
    }

    @Test("Scopes count for themselves")
    func scopes() {
        let statistics = OperationStatistics(time: ManualTime())
        statistics.scope("procfs").count(.open)
        #expect(statistics.scopes.map(\.name) == ["procfs"])
        #expect(statistics.scope("procfs").snapshot()[0].count == 1)
        #expect(statistics.snapshot().isEmpty)
    }
}
