// The async form. Each call returns when the device is done with the memory, also when the task is
// cancelled: that asks the device to give the request up, and what comes of it is ECANCELED, or
// success if that was faster.
//
// A task that runs on the reactor's executor is resumed there, on the thread that completed the
// request.

public import CairnBase

extension BlockDevice {
    /// Carries out one request. Gives the number of bytes done, which may be less than asked for.
    @discardableResult
    nonisolated(nonsending)
        public func perform(_ request: BlockRequest) async throws(Errno) -> Int
    {
        let single = SingleRequest()
        let result: BlockResult = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                single.start(request, on: self) { continuation.resume(returning: $0) }
            }
        } onCancel: {
            single.cancel(on: self)
        }
        switch result {
        case .complete(let bytes), .partial(let bytes): return bytes
        case .failed(let error): throw error
        }
    }

    /// Carries a request to its end, going on after partial results.
    nonisolated(nonsending)
        public func performAll(_ request: BlockRequest) async throws(Errno)
    {
        var done = 0
        while true {
            let rest = done == 0 ? request : request.dropping(first: done)
            let bytes = try await perform(rest)
            done += bytes
            if done >= request.length { return }
            if bytes <= 0 { throw .EIO }
        }
    }

    /// Fills the memory from the device.
    nonisolated(nonsending)
        public func read(
            into memory: UnsafeMutableRawBufferPointer, at offset: UInt64
        ) async throws(Errno)
    {
        try await performAll(.read(into: memory, at: offset))
    }

    /// Writes all of the memory to the device.
    nonisolated(nonsending)
        public func write(
            _ memory: UnsafeRawBufferPointer, at offset: UInt64
        ) async throws(Errno)
    {
        try await performAll(.write(memory, at: offset))
    }

    /// Makes durable what was written before.
    nonisolated(nonsending)
        public func flush() async throws(Errno)
    {
        try await performAll(.flush)
    }

    /// The content of the range is not needed any more.
    nonisolated(nonsending)
        public func discard(at offset: UInt64, length: Int) async throws(Errno)
    {
        try await performAll(.discard(at: offset, length: length))
    }
}

/// One request that a task waits for, and that its cancellation handler can find.
private final class SingleRequest: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var ticket: BlockTicket?
    private var isCancelled = false

    func start(
        _ request: BlockRequest, on device: some BlockDevice,
        completion: @escaping @Sendable (BlockResult) -> Void
    ) {
        if lock.withLock({ isCancelled }) { return completion(.failed(.ECANCELED)) }
        do throws(Errno) {
            let started = try device.submit(request, completion: completion)
            let cancelNow = lock.withLock {
                ticket = started
                return isCancelled
            }
            if cancelNow { device.cancel(started) }
        } catch {
            completion(.failed(error))
        }
    }

    func cancel(on device: some BlockDevice) {
        let started = lock.withLock {
            isCancelled = true
            return ticket
        }
        if let started { device.cancel(started) }
    }
}
