// SystemThread: a thread of our own, and a reactor on one.

import CSystem
public import CairnBase

final class SystemThread {
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

/// A reactor and the thread that is its loop.
public final class ReactorThread: @unchecked Sendable {
    // Sendable: `lock` guards `thread`.
    public let reactor: Reactor
    private let lock = Lock()
    private var thread: SystemThread?

    /// Starts the loop. Throws what `Reactor.init` throws, EAGAIN if there is no thread to be had.
    public init(
        _ options: Reactor.Options = Reactor.Options(), name: String = "cairn-reactor"
    ) throws(Errno) {
        let reactor = try Reactor(options)
        self.reactor = reactor
        thread = SystemThread(name: name) { reactor.run() }
        if thread == nil { throw .EAGAIN }
    }

    /// Ends the loop once nothing is under way, and waits for that. Not on the loop's own thread.
    public func stop() {
        precondition(!reactor.isCurrent, "a loop cannot wait for its own end")
        reactor.stop()
        let ending = lock.withLock {
            defer { thread = nil }
            return thread
        }
        ending?.join()
    }
}
