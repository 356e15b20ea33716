// BlockRequest and BlockResult: what is asked of a device, and what came of it.
//
// Values. A request points to memory and does not own it: whoever submits keeps the memory until
// the completion is called.

public import CairnBase

/// A piece of memory of a request. Laid out as struct iovec, so that a list of them is what
/// readv(2) takes.
public struct BlockSegment: @unchecked Sendable {
    // Sendable: says where memory is; whoever submits answers for its use.
    public var address: UnsafeMutableRawPointer?
    /// In bytes.
    public var count: Int

    @inlinable
    public init(address: UnsafeMutableRawPointer?, count: Int) {
        self.address = address
        self.count = count
    }

    @inlinable
    public init(_ memory: UnsafeMutableRawBufferPointer) {
        self.init(address: memory.baseAddress, count: memory.count)
    }

    /// For a write: it is only read.
    @inlinable
    public init(_ memory: UnsafeRawBufferPointer) {
        self.init(
            address: UnsafeMutableRawPointer(mutating: memory.baseAddress), count: memory.count)
    }

    @inlinable
    public var memory: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: address, count: count)
    }
}

/// What is asked of a device.
public struct BlockRequest: Sendable {
    public enum Operation: UInt8, Sendable, CaseIterable {
        case read, write
        /// Makes durable what was written before.
        case flush
        /// The content is not needed any more.
        case discard
    }

    public let operation: Operation
    /// Where on the device, in bytes.
    public let offset: UInt64
    /// In bytes: of all segments together, or of what is discarded. 0 for a flush.
    public let length: Int
    /// The memory, if it is one piece.
    @usableFromInline let single: BlockSegment
    /// The memory, if it is several pieces; else empty, so that nothing is allocated.
    @usableFromInline let list: [BlockSegment]

    @usableFromInline
    init(
        _ operation: Operation, offset: UInt64, length: Int,
        single: BlockSegment = BlockSegment(address: nil, count: 0), list: [BlockSegment] = []
    ) {
        self.operation = operation
        self.offset = offset
        self.length = length
        self.single = single
        self.list = list
    }

    @usableFromInline
    init(_ operation: Operation, offset: UInt64, list: [BlockSegment]) {
        self.init(
            operation, offset: offset, length: list.reduce(0) { $0 + $1.count },
            single: list.count == 1 ? list[0] : BlockSegment(address: nil, count: 0),
            list: list.count == 1 ? [] : list)
    }

    /// Reads from the device's offset into the memory.
    @inlinable
    public static func read(
        into memory: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) -> BlockRequest {
        BlockRequest(.read, offset: offset, length: memory.count, single: BlockSegment(memory))
    }

    /// Reads from the device's offset into the pieces of memory, one after the other.
    @inlinable
    public static func read(into segments: [BlockSegment], at offset: UInt64) -> BlockRequest {
        BlockRequest(.read, offset: offset, list: segments)
    }

    @inlinable
    public static func write(
        _ memory: UnsafeRawBufferPointer, at offset: UInt64
    ) -> BlockRequest {
        BlockRequest(.write, offset: offset, length: memory.count, single: BlockSegment(memory))
    }

    @inlinable
    public static func write(_ segments: [BlockSegment], at offset: UInt64) -> BlockRequest {
        BlockRequest(.write, offset: offset, list: segments)
    }

    @inlinable
    public static var flush: BlockRequest { BlockRequest(.flush, offset: 0, length: 0) }

    @inlinable
    public static func discard(at offset: UInt64, length: Int) -> BlockRequest {
        BlockRequest(.discard, offset: offset, length: length)
    }

    /// Gives the request's pieces of memory, in order. The list is valid inside the body only.
    @inlinable
    public func withSegments<Value, Failure>(
        _ body: (UnsafeBufferPointer<BlockSegment>) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        if !list.isEmpty {
            return try list.withUnsafeBufferPointer(body)
        }
        return try withUnsafePointer(to: single) { (pointer) throws(Failure) -> Value in
            try body(UnsafeBufferPointer(start: pointer, count: single.count > 0 ? 1 : 0))
        }
    }

    /// What is left of this request after so many of its bytes: the continuation of a partial
    /// transfer.
    public func dropping(first bytes: Int) -> BlockRequest {
        let bytes = min(max(bytes, 0), length)
        let offset = offset &+ UInt64(bytes)
        if operation == .discard {
            return BlockRequest(.discard, offset: offset, length: length - bytes)
        }
        var skip = bytes
        var rest: [BlockSegment] = []
        withSegments { segments in
            for segment in segments {
                if skip >= segment.count {
                    skip -= segment.count
                    continue
                }
                rest.append(
                    BlockSegment(
                        address: segment.address.map { $0 + skip }, count: segment.count - skip))
                skip = 0
            }
        }
        return BlockRequest(operation, offset: offset, list: rest)
    }

    /// The same at another place.
    func moved(to offset: UInt64) -> BlockRequest {
        BlockRequest(operation, offset: offset, length: length, single: single, list: list)
    }

    /// The first bytes of this request alone.
    public func prefix(_ bytes: Int) -> BlockRequest {
        let bytes = min(max(bytes, 0), length)
        if operation == .discard {
            return BlockRequest(.discard, offset: offset, length: bytes)
        }
        var left = bytes
        var kept: [BlockSegment] = []
        withSegments { segments in
            for segment in segments where left > 0 {
                let count = min(segment.count, left)
                kept.append(BlockSegment(address: segment.address, count: count))
                left -= count
            }
        }
        return BlockRequest(operation, offset: offset, list: kept)
    }
}

/// What came of a request.
public enum BlockResult: Equatable, Sendable {
    /// All of it is done: this many bytes.
    case complete(Int)
    /// Only so many bytes from its start, a multiple of the block size, more than 0 and less than
    /// were asked for. Nothing is known of the rest; submit it again (`dropping(first:)`).
    case partial(Int)
    /// It failed. A write may have changed any of the blocks that it was for.
    case failed(Errno)
}
