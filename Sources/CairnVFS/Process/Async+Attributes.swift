// Calls for attributes, suspending the task where they have to wait. Cancelling the task ends the
// wait with EINTR. Buffers must stay valid until the call returns.

public import CairnBase

extension Process {
    /// stat(2), lstat(2), fstatat(2). An empty path with a descriptor is that descriptor's file.
    nonisolated(nonsending)
        public func stat(
            _ path: Path, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno) -> Attributes
    {
        try await runAsync(.stat) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptStat(
                    path, at: directory, follow ? [.follow, .emptyIsBase] : .emptyIsBase)
            }
        }
    }

    /// fstat(2).
    nonisolated(nonsending)
        public func stat(_ descriptor: Descriptor) async throws(Errno) -> Attributes
    {
        var kept: KeptFile?
        return try await runAsync(.stat) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try file.inode.attributes()
            }
        }
    }

    /// statfs(2).
    nonisolated(nonsending)
        public func fileSystemStatistics(_ path: Path) async throws(Errno) -> FileSystemStatistics
    {
        try await runAsync(.statfs) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptFileSystemStatistics(
                    .path(path, at: .workingDirectory, followingLinks: true))
            }
        }
    }

    /// fstatfs(2).
    nonisolated(nonsending)
        public func fileSystemStatistics(
            _ descriptor: Descriptor
        ) async throws(Errno) -> FileSystemStatistics
    {
        var kept: KeptFile?
        return try await runAsync(.statfs) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptFileSystemStatistics(.file(file))
            }
        }
    }

    /// access(2), faccessat(2), with the credentials of the process. EACCES if it may not.
    nonisolated(nonsending)
        public func access(
            _ path: Path, _ wanted: Access, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.access) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptAccess(path, at: directory, wanted, follow: follow)
            }
        }
    }

    /// Any change of attributes as one step: what chmod, chown, utimensat and chattr are made of.
    nonisolated(nonsending)
        public func setAttributes(
            _ path: Path, _ change: AttributeChange, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.chmod) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, change)
            }
        }
    }

    /// The same for an open file.
    nonisolated(nonsending)
        public func setAttributes(
            _ descriptor: Descriptor, _ change: AttributeChange
        ) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.chmod) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), change)
            }
        }
    }

    /// chmod(2), fchmodat(2).
    nonisolated(nonsending)
        public func chmod(
            _ path: Path, _ permissions: Permissions, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.chmod) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, .permissions(permissions))
            }
        }
    }

    /// fchmod(2).
    nonisolated(nonsending)
        public func chmod(_ descriptor: Descriptor, _ permissions: Permissions) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.chmod) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .permissions(permissions))
            }
        }
    }

    /// chown(2), lchown(2), fchownat(2); nil stays.
    nonisolated(nonsending)
        public func chown(
            _ path: Path, user: UInt32?, group: UInt32?, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.chown) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, .owner(user, group))
            }
        }
    }

    /// fchown(2).
    nonisolated(nonsending)
        public func chown(_ descriptor: Descriptor, user: UInt32?, group: UInt32?)
        async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.chown) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .owner(user, group))
            }
        }
    }

    /// utimensat(2).
    nonisolated(nonsending)
        public func setTimes(
            _ path: Path, access: TimeChange, modification: TimeChange,
            followingLinks follow: Bool = true, at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.utimens) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, .times(access, modification))
            }
        }
    }

    /// futimens(3).
    nonisolated(nonsending)
        public func setTimes(
            _ descriptor: Descriptor, access: TimeChange, modification: TimeChange
        ) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.utimens) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .times(access, modification))
            }
        }
    }

    /// FS_IOC_SETFLAGS.
    nonisolated(nonsending)
        public func setFlags(_ descriptor: Descriptor, _ flags: FileFlags) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.setflags) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .flags(flags))
            }
        }
    }

    /// getxattr(2), lgetxattr(2): all of the value.
    nonisolated(nonsending)
        public func extendedAttribute(
            _ name: FileName, of path: Path, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno) -> [UInt8]
    {
        try await runAsync(.getxattr) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptExtendedAttribute(subject, name.bytes)
            }
        }
    }

    /// fgetxattr(2).
    nonisolated(nonsending)
        public func extendedAttribute(
            _ name: FileName, of descriptor: Descriptor
        ) async throws(Errno) -> [UInt8]
    {
        var kept: KeptFile?
        return try await runAsync(.getxattr) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptExtendedAttribute(.file(file), name.bytes)
            }
        }
    }

    /// listxattr(2), llistxattr(2).
    nonisolated(nonsending)
        public func extendedAttributeNames(
            of path: Path, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno) -> [FileName]
    {
        try await runAsync(.listxattr) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptExtendedAttributeList(subject)
            }
        }
    }

    /// flistxattr(2).
    nonisolated(nonsending)
        public func extendedAttributeNames(
            of descriptor: Descriptor
        ) async throws(Errno) -> [FileName]
    {
        var kept: KeptFile?
        return try await runAsync(.listxattr) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptExtendedAttributeList(.file(file))
            }
        }
    }

    /// setxattr(2), lsetxattr(2).
    nonisolated(nonsending)
        public func setExtendedAttribute(
            _ name: FileName, of path: Path, to value: [UInt8], mode: ExtendedAttributeMode = .any,
            followingLinks follow: Bool = true, at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.setxattr) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptSetExtendedAttribute(subject, name.bytes, to: value, mode)
            }
        }
    }

    /// fsetxattr(2).
    nonisolated(nonsending)
        public func setExtendedAttribute(
            _ name: FileName, of descriptor: Descriptor, to value: [UInt8],
            mode: ExtendedAttributeMode = .any
        ) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.setxattr) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSetExtendedAttribute(.file(file), name.bytes, to: value, mode)
            }
        }
    }

    /// removexattr(2), lremovexattr(2).
    nonisolated(nonsending)
        public func removeExtendedAttribute(
            _ name: FileName, of path: Path, followingLinks follow: Bool = true,
            at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.removexattr) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptRemoveExtendedAttribute(subject, name.bytes)
            }
        }
    }

    /// fremovexattr(2).
    nonisolated(nonsending)
        public func removeExtendedAttribute(
            _ name: FileName, of descriptor: Descriptor
        ) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.removexattr) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptRemoveExtendedAttribute(.file(file), name.bytes)
            }
        }
    }
}
