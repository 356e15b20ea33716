// Calls for opening and moving about, waiting on the thread where they have to.

public import CairnBase

extension Process {
    /// open(2), openat(2).
    public func open(
        _ path: Path, _ flags: OpenFlags, permissions: Permissions = .init(rawValue: 0o666),
        at directory: Descriptor = .workingDirectory
    ) throws(Errno) -> Descriptor {
        var reached: ReachedFile?
        return try run(.open) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptOpen(path, at: directory, flags, permissions, &reached)
            }
        }
    }

    /// chdir(2).
    public func changeDirectory(_ path: Path) throws(Errno) {
        try run(.chdir) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptChangeDirectory(path)
            }
        }
    }

    /// fchdir(2).
    public func changeDirectory(to descriptor: Descriptor) throws(Errno) {
        var kept: KeptFile?
        try run(.chdir) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChangeDirectory(file)
            }
        }
    }

    /// chroot(2): paths of this process, and `..`, end here from now on. The working directory stays.
    public func changeRoot(_ path: Path) throws(Errno) {
        try run(.chdir) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptChangeRoot(path)
            }
        }
    }

    /// flock(2).
    public func flock(
        _ descriptor: Descriptor, _ operation: FlockOperation, nonBlocking: Bool = false
    ) throws(Errno) {
        var kept: KeptFile?
        try run(.flock) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptFlock(file, operation, wait: !nonBlocking)
            }
        }
    }

    /// F_SETLK and F_SETLKW, or F_OFD_SETLK and F_OFD_SETLKW when `ofDescription`; a kind of nil unlocks.
    public func setLock(
        _ descriptor: Descriptor, _ kind: FileLock.Kind?, range: LockRange = .whole,
        ofDescription: Bool = false, wait: Bool = false
    ) throws(Errno) {
        var kept: KeptFile?
        try run(.lock) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSetLock(
                    file, descriptor, kind, range: range, ofDescription: ofDescription, wait: wait)
            }
        }
    }

    /// F_GETLK, F_OFD_GETLK: the lock that is in the way; nil: there is none.
    public func testLock(
        _ descriptor: Descriptor, _ kind: FileLock.Kind, range: LockRange = .whole,
        ofDescription: Bool = false
    ) throws(Errno) -> FileLock? {
        var kept: KeptFile?
        return try run(.lock) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptTestLock(
                    file, kind, range: range, ofDescription: ofDescription)
            }
        }
    }
}
