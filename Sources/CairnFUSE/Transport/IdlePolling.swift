// IdlePolling: keeps idle processors from halting between the requests of a burst.
//
// A request wakes a serving thread, and the reply wakes the program that asked. The scheduler
// likes to wake each on a processor that idles, and in a virtual machine waking one that has halted
// costs several times what the request itself does (docs/adr/021-idle-polling.md). So, while the
// requests of one program follow one another closely, a thread of the lowest priority spins on
// every processor but the one where the program and the server are: then they hand over to each
// other there, which takes next to nothing. The threads stop a moment after the last request, and
// at once when several programs ask at the same time (`isCrowded`).
//
// Threading: `note` and `isCrowded` from any serving thread; `stop` once, when nobody serves.

import CSystem
import CairnBase
import Synchronization

final class IdlePolling: @unchecked Sendable {
    // Sendable: atomics; `threads` is guarded by `lock`.

    /// How long threads spin after a request, in nanoseconds.
    private let duration: UInt64
    /// Those that may be used, as a mask.
    let processors: UInt64
    private let lock = Lock()
    private var threads: [ServingThread] = []
    private var isStopped = false

    /// What the threads do, and sleep on. The three words have a cache line of their own each:
    /// spinning threads read what serving threads write.
    private let state: UnsafeMutablePointer<Atomic<UInt32>>
    private let lastRequest: UnsafeMutablePointer<Atomic<UInt64>>
    /// Requests that followed one another closely while the threads slept.
    private let burst: UnsafeMutablePointer<Atomic<UInt32>>
    /// The processor that is left to program and server.
    private let served = Atomic<UInt32>(0)
    private let crowded = Atomic<Bool>(false)

    private enum State {
        static let asleep: UInt32 = 0
        static let spinning: UInt32 = 1
        static let ended: UInt32 = 2
    }

    /// So many requests, each so soon after the one before, make a burst.
    private static let burstLength: UInt32 = 4
    private static let burstGap: UInt64 = 1_000_000
    /// A request this soon after the last is not noted: the line shall not go to and fro.
    private static let grain: UInt64 = 5000
    private static let lineSize = 128

    /// `microseconds`: how long after a request threads go on spinning. To be made on a thread that
    /// may run on all processors that shall be used.
    init(microseconds: Int) {
        duration = UInt64(clamping: microseconds) &* 1000
        processors = cairn_thread_processors()
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: 3 * Self.lineSize, alignment: Self.lineSize)
        state = memory.bindMemory(to: Atomic<UInt32>.self, capacity: 1)
        lastRequest = (memory + Self.lineSize).bindMemory(to: Atomic<UInt64>.self, capacity: 1)
        burst = (memory + 2 * Self.lineSize).bindMemory(to: Atomic<UInt32>.self, capacity: 1)
        state.initialize(to: Atomic(State.asleep))
        lastRequest.initialize(to: Atomic(0))
        burst.initialize(to: Atomic(0))
    }

    deinit {
        UnsafeMutableRawPointer(state).deallocate()
    }

    /// A request has come, at this time of the monotonic clock, and is served on the processor where
    /// the program is.
    @inline(__always)
    func note(_ now: UInt64, on processor: UInt32) {
        let gap = now &- lastRequest.pointee.load(ordering: .relaxed)
        // If another thread's time is later than ours the gap is huge, and nothing is lost.
        guard gap > Self.grain else { return }
        lastRequest.pointee.store(now, ordering: .relaxed)
        if served.load(ordering: .relaxed) != processor {
            served.store(processor, ordering: .relaxed)
        }
        if state.pointee.load(ordering: .relaxed) == State.asleep { countTowardsBurst(gap) }
    }

    /// Several programs ask at the same time: they need all processors.
    var isCrowded: Bool {
        get { crowded.load(ordering: .relaxed) }
        set {
            crowded.store(newValue, ordering: .relaxed)
            if newValue { sleep() }
        }
    }

    private func countTowardsBurst(_ gap: UInt64) {
        guard gap < Self.burstGap, !isCrowded else {
            burst.pointee.store(0, ordering: .relaxed)
            return
        }
        guard burst.pointee.add(1, ordering: .relaxed).newValue >= Self.burstLength else { return }
        burst.pointee.store(0, ordering: .relaxed)
        startOnce()
        let (changed, _) = state.pointee.compareExchange(
            expected: State.asleep, desired: State.spinning, ordering: .sequentiallyConsistent)
        if changed { wakeThreads() }
    }

    private var word: UnsafePointer<UInt32> {
        UnsafeRawPointer(state).assumingMemoryBound(to: UInt32.self)
    }

    private func wakeThreads() { _ = cairn_futex_wake(word, .max) }

    private func sleep() {
        _ = state.pointee.compareExchange(
            expected: State.spinning, desired: State.asleep, ordering: .sequentiallyConsistent)
    }

    /// The threads are made with the first burst: a mount that idles has none.
    private func startOnce() {
        lock.lock()
        defer { lock.unlock() }
        guard threads.isEmpty, !isStopped else { return }
        for number in 0..<max(processors.nonzeroBitCount - 1, 0) {
            let thread = ServingThread(name: "cairn-awake-\(number + 1)") { [self] in
                if cairn_thread_lowest_priority() == 0 { run() }
            }
            if let thread { threads.append(thread) }
        }
    }

    /// Ends the threads.
    func stop() {
        let ending = lock.withLock {
            defer { threads = [] }
            isStopped = true
            return threads
        }
        state.pointee.store(State.ended, ordering: .sequentiallyConsistent)
        wakeThreads()
        for thread in ending {
            thread.join()
        }
    }

    private func run() {
        var left = UInt32.max
        while true {
            let served = served.load(ordering: .relaxed)
            if served != left {
                left = served
                _ = cairn_thread_confine(processors & ~(1 << UInt64(served)))
            }
            switch state.pointee.load(ordering: .acquiring) {
            case State.asleep: _ = cairn_futex_wait(word, State.asleep, -1)
            case State.spinning: spin()
            default: return
            }
        }
    }

    private func spin() {
        for _ in 0..<100 { cairn_spin_hint() }
        let now = monotonicNanoseconds()
        let last = lastRequest.pointee.load(ordering: .relaxed)
        if now > last, now &- last > duration { sleep() }
    }
}

extension IdlePolling {
    /// What serves best where nobody says otherwise, in microseconds; 0 for none. Worth it in a
    /// virtual machine; with more than two processors more would be burnt than a mount may take
    /// unasked; and where processor time is counted against a quota, none is to be wasted.
    static var automaticMicroseconds: Int {
        cairn_is_virtual_machine() && cairn_processor_count() == 2 && !cairn_has_processor_quota()
            ? 200 : 0
    }
}
