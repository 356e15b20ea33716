// Files of pages where the device or memory fails, and under load.

import CairnBase
import CairnCache
import CairnIO
import CairnPlainFiles
import CairnTestSupport
import Foundation
import Synchronization
import Testing

@Suite struct FileFaultTests {
    /// Writes, syncs, reads back through an empty cache, cuts, syncs.
    private func workload(_ bench: CacheBench, _ file: PlainFile, _ mark: UInt8) throws(Errno) {
        let opening = file.open()
        try file.writeAll(pattern(300_000, at: 0, mark: mark), at: 0)
        try blocking { () throws(Pause) in try opening.sync() }
        bench.pool.clear()
        guard try file.readAll(300_000, at: 0) == pattern(300_000, at: 0, mark: mark) else {
            throw .EUCLEAN
        }
        try file.writeAll(pattern(5000, at: 9, mark: ~mark), at: 100_009)
        try blocking { () throws(Pause) in try file.truncate(to: 150_001) }
        try blocking { () throws(Pause) in try opening.sync() }
    }

    private func expected(_ mark: UInt8) -> [UInt8] {
        var model = Array(pattern(300_000, at: 0, mark: mark)[..<150_001])
        model.replaceSubrange(100_009..<105_009, with: pattern(5000, at: 9, mark: ~mark))
        return model
    }

    // T3, C6: the n-th request fails, for each n until it succeeds: the error comes from the call that
    // asked, what was written stays in memory, and once the device works it arrives
    @Test(arguments: [false, true]) func theNthRequestFails(_ isAtSubmission: Bool) throws {
        var number = 0
        while true {
            number += 1
            let memory = try MemoryDevice(size: 1 << 20)
            let device = FaultyDevice(memory, random: SeededRandom(seed: UInt64(number)))
            let bench = try CacheBench(on: device)
            let file = bench.file()
            device.plan = FaultPlan(
                failing: FaultPlan.Failure(
                    number: number, error: .EIO, isAtSubmission: isAtSubmission))
            var failure: Errno?
            do throws(Errno) {
                try workload(bench, file, UInt8(truncatingIfNeeded: number))
            } catch {
                failure = error
            }
            let isOver = device.faults.total == 0
            #expect(isOver ? failure == nil : failure == .EIO, "request \(number)")
            device.plan = FaultPlan()
            // A description that heard of the error, and one that did not, both can sync now.
            try workload(bench, file, 0x5A)
            bench.pool.clear()
            #expect(try file.readAll(400_000, at: 0) == expected(0x5A))
            #expect(Array(memory.contents[..<150_001]) == expected(0x5A))
            #expect(bench.account.dirtyPages == 0)
            if isOver { break }
        }
        #expect(number > 4)
    }

    // T3: the n-th allocation and all that follow fail, for each n until it succeeds
    @Test func noMemoryFromTheNthAllocationOn() throws {
        var number = 0
        var failures = 0
        while true {
            number += 1
            let device = try MemoryDevice(size: 1 << 20)
            let left = Countdown(number)
            let bench = try CacheBench(on: device) { $0.mayAllocate = { left.take() } }
            let file = bench.file()
            var failure: Errno?
            do throws(Errno) {
                try workload(bench, file, 7)
            } catch {
                failure = error
            }
            let isOver = !left.isOver
            // Read-ahead can do without.
            #expect(
                failure == nil || !isOver && failure == .ENOMEM, "allocation \(number)")
            if failure != nil { failures += 1 }
            left.reset()
            try workload(bench, file, 9)
            #expect(try file.readAll(400_000, at: 0) == expected(9))
            if isOver { break }
        }
        #expect(failures > 0)
    }

    // C3: reads far longer than the whole pool, by several threads at once, each in one call: they come
    // to their end, whatever the others hold
    @Test(arguments: [(16, 6), (64, 3)])
    func readsLongerThanThePoolComeToTheirEnd(_ frames: Int, _ threads: Int) async throws {
        let size = 1 << 20
        let whole = pattern(size, at: 0, mark: 3)
        let memory = try MemoryDevice(size: UInt64(size))
        memory.contents.copyBytes(from: whole)
        let bench = try CacheBench(on: HeldDevice(memory), budget: frames * 4096)
        let file = bench.file(capacity: UInt64(size), isWritten: true)
        await withTaskGroup(of: Void.self) { group in
            for thread in 0..<threads {
                group.addTask {
                    await onThread {
                        do {
                            let start = thread * 5000
                            let got = try file.readAll(size - start, at: start)
                            #expect(got == Array(whole[start...]))
                        } catch {
                            Issue.record("\(error)")
                        }
                    }
                }
            }
            await group.waitForAll()
        }
        #expect(bench.pool.statistics.residentBytes <= bench.pool.budget)
    }

    /// Counts down, and says that it came to zero.
    private final class Countdown: Sendable {
        private let left: Atomic<Int>

        init(_ count: Int) { left = Atomic(count) }

        /// False from the last on.
        @discardableResult func take() -> Bool {
            left.subtract(1, ordering: .relaxed).newValue > 0
        }

        func reset() { left.store(.max, ordering: .relaxed) }

        var isOver: Bool { left.load(ordering: .relaxed) <= 0 }
    }

    // T5, C5, C6: threads on several files, on a device that is late, with a cache of a quarter of
    // what they hold: what is read is what was written last
    @Test func filesUnderLoadKeepTheirContent() async throws {
        let seed =
            ProcessInfo.processInfo.environment["CAIRN_SEED"].flatMap(UInt64.init)
            ?? .random(in: 0 ... .max)
        print("filesUnderLoadKeepTheirContent: CAIRN_SEED=\(seed)")
        let memory = try MemoryDevice(size: 16 << 20)
        let bench = try CacheBench(on: HeldDevice(memory), budget: 4 << 20)
        bench.flusher.start()
        let rounds = 400
        let filesLeft = Countdown(4)
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<4 as Range<UInt64> {
                group.addTask {
                    let file = bench.file(number, at: number * (4 << 20), capacity: 4 << 20)
                    await onThread {
                        do {
                            try hammer(file, SeededRandom(seed: seed &+ number), rounds)
                        } catch {
                            Issue.record("file \(number): \(error)")
                        }
                    }
                    filesLeft.take()
                }
            }
            // Somebody who moves the clock, so that pages come to be old and writers go on.
            group.addTask {
                while !filesLeft.isOver {
                    bench.timers.advance(nanoseconds: 100_000_000)
                    try? await Task.sleep(nanoseconds: 2_000_000)
                }
            }
            await group.waitForAll()
        }
        bench.flusher.stop()
        #expect(bench.pool.statistics.residentBytes <= bench.pool.budget * 105 / 100)
    }
}

/// Random calls on one file beside a model of it.
private func hammer(_ file: PlainFile, _ seeded: SeededRandom, _ rounds: Int) throws {
    var random = seeded
    var model: [UInt8] = []
    let opening = file.open()
    let capacity = 4 << 20
    for round in 0..<rounds {
        let offset = random.number(below: capacity - 1)
        let count =
            1 + random.number(below: min(random.oneIn(4) ? 300_000 : 9000, capacity - offset))
        switch random.number(below: 12) {
        case 0...4:
            let bytes = pattern(count, at: offset, mark: UInt8(truncatingIfNeeded: round))
            try file.writeAll(bytes, at: offset)
            if model.count < offset + count {
                model += [UInt8](repeating: 0, count: offset + count - model.count)
            }
            model.replaceSubrange(offset..<offset + count, with: bytes)
        case 5...8:
            let got = try file.readAll(count, at: offset)
            let wanted = offset < model.count ? Array(model[offset...].prefix(count)) : []
            if got != wanted {
                let place = zip(got, wanted).enumerated().first { $0.element.0 != $0.element.1 }
                throw Difference(round: round, offset: offset + (place?.offset ?? 0))
            }
        case 9:
            let size = random.oneIn(3) ? offset : min(model.count, offset)
            try blocking { () throws(Pause) in try file.truncate(to: UInt64(size)) }
            if size < model.count {
                model.removeLast(model.count - size)
            } else {
                model += [UInt8](repeating: 0, count: size - model.count)
            }
        case 10:
            try blocking { () throws(Pause) in
                try file.punch(UInt64(offset)..<UInt64(offset + count))
            }
            let range = (offset..<offset + count).clamped(to: 0..<model.count)
            model.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
        default:
            try blocking { () throws(Pause) in try opening.sync() }
        }
    }
    if try file.readAll(capacity, at: 0) != model { throw Difference(round: rounds, offset: 0) }
}

private struct Difference: Error {
    let round: Int
    let offset: Int
}

/// Runs the body on a thread of its own: it blocks.
private func onThread(_ body: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread {
            body()
            continuation.resume()
        }
    }
}
