// Calls for opening and moving about, suspending the task where they have to wait. Cancelling the task ends the
// wait with EINTR. Buffers must stay valid until the call returns.

public import CairnBase

extension Process {
    /// open(2), openat(2).
    nonisolated(nonsending)
        public func open(
            _ path: Path, _ flags: OpenFlags, permissions: Permissions = .init(rawValue: 0o666),
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno) -> Descriptor
    {
        var reached: ReachedFile?
        return try await runAsync(.open) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptOpen(path, at: directory, flags, permissions, &reached)
            }
        }
    }

    /// chdir(2).
    nonisolated(nonsending)
        public func changeDirectory(_ path: Path) async throws(Errno)
    {
        try await runAsync(.chdir) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptChangeDirectory(path)
            }
        }
    }

    /// fchdir(2).
    nonisolated(nonsending)
        public func changeDirectory(to descriptor: Descriptor) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.chdir) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChangeDirectory(file)
            }
        }
    }

    /// chroot(2): paths of this process, and `..`, end here from now on. The working directory stays.
    nonisolated(nonsending)
        public func changeRoot(_ path: Path) async throws(Errno)
    {
        try await runAsync(.chdir) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptChangeRoot(path)
            }
        }
    }

    /// flock(2).
    nonisolated(nonsending)
        public func flock(
            _ descriptor: Descriptor, _ operation: FlockOperation, nonBlocking: Bool = false
        ) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.flock) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptFlock(file, operation, wait: !nonBlocking)
            }
        }
    }

    /// F_SETLK and F_SETLKW, or F_OFD_SETLK and F_OFD_SETLKW when `ofDescription`; a kind of nil unlocks.
    nonisolated(nonsending)
        public func setLock(
            _ descriptor: Descriptor, _ kind: FileLock.Kind?, range: LockRange = .whole,
            ofDescription: Bool = false, wait: Bool = false
        ) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.lock) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSetLock(
                    file, descriptor, kind, range: range, ofDescription: ofDescription, wait: wait)
            }
        }
    }

    /// F_GETLK, F_OFD_GETLK: the lock that is in the way; nil: there is none.
    nonisolated(nonsending)
        public func testLock(
            _ descriptor: Descriptor, _ kind: FileLock.Kind, range: LockRange = .whole,
            ofDescription: Bool = false
        ) async throws(Errno) -> FileLock?
    {
        var kept: KeptFile?
        return try await runAsync(.lock) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptTestLock(
                    file, kind, range: range, ofDescription: ofDescription)
            }
        }
    }
}
