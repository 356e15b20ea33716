// RingLoop: FUSE over io_uring, where the kernel's administrator allows it.
//
// The kernel has a queue for each processor. A queue's entries are registered with a ring; a
// request made on that processor completes an entry, the loop's thread (which stays on that
// processor) answers it in the entry's own memory, and commits it, which fetches the next. One
// loop serves one queue, or several where there are more processors than threads.
// FORGET and INTERRUPT still come over /dev/fuse, and notifications go there.
//
// A parked request keeps its entry. So that a filesystem that is held still does not use all
// entries up (requirement V3), a queue has many, and gets more before its last ones are parked.
// (Before, because the kernel gives a new entry no request that waits in the queue already: such
// a one is fetched by the next commit only.) Their memory is mapped, and touched as it is used.
//
// Ending. In order, the kernel tears the entries that it has (ENOTCONN), parked ones come to their
// end, and the loop ends when no entry is left. If the ring itself fails, nobody would answer the
// queue's requests any more: the connection is aborted, and what can be is taken back in order. A
// loop that cannot even wait keeps its entries' memory for ever, for the kernel may still write
// there.
//
// Threading: all on the loop's thread, except `finished`, which hands an entry over under `lock`
// and wakes the loop.

import CLiburing
import CSystem
import CairnBase
import CairnVFS
import Glibc

final class RingLoop: @unchecked Sendable {
    // Sendable: `lock` guards `handedOver` and `hasEnded`; the rest belongs to the loop's thread.

    private enum Command {
        static let register: UInt32 = 1
        static let commitAndFetch: UInt32 = 2
    }

    private let session: Session
    private let descriptor: Int32
    private let queueIDs: [UInt16]
    private let processor: Int32?
    private let worker = Worker()
    private let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    private var entries: [RingEntry] = []
    /// Of each queue: entries that the kernel may use or that are being answered.
    private var available: [UInt16: Int] = [:]
    private var living = 0
    private var isOver = false
    /// Fails all of the mount's requests, now and from now on.
    private let abort: @Sendable () -> Void

    private let wakeup = cairn_eventfd()
    private let lock = Lock()
    // Guarded by `lock`.
    private var handedOver: [(RingEntry, Result<Session.Outcome, Errno>)] = []
    private var hasEnded = false

    /// A queue's entries at first, and the number that it keeps in reserve.
    private let firstEntries: Int
    private let reserve: Int
    private static let entryLimit = 8192
    private static let ringSize: UInt32 = 256
    /// The user data of the poll for `wakeup`; entries have their index.
    private static let wakeupData = UInt64.max

    /// Serves these queues of the kernel, on this processor if it is not nil. `abort`: aborts the
    /// connection.
    init(
        session: Session, descriptor: Int32, queueIDs: [UInt16], processor: Int32?,
        abort: @escaping @Sendable () -> Void
    ) {
        self.abort = abort
        self.session = session
        self.descriptor = descriptor
        self.queueIDs = queueIDs
        self.processor = processor
        let machine = max(Int(cairn_possible_processor_count()), 1)
        firstEntries = min(max(512 / machine, 8), 64)
        reserve = firstEntries / 2
    }

    deinit {
        if wakeup >= 0 { _ = cairn_close(wakeup) }
        ring.deallocate()
    }

    /// Whether rings of the kind that is needed can be made here.
    static var isPossible: Bool {
        let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        defer { ring.deallocate() }
        guard open(ring, size: 8) else { return false }
        io_uring_queue_exit(ring)
        return true
    }

    private static func open(_ ring: UnsafeMutablePointer<io_uring>, size: UInt32) -> Bool {
        let wide: UInt32 = 1 << 10  // IORING_SETUP_SQE128
        let singleIssuer: UInt32 = 1 << 12  // IORING_SETUP_SINGLE_ISSUER
        let deferred: UInt32 = 1 << 13  // IORING_SETUP_DEFER_TASKRUN
        return io_uring_queue_init(size, ring, wide | singleIssuer | deferred) == 0
            || io_uring_queue_init(size, ring, wide) == 0
    }

    // MARK: The loop

    /// Serves until the mount is gone. On the thread that shall serve.
    func run() {
        if let processor { _ = cairn_thread_pin(processor) }
        guard wakeup >= 0, Self.open(ring, size: Self.ringSize) else { return abort() }
        defer { io_uring_queue_exit(ring) }
        for queue in queueIDs {
            addEntries(firstEntries, to: queue)
        }
        watchWakeup()
        while living > 0 {
            let result = io_uring_submit_and_wait(ring, 1)
            if result < 0, ![-EINTR, -EAGAIN, -EBUSY, -ENOMEM].contains(result) { return fail() }
            takeCompletions()
        }
        if !isOver { abort() }
        end()
        // They hold this loop.
        entries = []
    }

    /// The ring does not work any more. Entries stay, for the kernel may still write to them.
    private func fail() {
        abort()
        connectionEnds()
        end()
    }

    private func end() {
        lock.withLock {
            hasEnded = true
            handedOver = []
        }
    }

    private func takeCompletions() {
        while true {
            var completion: UnsafeMutablePointer<io_uring_cqe>?
            guard io_uring_peek_cqe(ring, &completion) == 0, let found = completion else {
                return
            }
            let data = found.pointee.user_data
            let result = found.pointee.res
            io_uring_cqe_seen(ring, found)
            if data == Self.wakeupData {
                takeHandedOver()
                watchWakeup()
            } else if data < UInt64(entries.count) {
                complete(entries[Int(data)], result)
            }
        }
    }

    private func complete(_ entry: RingEntry, _ result: Int32) {
        if result < 0 {
            // The connection is going (ENOTCONN), or the entry was not taken.
            living -= 1
            available[entry.queueID, default: 1] -= 1
            if result == -ENOTCONN || result == -ECONNABORTED {
                connectionEnds()
            } else if !isOver, entry.hasServed, entries.count < Self.entryLimit {
                // One that has never served is not replaced: the next would fare no better.
                addEntries(1, to: entry.queueID)
            }
            return
        }
        handle(entry)
    }

    private func handle(_ entry: RingEntry) {
        let started = monotonicNanoseconds()
        if let processor {
            session.idlePolling?.note(started, on: UInt32(truncatingIfNeeded: processor))
        }
        let request: Request
        do throws(Errno) {
            request = try entry.parse()
        } catch {
            return commit(entry, .failure(error))
        }
        var progress = Session.Progress()
        var failed = false
        do throws(Pause) {
            let outcome = try session.perform(
                request, into: entry.reply, by: worker, &progress)
            commit(entry, .success(outcome))
        } catch {
            switch error {
            case .failed(let errno):
                failed = true
                commit(entry, .failure(errno))
            case .wait(let wait):
                park(entry)
                ParkedRequest.park(session, entry, progress, on: wait, started: started)
                return
            }
        }
        session.counters.count(
            request.opcode, failed: failed, waited: false,
            nanoseconds: monotonicNanoseconds() &- started)
    }

    // MARK: Parked requests

    private func park(_ entry: RingEntry) {
        let left = available[entry.queueID, default: 1] - 1
        available[entry.queueID] = left
        if left < reserve, entries.count + firstEntries <= Self.entryLimit, !isOver {
            addEntries(firstEntries, to: entry.queueID)
        }
    }

    /// From any thread: a parked entry's request is done. The loop commits it, unless it has ended.
    func finished(_ entry: RingEntry, _ result: Result<Session.Outcome, Errno>) {
        lock.withLock {
            if !hasEnded { handedOver.append((entry, result)) }
        }
        var one: UInt64 = 1
        _ = cairn_write(wakeup, &one, MemoryLayout<UInt64>.size)
    }

    private func takeHandedOver() {
        var count: UInt64 = 0
        _ = cairn_read(wakeup, &count, MemoryLayout<UInt64>.size)
        let finished = lock.withLock {
            defer { handedOver = [] }
            return handedOver
        }
        for (entry, result) in finished {
            available[entry.queueID, default: 0] += 1
            commit(entry, result)
        }
    }

    /// The kernel has torn the entries that it had; what is parked is told to come to its end.
    private func connectionEnds() {
        guard !isOver else { return }
        isOver = true
        session.parked.cancelAll()
    }

    // MARK: Submissions

    private func addEntries(_ count: Int, to queue: UInt16) {
        for _ in 0..<count {
            guard
                let entry = RingEntry(
                    queueID: queue, payloadSize: max(session.options.maximumTransfer, 1 << 16),
                    loop: self)
            else { return }
            let index = entries.count
            entries.append(entry)
            entry.index = index
            living += 1
            available[queue, default: 0] += 1
            submit(entry, Command.register)
        }
    }

    private func commit(_ entry: RingEntry, _ result: Result<Session.Outcome, Errno>) {
        if isOver {
            living -= 1
            return
        }
        entry.fillReply(result)
        submit(entry, Command.commitAndFetch)
    }

    private func submit(_ entry: RingEntry, _ command: UInt32) {
        guard let raw = nextSubmission() else {
            // The ring takes nothing. A request that is not committed would never be answered.
            living -= 1
            if !isOver { abort() }
            return
        }
        let isRegister = command == Command.register
        let uringCommand: UInt8 = 46  // IORING_OP_URING_CMD
        raw.storeBytes(of: uringCommand, as: UInt8.self)
        raw.storeBytes(of: descriptor, toByteOffset: 4, as: Int32.self)
        raw.storeBytes(of: command, toByteOffset: 8, as: UInt32.self)
        if isRegister {
            raw.storeBytes(
                of: UInt64(UInt(bitPattern: entry.parts)), toByteOffset: 16, as: UInt64.self)
            raw.storeBytes(of: UInt32(2), toByteOffset: 24, as: UInt32.self)
        }
        raw.storeBytes(of: UInt64(entry.index), toByteOffset: 32, as: UInt64.self)
        // struct fuse_uring_cmd_req: flags, commit id, queue.
        raw.storeBytes(
            of: isRegister ? 0 : entry.commitID, toByteOffset: 56, as: UInt64.self)
        raw.storeBytes(of: entry.queueID, toByteOffset: 64, as: UInt16.self)
    }

    private func watchWakeup() {
        guard let raw = nextSubmission() else { return }
        let pollAdd: UInt8 = 6  // IORING_OP_POLL_ADD
        raw.storeBytes(of: pollAdd, as: UInt8.self)
        raw.storeBytes(of: wakeup, toByteOffset: 4, as: Int32.self)
        raw.storeBytes(of: UInt32(POLLIN), toByteOffset: 28, as: UInt32.self)
        raw.storeBytes(of: Self.wakeupData, toByteOffset: 32, as: UInt64.self)
    }

    /// 128 zeroed bytes of the submission queue, after making room if it is full.
    private func nextSubmission() -> UnsafeMutableRawPointer? {
        var found = io_uring_get_sqe(ring)
        if found == nil {
            _ = io_uring_submit(ring)
            found = io_uring_get_sqe(ring)
        }
        guard let found else { return nil }
        let raw = UnsafeMutableRawPointer(found)
        memset(raw, 0, 128)
        return raw
    }
}
