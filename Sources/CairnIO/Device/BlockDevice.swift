// BlockDevice: what a filesystem stands on, an array of blocks of bytes.
//
// A device is asynchronous. `submit` starts a request and returns at once; the completion is called
// exactly once, when the device is done with the request's memory: never if `submit` threw, never
// twice, also if the request was cancelled. It may be called before `submit` returns (memory), or
// later on another thread (the reactor's, for files), so whoever submits holds no lock that the
// completion takes. A completion is a callback: it must not block.
//
// Requests that are under way at the same time are in no order. A write is durable when a flush
// has completed that was submitted after the write had completed (crash contract, design.md §4).
// Overlapping requests at once, of which one writes, give either content, as on a disk.
//
// Everything may be called from any thread. Forms that wait are in Forms/.

public import CairnBase

public protocol BlockDevice: AnyObject, Sendable {
    /// In bytes; a multiple of `blockSize`.
    var size: UInt64 { get }
    /// The logical block size, in bytes, a power of two ≥ 512: offsets and lengths are multiples.
    var blockSize: Int { get }
    /// What the address of memory should be aligned to, in bytes, a power of two. Memory that is not
    /// works too, and costs a copy.
    var memoryAlignment: Int { get }
    /// Writes and discards fail with EROFS.
    var isReadOnly: Bool { get }
    /// Whether `discard` can work. What is read from a discarded range is unspecified until it
    /// is written: zeros or the old content.
    var canDiscard: Bool { get }
    /// How many requests the device works on at once. Others wait their turn in the device.
    var queueDepth: Int { get }

    /// Starts a request. Its memory must stay valid until the completion is called.
    ///
    /// Throws, and then nothing was started and `completion` is never called: EINVAL (not a
    /// multiple of the block size, or a discard of nothing), EIO (reaches beyond the end), EROFS, EACCES (not among the
    /// rights of this handle), EOPNOTSUPP (no discard here), EBADF (closed), or what the device
    /// says.
    @discardableResult
    func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket

    /// Starts several, with as few system calls as can be. They are started in order until one
    /// cannot be: the result has the tickets of those before. Throws what the first one failed
    /// with if none was started. (As io_submit(2) does.)
    @discardableResult
    func submit(_ batch: [BlockSubmission]) throws(Errno) -> [BlockTicket]

    /// Asks to give a request up. It completes all the same, once: with ECANCELED, or with what
    /// came of it if that was faster. Does nothing for a request that has completed.
    func cancel(_ ticket: BlockTicket)

    /// What was counted since the device was opened.
    var statistics: BlockStatistics { get }

    /// Sets `queueDepth`, 1 … `maximumQueueDepth` (EINVAL).
    func setQueueDepth(_ depth: Int) throws(Errno)

    /// Gives back what the device holds (descriptors, the lock on an image), once the requests
    /// that are under way have completed. Later submissions fail with EBADF. Closing twice does
    /// nothing. Happens by itself when the last reference goes.
    func close() throws(Errno)
}

/// The largest queue depth that can be set.
public let maximumQueueDepth = 4096

/// A request of a batch and what shall be called when it is done.
public struct BlockSubmission: Sendable {
    public var request: BlockRequest
    public var completion: @Sendable (BlockResult) -> Void

    public init(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) {
        self.request = request
        self.completion = completion
    }
}

/// Names a request that was submitted to a device, for `cancel`. Never used twice by a device.
public struct BlockTicket: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt64

    @inlinable
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

extension BlockDevice {
    @discardableResult
    public func submit(_ batch: [BlockSubmission]) throws(Errno) -> [BlockTicket] {
        var tickets: [BlockTicket] = []
        tickets.reserveCapacity(batch.count)
        for submission in batch {
            do throws(Errno) {
                tickets.append(
                    try submit(submission.request, completion: submission.completion))
            } catch {
                if tickets.isEmpty { throw error }
                break
            }
        }
        return tickets
    }

    /// Throws what `submit` throws for a request that this device can never carry out.
    public func check(_ request: BlockRequest) throws(Errno) {
        if request.operation == .flush { return }
        let mask = UInt64(blockSize &- 1)
        guard request.length >= 0, request.offset & mask == 0,
            UInt64(request.length) & mask == 0,
            request.length > 0 || request.operation != .discard
        else { throw .EINVAL }
        let (end, overflows) = request.offset.addingReportingOverflow(UInt64(request.length))
        guard !overflows, end <= size else { throw .EIO }
        guard request.operation != .read else { return }
        guard !isReadOnly else { throw .EROFS }
        if request.operation == .discard, !canDiscard { throw .EOPNOTSUPP }
    }
}
