// Calls for opening and moving about, returning at once. What is wrong with the submission itself (a descriptor
// that is not open) is thrown, and nothing is called back; otherwise `completion` is called
// exactly once. Buffers must stay valid until then. The result can cancel the operation.

public import CairnBase

extension Process {
    /// open(2), openat(2).
    @discardableResult
    public func submitOpen(
        _ path: Path, _ flags: OpenFlags, permissions: Permissions = .init(rawValue: 0o666),
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Descriptor, Errno>) -> Void
    ) -> PendingOperation {
        var reached: ReachedFile?
        return submit(.open, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptOpen(path, at: directory, flags, permissions, &reached)
            }
        }
    }

    /// chdir(2).
    @discardableResult
    public func submitChangeDirectory(
        _ path: Path, completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.chdir, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptChangeDirectory(path)
            }
        }
    }

    /// fchdir(2).
    @discardableResult
    public func submitChangeDirectory(
        to descriptor: Descriptor, completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.chdir, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChangeDirectory(file)
            }
        }
    }

    /// chroot(2): paths of this process, and `..`, end here from now on. The working directory stays.
    @discardableResult
    public func submitChangeRoot(
        _ path: Path, completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.chdir, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptChangeRoot(path)
            }
        }
    }

    /// flock(2).
    @discardableResult
    public func submitFlock(
        _ descriptor: Descriptor, _ operation: FlockOperation, nonBlocking: Bool = false,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.flock, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptFlock(file, operation, wait: !nonBlocking)
            }
        }
    }

    /// F_SETLK and F_SETLKW, or F_OFD_SETLK and F_OFD_SETLKW when `ofDescription`; a kind of nil unlocks.
    @discardableResult
    public func submitSetLock(
        _ descriptor: Descriptor, _ kind: FileLock.Kind?, range: LockRange = .whole,
        ofDescription: Bool = false, wait: Bool = false,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.lock, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSetLock(
                    file, descriptor, kind, range: range, ofDescription: ofDescription, wait: wait)
            }
        }
    }

    /// F_GETLK, F_OFD_GETLK: the lock that is in the way; nil: there is none.
    @discardableResult
    public func submitTestLock(
        _ descriptor: Descriptor, _ kind: FileLock.Kind, range: LockRange = .whole,
        ofDescription: Bool = false,
        completion: @escaping @Sendable (Result<FileLock?, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.lock, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptTestLock(
                    file, kind, range: range, ofDescription: ofDescription)
            }
        }
    }
}
