// Threads of our own. FUSE is served on these and never on Swift's cooperative pool, whose
// threads may themselves wait for the mount.

import CSystem

final class ServingThread {
    private var handle: UInt64 = 0

    /// Starts at once. Nil if the system has no thread to give.
    init?(name: String, _ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Body(body))
        let result = cairn_thread_start(
            &handle, name,
            { context in
                guard let context else { return }
                Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            return nil
        }
    }

    /// Waits for its end. Must be called once.
    func join() {
        cairn_thread_join(handle)
    }

    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
}

/// For measuring.
@inline(__always)
func monotonicNanoseconds() -> UInt64 { cairn_clock_monotonic() }
