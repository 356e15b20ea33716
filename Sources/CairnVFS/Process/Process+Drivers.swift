// The three ways to run an attempt, with the counting that goes with each call.

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
}
