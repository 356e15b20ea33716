// Calls for mounts, waiting on the thread where they have to.

public import CairnBase

extension Process {
    /// mount(2) of a filesystem over a place. EPERM without CAP_SYS_ADMIN.
    public func mount(
        _ fileSystem: FileSystem, at path: Path, source: String = "none", flags: MountFlags = []
    ) throws(Errno) {
        try run(.mount) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptMount(fileSystem, at: path, source: source, flags)
            }
        }
    }

    /// mount(2) with MS_BIND: what is at `origin` is shown at `path` too.
    public func bind(_ origin: Path, at path: Path, flags: MountFlags? = nil) throws(Errno) {
        try run(.mount) { () throws(Pause) in
            try origin.withBytes { (origin) throws(Pause) in
                try path.withBytes { (path) throws(Pause) in
                    try attemptBind(origin, at: path, flags)
                }
            }
        }
    }

    /// mount(2) with MS_MOVE: the mount at `origin` moves to `path`.
    public func moveMount(_ origin: Path, to path: Path) throws(Errno) {
        try run(.mount) { () throws(Pause) in
            try origin.withBytes { (origin) throws(Pause) in
                try path.withBytes { (path) throws(Pause) in
                    try attemptMoveMount(origin, to: path)
                }
            }
        }
    }

    /// umount2(2): returns when all is durable and the filesystem, if this was its last mount, is
    /// closed. EBUSY while it is used, unless `lazily`; `force`: what is in flight fails with EIO.
    public func unmount(_ path: Path, lazily: Bool = false, force: Bool = false) throws(Errno) {
        var unmounting: Unmounting?
        try run(.umount) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptUnmount(path, lazily: lazily, force: force, &unmounting)
            }
        }
    }
}
