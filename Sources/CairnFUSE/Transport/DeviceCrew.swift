// DeviceCrew: how many threads serve the device.
//
// One thread serves a program best that asks for one thing after another: a second one would take
// every other request, from another processor. Several programs at once need more. So one thread
// serves always, and the others sleep until requests are found waiting when an answer was just
// given; each goes to sleep again when that has not happened for a while.
//
// Threading: safe from any thread.

import CSystem
import CairnBase
import Synchronization

final class DeviceCrew: @unchecked Sendable {
    // Sendable: atomics.

    private let idlePolling: IdlePolling?
    private let helperCount: Int
    private let hasEnded = Atomic<Bool>(false)
    /// How many helpers shall serve. What sleeping helpers sleep on.
    private let wanted = UnsafeMutablePointer<Atomic<UInt32>>.allocate(capacity: 1)

    /// `threads`: those that may serve at once.
    init(threads: Int, idlePolling: IdlePolling?) {
        helperCount = max(threads - 1, 0)
        self.idlePolling = idlePolling
        wanted.initialize(to: Atomic(0))
    }

    deinit {
        wanted.deallocate()
    }

    /// Helpers serve, too.
    @inline(__always)
    var isCrowded: Bool { wanted.pointee.load(ordering: .relaxed) > 0 }

    private var word: UnsafePointer<UInt32> {
        UnsafeRawPointer(wanted).assumingMemoryBound(to: UInt32.self)
    }

    /// One more thread shall serve.
    func callHelper() {
        let now = wanted.pointee.load(ordering: .relaxed)
        guard now < helperCount else { return }
        let (changed, _) = wanted.pointee.compareExchange(
            expected: now, desired: now + 1, ordering: .relaxed)
        guard changed else { return }
        idlePolling?.isCrowded = true
        _ = cairn_futex_wake(word, .max)
    }

    /// The helper of this number (from 0) sleeps until it shall serve; false: never more.
    func awaitCall(_ number: Int) -> Bool {
        while !hasEnded.load(ordering: .acquiring) {
            let now = wanted.pointee.load(ordering: .acquiring)
            if now > number { return true }
            _ = cairn_futex_wait(word, now, -1)
        }
        return false
    }

    /// Whether the helper of this number may go: the last one that was called goes first.
    func dismiss(_ number: Int) -> Bool {
        let (changed, _) = wanted.pointee.compareExchange(
            expected: UInt32(number) + 1, desired: UInt32(number), ordering: .relaxed)
        if changed, number == 0 { idlePolling?.isCrowded = false }
        return changed
    }

    /// The mount is gone.
    func end() {
        hasEnded.store(true, ordering: .releasing)
        wanted.pointee.add(UInt32(1) << 16, ordering: .releasing)
        _ = cairn_futex_wake(word, .max)
    }
}

/// Of one thread: whether several programs ask at once.
struct CrowdMeter {
    private var level = 0
    private var lastAnswer: UInt64 = 0
    private var lastProgram: UInt32 = 0

    /// A request that is there this soon after an answer, in nanoseconds, was waiting for it.
    private static let immediately: UInt64 = 1500
    private static let step = 8
    /// So high is the level where a helper is called.
    private static let crowd = 64
    private static let ceiling = 4 * crowd

    /// A request has come, from this thread of a program. A program that is awake on another
    /// processor may ask for the next thing before we are back: only another one counts. But much
    /// data that the kernel reads ahead or writes back is better copied by two.
    @inline(__always)
    mutating func arrived(_ now: UInt64, from program: UInt32, isBulk: Bool) {
        if isBulk || program != lastProgram, now &- lastAnswer < Self.immediately {
            level = min(level + Self.step, Self.ceiling)
        } else {
            level = max(level - 1, 0)
        }
        lastProgram = program
    }

    /// It is answered. Where nobody waits for the answer, the program may have sent the next long
    /// ago, and that says nothing.
    @inline(__always)
    mutating func answered(_ now: UInt64, isAwaited: Bool) {
        lastAnswer = isAwaited ? now : 0
    }

    /// That of a helper that was just called.
    static var called: CrowdMeter {
        var meter = CrowdMeter()
        meter.level = crowd / 2
        return meter
    }

    var isCrowded: Bool { level >= Self.crowd }
    var isQuiet: Bool { level == 0 }
}
