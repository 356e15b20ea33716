// Recovery: carrying out again what was synced and not committed (docs/format.md §8, §10).
//
// The entries are read twice: first for the blocks that they say are in use, so that data which is
// placed afterwards (writes that went into the log) takes none of them; then to be carried out, in
// their order. All of it belongs to the open group, and is committed at the end; until then the log stays as
// it is and no commit is made, so a crash meanwhile only means doing it again.

import CairnBase
import CairnIO

extension Volume {
    /// Carries the log out and takes the filesystem into use. Until then nothing may be changed.
    /// `owner` is not kept alive.
    func start(owner: (any DirtyDataOwner)?) async throws(VolumeFailure) {
        stateLock.withLock { self.owner = owner }
        do throws(Errno) {
            let entries = try await countLog()
            if entries > 0 { try await replayLog(entries, owner) }
        } catch {
            throw VolumeFailure(
                error, "the log of group \(opened.group.rawValue)",
                "it cannot be carried out (\(error)); run cairn fsck")
        }
        // A timer that came too early is forgotten; the commit below is everybody's.
        disarmTimer()
        stateLock.withLock { isStarting = false }
        guard !isReadOnly else { return }
        current.mounts &+= 1
        current.mounted = environment.time.now()
        if let error = await commitOnce(isForced: true) {
            throw VolumeFailure(error, "the first commit", "the device cannot be written")
        }
    }

    /// Reads the log through, and takes the blocks that it says are in use. Gives the number of
    /// entries.
    private func countLog() async throws(Errno) -> UInt64 {
        let reader = LogReader(device, opened)
        var count: UInt64 = 0
        while let entry = try await reader.next() {
            count += 1
            for record in entry.records where record.kind == .used {
                let run = BlockRun(start: BlockNumber(rawValue: record.first), count: record.second)
                try await suspending { () throws(Pause) in
                    for region in space.regionsToLoad(for: run) { try loadRegion(region) }
                }
                guard space.take(run) else {
                    environment.report(
                        "the log uses block \(run.start.rawValue), which is not free")
                    throw .EIO
                }
            }
        }
        if count > 0 {
            environment.report("\(count) log entries are carried out again")
        }
        // No entry of the past shall ever continue one of the future.
        ring = LogRing(
            blocks: geometry.logBlocks, position: reader.position,
            sequence: reader.sequence + geometry.logBlocks + 1)
        return count
    }

    private func replayLog(
        _ count: UInt64, _ owner: (any DirtyDataOwner)?
    ) async throws(Errno) {
        let reader = LogReader(device, opened)
        var data = ReplayedData(blockSize: UInt64(geometry.blockSize))
        var done: UInt64 = 0
        while let entry = try await reader.next() {
            var batch = EditBatch()
            for record in entry.records {
                switch record.kind {
                case .put, .remove:
                    var old: [UInt8]?
                    if data.needsOld(record) {
                        // With all edits before this one.
                        try await replay(batch)
                        batch.removeAll()
                        old = try await value(ofItem: record)
                    }
                    data.note(record, replacing: old)
                    batch.append(record)
                case .used, .freed: batch.append(record)
                case .inodes: noteInodes(below: record.first)
                case .write: data.write(record)
                }
            }
            try await replay(batch)
            withExtendedLifetime(entry) {}
            done += 1
            counters.countReplay()
            environment.progress?(VolumeProgress(work: .replaying, done: done, of: count))
        }
        guard !data.writes.isEmpty else { return }
        guard let owner else { throw .EOPNOTSUPP }
        try await owner.replay(data.writes)
    }

    /// What the tree has where a record of the log enters or removes an item.
    private func value(ofItem record: LogRecord) async throws(Errno) -> [UInt8]? {
        let key = ItemKey(object: record.first, number: record.second, tail: record.tail)
        return try await suspending { () throws(Pause) in
            try read { (tree) throws(Pause) in try tree.find(key) { Array($0) } }
        }
    }

    private func replay(_ batch: borrowing EditBatch) async throws(Errno) {
        guard !batch.isEmpty else { return }
        while true {
            let pause: Pause
            do throws(Pause) {
                return try replayOnce(batch)
            } catch {
                pause = error
            }
            switch pause {
            case .failed(let error): throw error
            case .wait(let wait):
                let error = await finished(wait)
                if let error { throw error }
            }
        }
    }

    private func replayOnce(_ batch: borrowing EditBatch) throws(Pause) {
        do throws(Pause) {
            treeLock.lock()
            defer { treeLock.unlock() }
            mainTree.apply(batch.edits, try mainTree.prepare(batch.edits))
            space.note(batch, dirtyNodes: mainTree.unplacedCount)
        } catch {
            NodeWait.start(error)
            throw error
        }
    }
}
