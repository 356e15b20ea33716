// RecordingDevice: writes down what is written, flushed and discarded on its way to another device.
//
// What it keeps is a DeviceLog, from which every state can be made that the device can be in after
// the power was cut.
//
// Threading: any thread; `lock` guards the log.

public import CairnBase

public final class RecordingDevice: BlockDevice, @unchecked Sendable {
    // Sendable: `lock` guards `entries` and `lastMoment`.
    private let base: any BlockDevice
    private let lock = Lock()
    private var entries: [DeviceLog.Entry] = []
    private var lastMoment = 0

    public init(_ base: any BlockDevice) {
        self.base = base
    }

    public var size: UInt64 { base.size }
    public var blockSize: Int { base.blockSize }
    public var memoryAlignment: Int { base.memoryAlignment }
    public var isReadOnly: Bool { base.isReadOnly }
    public var canDiscard: Bool { base.canDiscard }
    public var queueDepth: Int { base.queueDepth }
    public var statistics: BlockStatistics { base.statistics }

    /// What has happened so far.
    public var log: DeviceLog {
        lock.withLock { DeviceLog(entries: entries, moments: lastMoment) }
    }

    /// How much has happened so far: the moment for `DeviceLog.cut`.
    public var moment: Int { lock.withLock { lastMoment } }

    @discardableResult
    public func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        if request.operation == .read {
            return try base.submit(request, completion: completion)
        }
        try base.check(request)
        let index = enter(request)
        do throws(Errno) {
            return try base.submit(request) { [self] result in
                complete(index, result)
                completion(result)
            }
        } catch {
            lock.withLock { entries[index].outcome = .refused }
            throw error
        }
    }

    private func enter(_ request: BlockRequest) -> Int {
        var bytes: [UInt8] = []
        if request.operation == .write {
            bytes.reserveCapacity(request.length)
            request.withSegments { segments in
                for segment in segments { bytes.append(contentsOf: segment.memory) }
            }
        }
        return lock.withLock {
            lastMoment += 1
            entries.append(
                DeviceLog.Entry(
                    operation: request.operation, offset: request.offset, length: request.length,
                    bytes: bytes, submitted: lastMoment))
            return entries.count - 1
        }
    }

    private func complete(_ index: Int, _ result: BlockResult) {
        lock.withLock {
            lastMoment += 1
            entries[index].completed = lastMoment
            switch result {
            case .complete: entries[index].outcome = .done
            case .partial(let bytes): entries[index].outcome = .partial(bytes)
            case .failed: entries[index].outcome = .unsure
            }
        }
    }

    public func cancel(_ ticket: BlockTicket) { base.cancel(ticket) }
    public func setQueueDepth(_ depth: Int) throws(Errno) { try base.setQueueDepth(depth) }
    public func close() throws(Errno) { try base.close() }
}
