// MemoryDevice: a block device in memory, for tests, simulations and scratch space.
//
// Completions are called before `submit` returns, on the caller's thread. Memory is taken from the
// system as it is written. Nothing is durable, so a flush does nothing.
//
// Threading: any thread. Requests copy without a lock; overlapping ones at once are the callers'
// race, as on a disk.

import CSystem
public import CairnBase
import Synchronization

public final class MemoryDevice: BlockDevice, @unchecked Sendable {
    // Sendable: atomics; the memory is shared as a disk's is.
    public let size: UInt64
    public let blockSize: Int
    public var memoryAlignment: Int { 1 }
    public let isReadOnly: Bool
    public var canDiscard: Bool { true }
    public var queueDepth: Int { depth.load(ordering: .relaxed) }

    private let memory: UnsafeMutableRawPointer
    private let mappedBytes: Int
    private let meter = BlockMeter()
    private let depth = Atomic<Int>(32)
    private let tickets = Atomic<UInt64>(0)
    private let isClosed = Atomic<Bool>(false)

    /// Zeros. `size` is rounded down to blocks. Throws ENOMEM, EINVAL for a block size that is no
    /// power of two ≥ 512.
    public init(size: UInt64, blockSize: Int = 512, isReadOnly: Bool = false) throws(Errno) {
        guard blockSize >= 512, blockSize & (blockSize - 1) == 0 else { throw .EINVAL }
        guard size <= UInt64(Int.max) / 2 else { throw .ENOMEM }
        let rounded = Int(size) & ~(blockSize - 1)
        mappedBytes = max((rounded + 4095) & ~4095, 4096)
        guard let mapped = cairn_map_anonymous(mappedBytes, 4096, 0) else { throw .ENOMEM }
        memory = mapped
        self.size = UInt64(rounded)
        self.blockSize = blockSize
        self.isReadOnly = isReadOnly
    }

    /// Holds these bytes, up to the last whole block.
    public convenience init(
        contents: UnsafeRawBufferPointer, blockSize: Int = 512, isReadOnly: Bool = false
    ) throws(Errno) {
        try self.init(size: UInt64(contents.count), blockSize: blockSize, isReadOnly: isReadOnly)
        self.contents.copyMemory(from: UnsafeRawBufferPointer(rebasing: contents[..<Int(size)]))
    }

    deinit {
        cairn_unmap(memory, mappedBytes)
    }

    /// All bytes, behind the device's back: for looking at what a test has left, and for damaging
    /// it. Valid as long as the device.
    public var contents: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory, count: Int(size))
    }

    /// Another device with the same content.
    public func copy(isReadOnly: Bool = false) throws(Errno) -> MemoryDevice {
        try MemoryDevice(
            contents: UnsafeRawBufferPointer(contents), blockSize: blockSize,
            isReadOnly: isReadOnly)
    }

    @discardableResult
    public func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        guard !isClosed.load(ordering: .acquiring) else { throw .EBADF }
        try check(request)
        let ticket = BlockTicket(rawValue: tickets.add(1, ordering: .relaxed).newValue)
        meter.started()
        perform(request)
        let result = BlockResult.complete(request.length)
        meter.finished(request.operation, result, nanoseconds: 0)
        completion(result)
        return ticket
    }

    private func perform(_ request: BlockRequest) {
        var place = memory + Int(request.offset)
        switch request.operation {
        case .read:
            request.withSegments { segments in
                for segment in segments {
                    segment.address?.copyMemory(from: place, byteCount: segment.count)
                    place += segment.count
                }
            }
        case .write:
            request.withSegments { segments in
                for segment in segments {
                    if let source = segment.address {
                        place.copyMemory(from: source, byteCount: segment.count)
                    }
                    place += segment.count
                }
            }
        case .flush:
            break
        case .discard:
            cairn_zero_pages(place, request.length)
        }
    }

    /// Every request has completed already.
    public func cancel(_ ticket: BlockTicket) {}

    public var statistics: BlockStatistics { meter.statistics }

    public func setQueueDepth(_ newDepth: Int) throws(Errno) {
        guard (1...maximumQueueDepth).contains(newDepth) else { throw .EINVAL }
        depth.store(newDepth, ordering: .relaxed)
    }

    public func close() {
        isClosed.store(true, ordering: .releasing)
    }
}
