// Calls for data, suspending the task where they have to wait. Cancelling the task ends the
// wait with EINTR. Buffers must stay valid until the call returns.

public import CairnBase

extension Process {
    /// read(2): at the offset, which moves on. 0 at the end.
    nonisolated(nonsending)
        public func read(
            from descriptor: Descriptor, into buffer: UnsafeMutableRawBufferPointer
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        var progress = ReadProgress()
        do throws(Errno) {
            return try await runAsync(.read) { () throws(Pause) in
                try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                    try attemptRead(file, into: buffer, &progress)
                }
            }
        } catch {
            // Interrupted after some bytes: these count.
            if progress.count > 0 { return progress.count }
            throw error
        }
    }

    /// pread(2).
    nonisolated(nonsending)
        public func read(
            from descriptor: Descriptor, into buffer: UnsafeMutableRawBufferPointer,
            at offset: UInt64
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        var progress = ReadProgress()
        do throws(Errno) {
            return try await runAsync(.read) { () throws(Pause) in
                try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                    try file.requirePositions()
                    return try attemptRead(file, into: buffer, at: offset, &progress.count)
                }
            }
        } catch {
            // Interrupted after some bytes: these count.
            if progress.count > 0 { return progress.count }
            throw error
        }
    }

    /// readv(2); with an offset, preadv(2).
    nonisolated(nonsending)
        public func read(
            from descriptor: Descriptor, into buffers: [UnsafeMutableRawBufferPointer],
            at offset: UInt64? = nil
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        var progress = ReadProgress()
        do throws(Errno) {
            return try await runAsync(.read) { () throws(Pause) in
                try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                    try attemptRead(file, into: buffers, at: offset, &progress)
                }
            }
        } catch {
            // Interrupted after some bytes: these count.
            if progress.count > 0 { return progress.count }
            throw error
        }
    }

    /// write(2): at the offset, which moves on, or at the end with O_APPEND. May write less than
    /// asked for. With O_SYNC, O_DSYNC or `-o sync` it returns when the data is durable.
    @discardableResult
    nonisolated(nonsending)
        public func write(
            _ bytes: UnsafeRawBufferPointer, to descriptor: Descriptor
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        var progress = WriteProgress()
        return try await runAsync(.write) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptWriteAndSync(bytes, to: file, at: nil, &progress)
            }
        }
    }

    /// pwrite(2); at the end with O_APPEND, as Linux does.
    @discardableResult
    nonisolated(nonsending)
        public func write(
            _ bytes: UnsafeRawBufferPointer, to descriptor: Descriptor, at offset: UInt64
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        var progress = WriteProgress()
        return try await runAsync(.write) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptWriteAndSync(bytes, to: file, at: offset, &progress)
            }
        }
    }

    /// writev(2); with an offset, pwritev(2).
    @discardableResult
    nonisolated(nonsending)
        public func write(
            _ buffers: [UnsafeRawBufferPointer], to descriptor: Descriptor, at offset: UInt64? = nil
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        var progress = WriteProgress()
        return try await runAsync(.write) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptWriteAndSync(buffers, to: file, at: offset, &progress)
            }
        }
    }

    /// lseek(2). Gives the new offset.
    @discardableResult
    nonisolated(nonsending)
        public func seek(_ descriptor: Descriptor, _ seek: Seek) async throws(Errno) -> UInt64
    {
        var kept: KeptFile?
        return try await runAsync(.seek) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSeek(file, seek)
            }
        }
    }

    /// ftruncate(2).
    nonisolated(nonsending)
        public func truncate(_ descriptor: Descriptor, to size: UInt64) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.truncate) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptTruncate(file, to: size)
            }
        }
    }

    /// truncate(2).
    nonisolated(nonsending)
        public func truncate(
            _ path: Path, to size: UInt64, at directory: Descriptor = .workingDirectory
        ) async throws(Errno)
    {
        try await runAsync(.truncate) { () throws(Pause) in
            try path.withBytes { (path) throws(Pause) in
                try attemptTruncate(path, at: directory, to: size)
            }
        }
    }

    /// fallocate(2).
    nonisolated(nonsending)
        public func allocate(
            _ descriptor: Descriptor, _ mode: AllocateMode, offset: UInt64, length: UInt64
        ) async throws(Errno)
    {
        var kept: KeptFile?
        try await runAsync(.fallocate) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptAllocate(file, mode, offset: offset, length: length)
            }
        }
    }

    /// copy_file_range(2). An offset of nil: the descriptor's own, which moves on. Gives the number of
    /// bytes copied, which may be less than asked for.
    nonisolated(nonsending)
        public func copy(
            from source: Descriptor, at sourceOffset: UInt64? = nil, to descriptor: Descriptor,
            at offset: UInt64? = nil, length: Int
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        var keptSource: KeptFile?
        var progress = WriteProgress()
        return try await runAsync(.copyFileRange) { () throws(Pause) in
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
    nonisolated(nonsending)
        public func fsync(_ descriptor: Descriptor) async throws(Errno)
    {
        var kept: KeptFile?
        var point = SyncPoint()
        try await runAsync(.fsync) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSync(file, dataOnly: false, &point)
            }
        }
    }

    /// fdatasync(2).
    nonisolated(nonsending)
        public func fdatasync(_ descriptor: Descriptor) async throws(Errno)
    {
        var kept: KeptFile?
        var point = SyncPoint()
        try await runAsync(.fdatasync) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSync(file, dataOnly: true, &point)
            }
        }
    }

    /// syncfs(2).
    nonisolated(nonsending)
        public func syncFileSystem(_ descriptor: Descriptor) async throws(Errno)
    {
        var kept: KeptFile?
        var point = SyncPoint()
        try await runAsync(.syncfs) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptSyncFileSystem(file, &point)
            }
        }
    }

    /// sync(2): every filesystem of the namespace.
    nonisolated(nonsending)
        public func sync() async throws(Errno)
    {
        var progress = SyncProgress()
        try await runAsync(.sync) { () throws(Pause) in
            try attemptSyncAll(&progress)
        }
    }

    /// getdents64(2): Linux's records, as many as fit. Gives the number of bytes, 0 at the end.
    nonisolated(nonsending)
        public func directoryRecords(
            _ descriptor: Descriptor, into buffer: UnsafeMutableRawBufferPointer
        ) async throws(Errno) -> Int
    {
        var kept: KeptFile?
        return try await runAsync(.getdents) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptDirectoryRecords(file, into: buffer)
            }
        }
    }

    /// At most `limit` entries from the descriptor's offset on, "." and ".." among them; none at the
    /// end.
    nonisolated(nonsending)
        public func entries(
            of descriptor: Descriptor, limit: Int = 256
        ) async throws(Errno) -> [ListedEntry]
    {
        var kept: KeptFile?
        return try await runAsync(.getdents) { () throws(Pause) in
            try withFile(descriptor, keptIn: &kept) { (file) throws(Pause) in
                try attemptEntries(file, limit: limit)
            }
        }
    }
}
