// The three ways to run an attempt, with the counting that goes with each call. An attempt that gives
// an `UnsyncedChange` has changed something, and the call returns when that is durable.

import CairnBase

extension Process {
    /// Blocks the thread while the attempt has to wait.
    @inline(__always)
    func run<Value>(
        _ call: SystemCall, _ attempt: () throws(Pause) -> Value
    ) throws(Errno) -> Value {
        let start = statistics._withUnsafeGuaranteedRef { $0.begin(call) }
        do throws(Errno) {
            let value = try blocking(attempt)
            if start != 0 {
                statistics._withUnsafeGuaranteedRef { $0.end(call, startedAt: start) }
            }
            return value
        } catch {
            statistics._withUnsafeGuaranteedRef { $0.failed(call) }
            throw error
        }
    }

    /// The same for a change.
    func run(
        _ call: SystemCall, _ attempt: () throws(Pause) -> UnsyncedChange
    ) throws(Errno) {
        var change: UnsyncedChange?
        try run(call) { () throws(Pause) in try durably(attempt, &change) }
    }

    /// Makes a change once, and then waits until it is durable.
    @inline(__always)
    private func durably(
        _ attempt: () throws(Pause) -> UnsyncedChange, _ made: inout UnsyncedChange?
    ) throws(Pause) {
        if made == nil { made = try attempt() }
        try made?.makeDurable()
    }

    /// Suspends the task while the attempt has to wait.
    nonisolated(nonsending)
        func runAsync<Value>(
            _ call: SystemCall, _ attempt: () throws(Pause) -> Value
        ) async throws(Errno) -> Value
    {
        let start = vfs.statistics.begin(call)
        do throws(Errno) {
            let value = try await suspending(attempt)
            vfs.statistics.end(call, startedAt: start)
            return value
        } catch {
            vfs.statistics.failed(call)
            throw error
        }
    }

    nonisolated(nonsending)
        func runAsync(
            _ call: SystemCall, _ attempt: () throws(Pause) -> UnsyncedChange
        ) async throws(Errno)
    {
        var change: UnsyncedChange?
        try await runAsync(call) { () throws(Pause) in try durably(attempt, &change) }
    }

    /// Returns at once and calls back exactly once: on this thread before the return if nothing has
    /// to be waited for, otherwise on the thread that ended the wait.
    func submit<Value>(
        _ call: SystemCall,
        _ completion: @escaping @Sendable (Result<Value, Errno>) -> Void,
        _ attempt: @escaping () throws(Pause) -> Value
    ) -> PendingOperation {
        let statistics = vfs.statistics
        let start = statistics.begin(call)
        return callingBack(attempt) { result in
            switch result {
            case .success: statistics.end(call, startedAt: start)
            case .failure: statistics.failed(call)
            }
            completion(result)
        }
    }

    func submit(
        _ call: SystemCall,
        _ completion: @escaping @Sendable (Result<Void, Errno>) -> Void,
        _ attempt: @escaping () throws(Pause) -> UnsyncedChange
    ) -> PendingOperation {
        var change: UnsyncedChange?
        return submit(call, completion) { [self] () throws(Pause) in
            try durably(attempt, &change)
        }
    }
}
