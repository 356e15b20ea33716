// The control socket of a mount's daemon: a unix socket in the state directory.
//
// A client sends one line and gets one line of JSON. `stats`: figures now. `unmount`, `unmount
// lazy`, `unmount force`: the daemon unmounts itself. `wait`: no answer until all is closed, then
// {"closed": true} or an error; the end of the connection without an answer means that the daemon
// died.

import CHost
import CairnBase
import Glibc

/// An address of a unix socket; nil if the path is too long for one.
private func withSocketAddress<Value>(
    _ path: FilePath, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
) -> Value? {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard path.bytes.count < room else { return nil }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.bytes) }
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}

private func makeSocket() -> Int32 {
    socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
}

/// The daemon's end. One thread answers, one request after the other.
final class ControlServer: @unchecked Sendable {
    // Sendable: immutable, or guarded by `lock`.
    private let descriptor: Int32
    private let answer: @Sendable (String) -> JSON
    private let lock = Lock()
    private var waiting: [Int32] = []  // guarded by lock
    private var result: JSON?  // guarded by lock; set by `finish`

    /// How long a client may take to say what it wants, and to take the answer.
    private static var patienceSeconds: Int { 2 }

    init(at path: FilePath, answer: @escaping @Sendable (String) -> JSON) throws(Failure) {
        descriptor = makeSocket()
        self.answer = answer
        guard descriptor >= 0 else { throw Failure(path.text, currentErrno()) }
        let old = umask(0o177)
        defer { umask(old) }
        let bound = withSocketAddress(path) { bind(descriptor, $0, $1) }
        guard let bound else { throw Failure(path.text, Errno.ENAMETOOLONG) }
        guard bound == 0, listen(descriptor, 16) == 0 else {
            throw Failure(path.text, currentErrno())
        }
    }

    func start() {
        startThread("cairn-control") { [self] in
            while true {
                let client = accept(descriptor, nil, nil)
                if client >= 0 {
                    serve(client)
                } else if errno != EINTR && errno != ECONNABORTED {
                    // Out of descriptors: the next try may do better.
                    usleep(100_000)
                }
            }
        }
    }

    private func serve(_ client: Int32) {
        _ = fcntl(client, F_SETFD, FD_CLOEXEC)
        var patience = timeval(tv_sec: ControlServer.patienceSeconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, size)
        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, size)
        var (pid, user): (Int32, UInt32) = (0, .max)
        var rest: [UInt8] = []
        guard cairn_host_peer(client, &pid, &user) == 0, user == geteuid() || user == 0,
            let request = readLine(from: client, rest: &rest)
        else {
            close(client)
            return
        }
        if request == "wait" {
            wait(client)
            return
        }
        send(answer(request).line + "\n", to: client)
        close(client)
    }

    /// Who was told that it waits is among those who hear of the end: both happen under one hold
    /// of the lock. Sending takes `patienceSeconds` at most.
    private func wait(_ client: Int32) {
        lock.withLock {
            send("{}\n", to: client)
            if let result {
                send(result.line + "\n", to: client)
                close(client)
            } else {
                waiting.append(client)
            }
        }
    }

    /// The daemon is done: tells those who wait, and those who still come to.
    func finish(_ result: JSON) {
        lock.withLock {
            self.result = result
            for client in waiting {
                send(result.line + "\n", to: client)
                close(client)
            }
            waiting = []
        }
    }
}

/// The client's end.
final class ControlClient {
    private let descriptor: Int32
    /// The daemon, and whose it is.
    let pid: Int32
    let user: UInt32
    /// What came after the answer that was read last.
    private var rest: [UInt8] = []

    /// Nil: no daemon listens there.
    init?(at path: FilePath) {
        let socket = makeSocket()
        guard socket >= 0 else { return nil }
        var (pid, user): (Int32, UInt32) = (0, 0)
        guard withSocketAddress(path, { connect(socket, $0, $1) }) == 0,
            cairn_host_peer(socket, &pid, &user) == 0
        else {
            close(socket)
            return nil
        }
        descriptor = socket
        self.pid = pid
        self.user = user
    }

    deinit { close(descriptor) }

    /// Nothing was asked yet: whether the daemon still holds its end, so that `pid` is its number.
    var isConnected: Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) < 0
            && errno == EAGAIN
    }

    /// Sends a request and gives the answer; nil: the daemon went away, or does not answer in
    /// time.
    func ask(_ request: String) -> JSON? {
        send(request + "\n", to: descriptor)
        return hasAnswer(withinMilliseconds: ControlClient.patienceMilliseconds)
            ? nextAnswer() : nil
    }

    private static var patienceMilliseconds: Int32 { 5000 }

    /// Whether something (an answer or the end) comes in this time.
    func hasAnswer(withinMilliseconds timeout: Int32) -> Bool {
        if rest.contains(0x0A) { return true }
        var state = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&state, 1, timeout) != 0
    }

    /// Waits for one more answer.
    func nextAnswer() -> JSON? {
        readLine(from: descriptor, rest: &rest).flatMap { JSON(parsing: $0) }
    }
}

/// A line without its end; nil: the other end went away, or was too slow. `rest` is what came
/// before and was not read yet, and then what came after the line.
private func readLine(from descriptor: Int32, rest: inout [UInt8]) -> String? {
    var piece = [UInt8](repeating: 0, count: 1 << 14)
    var searched = 0
    while rest.count < 1 << 22 {
        if let end = rest[searched...].firstIndex(of: 0x0A) {
            defer { rest.removeSubrange(...end) }
            return String(decoding: rest[..<end], as: UTF8.self)
        }
        searched = rest.count
        let count = recv(descriptor, &piece, piece.count, 0)
        if count < 0, errno == EINTR { continue }
        if count <= 0 { return nil }
        rest += piece.prefix(count)
    }
    return nil
}

private func send(_ text: String, to descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes {
            Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        if count < 0, errno == EINTR { continue }
        if count <= 0 { return }
        rest = rest.dropFirst(count)
    }
}

/// Starts a thread that nobody waits for.
func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) {
    final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
    var thread = pthread_t()
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    let start = Unmanaged.passRetained(Start(name, body))
    let result = pthread_create(
        &thread, &attributes,
        { argument in
            guard let argument else { return nil }
            let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
            cairn_host_name_thread(start.name)
            start.body()
            return nil
        }, start.toOpaque())
    pthread_attr_destroy(&attributes)
    if result != 0 {
        start.release()
        report(Failure("thread \(name)", Errno(rawValue: result)))
    }
}
