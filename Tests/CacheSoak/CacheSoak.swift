// cairn-cache-soak: the page cache under load for as long as one likes, with every byte checked.
//
//     cairn-cache-soak MINUTES [SEED]
//
// Rounds of files that threads hammer (CairnPlainFiles/Hammer.swift), each beside a model of its own, on a
// device that completes late and on other threads, in a pool that is too small and whose budget
// changes; with pages that grow old, mapped files, and readers who scan a file of their own. Each
// round has a seed, which it prints; a round that fails says it, and SEED runs that one again.
// (Threads meet one another differently each time: run it some times.)
//
// Built with ThreadSanitizer by `make soak HUNTS=cache`.

import CSystem
import CairnBase
import CairnCache
import CairnIO
import CairnPlainFiles
import Dispatch
import Foundation
import Synchronization

@main
struct CacheSoak {
    static let threads = 4
    static let fileSize: UInt64 = 2 << 20

    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count >= 2, let minutes = Double(arguments[1]) else {
            print("usage: cairn-cache-soak MINUTES [SEED]")
            exit(2)
        }
        var seed = arguments.count > 2 ? UInt64(arguments[2]) ?? 0 : UInt64.random(in: 0 ... .max)
        let start = monotonicSeconds()
        var rounds = 0
        repeat {
            print("round \(rounds): seed \(seed)")
            fflush(nil)
            do {
                try Round(seed).run()
            } catch {
                print("seed \(seed): \(error)")
                exit(1)
            }
            rounds += 1
            var random = HammerRandom(seed: seed)
            seed = random.next()
        } while monotonicSeconds() - start < minutes * 60
        print("\(rounds) rounds, every byte as it should be")
    }

    private static func monotonicSeconds() -> Double {
        Double(cairn_clock_monotonic()) / 1e9
    }
}

/// A file, hammered by one thread; one scanned by another; and what else goes on meanwhile.
private struct Round {
    private let seed: UInt64
    private let time = ManualTimers()
    private let pool: PagePool
    private let flusher: Flusher
    private let device: FaultyDevice
    private let loop: ReactorThread

    private static let budget = 4 << 20
    init(_ seed: UInt64) throws {
        self.seed = seed
        let memory = try MemoryDevice(size: UInt64(CacheSoak.threads + 1) * CacheSoak.fileSize)
        for place in 0..<Int(CacheSoak.fileSize) { memory.contents[place] = scanned(place) }
        loop = try ReactorThread(name: "soak")
        let reactor = loop.reactor
        var plan = FaultPlan()
        plan.latencyNanoseconds = 0...300_000
        plan.partialRate = 0.1
        if seed % 4 == 0 {
            plan.errorRates.read = 0.02
            plan.errorRates.write = 0.02
        }
        device = FaultyDevice(
            memory, plan: plan, random: HammerRandom(seed: seed), timers: reactor)
        pool = try PagePool(PagePool.Settings(budget: Self.budget) { reactor.perform($0) })
        flusher = Flusher(DirtyAccount(in: PageCache(pool: pool), timers: time))
    }

    func run() throws {
        flusher.start()
        let outcome = Outcome()
        let left = Atomic<Int>(CacheSoak.threads)
        var bodies: [@Sendable () -> Void] = []
        for number in 0..<CacheSoak.threads {
            let file = PlainFile(
                number: UInt64(number + 2), on: device,
                at: UInt64(number + 1) * CacheSoak.fileSize, capacity: CacheSoak.fileSize,
                flusher: flusher)
            let seed = seed &+ UInt64(number)
            bodies.append {
                outcome.catching("file \(number)") {
                    var hammer = Hammer(file, seed: seed, mapping: number % 2 == 1)
                    try hammer.run(300)
                }
                left.subtract(1, ordering: .relaxed)
            }
        }
        let scanned = PlainFile(
            number: 1, on: device, at: 0, capacity: CacheSoak.fileSize, flusher: flusher,
            isWritten: true)
        bodies.append { [self] in
            outcome.catching("the scan") {
                while left.load(ordering: .relaxed) > 0 { try scan(scanned) }
            }
        }
        bodies.append { [self] in
            var random = HammerRandom(seed: seed ^ 0xFFFF)
            while left.load(ordering: .relaxed) > 0 {
                time.advance(nanoseconds: 100_000_000)
                outcome.catching("the budget") { try disturb(&random) }
                usleep(2000)
            }
        }
        run(bodies)
        flusher.stop()
        loop.stop()
        if let failure = outcome.failure { throw SoakFailure(what: failure) }
    }

    /// The budget changes, all that is clean goes, memory goes back; and never is there more.
    private func disturb(_ random: inout HammerRandom) throws {
        switch random.number(below: 20) {
        case 0: try pool.setBudget(Self.budget / (1 + random.number(below: 3)))
        case 1: pool.clear()
        case 2: pool.trim()
        default: break
        }
        let seen = pool.statistics
        let taken = seen.residentBytes + seen.recordBytes
        guard taken <= Self.budget + Self.budget / 20 else {
            throw SoakFailure(what: "\(taken) bytes of a budget of \(Self.budget)")
        }
    }

    /// Reads the whole file in one call, which is half of the pool or more.
    private func scan(_ file: PlainFile) throws {
        let count = Int(CacheSoak.fileSize)
        let buffer = try AlignedBuffer(count: count)
        var done = 0
        let got = try persistently { () throws(Pause) in
            try inSteps(of: count, &done) { (done) throws(Pause) in
                try file.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: buffer.memory[done...]),
                    at: UInt64(done))
            }
        }
        guard got == count else { throw SoakFailure(what: "a short read, \(got) bytes") }
        for place in stride(from: 0, to: count, by: 509)
        where buffer.memory[place] != scanned(place) {
            throw SoakFailure(what: "byte \(place) is another one")
        }
    }

    private func run(_ bodies: [@Sendable () -> Void]) {
        let ends = bodies.map { body in
            let end = DispatchSemaphore(value: 0)
            Thread.detachNewThread {
                body()
                end.signal()
            }
            return end
        }
        for end in ends { end.wait() }
    }
}

private struct SoakFailure: Error, CustomStringConvertible {
    let what: String
    var description: String { what }
}

/// What the scanned file has there.
private func scanned(_ place: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: place &* 0x9E37_79B1 >> 7)
}

/// The first failure of several threads.
private final class Outcome: Sendable {
    private let lock = Lock()
    nonisolated(unsafe) private var first: String?  // guarded by `lock`

    func catching(_ who: String, _ body: () throws -> Void) {
        do {
            try body()
        } catch {
            lock.withLock { first = first ?? "\(who): \(error)" }
        }
    }

    var failure: String? { lock.withLock { first } }
}
