// ServedProgram: keeps the one thread that serves the device where the program is that it serves.
//
// A program and the thread that answers it take turns; on one processor that is a switch of
// threads, on two it is waking a processor for each request and for each answer. The scheduler
// brings them together or does not, and leaves them so. So the thread looks, now and then, where
// the program ran last, and goes there. `IdlePolling` sees to it that they stay together.
//
// Threading: belongs to the serving thread.

import CSystem
import CairnBase

struct ServedProgram {
    private let idlePolling: IdlePolling
    private var program: UInt32 = 0
    private var lastRequest: UInt64 = 0
    /// Requests since we looked.
    private var unchecked = 0
    /// Where this thread was put.
    private var processor: UInt32?

    /// We look after so many requests, and a little after another program has begun to ask.
    private static let checkInterval = 256
    private static let settling = 8
    /// What asks more seldom (in nanoseconds) is left to the scheduler.
    private static let longestGap: UInt64 = 1_000_000

    init(idlePolling: IdlePolling) {
        self.idlePolling = idlePolling
    }

    /// A request has come from a thread of a program; 0 if it is the kernel's own.
    @inline(__always)
    mutating func arrived(_ now: UInt64, from asking: UInt32) {
        guard asking != 0 else { return }
        let gap = now &- lastRequest
        lastRequest = now
        unchecked &+= 1
        if gap > Self.longestGap {
            leave()
        } else if unchecked >= Self.checkInterval
            || unchecked >= Self.settling && (asking != program || processor == nil)
        {
            follow(asking)
        }
        if let processor { idlePolling.note(now, on: processor) }
    }

    /// This thread may run anywhere again.
    mutating func leave() {
        unchecked = 0
        guard processor != nil else { return }
        processor = nil
        _ = cairn_thread_confine(idlePolling.processors)
    }

    private mutating func follow(_ asking: UInt32) {
        unchecked = 0
        program = asking
        let found = cairn_last_processor(asking)
        guard let place = UInt32(exactly: found), place < 64,
            idlePolling.processors >> UInt64(place) & 1 == 1
        else { return leave() }
        guard place != processor else { return }
        processor = cairn_thread_confine(1 << UInt64(place)) == 0 ? place : nil
    }
}
