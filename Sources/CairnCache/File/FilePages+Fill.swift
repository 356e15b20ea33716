// Bringing pages in: those that somebody waits for, and those ahead of a reader.

import CairnBase
import Synchronization

extension FilePages {
    /// A page that is not resident, or the wait for it. `wanted`: how many pages from it on are
    /// asked for at once; as many as may be come with it, and some ahead. `holdsNothing`: see
    /// `PageSet.acquire`.
    func fetch(
        _ index: PageIndex, wanted: UInt64, holdsNothing: Bool = false
    ) throws(Pause) -> PageHandle {
        let end = min(index.rawValue &+ wanted, backedEnd.load(ordering: .acquiring))
        let count = max(1, min(Int(clamping: end &- index.rawValue), cache.largestRun))
        var isOurs = false
        do throws(Pause) {
            return try pageSet.acquire(
                index, fetching: count, holdsNothing: holdsNothing
            ) { fill in
                isOurs = true
                cache.count(.demandFills)
                cache.count(.demandPages, fill.count)
                start(fill)
            }
        } catch {
            if isOurs { fetchAhead(after: index.rawValue, count) }
            throw error
        }
    }

    private func start(_ fill: PageFill) {
        guard let backing else { return fill.fail(.EIO) }
        backing.fill(fill, of: self)
    }

    // MARK: Read-ahead

    /// A miss at a page: whoever reads there may go on.
    private func fetchAhead(after index: UInt64, _ count: Int) {
        let decision = lock.withLock {
            readAhead.missed(index, count: count, cache.settings.readAhead)
        }
        markers.set(decision.stream, decision.window.isEmpty ? .max : decision.window.lowerBound)
        fillAhead(decision.window)
    }

    /// Pages first … last are read, and there is a mark among them.
    @inline(never)
    func goAhead(in first: UInt64, _ last: UInt64) {
        for stream in 0..<ReadAhead.streamCount {
            let marker = markers.value(stream)
            guard marker >= first, marker <= last, markers.take(stream, marker) else { continue }
            let window = lock.withLock {
                readAhead.reached(last, stream, cache.settings.readAhead)
            }
            markers.set(stream, window.isEmpty ? .max : window.lowerBound)
            fillAhead(window)
        }
    }

    /// Asks for what is not resident of these pages. Nobody waits for it, and it does not wait for
    /// memory.
    private func fillAhead(_ window: Range<UInt64>) {
        var next = window.lowerBound
        let end = min(window.upperBound, backedEnd.load(ordering: .acquiring))
        while next < end {
            do throws(Pause) {
                let first = PageIndex(rawValue: next)
                let count = min(Int(end - next), cache.largestRun)
                guard let fill = try pageSet.beginFill(first, count: count, isAhead: true) else {
                    next += 1
                    continue
                }
                next += UInt64(fill.count)
                cache.count(.aheadFills)
                cache.count(.aheadPages, fill.count)
                start(fill)
            } catch {
                return
            }
        }
    }
}

/// The marks of a file's streams, which every read looks at.
struct Markers: ~Copyable, Sendable {
    private let first = Atomic<UInt64>(.max)
    private let second = Atomic<UInt64>(.max)
    private let third = Atomic<UInt64>(.max)
    private let fourth = Atomic<UInt64>(.max)

    /// Whether there is a mark in first … last.
    @inline(__always)
    func contain(_ low: UInt64, _ high: UInt64) -> Bool {
        let length = high &- low
        return first.load(ordering: .relaxed) &- low <= length
            || second.load(ordering: .relaxed) &- low <= length
            || third.load(ordering: .relaxed) &- low <= length
            || fourth.load(ordering: .relaxed) &- low <= length
    }

    func value(_ stream: Int) -> UInt64 {
        with(stream) { $0.load(ordering: .relaxed) }
    }

    func set(_ stream: Int, _ page: UInt64) {
        with(stream) { $0.store(page, ordering: .relaxed) }
    }

    /// Takes a mark away. False if another reader was faster.
    func take(_ stream: Int, _ page: UInt64) -> Bool {
        with(stream) {
            $0.compareExchange(expected: page, desired: .max, ordering: .relaxed).exchanged
        }
    }

    private func with<Value>(_ stream: Int, _ body: (borrowing Atomic<UInt64>) -> Value) -> Value {
        switch stream {
        case 0: body(first)
        case 1: body(second)
        case 2: body(third)
        default: body(fourth)
        }
    }
}
