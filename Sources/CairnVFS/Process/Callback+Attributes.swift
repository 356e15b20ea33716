// Calls for attributes, returning at once. What is wrong with the submission itself (a descriptor
// that is not open) is thrown, and nothing is called back; otherwise `completion` is called
// exactly once. Buffers must stay valid until then. The result can cancel the operation.

public import CairnBase

extension Process {
    /// stat(2), lstat(2), fstatat(2). An empty path with a descriptor is that descriptor's file.
    @discardableResult
    public func submitStat(
        _ path: Path, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Attributes, Errno>) -> Void
    ) -> PendingOperation {
        submit(.stat, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptStat(
                    path, at: directory, follow ? [.follow, .emptyIsBase] : .emptyIsBase)
            }
        }
    }

    /// fstat(2).
    @discardableResult
    public func submitStat(
        _ descriptor: Descriptor,
        completion: @escaping @Sendable (Result<Attributes, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.stat, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try file.inode.attributes()
            }
        }
    }

    /// statfs(2).
    @discardableResult
    public func submitFileSystemStatistics(
        _ path: Path, completion: @escaping @Sendable (Result<FileSystemStatistics, Errno>) -> Void
    ) -> PendingOperation {
        submit(.statfs, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptFileSystemStatistics(
                    .path(path, at: .workingDirectory, followingLinks: true))
            }
        }
    }

    /// fstatfs(2).
    @discardableResult
    public func submitFileSystemStatistics(
        _ descriptor: Descriptor,
        completion: @escaping @Sendable (Result<FileSystemStatistics, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.statfs, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptFileSystemStatistics(.file(file))
            }
        }
    }

    /// access(2), faccessat(2), with the credentials of the process. EACCES if it may not.
    @discardableResult
    public func submitAccess(
        _ path: Path, _ wanted: Access, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.access, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptAccess(path, at: directory, wanted, follow: follow)
            }
        }
    }

    /// Any change of attributes as one step: what chmod, chown, utimensat and chattr are made of.
    @discardableResult
    public func submitSetAttributes(
        _ path: Path, _ change: AttributeChange, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.chmod, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, change)
            }
        }
    }

    /// The same for an open file.
    @discardableResult
    public func submitSetAttributes(
        _ descriptor: Descriptor, _ change: AttributeChange,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.chmod, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), change)
            }
        }
    }

    /// chmod(2), fchmodat(2).
    @discardableResult
    public func submitChmod(
        _ path: Path, _ permissions: Permissions, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.chmod, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, .permissions(permissions))
            }
        }
    }

    /// fchmod(2).
    @discardableResult
    public func submitChmod(
        _ descriptor: Descriptor, _ permissions: Permissions,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.chmod, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .permissions(permissions))
            }
        }
    }

    /// chown(2), lchown(2), fchownat(2); nil stays.
    @discardableResult
    public func submitChown(
        _ path: Path, user: UInt32?, group: UInt32?, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.chown, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, .owner(user, group))
            }
        }
    }

    /// fchown(2).
    @discardableResult
    public func submitChown(
        _ descriptor: Descriptor, user: UInt32?, group: UInt32?,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.chown, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .owner(user, group))
            }
        }
    }

    /// utimensat(2).
    @discardableResult
    public func submitSetTimes(
        _ path: Path, access: TimeChange, modification: TimeChange,
        followingLinks follow: Bool = true, at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.utimens, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptChange(subject, .times(access, modification))
            }
        }
    }

    /// futimens(3).
    @discardableResult
    public func submitSetTimes(
        _ descriptor: Descriptor, access: TimeChange, modification: TimeChange,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.utimens, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .times(access, modification))
            }
        }
    }

    /// FS_IOC_SETFLAGS.
    @discardableResult
    public func submitSetFlags(
        _ descriptor: Descriptor, _ flags: FileFlags,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.setflags, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptChange(.file(file), .flags(flags))
            }
        }
    }

    /// getxattr(2), lgetxattr(2): all of the value.
    @discardableResult
    public func submitExtendedAttribute(
        _ name: FileName, of path: Path, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<[UInt8], Errno>) -> Void
    ) -> PendingOperation {
        submit(.getxattr, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptExtendedAttribute(subject, name.bytes)
            }
        }
    }

    /// fgetxattr(2).
    @discardableResult
    public func submitExtendedAttribute(
        _ name: FileName, of descriptor: Descriptor,
        completion: @escaping @Sendable (Result<[UInt8], Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.getxattr, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptExtendedAttribute(.file(file), name.bytes)
            }
        }
    }

    /// listxattr(2), llistxattr(2).
    @discardableResult
    public func submitExtendedAttributeNames(
        of path: Path, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<[FileName], Errno>) -> Void
    ) -> PendingOperation {
        submit(.listxattr, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptExtendedAttributeList(subject)
            }
        }
    }

    /// flistxattr(2).
    @discardableResult
    public func submitExtendedAttributeNames(
        of descriptor: Descriptor,
        completion: @escaping @Sendable (Result<[FileName], Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.listxattr, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptExtendedAttributeList(.file(file))
            }
        }
    }

    /// setxattr(2), lsetxattr(2).
    @discardableResult
    public func submitSetExtendedAttribute(
        _ name: FileName, of path: Path, to value: [UInt8], mode: ExtendedAttributeMode = .any,
        followingLinks follow: Bool = true, at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.setxattr, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptSetExtendedAttribute(subject, name.bytes, to: value, mode)
            }
        }
    }

    /// fsetxattr(2).
    @discardableResult
    public func submitSetExtendedAttribute(
        _ name: FileName, of descriptor: Descriptor, to value: [UInt8],
        mode: ExtendedAttributeMode = .any,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.setxattr, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSetExtendedAttribute(.file(file), name.bytes, to: value, mode)
            }
        }
    }

    /// removexattr(2), lremovexattr(2).
    @discardableResult
    public func submitRemoveExtendedAttribute(
        _ name: FileName, of path: Path, followingLinks follow: Bool = true,
        at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.removexattr, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                let subject = Subject.path(path, at: directory, followingLinks: follow)
                return try attemptRemoveExtendedAttribute(subject, name.bytes)
            }
        }
    }

    /// fremovexattr(2).
    @discardableResult
    public func submitRemoveExtendedAttribute(
        _ name: FileName, of descriptor: Descriptor,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.removexattr, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptRemoveExtendedAttribute(.file(file), name.bytes)
            }
        }
    }
}
