// FileDevice: a file of the host, or one of its block devices, as a block device.
//
// Requests go to the kernel past its page cache (O_DIRECT) where the filesystem takes that, through
// a reactor, as many at once as the queue depth says; the others wait in order. A request whose
// memory or offset is not aligned as O_DIRECT wants it goes through the page cache, by a second
// descriptor of the same file; the kernel keeps the two ways coherent.
//
// What is open is locked (flock(2), and O_EXCL on a block device that is open for writing): many may
// read it, or one write. Any other opening fails with EBUSY, here and in other processes: what
// somebody writes reads as neither old nor new.
//
// Completions are called on the reactor's thread, also those of requests that are cancelled before
// they were sent.
//
// Threading: any thread. `lock` guards the queue. An operation belongs to who submits, from the free
// list until `Reactor.start`; to the reactor until it is done; then goes back to the list.

import CSystem
public import CairnBase
import Glibc

public final class FileDevice: BlockDevice, @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    public let size: UInt64
    public let blockSize: Int
    public let memoryAlignment: Int
    public let isReadOnly: Bool
    public let canDiscard: Bool
    /// Whether this is a block device of the host, not a regular file.
    public let isBlockDevice: Bool
    /// The reactor that carries requests out, and calls completions.
    public let reactor: Reactor

    let files: DeviceFiles
    private let meter = BlockMeter()

    private let lock = Lock()
    // Guarded by `lock`.
    private var depth: Int
    /// Every operation that there is, by its index.
    private var operations: [FileOperation] = []
    private var free: [FileOperation] = []
    /// Operations that are with the reactor.
    private var underWay = 0
    private var waiting = IOQueue()
    private var isClosed = false

    public struct Options: Sendable {
        public var isReadOnly = false
        /// Whether to go past the page cache where that can be.
        public var isDirect = true
        /// The block size to offer, in bytes: a power of two ≥ the device's own. Nil: that.
        public var blockSize: Int?
        /// 1 … `maximumQueueDepth`.
        public var queueDepth = 64
        /// How long to wait for a file that is locked, in milliseconds. The kernel ends what a process that
        /// was killed had under way after the process is gone, and lets go of its files only then.
        public var patience = 0

        public init(
            isReadOnly: Bool = false, isDirect: Bool = true, blockSize: Int? = nil,
            queueDepth: Int = 64, patience: Int = 0
        ) {
            self.isReadOnly = isReadOnly
            self.isDirect = isDirect
            self.blockSize = blockSize
            self.queueDepth = queueDepth
            self.patience = patience
        }
    }

    /// Opens a file or a block device. Throws what open(2) says; EBUSY if it is open already, unless to
    /// read it both times, or mounted; EINVAL for what is neither, or for options that cannot be; EROFS
    /// to write to a block device that is read-only.
    public convenience init(
        path: String, options: Options = Options(), reactor: Reactor
    ) throws(Errno) {
        try self.init(
            files: try DeviceFiles.opened(path: path, options: options), options: options,
            reactor: reactor)
    }

    /// Makes a file of this many bytes, sparse, for its owner alone, and opens it. Throws EEXIST if
    /// there is something by that name. If it throws, no file is left.
    public static func create(
        path: String, size: UInt64, options: Options = Options(), reactor: Reactor
    ) throws(Errno) -> FileDevice {
        let descriptor = cairn_device_open(path, CAIRN_DEVICE_WRITE | CAIRN_DEVICE_CREATE)
        guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
        let result = cairn_device_resize(descriptor, size)
        _ = cairn_close(descriptor)
        do throws(Errno) {
            guard result == 0 else { throw Errno(rawValue: -result) }
            return try FileDevice(path: path, options: options, reactor: reactor)
        } catch {
            unlink(path)
            throw error
        }
    }

    private init(files: DeviceFiles, options: Options, reactor: Reactor) throws(Errno) {
        let ownSize = Int(files.facts.block_size)
        let blockSize = options.blockSize ?? ownSize
        guard blockSize >= ownSize, blockSize & (blockSize - 1) == 0,
            (1...maximumQueueDepth).contains(options.queueDepth)
        else { throw .EINVAL }
        self.files = files
        self.reactor = reactor
        self.blockSize = blockSize
        size = files.facts.size & ~UInt64(blockSize - 1)
        memoryAlignment = files.memoryAlignment
        isReadOnly = options.isReadOnly
        canDiscard = !options.isReadOnly && files.facts.can_discard != 0
        isBlockDevice = files.facts.is_block_device != 0
        depth = options.queueDepth
        files.register(with: reactor)
    }

    /// Whether requests go past the kernel's page cache, if they are aligned.
    public var isDirect: Bool { files.isDirect }

    public var queueDepth: Int { lock.withLock { depth } }

    public var statistics: BlockStatistics { meter.statistics }

    // MARK: Submitting

    @discardableResult
    public func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        try check(request)
        let (operation, ticket, isFirst) = try enter(request, completion)
        guard isFirst else { return ticket }
        do throws(Errno) {
            try reactor.start(operation)
        } catch {
            fail(leave(operation), error)
            meter.refused()
            throw error
        }
        return ticket
    }

    @discardableResult
    public func submit(_ batch: [BlockSubmission]) throws(Errno) -> [BlockTicket] {
        var tickets: [BlockTicket] = []
        tickets.reserveCapacity(batch.count)
        var starting = IOQueue()
        var failure: Errno?
        for submission in batch {
            do throws(Errno) {
                try check(submission.request)
                let (operation, ticket, isFirst) = try enter(
                    submission.request, submission.completion)
                if isFirst { starting.append(operation) }
                tickets.append(ticket)
            } catch {
                failure = error
                break
            }
        }
        if tickets.isEmpty, let failure { throw failure }
        do throws(Errno) {
            try reactor.start(starting)
        } catch {
            // The loop has ended, so all of them are here, and those that wait behind them.
            while let operation = starting.removeFirst() {
                fail(unsafeDowncast(operation, to: FileOperation.self), error)
            }
        }
        return tickets
    }

    /// Gives the request an operation. If it is not to be started now, it waits.
    private func enter(
        _ request: BlockRequest, _ completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> (FileOperation, BlockTicket, isFirst: Bool) {
        lock.lock()
        if isClosed {
            lock.unlock()
            throw .EBADF
        }
        let operation: FileOperation
        if let last = free.popLast() {
            operation = last
        } else if operations.count < FileOperation.limit {
            operation = FileOperation(files.main, index: operations.count)
            operations.append(operation)
        } else {
            lock.unlock()
            throw .EAGAIN
        }
        operation.fill(request, completion, self)
        let ticket = operation.ticket
        let isFirst = underWay < depth
        if isFirst {
            underWay += 1
        } else {
            operation.isWaiting = true
            waiting.append(operation)
        }
        lock.unlock()
        meter.started()
        return (operation, ticket, isFirst)
    }

    /// Takes the operation back. Gives the one that goes in its place.
    private func leave(_ operation: FileOperation) -> FileOperation? {
        lock.lock()
        operation.empty()
        free.append(operation)
        underWay -= 1
        let next = takeWaiting()
        let isLast = isClosed && underWay == 0
        lock.unlock()
        if isLast { files.close() }
        return next
    }

    /// The first that waits, if there is room for it. Under the lock.
    private func takeWaiting() -> FileOperation? {
        guard underWay < depth, let first = waiting.removeFirst() else { return nil }
        let next = unsafeDowncast(first, to: FileOperation.self)
        next.isWaiting = false
        underWay += 1
        return next
    }

    /// The reactor takes no operations any more: this one fails, and those that wait for it.
    private func fail(_ first: FileOperation?, _ error: Errno) {
        var next = first
        while let operation = next {
            let completion = operation.completion
            meter.finished(operation.request.operation, .failed(error), nanoseconds: 0)
            next = leave(operation)
            completion?(.failed(error))
        }
    }

    // MARK: Completing

    /// On the reactor's thread: what came of an operation, bytes or a negative errno.
    func completed(_ operation: FileOperation, _ value: Int) {
        if value < 0, operation.canTryAgain(after: Errno(rawValue: Int32(-value))) {
            return startOnLoop(operation)
        }
        let request = operation.request
        finish(operation, operation.result(of: value, request.length, blockSize: blockSize))
    }

    private func finish(_ operation: FileOperation, _ result: BlockResult) {
        let kind = operation.request.operation
        let nanoseconds = reactor.monotonicNanoseconds() &- operation.startedAt
        let completion = operation.completion
        if let next = leave(operation) { startOnLoop(next) }
        meter.finished(kind, result, nanoseconds: nanoseconds)
        completion?(result)
    }

    private func startOnLoop(_ operation: FileOperation) {
        do throws(Errno) {
            try reactor.start(operation)
        } catch {
            preconditionFailure("the loop ended with requests under way")
        }
    }

    // MARK: Cancelling

    public func cancel(_ ticket: BlockTicket) {
        reactor.perform { [self] in cancelOnLoop(ticket) }
    }

    private func cancelOnLoop(_ ticket: BlockTicket) {
        lock.lock()
        guard let index = FileOperation.index(of: ticket), index < operations.count,
            operations[index].ticket == ticket, operations[index].device != nil
        else { return lock.unlock() }
        let operation = operations[index]
        if operation.isWaiting {
            operation.isWaiting = false
            waiting.remove(operation)
            // As if it were under way, for `leave`.
            underWay += 1
            lock.unlock()
            return finish(operation, .failed(.ECANCELED))
        }
        lock.unlock()
        reactor.cancel(operation)
    }

    // MARK: Managing

    public func setQueueDepth(_ newDepth: Int) throws(Errno) {
        guard (1...maximumQueueDepth).contains(newDepth) else { throw .EINVAL }
        lock.withLock { depth = newDepth }
        reactor.perform { [self] in startWaiting() }
    }

    /// A deeper queue has room.
    private func startWaiting() {
        while let next = lock.withLock({ takeWaiting() }) {
            startOnLoop(next)
        }
    }

    public func close() {
        let isLast = lock.withLock {
            defer { isClosed = true }
            return !isClosed && underWay == 0
        }
        if isLast { files.close() }
    }
}
