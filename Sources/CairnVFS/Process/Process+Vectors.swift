// Attempts made of several steps: vectors, writes that are made durable, copies at the
// descriptors' own offsets, sync of everything. What is done already is kept for the attempt that
// follows a wait, so that no step is done twice.

public import CairnBase

/// How far `sync` has come.
struct SyncProgress {
    var remaining: [FileSystem]?
}

extension Process {
    // MARK: Vectors

    /// readv(2) and preadv(2): fills one buffer after the other, as one step. A wait after the
    /// first bytes ends the call with what there is.
    func attemptRead(
        _ file: OpenFile, into buffers: [UnsafeMutableRawBufferPointer], at offset: UInt64?
    ) throws(Pause) -> Int {
        try transfer(file, buffers.map(\.count), at: offset) { (index, at) throws(Pause) in
            try (attemptRead(file, into: buffers[index], at: at), at)
        }
    }

    /// writev(2) and pwritev(2).
    func attemptWrite(
        _ buffers: [UnsafeRawBufferPointer], to file: OpenFile, at offset: UInt64?
    ) throws(Pause) -> Int {
        try transfer(file, buffers.map(\.count), at: offset) { (index, at) throws(Pause) in
            let written = try attemptWrite(buffers[index], to: file, at: at)
            return (written.count, written.offset)
        }
    }

    /// Moves one buffer after the other with `move`, which gives the count and the offset where
    /// that began. With no offset given, the descriptor's is used, and moves on.
    private func transfer(
        _ file: OpenFile, _ counts: [Int], at offset: UInt64?,
        _ move: (Int, UInt64) throws(Pause) -> (Int, UInt64)
    ) throws(Pause) -> Int {
        // IOV_MAX
        guard counts.count <= 1024 else { throw .failed(.EINVAL) }
        func all(from start: UInt64) throws(Pause) -> (total: Int, end: UInt64) {
            var total = 0
            var position = start
            for (index, count) in counts.enumerated() where count > 0 || counts.count == 1 {
                do throws(Pause) {
                    let (moved, began) = try move(index, position)
                    total += moved
                    position = began + UInt64(moved)
                    if moved < count { break }
                } catch {
                    if total > 0 { break }
                    throw error
                }
            }
            return (total, position)
        }
        if let offset { return try all(from: offset).total }
        let shared = file.shared
        return try shared.offsetLock.withLock { () throws(Pause) in
            let (total, end) = try all(from: shared.offsetStorage)
            shared.offsetStorage = end
            return total
        }
    }

    // MARK: Writing what must be durable

    /// write(2) or, with an offset, pwrite(2), and what O_SYNC and O_DSYNC add.
    func attemptWriteAndSync(
        _ bytes: UnsafeRawBufferPointer, to file: OpenFile, at offset: UInt64?, _ done: inout Int?
    ) throws(Pause) -> Int {
        let count: Int
        if let done {
            count = done
        } else if let offset {
            count = try attemptWrite(bytes, to: file, at: offset).count
        } else {
            count = try attemptWrite(bytes, to: file)
        }
        done = count
        try attemptSyncAfterWrite(to: file)
        return count
    }

    // MARK: Copying at the descriptors' offsets

    /// copy_file_range(2): an offset of nil is the descriptor's own.
    func attemptCopy(
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
                try next.sync()
            } catch {
                if case .wait = error { throw error }
            }
            progress.remaining?.removeLast()
        }
    }
}

extension OpenFile {
    func moveOffset(to offset: UInt64) {
        let shared = shared
        shared.offsetLock.withLock { shared.offsetStorage = offset }
    }
}
