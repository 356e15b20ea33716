// System calls that fail when a test says so, and looking whether everything was given back.
//
// The body runs on a thread of its own whose calls, and those of the threads that it starts, a
// supervisor answers (seccomp_unotify(2)): so a call fails as the kernel would have it fail, inside
// of liburing and glibc too. The thread has a table of descriptors of its own, so what is left in
// there is what the body left; and the supervisor learns when the last of these threads has ended.
//
// Nothing in the body may resume a task: a thread of the pool that were started for it would keep
// the filter for ever. So what is wrong is noted, and looked at outside.

import CTestCalls
public import CairnBase
import Glibc

/// A system call that can be made to fail, and the errors that the kernel gives for it when it is
/// short of something, or that a device gives.
public enum SupervisedCall: Int32, Sendable, CaseIterable {
    case eventfd, ringSetup, ringEnter, ringRegister, mapRing, mapStack, clone
    case open, status, lock, truncate, allocate, read, write, sync, poll

    public var errors: [Errno] {
        switch self {
        case .eventfd: [.EMFILE, .ENOMEM]
        case .ringSetup: [.ENOMEM, .EMFILE, .EPERM]
        case .ringEnter: [.EAGAIN, .ENOMEM, .EBUSY, .EINTR]
        case .ringRegister, .mapRing, .mapStack, .status: [.ENOMEM]
        case .clone: [.EAGAIN, .ENOMEM]
        case .open: [.EMFILE, .ENFILE, .ENOMEM]
        case .lock: [.ENOLCK]
        case .truncate: [.ENOSPC, .EIO]
        case .allocate, .sync: [.EIO, .ENOSPC, .EINTR]
        case .read: [.EIO, .EAGAIN, .ENOMEM, .EINTR]
        case .write: [.EIO, .EAGAIN, .ENOSPC, .EINTR]
        case .poll: [.ENOMEM, .EINTR]
        }
    }

    /// Whether a call of a library that needs this one fails with another error: pthread_create(3).
    public func shows(_ error: Errno) -> Bool {
        (self == .mapStack || self == .clone) && error == .EAGAIN
    }
}

/// Which calls fail: from the `number`-th of `calls` on, `count` of them.
public struct CallPlan: Sendable {
    public var calls: Set<SupervisedCall>
    /// From 1.
    public var number: Int
    public var count: Int
    /// Chooses among the errors of a call.
    public var variant: Int

    public init(
        calls: Set<SupervisedCall> = Set(SupervisedCall.allCases), number: Int, count: Int = 1,
        variant: Int = 0
    ) {
        self.calls = calls
        self.number = number
        self.count = count
        self.variant = variant
    }
}

public final class CallSupervisor: @unchecked Sendable {
    // Sendable: guarded by `lock`; the gate is for any thread.
    private let plan: CallPlan
    private let lock = Lock()
    private var seen = 0
    private var isFailing = false
    private var failed: [(SupervisedCall, Errno)] = []
    private var wrong: [String] = []
    private var listener: Int32 = 0
    private let isListening = Gate()

    private init(_ plan: CallPlan) {
        self.plan = plan
    }

    /// Runs the body, and waits until all its threads have ended. Gives what failed, and notes. Calls
    /// fail from when the body says so until it says otherwise, or ends.
    public static func run(
        _ plan: CallPlan, _ body: @escaping @Sendable (CallSupervisor) -> Void
    ) async -> CallSupervisor {
        let supervisor = CallSupervisor(plan)
        await onThread {
            let thread = TestThread { supervisor.becomeSupervised(body) }
            supervisor.isListening.wait()
            supervisor.answerCalls(of: thread)
        }
        return supervisor
    }

    // MARK: For the body

    /// From now on calls are counted, and fail as planned.
    public func startFailing() { lock.withLock { isFailing = true } }
    /// From now on nothing fails.
    public func stopFailing() { lock.withLock { isFailing = false } }
    public func note(_ text: String) { lock.withLock { wrong.append(text) } }
    public func expect(_ isRight: Bool, _ text: @autoclosure () -> String) {
        if !isRight { note(text()) }
    }

    // MARK: For the test

    public var failedCalls: [(call: SupervisedCall, error: Errno)] { lock.withLock { failed } }
    public var notes: [String] { lock.withLock { wrong } }

    // MARK: The threads

    private func becomeSupervised(_ body: (CallSupervisor) -> Void) {
        // Of these alone: each costs a turn of the supervisor.
        listener = cairn_test_supervise(plan.calls.reduce(0) { $0 | 1 << UInt32($1.rawValue) })
        isListening.signal()
        guard listener >= 0 else { return }
        let result = cairn_test_own_descriptors()
        expect(result == 0, "close_range: \(result)")
        let before = descriptors()
        body(self)
        stopFailing()
        let after = descriptors()
        expect(after == before, "descriptors left: \(after.subtracting(before))")
    }

    private func descriptors() -> Set<String> {
        Set(namesInDirectory("/proc/thread-self/fd"))
    }

    private func answerCalls(of thread: TestThread) {
        guard listener >= 0 else { return note("no supervisor: \(Errno(rawValue: -listener))") }
        defer { close(listener) }
        var call = cairn_test_call()
        var silentSeconds = 0
        while silentSeconds < 20 {
            let result = cairn_test_next_call(listener, 1000, &call)
            if result == -EPIPE { return thread.join() }
            silentSeconds = result == 0 ? silentSeconds + 1 : 0
            guard result == 1 else { continue }
            let error = answer(to: SupervisedCall(rawValue: call.kind))
            cairn_test_answer_call(listener, call.id, error?.rawValue ?? 0)
        }
        note("something hangs, or a thread was left behind")
    }

    private func answer(to call: SupervisedCall?) -> Errno? {
        lock.withLock {
            guard let call, plan.calls.contains(call), isFailing else { return nil }
            seen += 1
            guard seen >= plan.number, seen - plan.number < plan.count else { return nil }
            let error = call.errors[plan.variant % call.errors.count]
            failed.append((call, error))
            return error
        }
    }
}

/// Of what is in there, without "." and "..".
public func namesInDirectory(_ directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != ".", name != ".." { names.append(name) }
    }
    return names
}
