// A device whose requests complete later, on another thread, in any order.

import CairnBase
import CairnIO
import Dispatch
import Synchronization

final class LateDevice: BlockDevice {
    private let base: MemoryDevice
    private let count = Atomic<Int>(0)

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

    func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        try base.check(request)
        let number = count.add(1, ordering: .relaxed).newValue
        let base = base
        DispatchQueue.global().asyncAfter(deadline: .now() + .microseconds(number * 7 % 40)) {
            do throws(Errno) {
                _ = try base.submit(request, completion: completion)
            } catch {
                completion(.failed(error))
            }
        }
        return BlockTicket(rawValue: UInt64(number))
    }

    func cancel(_ ticket: BlockTicket) {}
    func setQueueDepth(_ depth: Int) throws(Errno) {}
    func close() throws(Errno) {}
}
