// RingEngine: operations on io_uring.
//
// An entry's user data is the operation's address and, in the upper 16 bits, the low bits of its
// generation; an operation that the kernel has is retained, so the address is good until its
// completion has been taken. A cancellation names that user data: one that comes too late finds
// nothing, also if the operation is in use again.
//
// What the kernel cannot do on a ring (BLKDISCARD) goes to a worker thread, made when needed.
//
// Submission. Entries are submitted one by one as they are prepared (the callback that prepared
// one returns, the next completion waits): with batches the device's queue runs low. The last one
// before a sleep goes with the sleep, in one system call. Other flags of the ring were measured
// and lost: docs/adr/006-block-layer.md.
//
// Threading: the loop's, except the registrations, for which the kernel has locks.

import CLiburing
import CSystem
import CairnBase
import Glibc

final class RingEngine: ReactorEngine {
    var kind: Reactor.Engine { .uring }
    private(set) var underWay = 0

    private let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    /// Operations that found no entry.
    private var waiting = IOQueue()
    /// Entries whose completions were not taken.
    private var outstanding: UInt32 = 0
    /// How many completions the kernel has room for. Those beyond, it would keep in memory that it
    /// allocates, and lose where there is none: so there are never more entries outstanding.
    private let completionRoom: UInt32
    private let registrations: RingRegistrations
    private let workers: WorkerPool

    private let alarm: LoopAlarm
    /// What is read from the alarm.
    private let alarmCount = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    private var isAlarmWatched = false
    private var hasEnded = false

    private static let ringSize: UInt32 = 256
    private static let completionSize: UInt32 = 8192
    /// In nanoseconds: how soon the kernel is asked again where it could not.
    private static let patience: UInt64 = 1_000_000
    // User data that is no operation's address.
    private static let alarmData: UInt64 = 1
    private static let cancelData: UInt64 = 2
    private static let addressMask: UInt64 = (1 << 48) - 1

    /// Throws what io_uring_setup(2) says, or ENOSYS for a kernel before 5.11.
    init(workerLimit: Int, alarm: LoopAlarm) throws(Errno) {
        self.alarm = alarm
        do throws(Errno) {
            completionRoom = try Self.open(ring)
        } catch {
            ring.deallocate()
            alarmCount.deallocate()
            throw error
        }
        registrations = RingRegistrations(ring)
        workers = WorkerPool(limit: workerLimit, alarm: alarm)
    }

    deinit {
        end()
        alarmCount.deallocate()
        ring.deallocate()
    }

    /// Gives how many completions there is room for.
    private static func open(_ ring: UnsafeMutablePointer<io_uring>) throws(Errno) -> UInt32 {
        let sizedCompletions: UInt32 = 1 << 3  // IORING_SETUP_CQSIZE
        let clamped: UInt32 = 1 << 4  // IORING_SETUP_CLAMP
        let cooperative: UInt32 = 1 << 8  // IORING_SETUP_COOP_TASKRUN
        let flagged: UInt32 = 1 << 9  // IORING_SETUP_TASKRUN_FLAG
        let needed: UInt32 = 1 << 1 | 1 << 2 | 1 << 8  // NODROP, SUBMIT_STABLE, EXT_ARG
        var result: Int32 = 0
        for flags in [sizedCompletions | clamped | cooperative | flagged, sizedCompletions] {
            var parameters = io_uring_params()
            parameters.flags = flags
            parameters.cq_entries = completionSize
            result = io_uring_queue_init_params(ringSize, ring, &parameters)
            if result == 0 {
                if parameters.features & needed == needed { return parameters.cq_entries }
                io_uring_queue_exit(ring)
                throw .ENOSYS
            }
        }
        throw Errno(rawValue: -result)
    }

    func end() {
        guard !hasEnded else { return }
        hasEnded = true
        // Once the ring has gone, the kernel must not write into `alarmCount`.
        while isAlarmWatched {
            alarm.set()
            alarm.ring()
            settle(io_uring_submit_and_wait(ring, 1))
            takeCompletions()
        }
        workers.end()
        registrations.end()
        io_uring_queue_exit(ring)
    }

    // MARK: Starting

    func start(_ operation: IOOperation) {
        underWay += 1
        let isForWorkers = operation.action == .discardBlocks
        started(operation, withWorkers: isForWorkers)
        if isForWorkers { return workers.start(operation) }
        if !waiting.isEmpty || !prepare(operation) { waiting.append(operation) }
    }

    /// False if there is no entry for it.
    private func prepare(_ operation: IOOperation) -> Bool {
        guard hasRoom, let entry = nextEntry() else { return false }
        let file = operation.file
        let isRegistered = file.registered >= 0
        let descriptor = isRegistered ? file.registered : file.descriptor
        let count = UInt32(truncatingIfNeeded: operation.count)
        switch operation.action {
        case .read:
            if let index = registrations.index(of: operation.address, count: operation.count) {
                io_uring_prep_read_fixed(
                    entry, descriptor, operation.address, count, operation.offset, index)
            } else {
                io_uring_prep_read(entry, descriptor, operation.address, count, operation.offset)
            }
        case .write:
            if let index = registrations.index(of: operation.address, count: operation.count) {
                io_uring_prep_write_fixed(
                    entry, descriptor, operation.address, count, operation.offset, index)
            } else {
                io_uring_prep_write(entry, descriptor, operation.address, count, operation.offset)
            }
        case .readSegments:
            io_uring_prep_readv(
                entry, descriptor, Self.vector(operation), count, operation.offset)
        case .writeSegments:
            io_uring_prep_writev(
                entry, descriptor, Self.vector(operation), count, operation.offset)
        case .syncData:
            io_uring_prep_fsync(entry, descriptor, 1)  // IORING_FSYNC_DATASYNC
        case .punchHole:
            io_uring_prep_fallocate(
                entry, descriptor, CAIRN_PUNCH_HOLE, off_t(truncatingIfNeeded: operation.offset),
                off_t(operation.count))
        case .discardBlocks:
            preconditionFailure("a worker's")
        }
        if isRegistered { entry.pointee.flags |= 1 << 0 }  // IOSQE_FIXED_FILE
        entry.pointee.user_data = Self.userData(operation)
        _ = Unmanaged.passRetained(operation)
        return true
    }

    private static func vector(_ operation: IOOperation) -> UnsafePointer<iovec>? {
        UnsafeRawPointer(operation.segments)?.assumingMemoryBound(to: iovec.self)
    }

    private static func userData(_ operation: IOOperation) -> UInt64 {
        UInt64(UInt(bitPattern: Unmanaged.passUnretained(operation).toOpaque()))
            | operation.generation << 48
    }

    /// For another operation. The other half is for cancellations, and for the alarm.
    private var hasRoom: Bool { outstanding < completionRoom / 2 }

    private func nextEntry() -> UnsafeMutablePointer<io_uring_sqe>? {
        guard outstanding < completionRoom else { return nil }
        var entry = io_uring_get_sqe(ring)
        if entry == nil {
            submit()
            entry = io_uring_get_sqe(ring)
        }
        if entry != nil { outstanding += 1 }
        return entry
    }

    /// The kernel may be short of memory or of room for completions (EAGAIN, EBUSY): then the
    /// entries stay, and go with the next submission.
    func submit() {
        if io_uring_sq_ready(ring) > 0 { _ = io_uring_submit(ring) }
    }

    private func startWaiting() {
        while let operation = waiting.first, prepare(operation) {
            waiting.remove(operation)
        }
    }

    func cancel(_ operation: IOOperation) {
        if operation.isWithWorkers { return workers.cancel(operation) }
        if operation.previous != nil || waiting.first === operation {
            waiting.remove(operation)
            return giveBack(operation, -Int(Errno.ECANCELED.rawValue))
        }
        // Without an entry it cannot be asked for; then it takes as long as it takes.
        guard let entry = nextEntry() else { return }
        io_uring_prep_cancel64(entry, Self.userData(operation), 0)
        entry.pointee.user_data = Self.cancelData
    }

    // MARK: Completions

    func wait(timeoutNanoseconds: UInt64?) {
        watchAlarm()
        startWaiting()
        var completion: UnsafeMutablePointer<io_uring_cqe>?
        if io_uring_cq_ready(ring) > 0 || workers.hasFinished { return submit() }
        if timeoutNanoseconds == 0 {
            submit()
            // Lets the kernel post what it has put off.
            _ = io_uring_peek_cqe(ring, &completion)
            return
        }
        var timeout = timeoutNanoseconds
        // Should the kernel not take entries now, it will soon.
        if !waiting.isEmpty && hasRoom || !isAlarmWatched {
            timeout = min(timeout ?? .max, Self.patience)
        }
        let result: Int32
        if let timeout {
            var time = __kernel_timespec(
                tv_sec: Int64(timeout / 1_000_000_000), tv_nsec: Int64(timeout % 1_000_000_000))
            result = io_uring_submit_and_wait_timeout(ring, &completion, 1, &time, nil)
        } else {
            result = io_uring_submit_and_wait(ring, 1)
        }
        settle(result)
    }

    /// After io_uring_enter(2). Where the kernel is short of memory it is asked again in a moment, or
    /// when something completes.
    private func settle(_ result: Int32) {
        switch result {
        case -ETIME, -EINTR: break
        case -EAGAIN, -EBUSY, -ENOMEM:
            _ = cairn_wait_readable(ring.pointee.ring_fd, Int64(Self.patience))
        default: precondition(result >= 0, "io_uring_enter: \(Errno(rawValue: -result))")
        }
    }

    func deliver() {
        takeCompletions()
        var finished = workers.takeFinished()
        while let operation = finished.removeFirst() {
            giveBack(operation, operation.result)
            submit()
        }
    }

    /// Takes what is there now: what these callbacks start is for the next turn.
    private func takeCompletions() {
        var left = io_uring_cq_ready(ring)
        while left > 0 {
            var completion: UnsafeMutablePointer<io_uring_cqe>?
            guard io_uring_peek_cqe(ring, &completion) == 0, let found = completion else { return }
            let data = found.pointee.user_data
            let result = found.pointee.res
            io_uring_cq_advance(ring, 1)
            outstanding -= 1
            left -= 1
            switch data {
            case Self.alarmData:
                isAlarmWatched = false
            case Self.cancelData:
                break
            default:
                if let address = UnsafeRawPointer(bitPattern: UInt(data & Self.addressMask)) {
                    let operation = Unmanaged<IOOperation>.fromOpaque(address).takeRetainedValue()
                    giveBack(operation, Int(result))
                }
            }
            if left > 0 { submit() }
        }
    }

    private func giveBack(_ operation: IOOperation, _ result: Int) {
        underWay -= 1
        operation.isUnderWay = false
        operation.completed(result)
    }

    private func watchAlarm() {
        guard !isAlarmWatched, let entry = nextEntry() else { return }
        io_uring_prep_read(entry, alarm.descriptor, alarmCount, 8, 0)
        entry.pointee.user_data = Self.alarmData
        isAlarmWatched = true
    }

    // MARK: Registrations

    func register(_ file: ReactorFile) { registrations.add(file) }
    func unregister(_ file: ReactorFile) { registrations.remove(file) }
    func register(_ memory: UnsafeMutableRawBufferPointer) -> Bool { registrations.add(memory) }
    func unregister(_ memory: UnsafeMutableRawBufferPointer) { registrations.remove(memory) }
}
