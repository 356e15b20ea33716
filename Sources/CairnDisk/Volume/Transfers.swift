// Transfers: several requests of a device under way at once, and one wait for all of them.
//
// The device limits how many it works on; the others wait their turn there. Used by one task.

import CairnBase
import CairnIO

final class Transfers: @unchecked Sendable {
    // Sendable: `lock` guards what completions touch.
    private let device: any BlockDevice
    private let lock = Lock()
    // Guarded by `lock`.
    /// One more than are under way, until `result` is waiting.
    private var left = 1
    private var failure: Errno?
    private var continuation: UnsafeContinuation<Void, Never>?

    init(on device: any BlockDevice) {
        self.device = device
    }

    /// Starts a request, whose memory stays valid until `result` has returned.
    func start(_ request: BlockRequest) {
        lock.withLock { left += 1 }
        do throws(Errno) {
            _ = try BlockTransfer(request, on: device) { [self] error in completed(error) }
        } catch {
            completed(error)
        }
    }

    private func completed(_ error: Errno?) {
        let waiting = lock.withLock { () -> UnsafeContinuation<Void, Never>? in
            left -= 1
            if failure == nil { failure = error }
            guard left == 0 else { return nil }
            let waiting = continuation
            continuation = nil
            return waiting
        }
        waiting?.resume()
    }

    /// Waits until all have completed; gives the first error.
    nonisolated(nonsending) func result() async -> Errno? {
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            let isOver = lock.withLock {
                left -= 1
                if left > 0 { self.continuation = continuation }
                return left == 0
            }
            if isOver { continuation.resume() }
        }
        return lock.withLock { failure }
    }
}
