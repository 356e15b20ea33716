// FaultyDevice: a device on which things go wrong, as a FaultPlan says.
//
// What goes wrong is drawn when a request is submitted, in the order of submission, from the
// generator that is passed in: the same requests in the same order meet the same faults. Latency is
// by the timers that are passed in.
//
// Threading: any thread; `lock` guards the plan, the generator and what waits.

public import CairnBase

public final class FaultyDevice: BlockDevice, @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    private let base: any BlockDevice
    private let timers: (any TimerSource)?
    private let meter = BlockMeter()

    private let lock = Lock()
    // Guarded by `lock`.
    private var random: any RandomNumberGenerator & Sendable
    private var currentPlan: FaultPlan
    private var requests = 0
    private var requestsByKind = [Int](
        repeating: 0, count: BlockRequest.Operation.allCases.count)
    private var counts = FaultCounts()
    private var lastTicket: UInt64 = 0
    /// Requests that are submitted and not completed.
    private var pending: [UInt64: Pending] = [:]

    private struct Pending {
        var request: BlockRequest
        var fate: Fate
        var completion: @Sendable (BlockResult) -> Void
        var startedAt: UInt64
        /// While it waits to be passed on.
        var timer: TimerTicket?
        /// Once it was.
        var ticket: BlockTicket?
        var isCancelled = false
    }

    /// What shall become of a request.
    private enum Fate {
        /// It is passed on as it is.
        case good
        /// It fails, after its first bytes were passed on.
        case fails(Errno, after: Int)
        /// Only its first bytes are passed on, and it says so.
        case partial(Int)
        /// Only its first bytes are passed on, and it says it is complete.
        case torn(Int)
        case misdirected(to: UInt64)
    }

    /// `timers` is needed for latency; requests are not delayed without.
    public init(
        _ base: any BlockDevice, plan: FaultPlan = FaultPlan(),
        random: any RandomNumberGenerator & Sendable, timers: (any TimerSource)? = nil
    ) {
        self.base = base
        self.random = random
        self.timers = timers
        currentPlan = plan
    }

    public var size: UInt64 { base.size }
    public var blockSize: Int { base.blockSize }
    public var memoryAlignment: Int { base.memoryAlignment }
    public var isReadOnly: Bool { base.isReadOnly }
    public var canDiscard: Bool { base.canDiscard }
    public var queueDepth: Int { base.queueDepth }
    public var statistics: BlockStatistics { meter.statistics }

    /// What goes wrong from now on. Setting it begins to count requests anew.
    public var plan: FaultPlan {
        get { lock.withLock { currentPlan } }
        set {
            lock.withLock {
                currentPlan = newValue
                requests = 0
                for index in requestsByKind.indices { requestsByKind[index] = 0 }
            }
        }
    }

    /// What went wrong so far.
    public var faults: FaultCounts { lock.withLock { counts } }

    /// Requests since the plan was set, also those that were refused.
    public var requestCount: Int { lock.withLock { requests } }

    // MARK: Submitting

    @discardableResult
    public func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        try base.check(request)
        let number = try enter(request, completion)
        meter.started()
        let delay = lock.withLock { draw(currentPlan.latencyNanoseconds) }
        if delay > 0, let timers {
            let timer = timers.schedule(afterNanoseconds: delay) { [self] in
                _ = passOn(number, mayThrow: false)
            }
            // It may have gone off already: then it cannot be cancelled any more, which is right.
            lock.withLock { pending[number]?.timer = timer }
        } else if let error = passOn(number, mayThrow: true) {
            meter.refused()
            throw error
        }
        return BlockTicket(rawValue: number)
    }

    private func enter(
        _ request: BlockRequest, _ completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> UInt64 {
        let now = timers?.monotonicNanoseconds() ?? 0
        let (number, error): (UInt64, Errno?) = lock.withLock {
            requests += 1
            requestsByKind[Int(request.operation.rawValue)] += 1
            if let error = refusal(of: request) {
                counts.refusals += 1
                return (0, error)
            }
            lastTicket += 1
            pending[lastTicket] = Pending(
                request: request, fate: fate(of: request), completion: completion, startedAt: now)
            return (lastTicket, nil)
        }
        if let error { throw error }
        return number
    }

    /// Gives the request to the base, as far as it gets there. Gives an error that it was refused
    /// with, if that may be thrown; else it completes with it.
    private func passOn(_ number: UInt64, mayThrow: Bool) -> Errno? {
        let found = lock.withLock {
            pending[number]?.timer = nil
            return pending[number]
        }
        guard let found else { return nil }
        if found.isCancelled {
            complete(number, .failed(.ECANCELED))
            return nil
        }
        guard let sent = sent(found) else {
            complete(number, translated(.complete(0), found))
            return nil
        }
        do throws(Errno) {
            let ticket = try base.submit(sent) { [self] result in
                complete(number, translated(result, found))
            }
            let cancelNow = lock.withLock {
                pending[number]?.ticket = ticket
                return pending[number]?.isCancelled ?? false
            }
            if cancelNow { base.cancel(ticket) }
        } catch {
            if mayThrow {
                _ = lock.withLock { pending.removeValue(forKey: number) }
                return error
            }
            complete(number, .failed(error))
        }
        return nil
    }

    private func complete(_ number: UInt64, _ result: BlockResult) {
        guard let done = lock.withLock({ pending.removeValue(forKey: number) }) else { return }
        let now = timers?.monotonicNanoseconds() ?? 0
        meter.finished(done.request.operation, result, nanoseconds: now &- done.startedAt)
        done.completion(result)
    }

    /// A request that waits completes with ECANCELED at the next turn of the timers.
    public func cancel(_ ticket: BlockTicket) {
        let (passedOn, mustWake): (BlockTicket?, Bool) = lock.withLock {
            guard let found = pending[ticket.rawValue] else { return (nil, false) }
            pending[ticket.rawValue]?.isCancelled = true
            guard let timer = found.timer, let timers, timers.cancel(timer) else {
                return (found.ticket, false)
            }
            return (nil, true)
        }
        if let passedOn { base.cancel(passedOn) }
        if mustWake, let timers {
            timers.schedule(afterNanoseconds: 0) { [self] in
                _ = passOn(ticket.rawValue, mayThrow: false)
            }
        }
    }

    public func setQueueDepth(_ depth: Int) throws(Errno) { try base.setQueueDepth(depth) }
    public func close() throws(Errno) { try base.close() }

    // MARK: What goes wrong

    /// What is passed on; nil: nothing.
    private func sent(_ pending: Pending) -> BlockRequest? {
        let request = pending.request
        switch pending.fate {
        case .good: return request
        case .fails(_, let bytes), .partial(let bytes), .torn(let bytes):
            return bytes > 0 ? request.prefix(bytes) : nil
        case .misdirected(let offset): return request.moved(to: offset)
        }
    }

    /// What it says it did.
    private func translated(_ result: BlockResult, _ pending: Pending) -> BlockResult {
        if case .failed = result { return result }
        switch pending.fate {
        case .good, .misdirected: return result
        case .fails(let error, _): return .failed(error)
        case .partial(let bytes): return .partial(bytes)
        case .torn: return .complete(pending.request.length)
        }
    }

    // All below under `lock`.

    /// The failure that is planned for this request, which was counted.
    private func planned(_ request: BlockRequest, atSubmission: Bool) -> Errno? {
        for failure in currentPlan.failures where failure.isAtSubmission == atSubmission {
            if let operation = failure.operation, operation != request.operation { continue }
            let number =
                failure.operation == nil
                ? requests : requestsByKind[Int(request.operation.rawValue)]
            if number == failure.number || (failure.isForEver && number > failure.number) {
                return failure.error
            }
        }
        return nil
    }

    private func refusal(of request: BlockRequest) -> Errno? {
        if let error = planned(request, atSubmission: true) { return error }
        return happens(currentPlan.refusalRate) ? .EAGAIN : nil
    }

    private func fate(of request: BlockRequest) -> Fate {
        let plan = currentPlan
        let isWrite = request.operation == .write
        var error = planned(request, atSubmission: false)
        if error == nil, happens(plan.errorRates.rate(of: request.operation)) { error = .EIO }
        if let error {
            counts.errors += 1
            return .fails(error, after: isWrite && plan.failedWritesTear ? someBlocks(request) : 0)
        }
        if request.operation == .flush {
            guard happens(plan.lostFlushRate) else { return .good }
            counts.lostFlushes += 1
            return .torn(0)
        }
        let hasSeveral = request.length >= 2 * blockSize
        if hasSeveral, request.operation != .discard, happens(plan.partialRate) {
            counts.partials += 1
            return .partial(max(someBlocks(request), blockSize))
        }
        guard isWrite, request.length > 0 else { return .good }
        if hasSeveral, happens(plan.tornWriteRate) {
            counts.tornWrites += 1
            return .torn(max(someBlocks(request), blockSize))
        }
        if happens(plan.lostWriteRate) {
            counts.lostWrites += 1
            return .torn(0)
        }
        if UInt64(request.length) < size, happens(plan.misdirectedWriteRate) {
            counts.misdirectedWrites += 1
            return .misdirected(to: anotherPlace(request))
        }
        return .good
    }

    /// The length of some of a request's first blocks: 0 … all but one.
    private func someBlocks(_ request: BlockRequest) -> Int {
        let blocks = UInt64(request.length / blockSize)
        return blocks == 0 ? 0 : Int(draw(0...(blocks - 1))) * blockSize
    }

    private func anotherPlace(_ request: BlockRequest) -> UInt64 {
        let places = (size - UInt64(request.length)) / UInt64(blockSize)
        let place = draw(0...places) * UInt64(blockSize)
        if place != request.offset { return place }
        return place == 0 ? UInt64(blockSize) : 0
    }

    private func happens(_ rate: Double) -> Bool {
        rate > 0 && Double.random(in: 0..<1, using: &random) < rate
    }

    private func draw(_ range: ClosedRange<UInt64>) -> UInt64 {
        range.lowerBound == range.upperBound
            ? range.lowerBound : UInt64.random(in: range, using: &random)
    }
}
