// Calls for mounts, suspending the task where they have to wait. Cancelling the task ends the
// wait with EINTR. Buffers must stay valid until the call returns.

public import CairnBase

extension Process {
    /// mount(2) of a filesystem over a place. EPERM without CAP_SYS_ADMIN.
    nonisolated(nonsending)
        public func mount(
            _ fileSystem: FileSystem, at path: Path, source: String = "none", flags: MountFlags = []
        ) async throws(Errno)
    {
        try await runAsync(.mount) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptMount(fileSystem, at: path, source: source, flags)
            }
        }
    }

    /// mount(2) with MS_BIND: what is at `origin` is shown at `path` too.
    nonisolated(nonsending)
        public func bind(_ origin: Path, at path: Path, flags: MountFlags? = nil)
        async throws(Errno)
    {
        try await runAsync(.mount) { () throws(Pause) in
            try origin.withBytes { (origin) throws(Pause) in
                try path.withBytes { (path) throws(Pause) in
                    try attemptBind(origin, at: path, flags)
                }
            }
        }
    }

    /// mount(2) with MS_MOVE: the mount at `origin` moves to `path`.
    nonisolated(nonsending)
        public func moveMount(_ origin: Path, to path: Path) async throws(Errno)
    {
        try await runAsync(.mount) { () throws(Pause) in
            try origin.withBytes { (origin) throws(Pause) in
                try path.withBytes { (path) throws(Pause) in
                    try attemptMoveMount(origin, to: path)
                }
            }
        }
    }

    /// umount2(2): returns when all is durable and the filesystem, if this was its last mount, is
    /// closed. EBUSY while it is used, unless `lazily`; `force`: what is in flight fails with EIO.
    nonisolated(nonsending)
        public func unmount(
            _ path: Path, lazily: Bool = false, force: Bool = false
        ) async throws(Errno)
    {
        var unmounting: Unmounting?
        try await runAsync(.umount) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptUnmount(path, lazily: lazily, force: force, &unmounting)
            }
        }
    }
}
