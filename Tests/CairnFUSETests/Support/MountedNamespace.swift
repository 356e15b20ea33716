// A namespace mounted in a temporary directory for the length of a test, served in this process.
//
// The serving threads are the mount's own; the test's system calls run on a thread made for them,
// never on Swift's pool. Whatever the test does, the mount is gone at the end: unmounted, or
// detached by force after it failed.

import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Testing

/// Why no mount can be made here; nil if one can.
let reasonNotToMount: String? = {
    if geteuid() != 0 { return "needs root" }
    if access("/dev/fuse", R_OK | W_OK) != 0 { return "needs /dev/fuse" }
    return nil
}()

final class MountedNamespace: @unchecked Sendable {
    // Sendable: immutable after init.
    let namespace: Namespace
    let fileSystem: FileSystem
    let mount: FUSEMount
    let path: String
    private let server: OwnThread

    init(
        _ fileSystem: FileSystem, options: FUSEMountOptions = .init(),
        prepare: (Namespace) throws -> Void = { _ in }
    ) throws {
        self.fileSystem = fileSystem
        namespace = try Namespace(vfs: VFS(), root: fileSystem)
        try prepare(namespace)
        var template = Array("/tmp/cairn-fuse-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        do {
            mount = try FUSEMount(namespace: namespace, at: path, options: options)
        } catch {
            rmdir(path)
            throw error
        }
        let mount = mount
        server = OwnThread { mount.serve() }
    }

    /// Ends the mount. The second call does nothing.
    func end() {
        if (try? mount.unmount()) == nil {
            try? mount.unmount(lazy: true, force: true)
        }
        server.join()
        rmdir(path)
    }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }
}

/// Runs `body` against a mount, on a thread of its own.
func withMount(
    _ fileSystem: FileSystem = ScratchFileSystem(), options: FUSEMountOptions = .init(),
    prepare: @escaping (Namespace) throws -> Void = { _ in },
    _ body: @escaping (MountedNamespace) throws -> Void
) async throws {
    nonisolated(unsafe) let body = body  // called once, on the other thread
    nonisolated(unsafe) let prepare = prepare
    try await onOwnThread {
        let mounted = try MountedNamespace(fileSystem, options: options, prepare: prepare)
        defer { mounted.end() }
        try body(mounted)
    }
}

/// For `prepare`: mounts as with `-o sync`.
func synchronous(_ namespace: Namespace) {
    for mount in namespace.mounts { mount.flags.insert(.synchronous) }
}

func onOwnThread(_ body: @escaping @Sendable () throws -> Void) async throws {
    try await withCheckedThrowingContinuation {
        (continuation: CheckedContinuation<Void, any Error>) in
        OwnThread.detach {
            continuation.resume(with: Result { try body() })
        }
    }
}

/// A thread of the test's own.
final class OwnThread: @unchecked Sendable {
    // Sendable: `handle` is written by init only; join is called once.
    private var handle = pthread_t()
    private var isJoined = false

    init(_ body: @escaping @Sendable () -> Void) {
        start(body)
    }

    private func start(_ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Box(body))
        let result = pthread_create(
            &handle, nil,
            { context in
                // Threads of Swift's pool keep signals out, and new threads inherit that.
                var none = sigset_t()
                sigemptyset(&none)
                pthread_sigmask(SIG_SETMASK, &none, nil)
                if let context { Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body() }
                return nil
            }, box.toOpaque())
        precondition(result == 0)
    }

    static func detach(_ body: @escaping @Sendable () -> Void) {
        let thread = OwnThread(body)
        pthread_detach(thread.handle)
    }

    func join() {
        guard !isJoined else { return }
        isJoined = true
        pthread_join(handle, nil)
    }

    private final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}

// MARK: Transports

/// The ways that requests can come; the suite runs under each.
let transports: [FUSEMountOptions.Transport] = [.device, .ioUring]

/// Lets FUSE use io_uring while `body` runs, and restores the machine's setting. False if that
/// cannot be done here.
enum RingParameter {
    private static let path = "/sys/module/fuse/parameters/enable_uring"

    static func set(_ text: String) -> Bool {
        let file = open(path, O_WRONLY)
        guard file >= 0 else { return false }
        defer { close(file) }
        return write(file, text, 1) == 1
    }

    static var value: String {
        contents(path).flatMap { $0.first }.map { String(UnicodeScalar($0)) } ?? "N"
    }
}

/// `withMount`, over a transport. Where io_uring cannot be had, that case is skipped.
func withMount(
    over transport: FUSEMountOptions.Transport,
    _ fileSystem: FileSystem = ScratchFileSystem(),
    options: FUSEMountOptions = .init(),
    prepare: @escaping (Namespace) throws -> Void = { _ in },
    _ body: @escaping (MountedNamespace) throws -> Void
) async throws {
    var options = options
    options.transport = transport
    guard case .ioUring = transport else {
        return try await withMount(fileSystem, options: options, prepare: prepare, body)
    }
    let before = RingParameter.value
    guard RingParameter.set("Y") else {
        return print("skipped over io_uring: the kernel's enable_uring cannot be set")
    }
    defer { _ = RingParameter.set(before) }
    try await withMount(fileSystem, options: options, prepare: prepare) { mounted in
        #expect(mounted.mount.statistics.transport == "io_uring")
        try body(mounted)
    }
}

/// All tests that mount stand below this suite, one after the other: they set one parameter of
/// the kernel.
@Suite(.serialized, .enabled(if: reasonNotToMount == nil, "mounting needs root and /dev/fuse"))
enum MountTests {}

// MARK: The other door

extension MountedNamespace {
    /// What a name in the root leads to, asked in this process.
    func find(_ name: String) throws -> Inode {
        let root = namespace.root.inode
        let found = try blocking { () throws(Pause) in
            try FileName(name).withName { (name) throws(Pause) in
                try namespace.vfs.lookup(name, in: root)
            }
        }
        guard let found else { throw Errno.ENOENT }
        return found
    }

    /// Makes a node in the root, in this process.
    @discardableResult
    func make(_ name: String, _ kind: FileKind = .regular) throws -> Inode {
        let root = namespace.root.inode
        return try blocking { () throws(Pause) in
            try FileName(name).withName { (name) throws(Pause) in
                try namespace.vfs.create(
                    name, in: root, NewNode(kind: kind, permissions: .init(rawValue: 0o755)),
                    by: Caller(.root))
            }
        }
    }

    /// Removes a file from the root, in this process.
    func remove(_ name: String) throws {
        let root = namespace.root.inode
        try blocking { () throws(Pause) in
            try FileName(name).withName { (name) throws(Pause) in
                try namespace.vfs.remove(name, in: root, directory: false, by: Caller(.root))
            }
        }
    }

    /// Writes to a file, in this process.
    func write(_ text: String, to inode: Inode, at offset: UInt64 = 0) throws {
        let bytes = Array(text.utf8)
        _ = try blocking { () throws(Pause) in
            var result: Result<Written, Pause>?
            bytes.withUnsafeBytes { bytes in
                result = Result { () throws(Pause) in
                    try namespace.vfs.write(
                        bytes, to: inode, at: .offset(offset), options: [], by: Caller(.root))
                }
            }
            return try result?.get()
        }
    }
}
