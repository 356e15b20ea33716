// Timing: how long a call takes, and two contestants side by side.
//
// Machines are noisy and drift, so contestants take turns in short rounds, and what is quoted is
// the ratio of the medians of the rounds.

import CSystem
import Glibc

/// Nanoseconds of one call, as the median over rounds.
struct Timing {
    var nanoseconds: Double
    var spread: (low: Double, high: Double)

    init(rounds: [Double]) {
        let sorted = rounds.sorted()
        nanoseconds = sorted[sorted.count / 2]
        spread = (sorted[0], sorted[sorted.count - 1])
    }
}

/// Runs `body(n)`, which makes n calls, until a round takes `roundMilliseconds`; gives n.
func calibrate(roundMilliseconds: Double = 40, _ body: (Int) -> Void) -> Int {
    var count = 16
    while true {
        let start = cairn_clock_monotonic()
        body(count)
        let milliseconds = Double(cairn_clock_monotonic() - start) / 1e6
        if milliseconds >= roundMilliseconds / 4 || count > 1 << 26 {
            return max(1, Int(Double(count) * roundMilliseconds / max(milliseconds, 0.001)))
        }
        count *= 4
    }
}

/// Nanoseconds a call takes in one round.
func timeRound(_ count: Int, _ body: (Int) -> Void) -> Double {
    let start = cairn_clock_monotonic()
    body(count)
    return Double(cairn_clock_monotonic() - start) / Double(count)
}

/// Times contestants in turns. Each body makes the number of calls that it is given.
func timeInTurns(rounds: Int = 9, _ bodies: [(Int) -> Void]) -> [Timing] {
    let counts = bodies.map { calibrate($0) }
    var results = bodies.map { _ in [Double]() }
    for _ in 0..<rounds {
        for (index, body) in bodies.enumerated() {
            results[index].append(timeRound(counts[index], body))
        }
    }
    return results.map { Timing(rounds: $0) }
}

/// Runs bodies on a thread each, all at once; gives the nanoseconds until the last has ended.
func timeThreads(_ bodies: [@Sendable () -> Void]) -> UInt64 {
    let start = cairn_clock_monotonic()
    let threads = bodies.map(startThread)
    for thread in threads {
        pthread_join(thread, nil)
    }
    return cairn_clock_monotonic() - start
}

/// Runs a body on a thread of its own; whoever starts it joins it.
func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t {
    var thread = pthread_t()
    let box = Unmanaged.passRetained(ThreadBody(body))
    pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, box.toOpaque())
    return thread
}

private final class ThreadBody {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
    }
}

/// One line of a table of results.
struct Row {
    var name: String
    var figures: [String]
}

func printTable(_ title: String, _ heading: [String], _ rows: [Row]) {
    print("\n## \(title)\n")
    print("| " + heading.joined(separator: " | ") + " |")
    print("|" + heading.map { _ in "---" }.joined(separator: "|") + "|")
    for row in rows {
        print("| \(row.name) | " + row.figures.joined(separator: " | ") + " |")
    }
    fflush(nil)
}

func nanosecondsText(_ value: Double) -> String {
    value < 10_000 ? "\(Int(value.rounded())) ns" : "\(fixed(value / 1000, 1)) µs"
}

func fixed(_ value: Double, _ places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let whole = (value * scale).rounded() / scale
    var text = "\(whole)"
    if places == 0, text.hasSuffix(".0") { text.removeLast(2) }
    return text
}
