// Time as filesystems keep it, and the clock that is passed in.

import CSystem

/// A moment: seconds since 1970-01-01 00:00 UTC (may be negative) and nanoseconds within it.
public struct Timestamp: Hashable, Sendable, Comparable {
    public var seconds: Int64
    /// 0 ..< 1_000_000_000.
    public var nanoseconds: UInt32

    @inlinable
    public init(seconds: Int64, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    @inlinable
    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.seconds != right.seconds
            ? left.seconds < right.seconds : left.nanoseconds < right.nanoseconds
    }
}

/// Where the core reads the time. Nothing below the commands reads the machine's clock itself,
/// so a test can move time as it likes (design rule 6).
public protocol TimeSource: AnyObject, Sendable {
    /// The wall clock, as precise as the source has it. Stamped on files.
    func now() -> Timestamp
    /// Nanoseconds since some fixed moment; never goes back. For measuring and for deadlines.
    func monotonicNanoseconds() -> UInt64
}

/// The machine's clocks. The wall clock is the one that Linux stamps files with
/// (CLOCK_REALTIME_COARSE, which moves at each tick): with a kernel's write-back cache some
/// stamps are the kernel's and some are ours, and a file that was written later must never look
/// older (docs/adr/004-clock.md).
public final class SystemTime: TimeSource {
    public init() {}

    public func now() -> Timestamp {
        var seconds: Int64 = 0
        var nanoseconds: UInt32 = 0
        cairn_clock_realtime_coarse(&seconds, &nanoseconds)
        return Timestamp(seconds: seconds, nanoseconds: nanoseconds)
    }

    public func monotonicNanoseconds() -> UInt64 {
        cairn_clock_monotonic()
    }
}

/// A clock that stands until it is moved: for tests and simulations.
public final class ManualTime: TimeSource {
    private let lock = Lock()
    nonisolated(unsafe) private var wall: Timestamp  // guarded by lock
    nonisolated(unsafe) private var monotonic: UInt64 = 0  // guarded by lock

    public init(_ start: Timestamp = Timestamp(seconds: 1_000_000_000)) {
        wall = start
    }

    public func now() -> Timestamp {
        lock.withLock { wall }
    }

    public func monotonicNanoseconds() -> UInt64 {
        lock.withLock { monotonic }
    }

    /// Moves both clocks forward.
    public func advance(nanoseconds: UInt64) {
        lock.withLock {
            monotonic += nanoseconds
            let total = UInt64(wall.nanoseconds) + nanoseconds
            wall.seconds += Int64(total / 1_000_000_000)
            wall.nanoseconds = UInt32(total % 1_000_000_000)
        }
    }
}
