// Filesystems that are mounted, moved and unmounted inside a namespace while the kernel has it
// mounted.

import CTestCalls
import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Testing

extension MountTests {
    @Suite(.serialized) struct Parts {
        @Test(arguments: transports)  // V2
        func aForcedUnmountFailsWhatIsInFlight(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let slow = ScratchFileSystem()
            try await withMount(
                over: transport, prepare: { try $0.mount(slow, on: "slow") }
            ) { mounted in
                #expect(put(mounted("slow/f"), "12345"))
                let part = try #require(mounted.namespace.mounts.last)
                slow.holdBack()
                defer { slow.letGo() }
                let code = Counter()
                let path = mounted("slow/f")
                let caller = OwnThread {
                    if truncate(path, 2) == -1 { code.add(Int(errno)) }
                }
                #expect(eventually { mounted.mount.statistics.waiting == 1 })
                // The kernel may still know files of it, and then it stays.
                try? mounted.namespace.unmount(part, force: true)
                #expect(eventually { code.value != 0 })
                slow.letGo()
                caller.join()
                #expect(code.value == Int(EIO))
                #expect(eventually { mounted.mount.statistics.waiting == 0 })
                #expect(put(mounted("other"), "x"))
            }
        }
    }
}

extension Namespace {
    /// Mounts a filesystem on a directory of the root, which is made if it is missing.
    @discardableResult
    func mount(
        _ fileSystem: FileSystem, on name: String, flags: MountFlags = []
    ) throws -> Mount {
        try mount(fileSystem, at: try directory(name), flags: flags)
    }

    /// A directory of the root, made if it is missing.
    func directory(_ name: String) throws -> Location {
        let inode = try blocking { () throws(Pause) in
            try FileName(name).withName { (name) throws(Pause) in
                if let found = try vfs.lookup(name, in: root.inode) { return found }
                return try vfs.create(
                    name, in: root.inode,
                    NewNode(kind: .directory, permissions: Permissions(rawValue: 0o755)),
                    by: Caller(.root))
            }
        }
        return Location(mount: rootMount, inode: inode)
    }
}
