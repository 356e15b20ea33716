// The n-th system call fails, for each n until none does: a reactor and a device from their start to
// their end, on a ring and on threads.

import CairnBase
import CairnTestCalls
import Glibc
import Testing

@testable import CairnIO

@Suite(.serialized) struct CallFaultTests {
    /// What a reactor is asked for: nil is a ring, or threads where that is refused.
    enum Wish: String, CaseIterable, Sendable {
        case any, uring, threads
        var engine: Reactor.Engine? { Reactor.Engine(rawValue: rawValue) }
    }

    // C1, C2, T3: whichever call fails, and however: an error says so, or nothing shows; each request
    // completes once; nothing is left; and what was asked for then works
    @Test(arguments: Wish.allCases, SupervisedCall.allCases)
    func theNthCallFails(_ wish: Wish, _ call: SupervisedCall) async throws {
        // Once a reactor has what was asked for, it is as if asked for that.
        let isOfStart = [.eventfd, .ringSetup, .ringRegister, .mapRing, .mapStack, .clone]
            .contains(call)
        if wish == .any, !isOfStart { return }
        var failures = 0
        for variant in call.errors.indices {
            var number = 0
            while true {
                number += 1
                let plan = CallPlan(calls: [call], number: number, variant: variant)
                let supervisor = try await lifeOfAReactor(wish.engine, plan)
                #expect(supervisor.notes == [], "call \(number): \(call.errors[variant])")
                failures += supervisor.failedCalls.count
                if supervisor.failedCalls.isEmpty || !supervisor.notes.isEmpty { break }
            }
        }
        let isOfRings = [.ringSetup, .ringRegister, .ringEnter, .mapRing].contains(call)
        let isOfThreads = [.read, .write, .sync, .poll].contains(call)
        // A thread's stack may be one that another left.
        if call == .mapStack || (wish == .threads ? isOfRings : isOfThreads) { return }
        #expect(failures > 0)
    }

    // C1, C2: what the system does not have when a reactor starts, it does not have for a while
    @Test(arguments: Wish.allCases)
    func fromTheNthCallOnTheSystemHasNothing(_ wish: Wish) async throws {
        var number = 0
        while true {
            number += 1
            var plan = CallPlan(number: number, count: .max)
            plan.calls.subtract([.ringEnter, .poll])
            let supervisor = try await lifeOfAReactor(wish.engine, plan)
            let failed = supervisor.failedCalls
            #expect(supervisor.notes == [], "from call \(number) on, \(failed)")
            if failed.isEmpty || !supervisor.notes.isEmpty { break }
        }
        #expect(number > 20)
    }

    // C2: the kernel takes no entries for a while
    @Test(arguments: 0..<4) func aRingTakesNothingForAWhile(_ variant: Int) async throws {
        var number = 0
        while true {
            number += 1
            let plan = CallPlan(
                calls: [.ringEnter], number: number, count: 30, variant: variant)
            let supervisor = try await lifeOfAReactor(.uring, plan)
            #expect(supervisor.notes == [], "entering for the \(number). time")
            if supervisor.failedCalls.isEmpty || !supervisor.notes.isEmpty { break }
        }
        #expect(number > 5)
    }

    private func lifeOfAReactor(
        _ engine: Reactor.Engine?, _ plan: CallPlan
    ) async throws -> CallSupervisor {
        let directory = try Bench.makeDirectory(in: .memory)
        defer { Bench.remove(directory) }
        return await CallSupervisor.run(plan) { supervisor in
            supervisor.startFailing()
            ReactorLife(engine, directory + "/image", supervisor).run()
        }
    }
}

/// The life of one reactor with one device, while calls may fail; and then while none does.
private struct ReactorLife {
    let engine: Reactor.Engine?
    let path: String
    let supervisor: CallSupervisor

    init(_ engine: Reactor.Engine?, _ path: String, _ supervisor: CallSupervisor) {
        self.engine = engine
        self.path = path
        self.supervisor = supervisor
    }

    func run() {
        let options = Reactor.Options(engine: engine, workerLimit: 3)
        let thread = started { () throws(Errno) in try ReactorThread(options) }
        guard let thread else { return }
        defer { thread.stop() }
        let device = started { () throws(Errno) in
            try FileDevice.create(
                path: path, size: 1 << 20, options: FileDevice.Options(queueDepth: 8),
                reactor: thread.reactor)
        }
        guard let device else { return }
        defer { device.close() }
        useAll(device, mark: 1, mayFail: true)
        supervisor.stopFailing()
        useAll(device, mark: 2, mayFail: false)
        useLoop(thread.reactor)
    }

    /// What the body makes; if it fails, then with an error that was given, and it works then.
    private func started<Value>(_ body: () throws(Errno) -> Value) -> Value? {
        do throws(Errno) {
            return try body()
        } catch {
            supervisor.expect(isCaused(error), "\(error) of \(supervisor.failedCalls)")
        }
        supervisor.stopFailing()
        do throws(Errno) {
            return try body()
        } catch {
            supervisor.note("\(error) afterwards")
            return nil
        }
    }

    private func isCaused(_ error: Errno) -> Bool {
        supervisor.failedCalls.contains { $0.error == error || $0.call.shows(error) }
    }

    // MARK: The device

    private func useAll(_ device: FileDevice, mark: UInt8, mayFail: Bool) {
        let memory: AlignedBuffer
        do throws(Errno) {
            memory = try AlignedBuffer(count: 16 * 4096)
        } catch {
            return supervisor.note("no buffer: \(error)")
        }
        _ = device.reactor.register(memory: memory.memory)
        defer { device.reactor.unregister(memory: memory.memory) }
        fill(memory, mark)
        var writes = (0..<8).map { BlockRequest.write(part(memory, $0), at: UInt64($0) * 4096) }
        // Of several pieces, and where nothing is aligned.
        writes.append(
            .write([8, 9, 10].map { BlockSegment(part(memory, $0)) }, at: 8 * 4096))
        writes.append(
            .write(UnsafeRawBufferPointer(rebasing: memory.bytes[45056..<45568]), at: 45056))
        carryOut(writes, on: device, mayFail)
        carryOut([.flush], on: device, mayFail)
        fill(memory, 0)
        let reads = [
            BlockRequest.read(into: segment(memory, 0, 4).memory, at: 0),
            .read(into: [segment(memory, 4, 2), segment(memory, 6, 5)], at: 4 * 4096),
            .read(
                into: UnsafeMutableRawBufferPointer(rebasing: memory.memory[45056..<45568]),
                at: 45056),
        ]
        carryOut(reads, on: device, mayFail)
        if !mayFail {
            // Each is as the next.
            let bytes = memory.bytes
            let isRight =
                bytes[0] == mark
                && bytes.baseAddress.map { memcmp($0, $0 + 1, 45567) == 0 } ?? false
            supervisor.expect(isRight, "other bytes than were written")
        }
        carryOut([.discard(at: 512 << 10, length: 64 << 10)], on: device, mayFail)
        carryOut(reads, on: device, mayFail, cancelling: true)
    }

    private func fill(_ memory: AlignedBuffer, _ mark: UInt8) {
        memory.memory.initializeMemory(as: UInt8.self, repeating: mark)
    }

    private func segment(_ memory: AlignedBuffer, _ page: Int, _ count: Int) -> BlockSegment {
        BlockSegment(
            UnsafeMutableRawBufferPointer(
                rebasing: memory.memory[page * 4096..<(page + count) * 4096]))
    }

    private func part(_ memory: AlignedBuffer, _ page: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(segment(memory, page, 1).memory)
    }

    /// Half of them in one batch, half alone; waits until each has completed.
    private func carryOut(
        _ requests: [BlockRequest], on device: FileDevice, _ mayFail: Bool,
        cancelling: Bool = false
    ) {
        let results = Results(requests.count)
        let batch = requests.indices.prefix(requests.count / 2).map {
            BlockSubmission(requests[$0], completion: results.expect($0))
        }
        do throws(Errno) {
            var tickets = try device.submit(batch)
            supervisor.expect(tickets.count == batch.count, "\(tickets.count) of a batch")
            for number in requests.indices.dropFirst(batch.count) {
                tickets.append(
                    try device.submit(requests[number], completion: results.expect(number)))
            }
            if cancelling { for ticket in tickets { device.cancel(ticket) } }
        } catch {
            // A file where no hole could be punched when it was opened.
            let isRefused = requests.first?.operation == .discard && error == .EOPNOTSUPP
            return supervisor.expect(isRefused && !device.canDiscard, "submission: \(error)")
        }
        results.wait()
        for (number, found) in results.all.enumerated() {
            guard found.count == 1, let result = found.first else {
                supervisor.note("request \(number) completed \(found.count) times")
                continue
            }
            switch result {
            case .complete(requests[number].length): continue
            case .failed(.ECANCELED) where cancelling: continue
            case .failed(let error) where mayFail && isCaused(error): continue
            default:
                supervisor.note("request \(number) of \(requests[number].operation): \(result)")
            }
        }
    }

    // MARK: The loop

    /// Wakes it from its sleep, and lets it wake by itself.
    private func useLoop(_ reactor: Reactor) {
        for _ in 0..<5 {
            let gate = Arrival()
            reactor.perform { gate.signal() }
            gate.wait()
        }
        let gate = Arrival()
        let cancelled = reactor.schedule(afterNanoseconds: 3_600_000_000_000) {}
        reactor.schedule(afterNanoseconds: 200_000) { gate.signal() }
        gate.wait()
        supervisor.expect(reactor.cancel(cancelled), "a timer was called an hour early")
    }
}

/// A gate that closures can have.
private final class Arrival: Sendable {
    private let gate = Gate()
    func signal() { gate.signal() }
    func wait() { gate.wait() }
}

/// What requests completed with, and waiting for all of them on a thread.
private final class Results: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var results: [[BlockResult]]
    private var missing: Int
    private let gate = Gate()

    init(_ count: Int) {
        results = Array(repeating: [], count: count)
        missing = count
    }

    func expect(_ number: Int) -> @Sendable (BlockResult) -> Void {
        { [self] result in
            let isLast = lock.withLock {
                results[number].append(result)
                missing -= 1
                return missing == 0
            }
            if isLast { gate.signal() }
        }
    }

    func wait() { gate.wait() }
    var all: [[BlockResult]] { lock.withLock { results } }
}
