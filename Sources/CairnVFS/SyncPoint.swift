// SyncPoint: what one call of fsync, syncfs or sync has to make durable.
//
// A call that has to wait is attempted again and again. What it must reach is settled by its first
// attempt, and kept here by whoever drives it: otherwise it would wait as long as others write.
//
// A value, of one call on one file or filesystem.

public struct SyncPoint: Hashable, Sendable {
    /// The filesystem's own measure of what was acknowledged when the call began; nil: it has not.
    public var target: UInt64?

    public init() {}
}
