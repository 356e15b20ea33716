// A mount that starts while the system is short of threads, descriptors or memory: it is refused with
// a reason, or serves, or ends; its callers never wait for ever, and nothing is left.

import CSystem
import CairnBase
import CairnFUSE
import CairnTestCalls
import CairnVFS
import Glibc
import Synchronization
import Testing

extension MountTests {
    @Suite(.serialized) struct Starting {
        @Test(
            arguments: transports,
            [SupervisedCall.clone, .eventfd, .open, .ringSetup, .mapRing, .ringEnter])
        func theNthCallFails(
            over transport: FUSEMountOptions.Transport, _ call: SupervisedCall
        ) async throws {
            let before = RingParameter.value
            guard transport == .device || RingParameter.set("Y") else {
                return print("skipped over io_uring: the kernel's enable_uring cannot be set")
            }
            defer { _ = RingParameter.set(before) }
            var template = Array("/tmp/cairn-fuse-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
            let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
            defer { rmdir(path) }
            for variant in call.errors.indices {
                var number = 0
                while true {
                    number += 1
                    let plan = CallPlan(calls: [call], number: number, variant: variant)
                    let supervisor = await CallSupervisor.run(plan) { supervisor in
                        serve(at: path, over: transport, supervisor)
                    }
                    let failed = supervisor.failedCalls
                    #expect(supervisor.notes == [], "call \(number): \(call.errors[variant])")
                    if !supervisor.notes.isEmpty { umount2(path, Int32(MNT_DETACH)) }
                    if failed.isEmpty || !supervisor.notes.isEmpty { break }
                }
            }
        }
    }
}

/// Mounts, asks, and unmounts, while calls fail.
private func serve(
    at path: String, over transport: FUSEMountOptions.Transport, _ supervisor: CallSupervisor
) {
    let started = Started()
    // Made before anything fails.
    let server = OwnThread { started.serve() }
    supervisor.startFailing()
    var options = FUSEMountOptions()
    options.transport = transport
    options.threads = 3
    do {
        let namespace = try Namespace(vfs: VFS(), root: ScratchFileSystem())
        started.mount = try FUSEMount(namespace: namespace, at: path, options: options)
    } catch {
        supervisor.expect(!supervisor.failedCalls.isEmpty, "not mounted: \(error)")
    }
    started.gate.signal()
    if let mount = started.mount {
        // Each processor has a queue of its own.
        for processor in 0..<max(cairn_processor_count(), 1) {
            _ = cairn_thread_pin(processor)
            let isServed = status(path + "/none-\(processor)") == nil && errno == ENOENT
            let error = errno
            // Where nobody can serve, it ends.
            let mayHaveEnded = !supervisor.failedCalls.isEmpty
            supervisor.expect(
                isServed || mayHaveEnded && [ENOTCONN, ECONNABORTED].contains(error),
                "asked on \(processor), it says \(error)")
        }
        supervisor.stopFailing()
        if (try? mount.unmount()) == nil { try? mount.unmount(lazy: true, force: true) }
    }
    server.join()
    // The namespace goes with the last who knows it, and the mount's descriptor before.
    started.mount = nil
}

private final class Started: @unchecked Sendable {
    // Sendable: written before the gate opens, or after the server has ended.
    var mount: FUSEMount?
    let gate = Gate()

    func serve() {
        gate.wait()
        mount?.serve()
    }
}
