// What goes wrong on purpose, and that nothing else does.

import CairnBase
import CairnIO
import CairnTestSupport
import Testing

@Suite struct FaultTests {
    private func filled(_ count: Int, _ byte: UInt8) throws -> AlignedBuffer {
        let buffer = try AlignedBuffer(count: count)
        buffer.memory.initializeMemory(as: UInt8.self, repeating: byte)
        return buffer
    }

    /// The form in which a workload makes its requests.
    enum Form: String, CaseIterable, Sendable {
        case async, attempt, callback
    }

    private func carryOut(
        _ request: BlockRequest, on device: any BlockDevice, _ form: Form
    ) async throws(Errno) {
        switch form {
        case .async:
            try await device.performAll(request)
        case .attempt:
            var wait: BlockWait?
            try await suspending { () throws(Pause) in
                if wait == nil {
                    let started = BlockWait.starting(request, on: device, keeping: nil)
                    wait = started
                    throw .wait(started)
                }
            }
        case .callback:
            let error: Errno? = await withCheckedContinuation { continuation in
                do throws(Errno) {
                    _ = try BlockTransfer(request, on: device) {
                        continuation.resume(returning: $0)
                    }
                } catch {
                    continuation.resume(returning: error)
                }
            }
            if let error { throw error }
        }
    }

    /// Writes a block in each of eight places, flushes, reads them back.
    private func workload(
        on device: any BlockDevice, _ form: Form, mark: UInt8
    ) async throws(Errno) {
        let buffer = try AlignedBuffer(count: 8192)
        for place in 0..<8 as Range<UInt64> {
            buffer.memory.initializeMemory(as: UInt8.self, repeating: mark &+ UInt8(place))
            try await carryOut(.write(buffer.bytes, at: place * 65536), on: device, form)
        }
        try await carryOut(.flush, on: device, form)
        for place in 0..<8 as Range<UInt64> {
            try await carryOut(.read(into: buffer.memory, at: place * 65536), on: device, form)
            guard buffer.memory.allSatisfy({ $0 == mark &+ UInt8(place) }) else { throw .EUCLEAN }
        }
        try await carryOut(.discard(at: 0, length: 8192), on: device, form)
    }

    // T3: the n-th I/O fails, for each n until the operation succeeds
    @Test(arguments: Reactor.Engine.allCases, Form.allCases)
    func theNthRequestFails(_ engine: Reactor.Engine, _ form: Form) async throws {
        try await Ground(engine: engine).run { bench in
            let image = try bench.makeImage()
            var model = [UInt8](repeating: 0, count: 8)
            for isAtSubmission in [false, true] {
                let device = FaultyDevice(image, random: SeededRandom(seed: 1))
                var number = 0
                var error: Errno?
                repeat {
                    number += 1
                    device.plan = FaultPlan(
                        failing: FaultPlan.Failure(
                            number: number, error: .ENOSPC, isAtSubmission: isAtSubmission))
                    let mark = UInt8(number)
                    error = await asyncFailure { () async throws(Errno) in
                        try await workload(on: device, form, mark: mark)
                    }
                    #expect(error == nil || error == .ENOSPC, "request \(number)")
                    #expect(device.requestCount == (error == nil ? 18 : number))
                    // Nothing half done: what was written before the failure, and no more.
                    for place in 0..<min(number - 1, 8) { model[place] = mark &+ UInt8(place) }
                    if error == nil { model[0] = 0 }
                    let found = try AlignedBuffer(count: 8192)
                    for place in 0..<8 {
                        try await image.read(into: found.memory, at: UInt64(place) * 65536)
                        let isRight = found.memory.allSatisfy { $0 == model[place] }
                        #expect(isRight, "request \(number), place \(place)")
                    }
                } while error != nil && number < 40
                #expect(number == 19)
                #expect(device.statistics.queueDepth == 0 && image.statistics.queueDepth == 0)
            }
        }
    }

    // T3: a device that goes and does not come back
    @Test func allThatComesAfterFailsToo() async throws {
        let device = FaultyDevice(
            try MemoryDevice(size: 1 << 20),
            plan: FaultPlan(
                failing: FaultPlan.Failure(operation: .write, number: 3, isForEver: true)),
            random: SeededRandom(seed: 1))
        let buffer = try filled(4096, 1)
        for number in 1...6 {
            let error = await asyncFailure { () async throws(Errno) in
                try await device.write(buffer.bytes, at: 0)
            }
            #expect(error == (number < 3 ? nil : .EIO))
            try await device.read(into: buffer.memory, at: 0)
        }
        #expect(device.faults.errors == 4)
    }

    // C2: partial results are gone on with, in each form
    @Test(arguments: Reactor.Engine.allCases, Form.allCases)
    func partialTransfersReachTheirEnd(_ engine: Reactor.Engine, _ form: Form) async throws {
        let seed = UInt64.random(in: 0 ... .max)
        try await Ground(engine: engine).run { bench in
            var plan = FaultPlan()
            plan.partialRate = 0.9
            for base in [try bench.makeImage(), try MemoryDevice(size: 4 << 20)]
                as [any BlockDevice]
            {
                let device = FaultyDevice(base, plan: plan, random: SeededRandom(seed: seed))
                let buffer = try AlignedBuffer(count: 200 << 10)
                for index in buffer.memory.indices {
                    buffer.memory[index] = UInt8(truncatingIfNeeded: index / 3)
                }
                let whole = Array(buffer.memory)
                let pieces = [
                    BlockSegment(UnsafeMutableRawBufferPointer(rebasing: buffer.memory[..<5000])),
                    BlockSegment(UnsafeMutableRawBufferPointer(rebasing: buffer.memory[5000...])),
                ]
                // Often enough that some are partial whatever the seed.
                for _ in 0..<5 {
                    try await carryOut(.write(pieces, at: 4096), on: device, form)
                    buffer.memory.initializeMemory(as: UInt8.self, repeating: 0)
                    try await carryOut(.read(into: pieces, at: 4096), on: device, form)
                    #expect(Array(buffer.memory) == whole, "seed \(seed)")
                }
                #expect(device.faults.partials > 0)
            }
        }
    }

    // A device that gets no further is not waited for for ever
    @Test(arguments: Form.allCases)
    func aDeviceThatDoesNothingIsGivenUp(_ form: Form) async throws {
        let error = await asyncFailure { () async throws(Errno) in
            let buffer = try AlignedBuffer(count: 4096)
            try await carryOut(.read(into: buffer.memory, at: 0), on: IdleDevice(), form)
        }
        #expect(error == .EIO)
    }

    @Test func theSameSeedMeetsTheSameFaults() async throws {
        func run(_ seed: UInt64) async throws -> ([BlockResult?], FaultCounts, [UInt8]) {
            let base = try MemoryDevice(size: 1 << 20)
            var plan = FaultPlan()
            plan.errorRates.write = 0.1
            plan.errorRates.read = 0.05
            plan.errorRates.flush = 0.1
            plan.refusalRate = 0.05
            plan.partialRate = 0.1
            plan.tornWriteRate = 0.1
            plan.misdirectedWriteRate = 0.1
            plan.lostWriteRate = 0.1
            plan.lostFlushRate = 0.3
            plan.failedWritesTear = true
            let device = FaultyDevice(base, plan: plan, random: SeededRandom(seed: seed))
            let buffer = try AlignedBuffer(count: 16384)
            var random = SeededRandom(seed: 77)
            var results: [BlockResult?] = []
            for round in 0..<2000 {
                let offset = UInt64(random.number(below: 200)) * 4096
                buffer.memory.initializeMemory(as: UInt8.self, repeating: UInt8(round & 0xFF))
                let requests: [BlockRequest] = [
                    .write(buffer.bytes, at: offset), .read(into: buffer.memory, at: offset),
                    .flush,
                ]
                let seen = Seen<BlockResult>()
                _ = failure { () throws(Errno) in
                    try device.submit(requests[random.number(below: 3)]) { seen.add($0) }
                }
                results.append(seen.all.first)
            }
            return (results, device.faults, Array(base.contents))
        }
        let first = try await run(5)
        let second = try await run(5)
        #expect(first.0 == second.0 && first.1 == second.1 && first.2 == second.2)
        let counts = first.1
        for count in [
            counts.errors, counts.refusals, counts.partials, counts.tornWrites,
            counts.misdirectedWrites, counts.lostWrites, counts.lostFlushes,
        ] {
            #expect(count > 10, "\(counts)")
        }
        #expect(first.0.filter { $0 == nil }.count == counts.refusals)
        #expect(try await run(6).2 != first.2)
    }

    // What a device does without saying so
    @Test func silentFaultsChangeTheContentAndNothingElse() async throws {
        let base = try MemoryDevice(size: 1 << 20)
        let log = RecordingDevice(base)
        let device = FaultyDevice(log, random: SeededRandom(seed: 3))
        let buffer = try filled(8192, 9)
        func bytes(of byte: UInt8) -> Int { base.contents.filter { $0 == byte }.count }

        device.plan.tornWriteRate = 1
        try await device.write(buffer.bytes, at: 0)
        #expect((512..<8192).contains(bytes(of: 9)) && base.contents[0] == 9)

        device.plan = FaultPlan()
        device.plan.misdirectedWriteRate = 1
        let other = try filled(8192, 8)
        try await device.write(other.bytes, at: 65536)
        #expect(bytes(of: 8) == 8192 && log.log.entries.last?.offset != 65536)

        device.plan = FaultPlan()
        device.plan.lostWriteRate = 1
        device.plan.lostFlushRate = 1
        let lost = try filled(8192, 7)
        try await device.write(lost.bytes, at: 65536)
        try await device.flush()
        #expect(bytes(of: 7) == 0)
        #expect(log.log.entries.allSatisfy { $0.operation == .write })
        #expect(device.faults.total == 4 && device.statistics.writes.errors == 0)
    }

    // Latency is by the timers that are passed in; what waits can be cancelled
    @Test func delayedRequestsCompleteWhenTheirTimeComes() async throws {
        let timers = ManualTimers()
        var plan = FaultPlan()
        plan.latencyNanoseconds = 1000...2000
        let device = FaultyDevice(
            try MemoryDevice(size: 1 << 20), plan: plan, random: SeededRandom(seed: 4),
            timers: timers)
        let buffer = try AlignedBuffer(count: 4096)
        let completions = Completions()
        var tickets: [BlockTicket] = []
        for number in 0..<50 {
            tickets.append(
                try device.submit(
                    .read(into: buffer.memory, at: 0), completion: completions.expect(number)))
        }
        timers.advance(nanoseconds: 999)
        #expect(completions.count == 0 && device.statistics.queueDepth == 50)
        for number in 0..<10 {
            device.cancel(tickets[number])
            device.cancel(tickets[number])
        }
        #expect(completions.count == 0)
        timers.advance(nanoseconds: 1001)
        #expect(completions.areExactlyOnce(50))
        for number in 0..<50 {
            let expected: BlockResult = number < 10 ? .failed(.ECANCELED) : .complete(4096)
            #expect(completions.results(of: number) == [expected])
        }
        #expect(completions.completedOrder != Array(0..<50))
        let reads = device.statistics.reads
        #expect(reads.cancelled == 10 && reads.errors == 0 && reads.latency.maximum <= 2000)
    }

    // C2: by the reactor's clock, on a file, cancelled from elsewhere
    @Test(arguments: Reactor.Engine.allCases)
    func delayedRequestsOnAFileCompleteOnce(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            var plan = FaultPlan()
            plan.latencyNanoseconds = 0...2_000_000
            plan.partialRate = 0.2
            plan.errorRates.read = 0.1
            let device = FaultyDevice(
                try bench.makeImage(queueDepth: 8), plan: plan, random: SeededRandom(seed: 8),
                timers: bench.reactor)
            let buffer = try AlignedBuffer(count: 16384)
            let completions = Completions()
            for number in 0..<300 {
                let ticket = try device.submit(
                    .read(into: buffer.memory, at: UInt64(number) * 8192),
                    completion: completions.expect(number))
                if number % 3 == 0 { device.cancel(ticket) }
            }
            await completions.wait(for: 300)
            // A completion is counted before it is called, so nothing is left.
            #expect(completions.areExactlyOnce(300) && device.statistics.queueDepth == 0)
        }
    }
}

/// A device that says of everything that it has done nothing yet.
private final class IdleDevice: BlockDevice {
    var size: UInt64 { 1 << 20 }
    var blockSize: Int { 512 }
    var memoryAlignment: Int { 1 }
    var isReadOnly: Bool { false }
    var canDiscard: Bool { true }
    var queueDepth: Int { 1 }
    var statistics: BlockStatistics { BlockStatistics() }

    func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        completion(.partial(0))
        return BlockTicket(rawValue: 1)
    }

    func cancel(_ ticket: BlockTicket) {}
    func setQueueDepth(_ depth: Int) throws(Errno) {}
    func close() throws(Errno) {}
}
