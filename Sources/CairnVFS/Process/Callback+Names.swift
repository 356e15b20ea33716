// Calls for names, returning at once. What is wrong with the submission itself (a descriptor
// that is not open) is thrown, and nothing is called back; otherwise `completion` is called
// exactly once. Buffers must stay valid until then. The result can cancel the operation.

public import CairnBase

extension Process {
    /// mkdir(2).
    @discardableResult
    public func submitMakeDirectory(
        _ path: Path, permissions: Permissions = .init(rawValue: 0o777),
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.mkdir, completion) { [self] () throws(Pause) in
            let node = NewNode(kind: .directory, permissions: permissions)
            return try path.withBytes { (path) throws(Pause) in
                try attemptMake(path, at: directory, node)
            }
        }
    }

    /// mknod(2). `device`: (major << 32) | minor.
    @discardableResult
    public func submitMakeNode(
        _ path: Path, kind: FileKind, permissions: Permissions, device: UInt64 = 0,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.mknod, completion) { [self] () throws(Pause) in
            let node = try nodeToMake(kind, permissions, device)
            return try path.withBytes { (path) throws(Pause) in
                try attemptMake(path, at: directory, node)
            }
        }
    }

    /// symlink(2): `path` leads to `target`.
    @discardableResult
    public func submitMakeLink(
        _ path: Path, to target: Path, at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.symlink, completion) { [self] () throws(Pause) in
            let node = try linkToMake(target)
            return try path.withBytes { (path) throws(Pause) in
                try attemptMake(path, at: directory, node)
            }
        }
    }

    /// link(2), linkat(2): `path` becomes a further name of what `source` names. An empty source is
    /// the descriptor `sourceDirectory` itself.
    @discardableResult
    public func submitLink(
        _ source: Path, to path: Path, followingLinks follow: Bool = false,
        from sourceDirectory: Descriptor = .workingDirectory,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.link, completion) { [self] () throws(Pause) in
            try source.withBytes { (source) throws(Pause) in
                try path.withBytes { (path) throws(Pause) in
                    try attemptLink(
                        source, at: sourceDirectory, follow: follow, emptyIsBase: true, to: path,
                        at: directory)
                }
            }
        }
    }

    /// unlink(2).
    @discardableResult
    public func submitUnlink(
        _ path: Path, at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.unlink, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptRemove(path, at: directory, directory: false)
            }
        }
    }

    /// rmdir(2).
    @discardableResult
    public func submitRemoveDirectory(
        _ path: Path, at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.rmdir, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptRemove(path, at: directory, directory: true)
            }
        }
    }

    /// rename(2), renameat2(2).
    @discardableResult
    public func submitRename(
        _ path: Path, to newPath: Path, flags: RenameFlags = [],
        from sourceDirectory: Descriptor = .workingDirectory,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.rename, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try newPath.withBytes { (newPath) throws(Pause) in
                    try attemptRename(
                        path, at: sourceDirectory, to: newPath, at: directory, flags: flags)
                }
            }
        }
    }

    /// readlink(2): all of the target.
    @discardableResult
    public func submitReadLink(
        _ path: Path, at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<[UInt8], Errno>) -> Void
    ) -> PendingOperation {
        submit(.readlink, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptReadLink(path, at: directory)
            }
        }
    }
}
