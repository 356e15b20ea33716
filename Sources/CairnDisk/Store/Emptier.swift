// Emptier: takes away what is too much for one change: the data of large files and the attributes of nodes
// that ceased to be, and what was cut off of large files.
//
// Each such inode is recorded as an orphan (docs/format.md §5.5) by the change that begins it, so
// after a crash the next mount goes on. A step removes a bounded number of extents from the end, then of
// whole attributes; the last step removes the inode, or only the orphan's record where the file has
// names still.
//
// Threading: any thread. One task works, while there is work. `lock` guards the fields.

import CairnBase

final class Emptier: @unchecked Sendable {
    // Sendable: `lock` guards `jobs` and `isAtWork`; `store` is constant.
    private unowned(unsafe) let store: DiskStore
    private let lock = Lock()
    private var jobs: [Job] = []
    private var isAtWork = false
    private var isClosed = false
    /// Finishes when all that was there is done.
    private var idle: Wait?

    struct Job: Sendable {
        var inode: UInt64
        /// A file that was cut: finishes when it is done. Nil: the inode goes.
        var cut: Cut?
    }

    struct Cut: Sendable {
        var node: DiskNode
        /// Where the data ends; keeps to blocks.
        var end: UInt64
        var done: Wait
    }

    init(_ store: DiskStore) {
        self.store = store
    }

    func add(_ job: Job) {
        let starts = lock.withLock {
            jobs.append(job)
            if isAtWork || isClosed { return false }
            isAtWork = true
            return true
        }
        guard starts else { return }
        Task(executorPreference: store.environment.executor) { [self] in await work() }
    }

    /// The wait until there is nothing to do; nil: there is nothing.
    var untilIdle: Wait? {
        lock.withLock {
            guard isAtWork else { return nil }
            let wait = idle ?? Wait()
            idle = wait
            return wait
        }
    }

    private func next() -> Job? {
        let (job, idle): (Job?, Wait?) = lock.withLock {
            if !jobs.isEmpty { return (jobs.removeFirst(), nil) }
            isAtWork = false
            let idle = self.idle
            self.idle = nil
            return (nil, idle)
        }
        idle?.finish()
        return job
    }

    private func work() async {
        while let job = next() {
            do throws(Errno) {
                if let cut = job.cut {
                    while try await suspending({ () throws(Pause) in try step(job.inode, cut) }) {}
                } else {
                    while try await suspending({ () throws(Pause) in try step(job.inode) }) {}
                }
            } catch {
                store.report(
                    "inode \(job.inode): what it held cannot be freed now (\(error)); "
                        + "the next mount tries again")
                job.cut?.done.finish(error)
            }
        }
    }

    /// The last extents from an offset on, at most `ChangeDraft.extentLimit`.
    private func lastExtents(
        of inode: UInt64, from start: UInt64
    ) throws(Pause) -> [FileExtent] {
        let object = RecordKind.extent.object(of: inode)
        let limits = store.layout.limits
        var result: [FileExtent] = []
        var damage: RecordDamage?
        try store.volume.read { tree throws(Pause) in
            result = []
            damage = nil
            let last = ItemKey(object: object, number: .max, tail: .empty)
            try tree.scanBackward(from: last) { key, value in
                guard key.object == object else { return false }
                do throws(RecordDamage) {
                    let record = try ExtentRecord(decoding: value, at: key.number, limits)
                    let head =
                        record.form == .inline
                        ? ExtentRecord.headLength : ExtentRecord.storedHeadLength
                    guard key.number + UInt64(record.length) > start else { return false }
                    result.append(
                        FileExtent(
                            offset: key.number, record: record, payload: Array(value[head...])))
                    return result.count < ChangeDraft.extentLimit
                } catch {
                    damage = error
                    return false
                }
            }
        }
        if let damage { throw store.damaged(inode, damage.description) }
        return result.reversed()
    }

    // MARK: A file that was cut

    /// True: there is more to do.
    private func step(_ inode: UInt64, _ cut: Cut) throws(Pause) -> Bool {
        let node = cut.node
        node.lock.lock()
        // It has gone meanwhile, or has a job of its own that takes all of it.
        if node.file?.isDropped == true {
            node.lock.unlock()
            cut.done.finish()
            return false
        }
        let goesOn: Bool
        do throws(Pause) {
            goesOn = try store.volume.changing(.operation) { (pass) throws(Pause) in
                try step(inode, cut, pass)
            }
        } catch {
            node.lock.unlock()
            throw error
        }
        node.lock.unlock()
        if !goesOn { cut.done.finish() }
        return goesOn
    }

    private func step(
        _ inode: UInt64, _ cut: Cut, _ pass: borrowing ChangePass
    ) throws(Pause) -> Bool {
        let node = cut.node
        var batch = EditBatch()
        batch.mayUseReserve = true
        batch.editsLoggedData = node.state.loggedSize > 0
        let extents = try lastExtents(of: inode, from: cut.end)
        let vacated = batch.vacate(
            cut.end..<DataLayout.endOfFiles, of: inode, extents, store.layout)
        var state = node.state
        state.extentBlocks -= min(state.extentBlocks, vacated.blocks)
        let isDone = extents.count < ChangeDraft.extentLimit
        if isDone, node.stored.linkCount > 0 {
            state.isOrphan = false
            batch.remove(object: RecordKind.orphan.object(of: 0), number: inode, tail: .empty)
        }
        node.record(node.stored, state, parent: 0).encoded.withUnsafeBytes {
            batch.put(
                object: RecordKind.inode.object(of: inode), number: 0, tail: .empty, value: $0)
        }
        try store.volume.change(batch, pass)
        node.state = state
        node.hasNewAccessTime = false
        store.noteOccupancy(node)
        if isDone { node.file?.emptying = nil }
        return !isDone
    }

    // MARK: An inode that goes

    private func step(_ inode: UInt64) throws(Pause) -> Bool {
        try store.volume.changing(.operation) { (pass) throws(Pause) in try step(inode, pass) }
    }

    private func step(_ inode: UInt64, _ pass: borrowing ChangePass) throws(Pause) -> Bool {
        var draft = ChangeDraft(store, group: pass.group)
        draft.batch.mayUseReserve = true
        let found = try store.find(.inode, of: inode, 0, .empty) {
            value throws(RecordDamage) in try InodeRecord(decoding: value)
        }
        guard var record = found else {
            // A record of an orphan that is not there.
            draft.remove(.orphan, of: 0, inode)
            try store.volume.change(draft.batch, pass)
            return false
        }
        let start = record.links > 0 ? store.layout.roundedUp(record.size) : 0
        let extents = try lastExtents(of: inode, from: start)
        let vacated = draft.batch.vacate(
            start..<DataLayout.endOfFiles, of: inode, extents, store.layout)
        record.blocks -= min(record.blocks, vacated.blocks)
        var isDone = extents.count < ChangeDraft.extentLimit
        if isDone, record.links == 0, record.flags.contains(.hasAttributes) {
            let limit = ChangeDraft.attributeLimit
            let attributes = try store.attributeKeys(of: inode, atLeast: limit)
            draft.remove(attributes, of: inode)
            isDone = attributes.count < limit
        }
        if isDone { draft.remove(.orphan, of: 0, inode) }
        if isDone, record.links == 0 {
            draft.remove(.inode, of: inode)
        } else {
            draft.put(.inode, of: inode, 0, record.encoded)
        }
        try store.volume.change(draft.batch, pass)
        return !isDone
    }

    // MARK: After a mount

    /// Adds the orphans that the last mount has left.
    func addOrphans() async throws(Errno) {
        let store = self.store
        let numbers = try await suspending { () throws(Pause) in
            var numbers: [UInt64] = []
            try store.scan(.orphan, of: 0) { key, value throws(RecordDamage) in
                guard value.isEmpty, key.tail.isEmpty, key.number > 0,
                    key.number < InodeNumbers.end
                else { throw RecordDamage("a record of an orphan") }
                numbers.append(key.number)
                return true
            }
            return numbers
        }
        for number in numbers { add(await job(forOrphan: number)) }
    }

    /// A file that has names was cut: what lies behind its end goes before it may grow again.
    private func job(forOrphan number: UInt64) async -> Job {
        let store = self.store
        do throws(Errno) {
            let node = DiskStore.node(
                try await suspending { () throws(Pause) in try store.tree.node(number) })
            guard let file = node.file else { return Job(inode: number, cut: nil) }
            let done = Wait()
            let end = node.lock.withLock {
                file.emptying = done
                node.state.isOrphan = true
                return store.layout.roundedUp(node.stored.size)
            }
            return Job(inode: number, cut: Cut(node: node, end: end, done: done))
        } catch {
            // It has no names, or cannot be read; the job tells of that.
            return Job(inode: number, cut: nil)
        }
    }
}
