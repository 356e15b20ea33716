// Bytes of files in the log: what small writes wrote, synced without being placed (docs/format.md §8,
// type 5).
//
// A file keeps which ranges were written since they were logged or placed (`FileState.unlogged`). A
// sync puts the inode's record and these bytes into the log; the pages stay dirty, and are placed by the
// next commit like any others, which makes the log superfluous.
//
// While a file has bytes in the log that are not placed (`NodeState.loggedSize`), its record says the size that
// the log says, and whoever edits its extents takes care that replaying leads to what they are:
//  - a placement takes all that is dirty; what was logged before is in it, and nothing is logged
//    while one is under way;
//  - the end of the file, and cutting it to nothing, leave nothing of it;
//  - all else asks for a commit (`EditBatch.editsLoggedData`).

import CairnBase
import CairnCache
import CairnTree

extension DiskStore {
    func logDirtyData(to batch: inout EditBatch, limit: Int) -> Bool {
        // What is being placed is in no list, and neither in the log nor on the device.
        guard turn.acquireIfFree() else { return false }
        defer { turn.release() }
        guard let nodes = dirtyNodes.all(atMost: DiskStore.loggedFiles) else { return false }
        var needed = 0
        for node in nodes {
            needed += node.lock.withLockShared { DiskStore.logLength(of: node) }
            if needed > limit { return false }
        }
        var logged = EditBatch()
        var marks: [LoggedMark] = []
        for node in nodes {
            do throws(Pause) {
                guard let mark = try log(node, to: &logged) else { continue }
                marks.append(mark)
            } catch {
                // Some of it is not in memory, so it was placed before.
                return false
            }
        }
        // The gate is closed, and nothing is being placed: it is as it was.
        for mark in marks {
            mark.node.lock.withLock {
                mark.node.file?.unlogged = mark.unlogged
                mark.node.state.loggedSize = mark.size
            }
        }
        batch.append(logged)
        return true
    }

    /// What a file keeps of having been logged.
    private struct LoggedMark {
        var node: DiskNode
        var unlogged: ByteRanges
        var size: UInt64
    }

    /// As many files an entry of the log has at most.
    private static var loggedFiles: Int { 256 }

    /// Bytes that logging a file takes. Under its lock.
    private static func logLength(of node: DiskNode) -> Int {
        guard let file = node.file, needsLog(node, file) else { return 0 }
        let ranges = file.unlogged.ranges.count
        return 2 * LogRecord.headLength + InodeRecord.length + ranges * (LogRecord.headLength + 8)
            + file.unlogged.count(before: node.stored.size)
    }

    /// A file without a name is gone after a crash, whatever the log says of it.
    private static func needsLog(_ node: DiskNode, _ file: FileState) -> Bool {
        guard !file.isDropped, node.stored.linkCount > 0 else { return false }
        return file.unlogged.count(before: node.stored.size) > 0
            || max(node.state.recordedSize, node.state.loggedSize) != node.stored.size
    }

    /// Nil: there is nothing to log.
    private func log(
        _ node: DiskNode, to batch: inout EditBatch
    ) throws(Pause) -> LoggedMark? {
        node.lock.lockShared()
        defer { node.lock.unlockShared() }
        guard let file = node.file, let pages = file.pagesIfMade,
            DiskStore.needsLog(node, file)
        else { return nil }
        let size = node.stored.size
        var state = node.state
        state.loggedSize = size
        node.record(node.stored, state, parent: 0).encoded.withUnsafeBytes {
            batch.put(
                object: RecordKind.inode.object(of: node.number), number: 0, tail: .empty,
                value: $0)
        }
        var rest = file.unlogged
        for range in rest.take(before: size) {
            let bytes = UnsafeMutableRawBufferPointer.allocate(
                byteCount: range.count, alignment: 16)
            defer { bytes.deallocate() }
            _ = try pages.read(into: bytes, at: range.lowerBound)
            batch.write(
                inode: node.number, offset: range.lowerBound, bytes: UnsafeRawBufferPointer(bytes))
        }
        return LoggedMark(node: node, unlogged: rest, size: size)
    }

    /// A commit could not place what the log has of some file, so the log must stay.
    var hasLoggedData: Bool {
        guard let nodes = dirtyNodes.all(atMost: .max) else { return true }
        return nodes.contains { node in
            node.lock.withLockShared {
                node.state.loggedSize > 0 && node.file?.isDropped == false
                    && node.stored.linkCount > 0
            }
        }
    }

    func isDirtyDataSmall(limit: Int) -> Bool {
        dirtyNodes.count <= 64
            && environment.account.dirtyPages * Int(blockSize) <= limit
    }

    // MARK: Recovery

    func replay(_ writes: ReplayedWrites) async throws(Errno) {
        for (inode, pieces) in writes.files.sorted(by: { $0.key < $1.key }) {
            let found: TreeNode
            do throws(Errno) {
                found = try await suspending { () throws(Pause) in try tree.node(inode) }
            } catch {
                // It has lost its last name since, and waits for being freed.
                guard error == .ESTALE else { throw error }
                continue
            }
            guard found.kind == .regular else {
                report("inode \(inode): the log has bytes of it, but it is no file")
                continue
            }
            for piece in pieces { try await replay(piece, to: DiskStore.node(found)) }
        }
    }

    private func replay(
        _ piece: ReplayedWrites.Piece, to node: DiskNode
    ) async throws(Errno) {
        var done = 0
        while done < piece.bytes.count {
            let start = done
            done += try await suspending { () throws(Pause) in
                node.lock.lock()
                defer { node.lock.unlock() }
                guard let file = node.file else { return piece.bytes.count - start }
                return try replay(piece, from: start, to: node, file)
            }
        }
    }

    private func replay(
        _ piece: ReplayedWrites.Piece, from start: Int, to node: DiskNode, _ file: FileState
    ) throws(Pause) -> Int {
        let count = min(piece.bytes.count - start, 1 << 16)
        let offset = piece.offset + UInt64(start)
        let pages = file.pages(recordedSize: node.state.recordedSize)
        if !volume.isReadOnly {
            let size = UInt64(blockSize)
            let range = offset / size..<(offset + UInt64(count) - 1) / size + 1
            let need = try need(ofPages: range, of: node, file, pages)
            if need.blocks > 0 {
                try promiseForPlacing(need.promise)
                file.keep(need, forPages: range)
            }
        }
        defer { if !volume.isReadOnly { file.settleReservation() } }
        let result = piece.bytes.withUnsafeBytes { bytes -> Result<Int, Pause> in
            do throws(Pause) {
                return .success(
                    try pages.write(
                        UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]),
                        at: offset))
            } catch {
                return .failure(error)
            }
        }
        let written = try result.get()
        dirtyNodes.list(node, file)
        return written
    }
}
