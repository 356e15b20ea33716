// Attempts: read, write, seek, truncate, allocate, copy, sync.

import CairnBase

/// Where lseek(2) starts.
public enum Seek: Sendable {
    /// SEEK_SET
    case start(Int64)
    /// SEEK_CUR
    case current(Int64)
    /// SEEK_END
    case end(Int64)
    /// SEEK_DATA
    case data(UInt64)
    /// SEEK_HOLE
    case hole(UInt64)
}

/// How far a read has come in the attempts before.
struct ReadProgress {
    /// Bytes.
    var count = 0
    /// The offset at which it began, for a read at the description's offset.
    var start: UInt64 = 0
}

extension Process {
    /// The largest count that one read or write moves (MAX_RW_COUNT).
    static var maximumTransfer: Int { 0x7FFF_F000 }

    // MARK: Reading

    /// pread(2). `done` keeps what was read before a wait for the attempt that follows it.
    @inline(__always)
    func attemptRead(
        _ file: OpenFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64,
        _ done: inout Int
    ) throws(Pause) -> Int {
        guard file.canRead else { throw .failed(file.refusal(of: .read)) }
        guard offset <= UInt64(Int64.max) else { throw .failed(.EINVAL) }
        let buffer = clamped(buffer)
        if let opening = file.opening { return try opening.read(into: buffer, at: offset) }
        let count = try inSteps(of: buffer.count, &done) { (done) throws(Pause) in
            try file.inode.read(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]),
                at: offset &+ UInt64(done))
        }
        noteAccess(to: file)
        return count
    }

    func noteAccess(to file: OpenFile) {
        guard !file.status.contains(.noAccessTime) else { return }
        let flags = file.mount._withUnsafeGuaranteedRef { $0.flags }
        guard !flags.contains(.readOnly) else { return }
        file.inode.noteAccess(flags.accessTimePolicy(for: file.inode.kind))
    }

    /// read(2): at the offset, which moves in one step with the data. A read that waits after its first
    /// bytes, and finds the offset moved by somebody else, ends with what it has.
    func attemptRead(
        _ file: OpenFile, into buffer: UnsafeMutableRawBufferPointer, _ progress: inout ReadProgress
    ) throws(Pause) -> Int {
        try atOffset(of: file, &progress) { (offset, done) throws(Pause) in
            try attemptRead(file, into: buffer, at: offset, &done)
        }
    }

    /// Runs an attempt to read at the description's offset, and moves that.
    func atOffset(
        of file: OpenFile, _ progress: inout ReadProgress,
        _ body: (UInt64, inout Int) throws(Pause) -> Int
    ) throws(Pause) -> Int {
        let shared = file.shared
        shared.offsetLock.lock()
        defer { shared.offsetLock.unlock() }
        let before = progress.count
        let start = shared.offsetStorage &- UInt64(before)
        guard before == 0 || start == progress.start else { return before }
        progress.start = start
        // Also where it waits after some of it.
        defer {
            let end = start &+ UInt64(progress.count)
            if progress.count > before { shared.offsetStorage = min(end, UInt64(Int64.max)) }
        }
        let count = try body(start, &progress.count)
        progress.count = count
        return count
    }

    private func clamped(
        _ buffer: UnsafeMutableRawBufferPointer
    ) -> UnsafeMutableRawBufferPointer {
        buffer.count <= Self.maximumTransfer
            ? buffer : UnsafeMutableRawBufferPointer(rebasing: buffer[..<Self.maximumTransfer])
    }

    // MARK: Writing

    /// pwrite(2); with O_APPEND at the end, as Linux does.
    func attemptWrite(
        _ bytes: UnsafeRawBufferPointer, to file: OpenFile, at offset: UInt64
    ) throws(Pause) -> Written {
        guard file.canWrite else { throw .failed(file.refusal(of: .write)) }
        guard offset <= UInt64(Int64.max) else { throw .failed(.EINVAL) }
        var bytes =
            bytes.count <= Self.maximumTransfer
            ? bytes : UnsafeRawBufferPointer(rebasing: bytes[..<Self.maximumTransfer])
        var position: WritePosition =
            file.status.contains(.append) ? .end : .offset(offset)
        let credentials = credentials
        if let opening = file.opening {
            return try opening.write(bytes, at: position, options: [])
        }
        try requireWritable(file.location.mount)
        if fileSizeLimit != .max, file.inode.kind == .regular { try limit(&bytes, &position) }
        file.noteNameIfWatched()
        return try vfs.write(
            bytes, to: file.inode, at: position, options: writeOptions(credentials),
            by: Caller(credentials))
    }

    /// write(2): at the offset, which moves in one step with the data.
    func attemptWrite(
        _ bytes: UnsafeRawBufferPointer, to file: OpenFile
    ) throws(Pause) -> Int {
        let shared = file.shared
        return try shared.offsetLock.withLock { () throws(Pause) in
            let written = try attemptWrite(bytes, to: file, at: shared.offsetStorage)
            shared.offsetStorage = min(
                written.offset + UInt64(written.count), UInt64(Int64.max))
            return written.count
        }
    }

    /// Takes from a write what is beyond the limit for files. EFBIG if that is all of it.
    private func limit(
        _ bytes: inout UnsafeRawBufferPointer, _ position: inout WritePosition
    ) throws(Pause) {
        switch position {
        case .offset(let offset):
            guard !bytes.isEmpty else { return }
            let count = try limited(bytes.count, at: offset)
            bytes = UnsafeRawBufferPointer(rebasing: bytes.prefix(count))
        case .end, .endBelow:
            position = .endBelow(fileSizeLimit)
        }
    }

    /// How many of the bytes the limit for files lets in. EFBIG if it lets none in.
    private func limited(_ count: Int, at offset: UInt64) throws(Pause) -> Int {
        let limit = fileSizeLimit
        guard offset < limit else { throw .failed(.EFBIG) }
        return min(count, Int(clamping: limit - offset))
    }

    /// EFBIG if the file would grow beyond the limit for files.
    private func requireSize(_ size: UInt64, of inode: Inode) throws(Pause) {
        guard size > fileSizeLimit, try inode.attributes().size < size else { return }
        throw .failed(.EFBIG)
    }

    private func writeOptions(_ credentials: Credentials) -> WriteOptions {
        var options: WriteOptions = []
        if !credentials.has(.keepSetID) { options.insert(.clearPrivileges) }
        if credentials.has(.useReserve) { options.insert(.useReserve) }
        return options
    }

    /// What O_SYNC, O_DSYNC, `-o sync` and the flag S ask for after a write.
    func attemptSyncAfterWrite(to file: OpenFile, _ point: inout SyncPoint) throws(Pause) {
        let status = file.status
        if status.contains(.sync) || file.location.isSynchronous {
            try file.inode.sync(dataOnly: false, &point)
        } else if status.contains(.dataSync) {
            try file.inode.sync(dataOnly: true, &point)
        } else {
            return
        }
        if let error = file.takeWriteError() { throw .failed(error) }
    }

    // MARK: Position and size

    /// lseek(2).
    func attemptSeek(_ file: OpenFile, _ seek: Seek) throws(Pause) -> UInt64 {
        guard !file.isPathOnly else { throw .failed(.EBADF) }
        if let opening = file.opening, !opening.isSeekable { throw .failed(.ESPIPE) }
        let shared = file.shared
        return try shared.offsetLock.withLock { () throws(Pause) in
            let (base, distance): (Int64, Int64)
            switch seek {
            case .start(let offset): (base, distance) = (0, offset)
            case .current(let offset):
                (base, distance) = (Int64(clamping: shared.offsetStorage), offset)
            case .end(let offset):
                if file.inode.isDirectory { throw .failed(.EINVAL) }
                (base, distance) = (Int64(clamping: try file.inode.attributes().size), offset)
            case .data(let offset):
                shared.offsetStorage = try file.inode.seek(.data, from: offset)
                return shared.offsetStorage
            case .hole(let offset):
                shared.offsetStorage = try file.inode.seek(.hole, from: offset)
                return shared.offsetStorage
            }
            let (target, overflow) = base.addingReportingOverflow(distance)
            if overflow { throw .failed(.EOVERFLOW) }
            guard target >= 0 else { throw .failed(.EINVAL) }
            shared.offsetStorage = UInt64(target)
            return shared.offsetStorage
        }
    }

    /// ftruncate(2).
    func attemptTruncate(_ file: OpenFile, to size: UInt64) throws(Pause) -> UnsyncedChange {
        guard !file.isPathOnly else { throw .failed(.EBADF) }
        try file.requireRight(.write)
        guard file.canWrite, file.inode.kind == .regular, size <= UInt64(Int64.max) else {
            throw .failed(.EINVAL)
        }
        try requireWritable(file.location.mount)
        try requireSize(size, of: file.inode)
        let credentials = credentials
        var change = AttributeChange()
        change.size = size
        // Access was granted when the file was opened; flags may have come since.
        try file.inode.requireChange(&change, by: credentials)
        try vfs.setAttributes(of: file.inode, change, by: Caller(credentials))
        return UnsyncedChange(of: file.location)
    }

    /// truncate(2).
    func attemptTruncate(
        _ path: UnsafeRawBufferPointer, at directory: Descriptor, to size: UInt64
    ) throws(Pause) -> UnsyncedChange {
        guard size <= UInt64(Int64.max) else { throw .failed(.EINVAL) }
        return try walk(path, at: directory, .follow) { (walk) throws(Pause) in
            let credentials = walk.credentials
            let place = walk.place.retained
            if place.inode.isDirectory { throw .failed(.EISDIR) }
            guard place.inode.kind == .regular else { throw .failed(.EINVAL) }
            try place.inode.requireAccess(.write, by: credentials)
            try requireWritable(place.mount)
            try requireSize(size, of: place.inode)
            var change = AttributeChange()
            change.size = size
            try place.inode.requireChange(&change, by: credentials)
            try vfs.setAttributes(of: place.inode, change, by: Caller(credentials))
            return UnsyncedChange(of: place)
        }
    }

    /// fallocate(2).
    func attemptAllocate(
        _ file: OpenFile, _ mode: AllocateMode, offset: UInt64, length: UInt64
    ) throws(Pause) -> UnsyncedChange {
        let limit = UInt64(Int64.max)
        guard length > 0, length <= limit, offset <= limit else { throw .failed(.EINVAL) }
        guard length <= limit - offset else { throw .failed(.EFBIG) }
        guard file.canWrite else { throw .failed(file.refusal(of: .write)) }
        if file.inode.isDirectory { throw .failed(.EISDIR) }
        guard file.inode.kind == .regular else { throw .failed(.ENODEV) }
        try requireWritable(file.location.mount)
        let flags = try file.inode.attributes().flags
        if flags.contains(.immutable) { throw .failed(.EPERM) }
        if flags.contains(.appendOnly) {
            guard case .reserve = mode else { throw .failed(.EPERM) }
        }
        switch mode {
        case .reserve(keepSize: false), .zero(keepSize: false):
            try requireSize(offset + length, of: file.inode)
        default: break
        }
        let credentials = credentials
        try vfs.allocate(
            mode, of: file.inode, offset: offset, length: length,
            options: writeOptions(credentials), by: Caller(credentials))
        return UnsyncedChange(of: file.location)
    }

    // MARK: Copying

    /// copy_file_range(2) at given offsets. Where the filesystem cannot copy by itself, the data
    /// goes through a buffer, also from one filesystem to another.
    func attemptCopy(
        from source: OpenFile, at sourceOffset: UInt64, to file: OpenFile, at offset: UInt64,
        length: Int
    ) throws(Pause) -> Int {
        guard source.canRead else { throw .failed(source.refusal(of: .read)) }
        guard file.canWrite else { throw .failed(file.refusal(of: .write)) }
        guard !file.status.contains(.append) else { throw .failed(.EBADF) }
        if source.inode.isDirectory || file.inode.isDirectory { throw .failed(.EISDIR) }
        guard source.inode.kind == .regular, file.inode.kind == .regular else {
            throw .failed(.EINVAL)
        }
        let limit = UInt64(Int64.max)
        guard sourceOffset <= limit, offset <= limit, UInt64(length) <= limit - offset else {
            throw .failed(.EOVERFLOW)
        }
        try requireWritable(file.location.mount)
        let size = try source.inode.attributes().size
        guard sourceOffset < size, length > 0 else { return 0 }
        let length = min(
            try limited(length, at: offset), Int(clamping: size - sourceOffset),
            Self.maximumTransfer)
        if source.inode === file.inode {
            let distance = sourceOffset > offset ? sourceOffset - offset : offset - sourceOffset
            if distance < UInt64(length) { throw .failed(.EINVAL) }
        }
        let credentials = credentials
        let options = writeOptions(credentials)
        do throws(Pause) {
            return try vfs.copyRange(
                from: source.inode, at: sourceOffset, to: file.inode, at: offset,
                length: UInt64(length), options: options, by: Caller(credentials))
        } catch {
            switch error {
            case .failed(.EXDEV), .failed(.EOPNOTSUPP): break
            default: throw error
            }
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: min(length, 1 << 20), alignment: 4096)
        defer { buffer.deallocate() }
        let count = try source.inode.read(into: buffer, at: sourceOffset)
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        return try vfs.write(
            bytes, to: file.inode, at: .offset(offset), options: options, by: Caller(credentials)
        ).count
    }

    // MARK: Durability

    /// fsync(2), fdatasync(2).
    func attemptSync(
        _ file: OpenFile, dataOnly: Bool, _ point: inout SyncPoint
    ) throws(Pause) {
        guard !file.isPathOnly else { throw .failed(.EBADF) }
        try file.requireRight(.sync)
        try file.inode.sync(dataOnly: dataOnly, &point)
        if let error = file.takeWriteError() { throw .failed(error) }
    }

    /// syncfs(2).
    func attemptSyncFileSystem(_ file: OpenFile, _ point: inout SyncPoint) throws(Pause) {
        try file.requireRight(.sync)
        try file.inode.fileSystem.sync(&point)
    }
}

extension OpenFile {
    /// Why a handle that cannot read (write) refuses: EACCES if its rights are the cause, EBADF
    /// if it was never opened for that.
    func refusal(of right: Rights) -> Errno {
        rights.contains(right) ? .EBADF : .EACCES
    }

    /// ESPIPE for what has no positions: pread, pwrite and their like.
    func requirePositions() throws(Pause) {
        if let opening, !opening.isSeekable { throw .failed(.ESPIPE) }
    }

    func requireRight(_ right: Rights) throws(Pause) {
        guard rights.contains(right) else { throw .failed(.EACCES) }
    }
}
