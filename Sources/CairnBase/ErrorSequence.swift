// ErrorSequence: tells each open description once that something could not be written (issue 3, C6).
//
// As errseq_t of Linux (lib/errseq.c). Errors are counted; whoever wants to hear of them keeps a
// position, and is told of the last error if there was one since. An error that nobody has heard
// of yet is told also to whoever takes a position after it, so that it is not lost when a file is
// closed and opened again; once somebody has been told, later positions start behind it.
//
// Threading: any thread, no lock.

import Synchronization

public struct ErrorSequence: ~Copyable, Sendable {
    /// Up to where somebody has heard.
    public struct Position: Equatable, Sendable {
        let value: UInt64
    }

    // Bits 0 … 31: the last errno, 32: somebody was told of it, 33 …: counts errors.
    private let state = Atomic<UInt64>(0)
    private static var seen: UInt64 { 1 << 32 }
    private static var one: UInt64 { 1 << 33 }

    public init() {}

    /// Something could not be written.
    public borrowing func record(_ error: Errno) {
        var old = state.load(ordering: .relaxed)
        while true {
            let next =
                (old & ~(Self.one - 1)) &+ Self.one | UInt64(UInt32(bitPattern: error.rawValue))
            let (done, now) = state.compareExchange(
                expected: old, desired: next, ordering: .acquiringAndReleasing)
            if done { return }
            old = now
        }
    }

    /// Where a description starts when it is opened.
    public borrowing func position() -> Position {
        let now = state.load(ordering: .acquiring)
        // Nobody has been told of the last error: this one will be.
        return Position(value: now & Self.seen == 0 ? 0 : now)
    }

    /// The last error since the position, which moves on: the same error is not told twice.
    public borrowing func check(since position: inout Position) -> Errno? {
        var now = state.load(ordering: .acquiring)
        guard now != position.value, now != 0 else { return nil }
        if now & Self.seen == 0 {
            let told = now | Self.seen
            let (done, other) = state.compareExchange(
                expected: now, desired: told, ordering: .acquiringAndReleasing)
            // Otherwise another error came, or somebody else was told: either is `other`'s matter.
            now = done ? told : other
            if !done { return check(since: &position) }
        }
        position = Position(value: now)
        return Errno(rawValue: Int32(truncatingIfNeeded: now))
    }
}
