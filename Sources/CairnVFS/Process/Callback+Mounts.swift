// Calls for mounts, returning at once. What is wrong with the submission itself (a descriptor
// that is not open) is thrown, and nothing is called back; otherwise `completion` is called
// exactly once. Buffers must stay valid until then. The result can cancel the operation.

public import CairnBase

extension Process {
    /// mount(2) of a filesystem over a place. EPERM without CAP_SYS_ADMIN.
    @discardableResult
    public func submitMount(
        _ fileSystem: FileSystem, at path: Path, source: String = "none", flags: MountFlags = [],
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.mount, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptMount(fileSystem, at: path, source: source, flags)
            }
        }
    }

    /// mount(2) with MS_BIND: what is at `origin` is shown at `path` too.
    @discardableResult
    public func submitBind(
        _ origin: Path, at path: Path, flags: MountFlags? = nil,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.mount, completion) { [self] () throws(Pause) in
            try origin.withBytes { (origin) throws(Pause) in
                try path.withBytes { (path) throws(Pause) in
                    try attemptBind(origin, at: path, flags)
                }
            }
        }
    }

    /// mount(2) with MS_MOVE: the mount at `origin` moves to `path`.
    @discardableResult
    public func submitMoveMount(
        _ origin: Path, to path: Path, completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.mount, completion) { [self] () throws(Pause) in
            try origin.withBytes { (origin) throws(Pause) in
                try path.withBytes { (path) throws(Pause) in
                    try attemptMoveMount(origin, to: path)
                }
            }
        }
    }

    /// umount2(2): returns when all is durable and the filesystem, if this was its last mount, is
    /// closed. EBUSY while it is used, unless `lazily`; `force`: what is in flight fails with EIO.
    @discardableResult
    public func submitUnmount(
        _ path: Path, lazily: Bool = false, force: Bool = false,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        var unmounting: Unmounting?
        return submit(.umount, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptUnmount(path, lazily: lazily, force: force, &unmounting)
            }
        }
    }
}
