// TaskLock: one task after the other, in the order in which they ask.
//
// Held over awaits, so never taken by an attempt. Threading: any task.

import CairnBase

final class TaskLock: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var isHeld = false
    private var waiting: [UnsafeContinuation<Void, Never>] = []

    nonisolated(nonsending) func acquire() async {
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            let isFree = lock.withLock {
                if isHeld {
                    waiting.append(continuation)
                    return false
                }
                isHeld = true
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    /// Takes it if nobody has it. False: somebody has.
    func acquireIfFree() -> Bool {
        lock.withLock {
            if isHeld { return false }
            isHeld = true
            return true
        }
    }

    func release() {
        let next = lock.withLock { () -> UnsafeContinuation<Void, Never>? in
            if waiting.isEmpty {
                isHeld = false
                return nil
            }
            return waiting.removeFirst()
        }
        next?.resume()
    }
}
