// The numbers that the format counts with (docs/format.md §1), each of a type of its own.
//
// Values without invariants: what comes from a device is checked where it is decoded.

/// Counts blocks from the start of the device.
public struct BlockNumber: RawRepresentable, Hashable, Comparable, Sendable {
    public var rawValue: UInt64

    @inlinable
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    @inlinable
    public static func < (one: BlockNumber, other: BlockNumber) -> Bool {
        one.rawValue < other.rawValue
    }
}

/// What one commit makes durable; numbered from 1 and never reused.
public struct TransactionGroup: RawRepresentable, Hashable, Comparable, Sendable {
    public var rawValue: UInt64

    @inlinable
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    @inlinable
    public static func < (one: TransactionGroup, other: TransactionGroup) -> Bool {
        one.rawValue < other.rawValue
    }

    @inlinable
    public var next: TransactionGroup { TransactionGroup(rawValue: rawValue &+ 1) }
}

/// Blocks side by side.
public struct BlockRun: Hashable, Sendable {
    public var start: BlockNumber
    /// How many; at least 1.
    public var count: UInt64

    @inlinable
    public init(start: BlockNumber, count: UInt64) {
        self.start = start
        self.count = count
    }

    /// The block after the last one.
    @inlinable
    public var end: BlockNumber { BlockNumber(rawValue: start.rawValue &+ count) }
}
