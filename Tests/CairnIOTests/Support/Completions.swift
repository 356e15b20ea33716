// What completions reported, and waiting for them without blocking a thread of the pool.

import CairnBase
import CairnIO

/// Results of requests by number. Counts how often each was called.
final class Completions: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var results: [Int: [BlockResult]] = [:]
    private var order: [Int] = []
    private var waiters: [(count: Int, resume: CheckedContinuation<Void, Never>)] = []

    /// The completion to submit request `number` with.
    func expect(_ number: Int) -> @Sendable (BlockResult) -> Void {
        { [self] result in add(number, result) }
    }

    private func add(_ number: Int, _ result: BlockResult) {
        let ready = lock.withLock {
            results[number, default: []].append(result)
            order.append(number)
            let ready = waiters.filter { $0.count <= order.count }
            waiters.removeAll { $0.count <= order.count }
            return ready
        }
        for waiter in ready { waiter.resume.resume() }
    }

    /// Waits until so many completions were called.
    func wait(for count: Int) async {
        await withCheckedContinuation { continuation in
            let isReady = lock.withLock {
                if order.count >= count { return true }
                waiters.append((count, continuation))
                return false
            }
            if isReady { continuation.resume() }
        }
    }

    func results(of number: Int) -> [BlockResult] { lock.withLock { results[number] ?? [] } }
    var all: [[BlockResult]] { lock.withLock { Array(results.values) } }
    /// The numbers of requests in the order in which they completed.
    var completedOrder: [Int] { lock.withLock { order } }
    var count: Int { lock.withLock { order.count } }
    /// Whether each of the first `number` requests was completed exactly once.
    func areExactlyOnce(_ number: Int) -> Bool {
        lock.withLock {
            order.count == number && (0..<number).allSatisfy { results[$0]?.count == 1 }
        }
    }
}

/// Waits for one thing without blocking a thread of the pool.
final class Signal: Sendable {
    private let completions = Completions()
    func set() { completions.expect(0)(.complete(0)) }
    func wait() async { await completions.wait(for: 1) }
}
