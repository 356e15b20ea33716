// BlockTransfer: a request carried to its end, going on after each partial result.
//
// One request of it is under way at a time. A device that completes before `submit` returns is
// gone on with in a loop, not by recursion: `step` counts the submissions, and a completion that
// arrives while its own submission is still being made leaves its result for the one who makes it.
//
// Threading: any thread; `lock` guards the fields, and is not held over a submission or a callback.

public import CairnBase

public final class BlockTransfer: @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    private let device: any BlockDevice
    private let completion: @Sendable (Errno?) -> Void
    private let lock = Lock()
    // Guarded by `lock`.
    private var rest: BlockRequest
    private var step = 0
    /// The step that is being submitted, 0: none.
    private var submitting = 0
    /// The result of that step, if it has come already.
    private var early: BlockResult?
    /// Of the request that is under way.
    private var ticket: BlockTicket?
    private var isCancelled = false

    /// Starts it. `completion` is called exactly once, with nil when every byte is done; if this
    /// throws, nothing was started and it is never called.
    public init(
        _ request: BlockRequest, on device: any BlockDevice,
        completion: @escaping @Sendable (Errno?) -> Void
    ) throws(Errno) {
        self.device = device
        self.completion = completion
        rest = request
        if let early = try submitNext() { goOn(after: early) }
    }

    /// Asks to give it up: it completes with ECANCELED, unless it is done before.
    public func cancel() {
        let current = lock.withLock {
            isCancelled = true
            return ticket
        }
        if let current { device.cancel(current) }
    }

    /// Submits what is left. Gives the result if it has come already, else nil: `completed` will
    /// be called.
    private func submitNext() throws(Errno) -> BlockResult? {
        let (request, current) = lock.withLock {
            step += 1
            submitting = step
            early = nil
            ticket = nil
            return (rest, step)
        }
        // The completion keeps this object while a request is under way.
        let newTicket = try device.submit(request) { [self] in completed(current, $0) }
        let (result, cancelNow) = lock.withLock {
            submitting = 0
            ticket = early == nil ? newTicket : nil
            return (early, isCancelled)
        }
        if cancelNow, result == nil { device.cancel(newTicket) }
        return result
    }

    private func completed(_ finished: Int, _ result: BlockResult) {
        let isEarly = lock.withLock {
            guard submitting == finished else {
                ticket = nil
                return false
            }
            early = result
            return true
        }
        if !isEarly { goOn(after: result) }
    }

    private func goOn(after first: BlockResult) {
        var result = first
        while true {
            switch result {
            case .complete: return completion(nil)
            case .failed(let error): return completion(error)
            case .partial(let bytes):
                let isOver = lock.withLock {
                    rest = rest.dropping(first: bytes)
                    return isCancelled
                }
                // A device that gets no further would hold us for ever.
                if bytes <= 0 { return completion(.EIO) }
                if isOver { return completion(.ECANCELED) }
                do throws(Errno) {
                    guard let next = try submitNext() else { return }
                    result = next
                } catch {
                    return completion(error)
                }
            }
        }
    }
}
