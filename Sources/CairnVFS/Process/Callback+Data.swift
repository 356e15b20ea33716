// Calls for data, returning at once. What is wrong with the submission itself (a descriptor
// that is not open) is thrown, and nothing is called back; otherwise `completion` is called
// exactly once. Buffers must stay valid until then. The result can cancel the operation.

public import CairnBase

extension Process {
    /// read(2): at the offset, which moves on. 0 at the end.
    @discardableResult
    public func submitRead(
        from descriptor: Descriptor, into buffer: UnsafeMutableRawBufferPointer,
        completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        let reading = Reading()
        return submit(.read, reading.completing(completion)) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptRead(file, into: buffer, &reading.progress)
            }
        }
    }

    /// pread(2).
    @discardableResult
    public func submitRead(
        from descriptor: Descriptor, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64,
        completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        let reading = Reading()
        return submit(.read, reading.completing(completion)) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try file.requirePositions()
                return try attemptRead(file, into: buffer, at: offset, &reading.progress.count)
            }
        }
    }

    /// readv(2); with an offset, preadv(2).
    @discardableResult
    public func submitRead(
        from descriptor: Descriptor, into buffers: [UnsafeMutableRawBufferPointer],
        at offset: UInt64? = nil, completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        let reading = Reading()
        return submit(.read, reading.completing(completion)) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptRead(file, into: buffers, at: offset, &reading.progress)
            }
        }
    }

    /// write(2): at the offset, which moves on, or at the end with O_APPEND. May write less than
    /// asked for. With O_SYNC, O_DSYNC or `-o sync` it returns when the data is durable.
    @discardableResult
    public func submitWrite(
        _ bytes: UnsafeRawBufferPointer, to descriptor: Descriptor,
        completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        var progress = WriteProgress()
        return submit(.write, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptWriteAndSync(bytes, to: file, at: nil, &progress)
            }
        }
    }

    /// pwrite(2); at the end with O_APPEND, as Linux does.
    @discardableResult
    public func submitWrite(
        _ bytes: UnsafeRawBufferPointer, to descriptor: Descriptor, at offset: UInt64,
        completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        var progress = WriteProgress()
        return submit(.write, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptWriteAndSync(bytes, to: file, at: offset, &progress)
            }
        }
    }

    /// writev(2); with an offset, pwritev(2).
    @discardableResult
    public func submitWrite(
        _ buffers: [UnsafeRawBufferPointer], to descriptor: Descriptor, at offset: UInt64? = nil,
        completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        var progress = WriteProgress()
        return submit(.write, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptWriteAndSync(buffers, to: file, at: offset, &progress)
            }
        }
    }

    /// lseek(2). Gives the new offset.
    @discardableResult
    public func submitSeek(
        _ descriptor: Descriptor, _ seek: Seek,
        completion: @escaping @Sendable (Result<UInt64, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.seek, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSeek(file, seek)
            }
        }
    }

    /// ftruncate(2).
    @discardableResult
    public func submitTruncate(
        _ descriptor: Descriptor, to size: UInt64,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.truncate, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptTruncate(file, to: size)
            }
        }
    }

    /// truncate(2).
    @discardableResult
    public func submitTruncate(
        _ path: Path, to size: UInt64, at directory: Descriptor = .workingDirectory,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        submit(.truncate, completion) { [self] () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptTruncate(path, at: directory, to: size)
            }
        }
    }

    /// fallocate(2).
    @discardableResult
    public func submitAllocate(
        _ descriptor: Descriptor, _ mode: AllocateMode, offset: UInt64, length: UInt64,
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.fallocate, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptAllocate(file, mode, offset: offset, length: length)
            }
        }
    }

    /// copy_file_range(2). An offset of nil: the descriptor's own, which moves on. Gives the number of
    /// bytes copied, which may be less than asked for.
    @discardableResult
    public func submitCopy(
        from source: Descriptor, at sourceOffset: UInt64? = nil, to descriptor: Descriptor,
        at offset: UInt64? = nil, length: Int,
        completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        var keptSource: KeptFile? = try KeptFile(try descriptors.get(source))
        var progress = WriteProgress()
        return submit(.copyFileRange, completion) { [self] () throws(Pause) in
            try withFile(source, keptIn: &keptSource) { (from) throws(Pause) in
                try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                    try attemptCopyAndSync(
                        from: from, sourceOffset, to: file, offset, length: length, &progress)
                }
            }
        }
    }

    /// fsync(2): returns when the file's data and attributes, and the names that lead to it, would
    /// survive a crash.
    @discardableResult
    public func submitFsync(
        _ descriptor: Descriptor, completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        var point = SyncPoint()
        return submit(.fsync, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSync(file, dataOnly: false, &point)
            }
        }
    }

    /// fdatasync(2).
    @discardableResult
    public func submitFdatasync(
        _ descriptor: Descriptor, completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        var point = SyncPoint()
        return submit(.fdatasync, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSync(file, dataOnly: true, &point)
            }
        }
    }

    /// syncfs(2).
    @discardableResult
    public func submitSyncFileSystem(
        _ descriptor: Descriptor, completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        var point = SyncPoint()
        return submit(.syncfs, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSyncFileSystem(file, &point)
            }
        }
    }

    /// sync(2): every filesystem of the namespace.
    @discardableResult
    public func submitSync(
        completion: @escaping @Sendable (Result<Void, Errno>) -> Void
    ) -> PendingOperation {
        var progress = SyncProgress()
        return submit(.sync, completion) { [self] () throws(Pause) in
            try attemptSyncAll(&progress)
        }
    }

    /// getdents64(2): Linux's records, as many as fit. Gives the number of bytes, 0 at the end.
    @discardableResult
    public func submitDirectoryRecords(
        _ descriptor: Descriptor, into buffer: UnsafeMutableRawBufferPointer,
        completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.getdents, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptDirectoryRecords(file, into: buffer)
            }
        }
    }

    /// At most `limit` entries from the descriptor's offset on, "." and ".." among them; none at the
    /// end.
    @discardableResult
    public func submitEntries(
        of descriptor: Descriptor, limit: Int = 256,
        completion: @escaping @Sendable (Result<[ListedEntry], Errno>) -> Void
    ) throws(Errno) -> PendingOperation {
        var kept: KeptFile? = try KeptFile(try descriptors.get(descriptor))
        return submit(.getdents, completion) { [self] () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptEntries(file, limit: limit)
            }
        }
    }
}

/// A read that was submitted: one that is interrupted after its first bytes ends with these.
private final class Reading: @unchecked Sendable {
    // Sendable: belongs to whoever runs the attempt or ends the wait; never two at once.
    var progress = ReadProgress()

    func completing(
        _ completion: @escaping @Sendable (Result<Int, Errno>) -> Void
    ) -> @Sendable (Result<Int, Errno>) -> Void {
        { [self] result in
            if case .failure = result, progress.count > 0 {
                completion(.success(progress.count))
            } else {
                completion(result)
            }
        }
    }
}
