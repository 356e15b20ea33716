// Timers: calling something later, and the heap that both kinds of timers keep.
//
// Passed in (design rule 6): the reactor is the real kind, ManualTimers the one that a test moves.
//
// Threading: any thread; a body is called on the loop's thread, or on the one that moves the time,
// with no lock held.

public import CairnBase

public protocol TimerSource: AnyObject, Sendable {
    /// Nanoseconds since some fixed moment; never goes back.
    func monotonicNanoseconds() -> UInt64
    /// Calls `body` once, when the time has come, unless it is cancelled before.
    @discardableResult
    func schedule(
        atNanoseconds deadline: UInt64, _ body: @escaping @Sendable () -> Void
    ) -> TimerTicket
    /// False if the body was called or is being called.
    @discardableResult
    func cancel(_ ticket: TimerTicket) -> Bool
}

extension TimerSource {
    @discardableResult
    public func schedule(
        afterNanoseconds delay: UInt64, _ body: @escaping @Sendable () -> Void
    ) -> TimerTicket {
        let (deadline, overflows) = monotonicNanoseconds().addingReportingOverflow(delay)
        return schedule(atNanoseconds: overflows ? .max : deadline, body)
    }
}

/// Names what was scheduled, for `cancel`.
public struct TimerTicket: Hashable, Sendable {
    let number: UInt64
}

/// What shall be called when. Not locked: whoever has it locks it.
struct TimerHeap {
    private var heap: [(deadline: UInt64, number: UInt64)] = []
    /// What is not in here was cancelled; its place in the heap goes when its time comes, or when
    /// there are too many of them.
    private var bodies: [UInt64: @Sendable () -> Void] = [:]
    private var lastNumber: UInt64 = 0

    var isEmpty: Bool { bodies.isEmpty }

    /// When something has to be called, nil: never. May be early, if that was cancelled.
    var earliest: UInt64? { heap.first?.deadline }

    mutating func insert(
        at deadline: UInt64, _ body: @escaping @Sendable () -> Void
    ) -> TimerTicket {
        lastNumber += 1
        bodies[lastNumber] = body
        heap.append((deadline, lastNumber))
        rise(heap.count - 1)
        return TimerTicket(number: lastNumber)
    }

    mutating func cancel(_ ticket: TimerTicket) -> Bool {
        guard bodies.removeValue(forKey: ticket.number) != nil else { return false }
        if heap.count > 2 * bodies.count + 64 {
            heap = heap.filter { bodies[$0.number] != nil }.sorted(by: Self.isBefore)
        }
        return true
    }

    /// Takes out the first whose time has come by `now`, and its time.
    mutating func removeDue(
        by now: UInt64
    ) -> (deadline: UInt64, body: @Sendable () -> Void)? {
        while let first = heap.first, first.deadline <= now {
            let last = heap.removeLast()
            if !heap.isEmpty {
                heap[0] = last
                sink(0)
            }
            if let body = bodies.removeValue(forKey: first.number) { return (first.deadline, body) }
        }
        return nil
    }

    /// Those of the same time are called in the order in which they were scheduled.
    private static func isBefore(
        _ left: (deadline: UInt64, number: UInt64), _ right: (deadline: UInt64, number: UInt64)
    ) -> Bool {
        (left.deadline, left.number) < (right.deadline, right.number)
    }

    private mutating func rise(_ start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard Self.isBefore(heap[index], heap[parent]) else { return }
            heap.swapAt(index, parent)
            index = parent
        }
    }

    private mutating func sink(_ start: Int) {
        var index = start
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < heap.count && Self.isBefore(heap[child], heap[least]) {
                least = child
            }
            if least == index { return }
            heap.swapAt(index, least)
            index = least
        }
    }
}

/// Timers of a clock that stands until it is moved: for tests and simulations.
public final class ManualTimers: TimerSource {
    private let time: ManualTime
    private let lock = Lock()
    nonisolated(unsafe) private var heap = TimerHeap()  // guarded by lock

    /// The clock should be moved through `advance` only.
    public init(_ time: ManualTime = ManualTime()) {
        self.time = time
    }

    public func monotonicNanoseconds() -> UInt64 { time.monotonicNanoseconds() }

    @discardableResult
    public func schedule(
        atNanoseconds deadline: UInt64, _ body: @escaping @Sendable () -> Void
    ) -> TimerTicket {
        lock.withLock { heap.insert(at: deadline, body) }
    }

    @discardableResult
    public func cancel(_ ticket: TimerTicket) -> Bool {
        lock.withLock { heap.cancel(ticket) }
    }

    /// Moves the clock, stopping at each moment for which something is scheduled, and calls that.
    public func advance(nanoseconds: UInt64) {
        let end = time.monotonicNanoseconds() &+ nanoseconds
        while let due = lock.withLock({ heap.removeDue(by: end) }) {
            moveClock(to: due.deadline)
            due.body()
        }
        moveClock(to: end)
    }

    /// Moves the clock to the next moment for which something is scheduled, and calls that. False if
    /// there is nothing.
    @discardableResult
    public func advanceToNext() -> Bool {
        guard let due = lock.withLock({ heap.removeDue(by: .max) }) else { return false }
        moveClock(to: due.deadline)
        due.body()
        return true
    }

    private func moveClock(to moment: UInt64) {
        let now = time.monotonicNanoseconds()
        if moment > now { time.advance(nanoseconds: moment - now) }
    }
}
