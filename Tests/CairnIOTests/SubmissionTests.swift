// Exactly one completion for each request: with full queues, under cancellation, while the device
// closes, and when the loop has ended.

import CairnBase
import CairnIO
import CairnTestSupport
import Testing

@Suite struct SubmissionTests {
    // C2: one thread keeps ≥ 128 requests in flight
    @Test(arguments: Reactor.Engine.allCases)
    func oneThreadKeepsManyInFlight(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(queueDepth: 256)
            let buffer = try AlignedBuffer(count: 1000 * 4096)
            let completions = Completions()
            // On the loop no completion comes before this returns, so all are in flight at once.
            bench.reactor.perform {
                for number in 0..<1000 {
                    let memory = UnsafeMutableRawBufferPointer(
                        rebasing: buffer.memory[number * 4096..<(number + 1) * 4096])
                    let error = failure { () throws(Errno) in
                        try device.submit(
                            .read(into: memory, at: UInt64(number) * 4096),
                            completion: completions.expect(number))
                    }
                    #expect(error == nil)
                }
            }
            await completions.wait(for: 1000)
            try await device.flush()
            #expect(completions.areExactlyOnce(1000))
            let counted = device.statistics
            #expect(counted.highestQueueDepth == 1000 && counted.queueDepth == 0)
            #expect(counted.reads.bytes == 1000 * 4096 && counted.reads.latency.count == 1000)
        }
    }

    // C1: queue depth is set
    @Test(arguments: Reactor.Engine.allCases)
    func aQueueOfOneKeepsTheOrder(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(queueDepth: 1)
            let buffer = try AlignedBuffer(count: 4096)
            let completions = Completions()
            for number in 0..<300 {
                try device.submit(
                    .write(buffer.bytes, at: UInt64(number) * 4096),
                    completion: completions.expect(number))
            }
            await completions.wait(for: 300)
            #expect(completions.completedOrder == Array(0..<300))
            try device.setQueueDepth(128)
            #expect(device.queueDepth == 128)
            #expect(failure { () throws(Errno) in try device.setQueueDepth(0) } == .EINVAL)
            #expect(failure { () throws(Errno) in try device.setQueueDepth(5000) } == .EINVAL)
        }
    }

    // C2: a deeper queue starts what waits
    @Test(arguments: Reactor.Engine.allCases)
    func theDepthCanBeChangedUnderLoad(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(queueDepth: 1)
            let buffer = try AlignedBuffer(count: 4096)
            let completions = Completions()
            for number in 0..<500 {
                try device.submit(
                    .write(buffer.bytes, at: UInt64(number) * 4096),
                    completion: completions.expect(number))
                if number % 50 == 0 { try device.setQueueDepth(1 + number % 70) }
            }
            await completions.wait(for: 500)
            try await device.flush()
            #expect(completions.areExactlyOnce(500))
        }
    }

    // C2: exactly one completion, also of what is cancelled
    @Test(arguments: Ground.all)
    func cancelledRequestsCompleteOnce(_ ground: Ground) async throws {
        try await ground.run { bench in
            let device = try bench.makeImage(size: 8 << 20, queueDepth: 8)
            let buffer = try AlignedBuffer(count: 4096)
            let completions = Completions()
            var random = SeededRandom(seed: 11)
            var tickets: [BlockTicket] = []
            let count = 2000
            for number in 0..<count {
                let offset = UInt64(random.number(below: 2048)) * 4096
                let request =
                    random.oneIn(10)
                    ? BlockRequest.flush : .read(into: buffer.memory, at: offset)
                tickets.append(
                    try device.submit(request, completion: completions.expect(number)))
                // Some at once, some long ago, some twice.
                if random.oneIn(2) { device.cancel(tickets[number]) }
                if random.oneIn(5) { device.cancel(tickets[random.number(below: number + 1)]) }
            }
            await completions.wait(for: count)
            try await device.flush()
            #expect(completions.areExactlyOnce(count))
            let wrong = completions.all.joined().filter {
                $0 != .complete(4096) && $0 != .complete(0) && $0 != .failed(.ECANCELED)
            }
            #expect(wrong.isEmpty)
            let counted = device.statistics
            #expect(counted.queueDepth == 0)
            #expect(counted.reads.errors == 0 && counted.flushes.errors == 0)
            #expect(counted.reads.count + counted.flushes.count == UInt64(count) + 1)
        }
    }

    // C2
    @Test(arguments: Reactor.Engine.allCases)
    func whatWaitsInTheQueueIsCancelled(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(queueDepth: 1)
            let buffer = try AlignedBuffer(count: 4096)
            let completions = Completions()
            bench.reactor.perform {
                _ = failure { () throws(Errno) in
                    var tickets: [BlockTicket] = []
                    for number in 0..<10 {
                        tickets.append(
                            try device.submit(
                                .write(buffer.bytes, at: UInt64(number) * 4096),
                                completion: completions.expect(number)))
                    }
                    for number in [3, 9, 4, 3] { device.cancel(tickets[number]) }
                    // Completions come later, never inside a call.
                    #expect(completions.count == 0)
                }
            }
            await completions.wait(for: 10)
            for number in 0..<10 {
                let expected: BlockResult =
                    [3, 4, 9].contains(number) ? .failed(.ECANCELED) : .complete(4096)
                #expect(completions.results(of: number) == [expected])
            }
            #expect(device.statistics.writes.cancelled == 3)
        }
    }

    // C2: the async form under cancellation
    @Test(arguments: Reactor.Engine.allCases)
    func aCancelledTaskReturnsWhenTheDeviceIsDone(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(queueDepth: 2)
            var tasks: [Task<Errno?, Never>] = []
            for number in 0..<200 {
                tasks.append(
                    Task {
                        await asyncFailure { () async throws(Errno) in
                            let buffer = try AlignedBuffer(count: 4096)
                            try await device.read(into: buffer.memory, at: UInt64(number) * 4096)
                        }
                    })
                if number % 2 == 0 { tasks[number].cancel() }
            }
            for (number, task) in tasks.enumerated() {
                let error = await task.value
                #expect(error == nil || (number % 2 == 0 && error == .ECANCELED))
            }
            #expect(device.statistics.queueDepth == 0)
        }
    }

    // C1: what is under way when the device closes still completes
    @Test(arguments: Reactor.Engine.allCases)
    func closingWaitsForWhatIsUnderWay(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(queueDepth: 2)
            let buffer = try AlignedBuffer(count: 4096)
            buffer.memory.initializeMemory(as: UInt8.self, repeating: 3)
            let completions = Completions()
            bench.reactor.perform {
                for number in 0..<20 {
                    _ = failure { () throws(Errno) in
                        try device.submit(
                            .write(buffer.bytes, at: UInt64(number) * 4096),
                            completion: completions.expect(number))
                    }
                }
                device.close()
                device.close()
            }
            await completions.wait(for: 20)
            #expect(completions.areExactlyOnce(20))
            #expect(completions.all.joined().allSatisfy { $0 == .complete(4096) })
            // The lock is given back with the last one, which the loop does before its completion.
            let again = try FileDevice(
                path: bench.imagePath, options: bench.options(), reactor: bench.reactor)
            try await again.read(into: buffer.memory, at: 19 * 4096)
            #expect(buffer.memory.allSatisfy { $0 == 3 })
        }
    }

    // C2: one that fails to submit never calls back
    @Test(arguments: Reactor.Engine.allCases)
    func nothingStartsAfterTheLoopHasEnded(_ engine: Reactor.Engine) async throws {
        let bench = try Bench(Ground(engine: engine))
        let device = try bench.makeImage()
        try await device.flush()
        bench.end()
        let buffer = try AlignedBuffer(count: 4096)
        let error = failure { () throws(Errno) in
            try device.submit(.read(into: buffer.memory, at: 0)) { _ in Issue.record("called") }
        }
        #expect(error == .EBADF)
        let completions = Completions()
        let batch = (0..<5).map {
            BlockSubmission(
                .read(into: buffer.memory, at: 0), completion: completions.expect($0))
        }
        #expect(try device.submit(batch).count == 5)
        #expect(completions.all.allSatisfy { $0 == [.failed(.EBADF)] } && completions.count == 5)
        #expect(device.statistics.queueDepth == 0)
    }

    // C2: submissions from many threads at once
    @Test(arguments: Reactor.Engine.allCases)
    func manyTasksShareOneDevice(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(size: 4 << 20, queueDepth: 16)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        let buffer = try AlignedBuffer(count: 4096)
                        for round in 0..<100 {
                            let place = UInt64(worker * 100 + round) * 4096
                            let mark = UInt8(truncatingIfNeeded: worker * 31 + round)
                            buffer.memory.initializeMemory(as: UInt8.self, repeating: mark)
                            try await device.write(buffer.bytes, at: place)
                            buffer.memory.initializeMemory(as: UInt8.self, repeating: 0)
                            try await device.read(into: buffer.memory, at: place)
                            #expect(buffer.memory.allSatisfy { $0 == mark })
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(device.statistics.writes.count == 800)
        }
    }
}
