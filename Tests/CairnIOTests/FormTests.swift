// The forms that wait: attempts, threads; what happens when nobody wants the answer any more.

import CairnBase
import CairnIO
import CairnTestCalls
import CairnTestSupport
import Testing

@Suite struct FormTests {
    // C2: an attempt that waits for a block, by each driver
    @Test(arguments: Reactor.Engine.allCases)
    func attemptsWaitForBlocks(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage()
            let source = try AlignedBuffer(count: 4096)
            source.memory[17] = 71
            try await device.write(source.bytes, at: 8192)

            @Sendable func attempt(_ cache: BlockCache) throws(Pause) -> UInt8 {
                if let page = cache.page { return page.memory[17] }
                throw .wait(try cache.fetch(from: device, at: 8192))
            }
            let cache = BlockCache()
            let suspended = try await suspending { () throws(Pause) in try attempt(cache) }
            #expect(suspended == 71)

            let called = Seen<Result<UInt8, Errno>>()
            let done = Signal()
            callingBack({ [cache = BlockCache()] () throws(Pause) in try attempt(cache) }) {
                called.add($0)
                done.set()
            }
            await done.wait()
            #expect(called.all == [.success(71)])

            let blocked = Seen<UInt8>()
            await onThread {
                let cache = BlockCache()
                let value = try? blocking { () throws(Pause) in try attempt(cache) }
                blocked.add(value ?? 0)
            }
            #expect(blocked.all == [71])
        }
    }

    // C2: a wait that nobody wants asks the device to give up, and keeps the memory until it has
    @Test func anAbandonedWaitCancelsItsRequest() throws {
        let timers = ManualTimers()
        var plan = FaultPlan()
        plan.latencyNanoseconds = 1000...1000
        let device = FaultyDevice(
            try MemoryDevice(size: 1 << 20), plan: plan, random: SeededRandom(seed: 1),
            timers: timers)
        weak var owner: AlignedBuffer?
        let finished = Seen<Errno?>()
        do {
            let buffer = try AlignedBuffer(count: 4096)
            owner = buffer
            let wait = BlockWait.starting(
                .read(into: buffer.memory, at: 0), on: device, keeping: buffer)
            wait.whenFinished { finished.add($0) }
            wait.cancel()
        }
        #expect(finished.all == [.EINTR])
        #expect(owner != nil)
        timers.advance(nanoseconds: 1)
        #expect(owner == nil)
        #expect(device.statistics.reads.cancelled == 1 && device.statistics.queueDepth == 0)
    }

    @Test func aWaitForWhatCannotBeSubmittedHasFailed() throws {
        let device = try MemoryDevice(size: 1 << 20)
        let wait = BlockWait.starting(.discard(at: 1, length: 5), on: device, keeping: nil)
        let finished = Seen<Errno?>()
        wait.whenFinished { finished.add($0) }
        #expect(finished.all == [.EINVAL])
    }

    // C2: a transfer that is cancelled between two parts
    @Test func aTransferIsCancelledBetweenItsParts() throws {
        let timers = ManualTimers()
        var plan = FaultPlan()
        plan.partialRate = 1
        plan.latencyNanoseconds = 10...10
        let device = FaultyDevice(
            try MemoryDevice(size: 1 << 20), plan: plan, random: SeededRandom(seed: 2),
            timers: timers)
        let buffer = try AlignedBuffer(count: 512 << 10)
        let finished = Seen<Errno?>()
        let transfer = try BlockTransfer(.write(buffer.bytes, at: 0), on: device) {
            finished.add($0)
        }
        timers.advance(nanoseconds: 15)
        #expect(finished.all == [] && device.requestCount == 2)
        transfer.cancel()
        transfer.cancel()
        while timers.advanceToNext() {}
        #expect(finished.all == [.ECANCELED] && device.statistics.queueDepth == 0)
    }

    // The blocking form, from several threads
    @Test(arguments: Reactor.Engine.allCases)
    func threadsBlockOnRequests(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage()
            let errors = Seen<Errno?>()
            await withTaskGroup(of: Void.self) { group in
                for worker in 0..<4 as Range<UInt64> {
                    group.addTask {
                        await onThread {
                            errors.add(
                                failure { () throws(Errno) in
                                    let buffer = try AlignedBuffer(count: 4096)
                                    for round in 0..<50 as Range<UInt64> {
                                        let place = (worker * 50 + round) * 4096
                                        buffer.memory[9] = UInt8(round)
                                        try device.write(buffer.bytes, at: place)
                                        buffer.memory[9] = 255
                                        try device.read(into: buffer.memory, at: place)
                                        if buffer.memory[9] != UInt8(round) { throw .EUCLEAN }
                                    }
                                    try device.flush()
                                    try device.discard(at: worker * 50 * 4096, length: 4096)
                                })
                        }
                    }
                }
            }
            #expect(errors.all == [nil, nil, nil, nil])
        }
    }
}

/// One page that is fetched once.
private final class BlockCache: @unchecked Sendable {
    // Sendable: used by one driver at a time; the lock is for what the completion changes.
    private let lock = Lock()
    private var arrived: AlignedBuffer?

    var page: AlignedBuffer? { lock.withLock { arrived } }

    func fetch(from device: any BlockDevice, at offset: UInt64) throws(Pause) -> BlockWait {
        do throws(Errno) {
            let page = try AlignedBuffer(count: 4096)
            let wait = PageWait(keeping: page) { [self] in lock.withLock { arrived = page } }
            wait.start(.read(into: page.memory, at: offset), on: device)
            return wait
        } catch {
            throw .failed(error)
        }
    }
}

private final class PageWait: BlockWait, @unchecked Sendable {
    private let arrived: () -> Void

    init(keeping owner: AnyObject, _ arrived: @escaping () -> Void) {
        self.arrived = arrived
        super.init(keeping: owner)
    }

    override func completed(_ error: Errno?) {
        if error == nil { arrived() }
    }
}
