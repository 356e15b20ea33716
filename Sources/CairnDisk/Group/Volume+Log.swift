// The log of small syncs (docs/format.md §8, ADR 014).
//
// A sync closes the gate for a moment, takes what the operations since the last commit or entry
// changed, and what is dirty and small as bytes; opens the gate; and writes it all as one entry and a
// flush. So everything before it is durable, in order: a prefix of the operations. Callers that come
// meanwhile are served together by the next entry.
//
// Data that was placed since the last flush is made durable before the entry that refers to it.

import CairnBase
import CairnIO

extension Volume {
    /// The most dirty data, in bytes, that goes into the log instead of being placed.
    var loggedDataLimit: Int {
        min(128 << 10, Int(geometry.logBlocks) * Int(geometry.blockSize) / 8)
    }

    /// Makes the operations before this call durable by an entry of the log, or finds that this has to
    /// wait for the commit under way. False if it cannot be, and another commit must do it.
    func syncToLog() async -> Bool {
        let owner = dirtyDataOwner
        var data = EditBatch()
        await phase.acquire()
        gate.close()
        var obstacle = obstacleToLogging
        if obstacle == nil, let owner, !owner.logDirtyData(to: &data, limit: loggedDataLimit) {
            // More than a little: most of it is placed while operations go on.
            gate.open()
            phase.release()
            await owner.placeDirtyData(isLast: false)
            await phase.acquire()
            gate.close()
            obstacle = obstacleToLogging
            if obstacle == nil, !owner.logDirtyData(to: &data, limit: loggedDataLimit) {
                await owner.placeDirtyData(isLast: true)
            }
        }
        let operations = gate.operationCount
        let plan = obstacle ?? planEntry(data)
        gate.open()
        phase.release()
        switch plan {
        case .nothing:
            raiseDurable(to: operations)
            return true
        case .commit:
            return false
        case .afterCommit:
            // Ends when the group that is being written is durable; then it is tried again.
            await commitTurn.acquire()
            commitTurn.release()
            return true
        case .entry(let entry):
            do throws(Errno) {
                try await write(entry)
                raiseDurable(to: operations)
            } catch {
                fail(error, "the log")
            }
            return true
        }
    }

    private struct PlannedEntry {
        let buffer: AlignedBuffer
        let offset: UInt64
        let hasData: Bool
    }

    private enum EntryPlan {
        case nothing, commit
        /// The group being written has operations that are not in the log.
        case afterCommit
        case entry(PlannedEntry)
    }

    /// Why nothing can be put into the log now. Under `phase`, with the gate closed; asked before
    /// dirty data counts as logged.
    private var obstacleToLogging: EntryPlan? {
        if stateLock.withLock({ failure != nil }) { return .commit }
        if logWaitsForCommit { return .afterCommit }
        return pending.isTooMuch ? .commit : nil
    }

    /// Makes an entry of what is pending, under `phase` and with the gate closed.
    private func planEntry(_ data: borrowing EditBatch) -> EntryPlan {
        switch pending.take() {
        case .tooMuch: return .commit
        case .records(var records):
            records.append(data)
            if records.isEmpty { return .nothing }
            guard let entry = seal(records) else {
                pending.overflow()
                return .commit
            }
            return .entry(entry)
        }
    }

    /// The bytes of an entry, at its place in the log; nil if it has none.
    private func seal(_ records: borrowing EditBatch) -> PlannedEntry? {
        guard records.count <= Int(LogEntryHeader.maximumRecordBytes) else { return nil }
        let group = gate.openGroup
        var header = LogEntryHeader(
            sequence: ring.sequence, group: group, position: 0,
            recordBytes: UInt32(records.count), records: UInt32(records.records),
            previous: ring.previous)
        let blocks = header.blocks(of: geometry.blockSize)
        guard let place = ring.place(for: blocks),
            let buffer = try? AlignedBuffer(count: Int(blocks) * Int(geometry.blockSize))
        else { return nil }
        header.position = place
        UnsafeMutableRawBufferPointer(rebasing: buffer.memory[LogEntryHeader.length...])
            .copyMemory(from: records.edits.bytes)
        let checksum = header.seal(buffer.memory, seed: seed)
        ring.advance(from: place, by: blocks, checksum: checksum)
        let block = BlockNumber(rawValue: geometry.logStart.rawValue + place)
        return PlannedEntry(
            buffer: buffer, offset: geometry.offset(of: block), hasData: records.usedBlocks > 0)
    }

    private func write(_ entry: PlannedEntry) async throws(Errno) {
        if entry.hasData || hasUnflushedData.load(ordering: .acquiring) { try await flush() }
        counters.countLogEntry(entry.buffer.bytes.count)
        let transfers = Transfers(on: device)
        transfers.start(.write(entry.buffer.bytes, at: entry.offset))
        let error = await transfers.result()
        withExtendedLifetime(entry.buffer) {}
        if let error { throw error }
        try await flush()
    }
}
