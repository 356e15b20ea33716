// Attempts made of several steps: vectors, writes that are made durable, copies at the
// descriptors' own offsets, sync of everything. What is done already is kept for the attempt that
// follows a wait, so that no step is done twice.

import CairnBase

/// How far `sync` has come.
struct SyncProgress {
    var remaining: [FileSystem]?
    /// Of the last of them.
    var point = SyncPoint()
}

/// What a write or a copy that must be durable has done so far.
struct WriteProgress {
    /// It was done, so many bytes.
    var done: Int?
    var point = SyncPoint()
}

extension Process {
    // MARK: Vectors

    /// IOV_MAX
    private static var maximumParts: Int { 1024 }
    /// So much of a vector is written as one; more is a partial write.
    private static var maximumGather: Int { 16 << 20 }

    /// readv(2) and preadv(2): fills one buffer after the other.
    func attemptRead(
        _ file: OpenFile, into buffers: [UnsafeMutableRawBufferPointer], at offset: UInt64?,
        _ progress: inout ReadProgress
    ) throws(Pause) -> Int {
        guard buffers.count <= Self.maximumParts else { throw .failed(.EINVAL) }
        guard let offset else {
            return try atOffset(of: file, &progress) { (offset, done) throws(Pause) in
                try fill(buffers, from: file, at: offset, &done)
            }
        }
        try file.requirePositions()
        return try fill(buffers, from: file, at: offset, &progress.count)
    }

    /// `total`: how many bytes are there already, and then are.
    private func fill(
        _ buffers: [UnsafeMutableRawBufferPointer], from file: OpenFile, at offset: UInt64,
        _ total: inout Int
    ) throws(Pause) -> Int {
        if buffers.isEmpty {
            let none = UnsafeMutableRawBufferPointer(start: nil, count: 0)
            return try attemptRead(file, into: none, at: offset, &total)
        }
        let before = total
        var start = 0
        for buffer in buffers {
            defer { start += buffer.count }
            if total > 0, total >= start + buffer.count { continue }
            var done = total - start
            do throws(Pause) {
                let count = try attemptRead(
                    file, into: buffer, at: offset + UInt64(start), &done)
                total = start + count
                if count < buffer.count { break }
            } catch {
                total = start + done
                switch error {
                case .failed:
                    if total > 0 { return total }
                case .wait(let wait):
                    // What a stream gave is not to be had again.
                    if total > 0, file.opening != nil { return total }
                    if total > before { throw .wait(OperationWait(wait, beginsStep: true)) }
                }
                throw error
            }
        }
        return total
    }

    /// writev(2) and pwritev(2), with what O_SYNC and O_DSYNC add: the parts are gathered, and
    /// written as one.
    func attemptWriteAndSync(
        _ buffers: [UnsafeRawBufferPointer], to file: OpenFile, at offset: UInt64?,
        _ progress: inout WriteProgress
    ) throws(Pause) -> Int {
        guard buffers.count <= Self.maximumParts else { throw .failed(.EINVAL) }
        if buffers.count == 1 {
            return try attemptWriteAndSync(buffers[0], to: file, at: offset, &progress)
        }
        let total = buffers.reduce(0) {
            min($0 + min($1.count, Self.maximumGather), Self.maximumGather)
        }
        let gathered = UnsafeMutableRawBufferPointer.allocate(byteCount: total, alignment: 16)
        defer { gathered.deallocate() }
        var used = 0
        for buffer in buffers where used < total {
            let part = buffer.prefix(total - used)
            gathered[used..<used + part.count].copyBytes(from: part)
            used += part.count
        }
        return try attemptWriteAndSync(
            UnsafeRawBufferPointer(gathered), to: file, at: offset, &progress)
    }

    // MARK: Writing what must be durable

    /// write(2) or, with an offset, pwrite(2), and what O_SYNC and O_DSYNC add.
    func attemptWriteAndSync(
        _ bytes: UnsafeRawBufferPointer, to file: OpenFile, at offset: UInt64?,
        _ progress: inout WriteProgress
    ) throws(Pause) -> Int {
        let count: Int
        if let done = progress.done {
            count = done
        } else if let offset {
            try file.requirePositions()
            count = try attemptWrite(bytes, to: file, at: offset).count
        } else {
            count = try attemptWrite(bytes, to: file)
        }
        progress.done = count
        try attemptSyncAfterWrite(to: file, &progress.point)
        return count
    }

    // MARK: Copying at the descriptors' offsets

    /// copy_file_range(2), and what O_SYNC and O_DSYNC add: an offset of nil is the descriptor's own.
    func attemptCopyAndSync(
        from source: OpenFile, _ sourceOffset: UInt64?, to file: OpenFile, _ offset: UInt64?,
        length: Int, _ progress: inout WriteProgress
    ) throws(Pause) -> Int {
        let count: Int
        if let done = progress.done {
            count = done
        } else {
            count = try attemptCopy(from: source, sourceOffset, to: file, offset, length: length)
        }
        progress.done = count
        try attemptSyncAfterWrite(to: file, &progress.point)
        return count
    }

    private func attemptCopy(
        from source: OpenFile, _ sourceOffset: UInt64?, to file: OpenFile, _ offset: UInt64?,
        length: Int
    ) throws(Pause) -> Int {
        guard length >= 0 else { throw .failed(.EINVAL) }
        let from = sourceOffset ?? source.offset
        let to = offset ?? file.offset
        let count = try attemptCopy(from: source, at: from, to: file, at: to, length: length)
        if sourceOffset == nil { source.moveOffset(to: from + UInt64(count)) }
        if offset == nil { file.moveOffset(to: to + UInt64(count)) }
        return count
    }

    // MARK: Everything

    /// sync(2): one filesystem of the namespace after the other. Each is asked even if one fails
    /// before it; sync(2) reports no errors.
    func attemptSyncAll(_ progress: inout SyncProgress) throws(Pause) {
        if progress.remaining == nil {
            var seen: Set<UInt64> = []
            progress.remaining = namespace.mounts.map(\.fileSystem).filter {
                seen.insert($0.identity).inserted
            }
        }
        while let next = progress.remaining?.last {
            do throws(Pause) {
                try next.sync(&progress.point)
            } catch {
                if case .wait = error { throw error }
            }
            progress.remaining?.removeLast()
            progress.point = SyncPoint()
        }
    }
}

extension OpenFile {
    func moveOffset(to offset: UInt64) {
        let shared = shared
        shared.offsetLock.withLock { shared.offsetStorage = offset }
    }
}
