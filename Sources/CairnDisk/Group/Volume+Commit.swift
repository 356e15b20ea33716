// A commit: how a group becomes durable (docs/format.md §9; requirements D3, D5).
//
//     place what is dirty, while operations go on
//     ── gate closed ──  place the rest; end the group; ── gate open: the next group goes on ──
//     free space: what the group used and freed; places for its nodes; the space tree's own
//     seal, write the nodes; flush; superblock; flush
//     what was freed is discarded on the device, and can be given out
//
// One commit is under way at a time (`commitTurn`). An error of the device ends it, and with it all
// writing: the volume is read-only from then on.

import CairnBase
import CairnIO

/// A group that was closed, on its way to the device.
private struct ClosedGroup {
    let main: TreeCommit
    let space: GroupSpace
    /// The operations that are durable when it is.
    let operations: UInt64
    let log: LogRing.Cut
    let dataBlocks: UInt64
    let nextInode: UInt64
    let isUnmounting: Bool
}

extension Volume {
    /// Commits everything that was changed before this call, or more. Gives the error that the volume
    /// failed with. `isForced`: also if nothing was changed.
    func commitOnce(isUnmounting: Bool = false, isForced: Bool = false) async -> Errno? {
        await commitTurn.acquire()
        defer { commitTurn.release() }
        if let failure = stateLock.withLock({ failure }) { return failure }
        let began = environment.timers.monotonicNanoseconds()
        let owner = dirtyDataOwner
        await owner?.makeLateChanges(isUnmounting: isUnmounting)
        if let owner, !owner.isDirtyDataSmall(limit: loggedDataLimit) {
            await owner.placeDirtyData(isLast: false)
        }
        await phase.acquire()
        gate.close()
        space.hasDirtyData.store(false, ordering: .releasing)
        await owner?.placeDirtyData(isLast: true)
        if owner?.hasLoggedData == true {
            // The group would put an end to the log, which has what was acknowledged.
            gate.open()
            phase.release()
            fail(.EIO, "data that is in the log cannot be placed")
            return .EIO
        }
        let closed = closeGroup(isUnmounting: isUnmounting, isForced: isForced || isUnmounting)
        let operations = gate.operationCount
        gate.open()
        phase.release()
        guard let closed else {
            raiseDurable(to: operations)
            return nil
        }
        do throws(VolumeFailure) {
            let freed = try await write(closed)
            await phase.acquire()
            ring.release(before: closed.log)
            logWaitsForCommit = false
            phase.release()
            raiseDurable(to: closed.operations)
            await discard(freed)
            space.release(freed)
            counters.countCommit(
                nanoseconds: environment.timers.monotonicNanoseconds() &- began)
            return nil
        } catch {
            fail(error.errno, "group \(closed.main.group.rawValue): \(error)")
            return error.errno
        }
    }

    /// Ends the open group, with the gate closed. Nil if there is nothing to commit.
    private func closeGroup(isUnmounting: Bool, isForced: Bool) -> ClosedGroup? {
        let hasChanges = treeLock.withLock { mainTree.unplacedCount > 0 } || !space.isOpenEmpty
        guard hasChanges || isForced else { return nil }
        return gate.nextGroup { _ in
            treeLock.withLock {
                let main = mainTree.close()
                let dataBlocks = space.figures.data
                let used = space.closeGroup(nodes: main.unplacedCount)
                if pending.drop() {
                    logWaitsForCommit = true
                    ring.breakChain()
                }
                return ClosedGroup(
                    main: main, space: used, operations: gate.operationCount, log: ring.cut,
                    dataBlocks: dataBlocks, nextInode: nextInodeToGive, isUnmounting: isUnmounting)
            }
        }
    }

    /// Steps 3 to 8 of the format. Gives what the group freed.
    private func write(_ closed: ClosedGroup) async throws(VolumeFailure) -> DeferredBlocks {
        for region in space.regionsToLoad(for: closed.space) {
            try await attempt("free space") { () throws(Pause) in try loadRegion(region) }
        }
        var freed = space.enter(closed.space)
        let main = closed.main
        try await attempt("places for nodes") { () throws(Pause) in
            try main.place { _ throws(Pause) in try placeForNode() }
        }
        try await free(main.freed, &freed)
        let spaceCommit = try await enterSpace(&freed)
        guard !space.lock.withLock({ space.isContradictory }) else {
            throw VolumeFailure(
                .EIO, "free space", "it is not what the trees use; run cairn fsck")
        }
        let (mainRoot, mainImages) = main.seal()
        let (spaceRoot, spaceImages) = spaceCommit.seal()
        try await device("a node") { () async throws(Errno) in
            try await write(mainImages)
            try await write(spaceImages)
        }
        treeLock.withLock {
            main.written()
            spaceCommit.written()
        }
        try await device("a flush") { () async throws(Errno) in try await flush() }

        var next = current
        next.group = main.group
        next.mainRoot = RootPointer(mainRoot)
        next.spaceRoot = RootPointer(spaceRoot)
        next.mainNodes = main.nodeCount
        next.spaceNodes = spaceCommit.nodeCount
        next.freeBlocks = space.committedFreeBlocks
        next.dataBlocks = closed.dataBlocks
        next.logPosition = closed.log.position
        next.logSequence = closed.log.sequence
        next.nextInode = closed.nextInode
        next.isInUse = !closed.isUnmounting
        next.isDamaged = next.isDamaged || space.lock.withLock { space.hasDamage }
        next.written = environment.time.now()
        try await write(next, isUnmounting: closed.isUnmounting)
        current = next
        return freed
    }

    /// Writes a superblock to its slots, and flushes.
    func write(_ superblock: Superblock, isUnmounting: Bool) async throws(VolumeFailure) {
        let slots = SuperblockSlot.slots(of: superblock.group, isUnmounting: isUnmounting)
        try await device("superblock slots \(slots)") { () async throws(Errno) in
            let transfers = Transfers(on: device)
            var buffers: [AlignedBuffer] = []
            for slot in slots {
                let buffer = try AlignedBuffer(count: SuperblockSlot.length)
                buffers.append(buffer)
                superblock.encode(into: buffer.memory, slot: slot)
                transfers.start(
                    .write(
                        buffer.bytes, at: SuperblockSlot.offset(of: slot, end: geometry.size)))
            }
            counters.countSuperblock(slots.count * SuperblockSlot.length)
            let result = await transfers.result()
            withExtendedLifetime(buffers) {}
            if let result { throw result }
            try await flush()
        }
    }

    func flush() async throws(Errno) {
        counters.countFlush()
        hasUnflushedData.store(false, ordering: .releasing)
        try await device.flush()
    }

    // MARK: Places

    private func placeForNode() throws(Pause) -> BlockNumber {
        while true {
            switch space.takePlace() {
            case .found(let place): return place
            case .needsRegion(let region): try loadRegion(region)
            case .noSpace: throw .failed(.ENOSPC)
            }
        }
    }

    /// Nodes that the group does not use any more.
    private func free(
        _ nodes: FreedNodes, _ freed: inout DeferredBlocks
    ) async throws(VolumeFailure) {
        for address in nodes.freed {
            if !space.isLoaded(forNodeAt: address) {
                let region = geometry.region(of: address)
                try await attempt("free space") { () throws(Pause) in try loadRegion(region) }
            }
            space.freeNode(at: address, &freed)
        }
        for address in nodes.returned { space.returnNode(at: address) }
    }

    /// Brings the space tree after the maps. Its own changed nodes need places, and free others: until
    /// nothing new comes.
    private func enterSpace(_ freed: inout DeferredBlocks) async throws(VolumeFailure) -> TreeCommit
    {
        var batch = EditBatch()
        while true {
            batch.removeAll()
            space.edits(into: &batch)
            if batch.isEmpty, treeLock.withLock({ spaceTree.unplacedCount }) == 0 { break }
            try await apply(batch)
            try await attempt("places for nodes of the space tree") { () throws(Pause) in
                while let needed = try placeSpaceNodes() { try loadRegion(needed) }
            }
            let nodes = treeLock.withLock { spaceTree.takeFreed() }
            try await free(nodes, &freed)
        }
        return treeLock.withLock {
            let commit = spaceTree.close()
            space.placed(spaceNodes: Int(commit.nodeCount))
            return commit
        }
    }

    private struct Unloaded: Error {
        /// Nil: there is no place left.
        var region: Int?
    }

    /// Gives the region that must be loaded first, nil if all nodes have their place.
    private func placeSpaceNodes() throws(Pause) -> Int? {
        do throws(Unloaded) {
            treeLock.lock()
            defer { treeLock.unlock() }
            try spaceTree.place { _ throws(Unloaded) in
                switch space.takePlace() {
                case .found(let place): return place
                case .needsRegion(let region): throw Unloaded(region: region)
                case .noSpace: throw Unloaded(region: nil)
                }
            }
            return nil
        } catch {
            guard let region = error.region else { throw .failed(.ENOSPC) }
            return region
        }
    }

    /// Applies edits of the space tree, some at a time.
    private func apply(_ batch: borrowing EditBatch) async throws(VolumeFailure) {
        var part = EditBatch()
        var parts: [[UInt8]] = []
        batch.forEachRecord { record in
            part.append(record)
            if part.itemEdits == 64 {
                parts.append(Array(part.edits.bytes))
                part.removeAll()
            }
        }
        if !part.isEmpty { parts.append(Array(part.edits.bytes)) }
        for bytes in parts {
            try await attempt("the space tree") { () throws(Pause) in
                do throws(Pause) {
                    try applyToSpaceTree(bytes)
                } catch {
                    NodeWait.start(error)
                    throw error
                }
            }
        }
    }

    private func applyToSpaceTree(_ records: [UInt8]) throws(Pause) {
        let result = records.withUnsafeBytes { bytes -> Result<Void, Pause> in
            let edits = RecordedEdits(all: bytes)
            treeLock.lock()
            defer { treeLock.unlock() }
            do throws(Pause) {
                spaceTree.apply(edits, try spaceTree.prepare(edits))
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    // MARK: The device

    /// Writes nodes, those side by side in one request.
    private func write(_ images: [NodeImage]) async throws(Errno) {
        let transfers = Transfers(on: device)
        let size = Int(geometry.nodeSize)
        var segments: [BlockSegment] = []
        var start = BlockNumber(rawValue: 0)
        let most = max(1, (1 << 20) / size)
        for image in images.sorted(by: { $0.address < $1.address }) {
            let end = start.rawValue + UInt64(segments.count) * geometry.nodeBlocks
            if segments.isEmpty || image.address.rawValue != end || segments.count == most {
                if !segments.isEmpty {
                    transfers.start(.write(segments, at: geometry.offset(of: start)))
                }
                segments = []
                start = image.address
            }
            segments.append(BlockSegment(image.bytes))
        }
        if !segments.isEmpty { transfers.start(.write(segments, at: geometry.offset(of: start))) }
        counters.countNodes(images.count * size)
        if let error = await transfers.result() { throw error }
    }

    /// Tells the device what is not needed any more, in long runs. It is help only: errors are
    /// nobody's business.
    private func discard(_ freed: DeferredBlocks) async {
        guard options.discards, device.canDiscard else { return }
        let least = 65536 / Int(geometry.blockSize)
        let transfers = Transfers(on: device)
        for part in freed.parts where part.blocks.count >= least {
            let start = geometry.start(ofRegion: part.region).rawValue
            let block = BlockNumber(rawValue: start + UInt64(part.blocks.lowerBound))
            let length = part.blocks.count * Int(geometry.blockSize)
            counters.countDiscard(length)
            transfers.start(.discard(at: geometry.offset(of: block), length: length))
        }
        _ = await transfers.result()
    }

    /// Runs an attempt of the committer.
    private func attempt(
        _ what: String, _ body: () throws(Pause) -> Void
    ) async throws(VolumeFailure) {
        do throws(Errno) {
            try await suspending(body)
        } catch {
            throw VolumeFailure(error, what, "\(error)")
        }
    }

    /// Runs what asks the device.
    private func device(
        _ what: String, _ body: () async throws(Errno) -> Void
    ) async throws(VolumeFailure) {
        do throws(Errno) {
            try await body()
        } catch {
            throw VolumeFailure(error, "\(what) could not be written", "\(error)")
        }
    }
}

extension RootPointer {
    /// Of a tree that was sealed.
    init(_ root: TreeRoot) {
        guard let block = root.node.address.block else {
            preconditionFailure("a root without a place")
        }
        self.init(
            address: block, birth: root.node.birth, checksum: root.node.checksum,
            level: root.level)
    }

    var treeRoot: TreeRoot {
        TreeRoot(
            node: NodePointer(address: NodeAddress(address), birth: birth, checksum: checksum),
            level: level)
    }
}
