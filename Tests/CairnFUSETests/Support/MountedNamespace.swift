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
