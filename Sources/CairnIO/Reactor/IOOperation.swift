// IOOperation: one piece of work that a reactor's engine carries out, and ReactorFile: on what.
//
// Made once and used again by whoever owns it (a device keeps a list), so that a request allocates
// nothing. From `start` until `completed` it belongs to the reactor.
//
// Threading: filled by any thread while nobody else has it; handed to the loop under the reactor's
// lock; everything else on the loop's thread, or on the worker that has it.

import CairnBase

class IOOperation: @unchecked Sendable {
    // Sendable: handed from thread to thread as said above, each time under a lock.
    enum Action: UInt8 {
        /// Of one piece of memory: `address` and `count`.
        case read, write
        /// Of `segments`, `count` of them, which stay where they are until it has completed.
        case readSegments, writeSegments
        case syncData
        /// `offset` and `count` bytes.
        case punchHole, discardBlocks
    }

    final var action = Action.syncData
    /// Its owner keeps the file while the operation is under way.
    final unowned(unsafe) var file: ReactorFile
    final var address: UnsafeMutableRawPointer?
    final var segments: UnsafeMutablePointer<BlockSegment>?
    final var count = 0
    final var offset: UInt64 = 0
    /// One more each time that the operation is used, so that a late cancellation does not meet
    /// its next use.
    final var generation: UInt64 = 0
    /// In a list of the reactor, a worker pool or a device.
    final var next: IOOperation?
    final unowned(unsafe) var previous: IOOperation?
    /// The engine has it.
    final var isUnderWay = false
    final var isCancelled = false
    /// A worker thread has it, or will.
    final var isWithWorkers = false
    /// It waits for one. Guarded by the pool's lock.
    final var isQueued = false
    /// What the worker brought back.
    final var result = 0

    init(_ file: ReactorFile) {
        self.file = file
    }

    /// It is done: with bytes, or with a negative errno. On the loop's thread, once for each start.
    func completed(_ result: Int) {}

    /// Carries it out on this thread, waiting as long as it takes. The result is as for
    /// `completed`.
    final func carryOut() -> Int {
        while true {
            let result = callOnce()
            if result != -Int(Errno.EINTR.rawValue) { return result }
        }
    }
}

/// An open file that operations are for. Closed by its owner.
final class ReactorFile: @unchecked Sendable {
    // Sendable: `descriptor` does not change; `registered` is written before the file is used.
    let descriptor: Int32
    /// Its number in the ring's table of files, which saves the kernel looking it up; -1: none.
    var registered: Int32 = -1

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }
}

/// A first-in, first-out list through the operations themselves.
struct IOQueue {
    private(set) var first: IOOperation?
    private var last: IOOperation?

    var isEmpty: Bool { first == nil }

    mutating func append(_ operation: IOOperation) {
        operation.previous = last
        if let last {
            last.next = operation
        } else {
            first = operation
        }
        last = operation
    }

    mutating func removeFirst() -> IOOperation? {
        guard let operation = first else { return nil }
        remove(operation)
        return operation
    }

    /// It must be in this list.
    mutating func remove(_ operation: IOOperation) {
        let before = operation.previous
        let after = operation.next
        operation.previous = nil
        operation.next = nil
        if let before { before.next = after } else { first = after }
        if let after { after.previous = before } else { last = before }
    }

    mutating func takeAll() -> IOQueue {
        let all = self
        self = IOQueue()
        return all
    }
}
