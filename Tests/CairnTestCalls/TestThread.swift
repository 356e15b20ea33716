// A thread for what must not run on the pool's: what blocks, or changes its thread for ever.

import Glibc

/// Runs the body on a new thread, and waits for it without blocking a thread of the pool.
public func onThread(_ body: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { continuation in
        TestThread {
            body()
            continuation.resume()
        }.detach()
    }
}

/// A thread; to be joined or detached, once.
public struct TestThread {
    private var handle = pthread_t()

    public init(_ body: @escaping @Sendable () -> Void) {
        final class Job {
            let run: @Sendable () -> Void
            init(_ run: @escaping @Sendable () -> Void) { self.run = run }
        }
        let made = pthread_create(
            &handle, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(Job(body)).toOpaque())
        precondition(made == 0, "no thread")
    }

    public func join() { pthread_join(handle, nil) }
    public func detach() { pthread_detach(handle) }
}
