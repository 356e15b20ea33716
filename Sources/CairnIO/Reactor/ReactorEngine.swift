// ReactorEngine: what carries out a reactor's operations: a ring of the kernel, or worker threads.
//
// All on the loop's thread, except the registrations.

import CSystem
import CairnBase
import Synchronization

protocol ReactorEngine: AnyObject {
    var kind: Reactor.Engine { get }
    /// Operations that were started and not given back.
    var underWay: Int { get }

    /// Takes the operation. It is on its way at the next `submit` or `wait` at the latest.
    func start(_ operation: IOOperation)
    /// Sends what was started on its way now.
    func submit()
    /// Asks to give it up; it is given back all the same.
    func cancel(_ operation: IOOperation)
    /// Sends what was started on its way, and waits until an operation is done, somebody has woken
    /// the loop, or the time is over. Nil: no end; 0: does not wait. May return early.
    func wait(timeoutNanoseconds: UInt64?)
    /// Gives the operations that are done now back: calls `completed` of each. What one of these
    /// starts is on its way before the next is called, and at the next `wait`.
    func deliver()

    /// From any thread, before the file is used: makes it cheaper to use, if that can be.
    func register(_ file: ReactorFile)
    /// From any thread, when the file is used no more.
    func unregister(_ file: ReactorFile)
    /// From any thread: makes requests for this memory cheaper. False if that cannot be.
    func register(_ memory: UnsafeMutableRawBufferPointer) -> Bool
    /// From any thread, when no request for the memory is under way.
    func unregister(_ memory: UnsafeMutableRawBufferPointer)

    /// The loop has ended; nothing is under way.
    func end()
}

extension ReactorEngine {
    func started(_ operation: IOOperation, withWorkers: Bool) {
        operation.isUnderWay = true
        operation.isCancelled = false
        operation.isWithWorkers = withWorkers
    }
}

/// How a loop that sleeps is woken: an eventfd, which is written to only if it does sleep.
final class LoopAlarm: Sendable {
    /// Can be read when the loop has to wake up.
    let descriptor: Int32
    private let isAsleep = Atomic<Bool>(false)

    init() throws(Errno) {
        descriptor = cairn_eventfd_waiting()
        guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    }

    deinit {
        _ = cairn_close(descriptor)
    }

    /// The loop is about to sleep: from now on it is woken. It has to look for work after this.
    func set() {
        isAsleep.store(true, ordering: .sequentiallyConsistent)
    }

    func unset() {
        isAsleep.store(false, ordering: .relaxed)
    }

    /// From any thread, when there is work.
    func ring() {
        if isAsleep.exchange(false, ordering: .sequentiallyConsistent) {
            var one: UInt64 = 1
            _ = cairn_write(descriptor, &one, MemoryLayout<UInt64>.size)
        }
    }
}
