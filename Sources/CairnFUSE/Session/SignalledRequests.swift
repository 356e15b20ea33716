// Requests that wait on although their caller got a signal.
//
// The kernel tells of each signal, also of one that is caught, or that stops the process. Programs
// do not expect EINTR of a write or an fsync, and no local filesystem gives it: so only a wait for
// somebody's lock ends then. But nobody who is being killed shall have to wait for a device, and
// the kernel tells of a request only once. So callers of such requests are looked at now and then,
// until they are answered, or a signal is pending that will end the process.
//
// Threading: any thread. `lock` comes after that of the parked requests. The thread that looks is
// made with the first of them, and sleeps while there are none.

import CairnBase
import Glibc

final class SignalledRequests: @unchecked Sendable {
    // Sendable: `lock` guards the fields.
    private let lock = Lock()
    private var requests: [UInt64: ParkedRequest] = [:]
    private var watcher: ServingThread?
    /// The watcher sleeps behind it.
    private var idle: SharedGate?
    private var isStopped = false

    private static let intervalMicroseconds: UInt32 = 20_000

    func add(_ request: ParkedRequest, _ unique: UInt64) {
        let idle: SharedGate? = lock.withLock {
            guard !isStopped else { return nil }
            requests[unique] = request
            if watcher == nil {
                watcher = ServingThread(name: "cairn-signalled") { [self] in watch() }
            }
            defer { self.idle = nil }
            return self.idle
        }
        idle?.open()
    }

    func remove(_ unique: UInt64) {
        lock.withLock { requests[unique] = nil }
    }

    /// Ends the thread.
    func stop() {
        let (idle, watcher) = lock.withLock {
            isStopped = true
            requests = [:]
            defer { (self.idle, self.watcher) = (nil, nil) }
            return (self.idle, self.watcher)
        }
        idle?.open()
        watcher?.join()
    }

    private func watch() {
        while true {
            let (gate, all): (SharedGate?, [(UInt64, ParkedRequest)]) = lock.withLock {
                if !isStopped, requests.isEmpty { idle = SharedGate() }
                return (idle, requests.map { ($0.key, $0.value) })
            }
            if lock.withLock({ isStopped }) { return }
            if let gate {
                gate.wait()
                continue
            }
            for (unique, request) in all where ProcessSignals.willEnd(request.caller) {
                remove(unique)
                request.cancel()
            }
            usleep(Self.intervalMicroseconds)
        }
    }
}

enum ProcessSignals {
    /// Signals that do nothing, or stop, unless they are caught: CHLD, CONT, STOP, TSTP, TTIN, TTOU,
    /// URG, WINCH (signal(7)).
    private static let harmless: UInt64 =
        [17, 18, 19, 20, 21, 22, 23, 28].reduce(0) { $0 | 1 << ($1 - 1) }

    /// A signal is pending that will end the process; also true if that cannot be known.
    static func willEnd(_ process: UInt32) -> Bool {
        guard process != 0, let status = status(process) else { return true }
        return willEnd(status)
    }

    /// `status` is that of proc(5).
    static func willEnd(_ status: String) -> Bool {
        var sets: [Substring: UInt64] = [:]
        for line in status.split(separator: "\n") {
            let parts = line.split(separator: "\t")
            if parts.count == 2, parts[0].hasPrefix("S") {
                sets[parts[0]] = UInt64(parts[1], radix: 16)
            }
        }
        guard let own = sets["SigPnd:"], let shared = sets["ShdPnd:"],
            let blocked = sets["SigBlk:"], let ignored = sets["SigIgn:"],
            let caught = sets["SigCgt:"]
        else { return true }
        return (own | shared) & ~(blocked | ignored | caught | harmless) != 0
    }

    private static func status(_ process: UInt32) -> String? {
        let file = open("/proc/\(process)/status", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = read(file, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }
}
