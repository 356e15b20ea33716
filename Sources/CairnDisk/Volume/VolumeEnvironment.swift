// VolumeEnvironment and VolumeOptions: the world and the wishes that a volume is opened with.
//
// Values. Nothing in CairnDisk reads a clock, starts a thread or draws a random number of its own
// accord (design rule 6): it is all in here.

public import CairnBase
public import CairnIO

/// What a volume stands on.
public struct VolumeEnvironment: Sendable {
    public var device: any BlockDevice
    /// For the interval between commits.
    public var timers: any TimerSource
    /// The wall clock, for the times in superblocks and of inodes.
    public var time: any TimeSource
    /// What commits, syncs and placing run on. Serial or not; it must not be the thread of whoever
    /// waits for them.
    public var executor: any TaskExecutor
    /// Told of what a person should know: fallbacks, damage, errors. One line each.
    public var report: @Sendable (String) -> Void
    /// Told how far long work is, from any thread. By default nobody is.
    public var progress: (@Sendable (VolumeProgress) -> Void)?

    public init(
        device: any BlockDevice, timers: any TimerSource, time: any TimeSource,
        executor: any TaskExecutor, report: @escaping @Sendable (String) -> Void,
        progress: (@Sendable (VolumeProgress) -> Void)? = nil
    ) {
        self.device = device
        self.timers = timers
        self.time = time
        self.executor = executor
        self.report = report
        self.progress = progress
    }
}

/// How far work is.
public struct VolumeProgress: Hashable, Sendable {
    public enum Work: String, Sendable {
        /// Superblocks and roots are read, and the records of the regions.
        case opening
        /// What was synced since the last commit is carried out again.
        case replaying
    }

    public var work: Work
    /// Steps done, and steps in all.
    public var done: UInt64
    public var of: UInt64
}

/// How a volume shall be used.
public struct VolumeOptions: Hashable, Sendable {
    /// Nothing is written. What was synced and not committed is carried out in memory.
    public var isReadOnly = false
    /// How long a change stays in memory at most before its group is committed, in nanoseconds
    /// (`commit=MS`).
    public var commitIntervalNanoseconds: UInt64 = 100_000_000
    /// Freed blocks are discarded on the device (`trim=on`).
    public var discards = true
    /// Bytes of memory for nodes of the trees.
    public var nodeCacheBytes = 32 << 20
    /// Changed nodes of a group, in bytes, at which it is committed without waiting for its time.
    public var groupBytes = 16 << 20

    public init() {}
}

/// Why a volume cannot be made, opened or used, for people: `WHAT: WHY`, and the errno that Linux
/// would answer with.
public struct VolumeFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let errno: Errno
    /// The place: a slot, a block, a size.
    public let what: String
    /// The cause and, where there is one, the way out.
    public let why: String

    public init(_ errno: Errno, _ what: String, _ why: String) {
        self.errno = errno
        self.what = what
        self.why = why
    }

    public var description: String { "\(what): \(why)" }
}
