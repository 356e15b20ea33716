// HeldDevice: a device whose writes complete when the test says so, or on other threads.

import CairnBase
import CairnIO
import Dispatch
import Synchronization

final class HeldDevice: BlockDevice, @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    private let base: MemoryDevice
    private let lock = Lock()
    private var isHolding = false
    private var held: [@Sendable () -> Void] = []
    private let count = Atomic<UInt64>(0)

    init(_ base: MemoryDevice) {
        self.base = base
    }

    var size: UInt64 { base.size }
    var blockSize: Int { base.blockSize }
    var memoryAlignment: Int { base.memoryAlignment }
    var isReadOnly: Bool { base.isReadOnly }
    var canDiscard: Bool { base.canDiscard }
    var queueDepth: Int { base.queueDepth }
    var statistics: BlockStatistics { base.statistics }

    /// Writes wait from now on.
    func hold() {
        lock.withLock { isHolding = true }
    }

    var heldCount: Int { lock.withLock { held.count } }

    /// Carries out so many of those that wait, in the order in which they came.
    func release(_ count: Int = .max) {
        let ready = lock.withLock {
            let ready = Array(held.prefix(count))
            held.removeFirst(ready.count)
            return ready
        }
        for body in ready { body() }
    }

    /// Writes wait no more.
    func letGo() {
        lock.withLock { isHolding = false }
        release()
    }

    func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        try base.check(request)
        let number = count.add(1, ordering: .relaxed).newValue
        let base = base
        let body: @Sendable () -> Void = {
            do throws(Errno) {
                _ = try base.submit(request, completion: completion)
            } catch {
                completion(.failed(error))
            }
        }
        let isHeld = lock.withLock {
            guard isHolding, request.operation == .write else { return false }
            held.append(body)
            return true
        }
        if !isHeld { DispatchQueue.global().async(execute: body) }
        return BlockTicket(rawValue: number)
    }

    func cancel(_ ticket: BlockTicket) {}
    func setQueueDepth(_ depth: Int) throws(Errno) {}
    func close() throws(Errno) {}
}
