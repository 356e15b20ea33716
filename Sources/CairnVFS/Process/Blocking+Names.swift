// Calls for names, waiting on the thread where they have to.

public import CairnBase

extension Process {
    /// mkdir(2).
    public func makeDirectory(
        _ path: Path, permissions: Permissions = .init(rawValue: 0o777),
        at directory: Descriptor = .workingDirectory
    ) throws(Errno) {
        try run(.mkdir) { () throws(Pause) in
            let node = NewNode(kind: .directory, permissions: permissions)
            return try path.withBytes { (path) throws(Pause) in
                try attemptMake(path, at: directory, node)
            }
        }
    }

    /// mknod(2). `device`: (major << 32) | minor.
    public func makeNode(
        _ path: Path, kind: FileKind, permissions: Permissions, device: UInt64 = 0,
        at directory: Descriptor = .workingDirectory
    ) throws(Errno) {
        try run(.mknod) { () throws(Pause) in
            let node = try nodeToMake(kind, permissions, device)
            return try path.withBytes { (path) throws(Pause) in
                try attemptMake(path, at: directory, node)
            }
        }
    }

    /// symlink(2): `path` leads to `target`.
    public func makeLink(
        _ path: Path, to target: Path, at directory: Descriptor = .workingDirectory
    ) throws(Errno) {
        try run(.symlink) { () throws(Pause) in
            let node = try linkToMake(target)
            return try path.withBytes { (path) throws(Pause) in
                try attemptMake(path, at: directory, node)
            }
        }
    }

    /// link(2), linkat(2): `path` becomes a further name of what `source` names. An empty source is
    /// the descriptor `sourceDirectory` itself.
    public func link(
        _ source: Path, to path: Path, followingLinks follow: Bool = false,
        from sourceDirectory: Descriptor = .workingDirectory,
        at directory: Descriptor = .workingDirectory
    ) throws(Errno) {
        try run(.link) { () throws(Pause) in
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
    public func unlink(_ path: Path, at directory: Descriptor = .workingDirectory) throws(Errno) {
        try run(.unlink) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptRemove(path, at: directory, directory: false)
            }
        }
    }

    /// rmdir(2).
    public func removeDirectory(
        _ path: Path, at directory: Descriptor = .workingDirectory
    ) throws(Errno) {
        try run(.rmdir) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptRemove(path, at: directory, directory: true)
            }
        }
    }

    /// rename(2), renameat2(2).
    public func rename(
        _ path: Path, to newPath: Path, flags: RenameFlags = [],
        from sourceDirectory: Descriptor = .workingDirectory,
        at directory: Descriptor = .workingDirectory
    ) throws(Errno) {
        try run(.rename) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try newPath.withBytes { (newPath) throws(Pause) in
                    try attemptRename(
                        path, at: sourceDirectory, to: newPath, at: directory, flags: flags)
                }
            }
        }
    }

    /// readlink(2): all of the target.
    public func readLink(
        _ path: Path, at directory: Descriptor = .workingDirectory
    ) throws(Errno) -> [UInt8] {
        try run(.readlink) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptReadLink(path, at: directory)
            }
        }
    }
}
