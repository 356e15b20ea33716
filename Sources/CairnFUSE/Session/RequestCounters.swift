// Counts of requests, errors and how long they took.
//
// Threading: relaxed atomics; a reading is no single moment.

import CairnBase
import Synchronization

/// What a mount has answered so far.
public struct FUSEMountStatistics: Sendable {
    public struct Operation: Sendable {
        /// The kernel's name of the request, such as "lookup".
        public var name: String
        public var count: UInt64
        public var errors: UInt64
        /// Answered only after a wait.
        public var waited: UInt64
        public var totalNanoseconds: UInt64
        /// How many took at least 2ⁿ and less than 2ⁿ⁺¹ nanoseconds, by n.
        public var histogram: [UInt64]
    }

    /// Those that were asked for at least once.
    public var operations: [Operation]
    /// Inodes that the kernel knows.
    public var nodes: Int
    /// Requests that wait now.
    public var waiting: Int
    /// "device" or "io_uring".
    public var transport: String
    public var protocolMinor: UInt32
    /// Told to the kernel because another door changed something.
    public var notifications: UInt64
}

final class RequestCounters: @unchecked Sendable {
    // Sendable: atomics at fixed addresses, freed with the object.
    static let buckets = 40
    private static let stride = 4 + buckets
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        cells = .allocate(capacity: Opcode.limit * Self.stride)
        for index in 0..<Opcode.limit * Self.stride {
            (cells + index).initialize(to: Atomic(0))
        }
    }

    deinit {
        cells.deinitialize(count: Opcode.limit * Self.stride)
        cells.deallocate()
    }

    @inline(__always)
    func count(_ opcode: Opcode, failed: Bool, waited: Bool, nanoseconds: UInt64) {
        let base = cells + Int(opcode.rawValue) * Self.stride
        base[0].add(1, ordering: .relaxed)
        if failed { base[1].add(1, ordering: .relaxed) }
        if waited { base[2].add(1, ordering: .relaxed) }
        base[3].add(nanoseconds, ordering: .relaxed)
        let bucket = UInt64.bitWidth - 1 - (nanoseconds | 1).leadingZeroBitCount
        base[4 + min(bucket, Self.buckets - 1)].add(1, ordering: .relaxed)
    }

    var operations: [FUSEMountStatistics.Operation] {
        Opcode.allCases.compactMap { opcode in
            let base = cells + Int(opcode.rawValue) * Self.stride
            let count = base[0].load(ordering: .relaxed)
            guard count > 0 else { return nil }
            return FUSEMountStatistics.Operation(
                name: opcode.name, count: count, errors: base[1].load(ordering: .relaxed),
                waited: base[2].load(ordering: .relaxed),
                totalNanoseconds: base[3].load(ordering: .relaxed),
                histogram: (0..<Self.buckets).map { base[4 + $0].load(ordering: .relaxed) })
        }
    }
}
