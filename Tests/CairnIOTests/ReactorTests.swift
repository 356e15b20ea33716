// The loop: what is handed in, timers, tasks, its end, and what happens where io_uring is refused.

import CTestCalls
import CairnBase
import CairnTestCalls
import Glibc
import Testing

@testable import CairnIO

@Suite struct ReactorTests {
    // C2: wake-up from other threads loses nothing
    @Test(arguments: Reactor.Engine.allCases)
    func everyCallFromEveryThreadIsMade(_ engine: Reactor.Engine) async throws {
        let thread = try ReactorThread(Reactor.Options(engine: engine))
        let reactor = thread.reactor
        let done = Completions()
        await withTaskGroup(of: Void.self) { group in
            for worker in 0..<4 {
                group.addTask {
                    for round in 0..<2000 {
                        reactor.perform {
                            #expect(reactor.isCurrent)
                            done.expect(worker * 2000 + round)(.complete(0))
                        }
                        // Lets the loop fall asleep now and then.
                        if round % 100 == 0 { await done.wait(for: 1) }
                    }
                }
            }
        }
        await done.wait(for: 8000)
        #expect(done.areExactlyOnce(8000))
        for worker in 0..<4 {
            let own = done.completedOrder.filter { $0 / 2000 == worker }
            #expect(own == Array(worker * 2000..<(worker + 1) * 2000))
        }
        thread.stop()
        #expect(!reactor.perform { Issue.record("called after the end") })
    }

    // C2: one call that wakes the loop from its sleep, many times over
    @Test(arguments: Reactor.Engine.allCases)
    func aSleepingLoopIsWoken(_ engine: Reactor.Engine) async throws {
        let thread = try ReactorThread(Reactor.Options(engine: engine))
        for _ in 0..<500 {
            let signal = Signal()
            thread.reactor.perform { signal.set() }
            await signal.wait()
        }
        thread.stop()
    }

    // C2
    @Test(arguments: Reactor.Engine.allCases)
    func timersAreCalledInTheirOrderUnlessCancelled(_ engine: Reactor.Engine) async throws {
        let thread = try ReactorThread(Reactor.Options(engine: engine))
        let reactor = thread.reactor
        let done = Completions()
        let now = reactor.monotonicNanoseconds()
        func add(_ number: Int, milliseconds: UInt64) -> TimerTicket {
            let deadline = now + milliseconds * 1_000_000
            return reactor.schedule(atNanoseconds: deadline) {
                #expect(reactor.isCurrent && reactor.monotonicNanoseconds() >= deadline)
                done.expect(number)(.complete(0))
            }
        }
        _ = add(3, milliseconds: 30)
        _ = add(1, milliseconds: 10)
        let cancelled = add(9, milliseconds: 15)
        _ = add(2, milliseconds: 20)
        _ = add(0, milliseconds: 0)
        let late = add(10, milliseconds: 3_600_000)
        #expect(reactor.cancel(cancelled))
        #expect(!reactor.cancel(cancelled))
        await done.wait(for: 4)
        #expect(done.completedOrder == [0, 1, 2, 3])
        // One that is scheduled earlier than what the loop sleeps for.
        let signal = Signal()
        reactor.schedule(afterNanoseconds: 1_000_000) { signal.set() }
        await signal.wait()
        #expect(reactor.cancel(late))
        thread.stop()
    }

    // A deterministic world: the time stands until it is moved
    @Test func manualTimersStopAtEachMoment() {
        let time = ManualTime()
        let timers = ManualTimers(time)
        let seen = Seen<UInt64>()
        for delay in [50, 10, 30] as [UInt64] {
            timers.schedule(afterNanoseconds: delay) {
                seen.add(time.monotonicNanoseconds())
                if delay == 10 {
                    timers.schedule(afterNanoseconds: 5) { seen.add(time.monotonicNanoseconds()) }
                }
            }
        }
        timers.advance(nanoseconds: 40)
        #expect(seen.all == [10, 15, 30])
        #expect(timers.advanceToNext() && !timers.advanceToNext())
        #expect(seen.all == [10, 15, 30, 50] && time.monotonicNanoseconds() == 50)
    }

    @Test func aHeapOfTimersForgetsWhatWasCancelled() {
        var heap = TimerHeap()
        for round in 0..<10_000 as Range<UInt64> {
            let ticket = heap.insert(at: 1_000_000 - round) {}
            let isCancelled = round % 10 != 0 && heap.cancel(ticket)
            #expect(isCancelled == (round % 10 != 0))
        }
        var last: UInt64 = 0
        var count = 0
        while let due = heap.removeDue(by: .max) {
            #expect(due.deadline >= last)
            last = due.deadline
            count += 1
        }
        #expect(count == 1000 && heap.isEmpty && heap.earliest == nil)
    }

    // The executor: a task stays on the loop over its requests
    @Test(arguments: Reactor.Engine.allCases)
    func aTaskStaysOnTheLoop(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let reactor = bench.reactor
            let device = try bench.makeImage()
            let stayed = await withTaskExecutorPreference(reactor) { () async -> Bool in
                await runOnLoop(reactor, device)
            }
            #expect(stayed)
            let counter = LoopCounter(reactor)
            for _ in 0..<100 { await counter.increment() }
            #expect(await counter.value == 100)
        }
    }

    @concurrent
    private func runOnLoop(_ reactor: Reactor, _ device: FileDevice) async -> Bool {
        guard reactor.isCurrent, let buffer = try? AlignedBuffer(count: 4096) else { return false }
        for round in 0..<50 {
            try? await device.write(buffer.bytes, at: UInt64(round) * 4096)
            guard reactor.isCurrent else { return false }
            try? await device.read(into: buffer.memory, at: UInt64(round) * 4096)
            guard reactor.isCurrent else { return false }
            await Task.yield()
        }
        return reactor.isCurrent
    }

    // No task hangs because its loop has gone
    @Test(arguments: Reactor.Engine.allCases)
    func tasksRunOnAfterTheEnd(_ engine: Reactor.Engine) async throws {
        let thread = try ReactorThread(Reactor.Options(engine: engine))
        let counter = LoopCounter(thread.reactor)
        await counter.increment()
        thread.stop()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<50 { group.addTask { await counter.incrementTwice() } }
        }
        #expect(await counter.value == 101)
    }

    // C2: more operations at once than the ring has entries and room for completions, and a file that is not registered
    @Test(arguments: Reactor.Engine.allCases)
    func moreOperationsThanEntries(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let reactor = bench.reactor
            let source = open("/dev/zero", O_RDONLY)
            defer { close(source) }
            let file = ReactorFile(source)
            let buffer = try AlignedBuffer(count: 4096)
            let done = Completions()
            let operations = (0..<10_000).map { number in
                let operation = Probe(file, number, done)
                operation.action = .read
                operation.address = buffer.memory.baseAddress
                operation.count = 8
                return operation
            }
            reactor.perform {
                for operation in operations {
                    #expect(failure { () throws(Errno) in try reactor.start(operation) } == nil)
                }
            }
            await done.wait(for: 10_000)
            #expect(done.areExactlyOnce(10_000))
            #expect(done.all.allSatisfy { $0 == [.complete(8)] })
        }
    }

    // C2: exactly one completion for what the kernel holds when it is cancelled
    @Test func aReadThatWaitsForEverIsCancelled() async throws {
        try await Ground(engine: .uring).run { bench in
            let reactor = bench.reactor
            var ends: [Int32] = [0, 0]
            #expect(pipe(&ends) == 0)
            let buffer = try AlignedBuffer(count: 4096)
            let file = ReactorFile(ends[0])
            let done = Completions()
            let operations = (0..<20).map { number in
                let operation = Probe(file, number, done)
                operation.action = .read
                operation.address = buffer.memory.baseAddress
                operation.count = 1
                operation.offset = .max
                return operation
            }
            for operation in operations { try reactor.start(operation) }
            for operation in operations where operation.number % 2 == 0 {
                reactor.perform { [reactor] in reactor.cancel(operation) }
            }
            await done.wait(for: 10)
            for number in 0..<10 {
                #expect(done.results(of: number * 2) == [.failed(.ECANCELED)])
            }
            #expect(write(ends[1], "0123456789", 10) == 10)
            await done.wait(for: 20)
            #expect(done.areExactlyOnce(20))
            for number in 0..<10 { #expect(done.results(of: number * 2 + 1) == [.complete(1)]) }
            close(ends[0])
            close(ends[1])
        }
    }

    // C2: a worker that has an operation finishes it; those behind it are given back
    @Test func operationsThatWaitForAWorkerAreCancelled() async throws {
        let thread = try ReactorThread(Reactor.Options(engine: .threads, workerLimit: 1))
        let reactor = thread.reactor
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let empty = ReactorFile(ends[0])
        let file = ReactorFile(open("/dev/zero", O_RDONLY))
        let done = Completions()
        let buffer = try AlignedBuffer(count: 4096)
        let operations = (0..<5).map { number in
            let operation = Probe(number == 0 ? empty : file, number, done)
            operation.action = .read
            operation.address = buffer.memory.baseAddress
            operation.count = 1
            operation.offset = number == 0 ? .max : 0
            return operation
        }
        for operation in operations { try reactor.start(operation) }
        for operation in operations { reactor.perform { reactor.cancel(operation) } }
        await done.wait(for: 4)
        // The first may have been cancelled before the worker came.
        let isRunning = done.results(of: 0).isEmpty
        #expect(write(ends[1], "0", 1) == 1)
        if isRunning { await done.wait(for: 5) }
        thread.stop()
        #expect(done.areExactlyOnce(5))
        for number in 1..<5 where isRunning {
            #expect(done.results(of: number) == [.failed(.ECANCELED)])
        }
        for descriptor in [ends[0], ends[1], file.descriptor] { close(descriptor) }
    }

    // C1: where io_uring is refused, threads serve, and it is said once
    @Test func aRefusedRingIsSaidOnceAndServedByThreads() async throws {
        let lines = Seen<String>()
        let engines = Seen<Reactor.Engine>()
        let errors = Seen<Errno?>()
        // On a thread of its own, joined by another: if it resumed the task, a thread of the pool that
        // was started for that would be refused rings for ever.
        await onThread {
            TestThread {
                guard cairn_test_refuse_rings() == 0 else { return errors.add(.ENOSYS) }
                errors.add(
                    failure { () throws(Errno) in
                        try Reactor(Reactor.Options(engine: .uring))
                    })
                for _ in 0..<3 {
                    errors.add(
                        failure { () throws(Errno) in
                            let reactor = try Reactor(Reactor.Options(report: { lines.add($0) }))
                            engines.add(reactor.engine)
                        })
                }
            }.join()
        }
        #expect(errors.all == [.EPERM, nil, nil, nil])
        #expect(engines.all == [.threads, .threads, .threads])
        #expect(lines.all.count == 1 && lines.all.allSatisfy { $0.contains("io_uring") })
    }

    // Registered memory
    @Test(arguments: Reactor.Engine.allCases)
    func registeredMemoryIsReadAndWritten(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage()
            let buffer = try AlignedBuffer(count: 64 << 10)
            for registers in [true, false, true] {
                let isKnown = registers && bench.reactor.register(memory: buffer.memory)
                #expect(isKnown == (registers && engine == .uring))
                for index in buffer.memory.indices {
                    buffer.memory[index] = UInt8(truncatingIfNeeded: index * 13 / 7)
                }
                let whole = Array(buffer.memory)
                try await device.write(buffer.bytes, at: 0)
                buffer.memory.initializeMemory(as: UInt8.self, repeating: 0)
                for place in stride(from: 0, to: 64 << 10, by: 4096) {
                    let part = UnsafeMutableRawBufferPointer(
                        rebasing: buffer.memory[place..<place + 4096])
                    try await device.read(into: part, at: UInt64(place))
                }
                #expect(Array(buffer.memory) == whole)
                if isKnown { bench.reactor.unregister(memory: buffer.memory) }
            }
        }
    }
}

/// An operation of the reactor's own kind that says what came of it.
private final class Probe: IOOperation, @unchecked Sendable {
    let number: Int
    private let done: Completions

    init(_ file: ReactorFile, _ number: Int, _ done: Completions) {
        self.number = number
        self.done = done
        super.init(file)
    }

    override func completed(_ result: Int) {
        done.expect(number)(
            result < 0 ? .failed(Errno(rawValue: Int32(-result))) : .complete(result))
    }
}

/// An actor whose executor is the loop.
private actor LoopCounter {
    private let reactor: Reactor
    private(set) var value = 0

    init(_ reactor: Reactor) { self.reactor = reactor }

    nonisolated var unownedExecutor: UnownedSerialExecutor { reactor.asUnownedSerialExecutor() }

    func increment() {
        if reactor.isCurrent { value += 1 }
    }

    func incrementTwice() async {
        value += 1
        await Task.yield()
        value += 1
    }
}

/// What was seen, in order.
final class Seen<Item: Sendable>: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var items: [Item] = []
    func add(_ item: Item) { lock.withLock { items.append(item) } }
    var all: [Item] { lock.withLock { items } }
}
