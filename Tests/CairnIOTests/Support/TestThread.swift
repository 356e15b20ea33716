// A thread for what must not run on the pool's: what blocks, or changes its thread for ever.

import Glibc

/// Runs the body on a new thread, and waits for it without blocking a thread of the pool.
func onThread(_ body: @escaping @Sendable () -> Void) async {
    let done = Signal()
    start {
        body()
        done.set()
    }
    await done.wait()
}

private func start(_ body: @escaping @Sendable () -> Void) {
    final class Job {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
    var thread = pthread_t()
    let made = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, Unmanaged.passRetained(Job(body)).toOpaque())
    precondition(made == 0, "no thread")
    pthread_detach(thread)
}
