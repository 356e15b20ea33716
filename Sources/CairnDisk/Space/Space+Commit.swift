// What a commit does to free space (docs/format.md §9, steps 3, 4 and 9).
//
//     closeGroup()        what the group used and freed, as a list; the next group begins
//     enter(closed)       into the maps `committed`; the committer loads the regions before
//     ┌ takePlace, freeNode, returnNode      the changed nodes of the trees get places
//     └ edits(into:)      what the space tree must be told; again, until nothing new comes
//     release(…)          after the superblock is durable: what was freed can be given out
//
// Only the committer calls these, one commit at a time.

import CairnBase

/// What a group freed, until it is durable.
struct DeferredBlocks: Sendable {
    /// Parts of regions: the region and the blocks from its start.
    var parts: [(region: Int, blocks: Range<Int>)] = []
    var count = 0

    mutating func append(_ region: Int, _ blocks: Range<Int>) {
        count += blocks.count
        if let last = parts.last, last.region == region, last.blocks.upperBound == blocks.lowerBound
        {
            parts[parts.count - 1].blocks = last.blocks.lowerBound..<blocks.upperBound
        } else {
            parts.append((region, blocks))
        }
    }
}

extension Space {
    /// Ends the open group: what it used and freed. `nodes` of it have no place yet.
    func closeGroup(nodes: Int) -> GroupSpace {
        lock.withLock {
            let closed = open
            open = GroupSpace()
            openNodes = 0
            closingNodes =
                nodes
                + spaceDemand(runs: closed.used.count + closed.freed.count, nodes: nodes)
            deferredBlocks += closed.freedBlocks
            return closed
        }
    }

    /// The regions that a closed group changes and whose free extents are not in memory.
    func regionsToLoad(for closed: GroupSpace) -> [Int] {
        lock.withLock {
            var found: Set<Int> = []
            for run in closed.used + closed.freed {
                run.forEachPart(geometry) { index, _ in
                    if regions[index].maps == nil, !regions[index].isBad { found.insert(index) }
                }
            }
            return found.sorted()
        }
    }

    /// The regions that a run lies in and whose free extents are not in memory.
    func regionsToLoad(for run: BlockRun) -> [Int] {
        lock.withLock {
            var found: [Int] = []
            run.forEachPart(geometry) { index, _ in
                if regions[index].maps == nil, !regions[index].isBad { found.append(index) }
            }
            return found
        }
    }

    /// Enters what the group used and freed. Gives what can be given out once it is durable.
    func enter(_ closed: GroupSpace) -> DeferredBlocks {
        lock.withLock {
            var deferred = DeferredBlocks()
            for run in closed.used {
                run.forEachPart(geometry) { index, range in
                    guard let maps = regions[index].maps else { return }
                    touch(index)
                    if maps.committed.remove(range) != range.count {
                        noteDamage("in use twice", run)
                    }
                }
            }
            for run in closed.freed {
                run.forEachPart(geometry) { index, range in
                    guard let maps = regions[index].maps else { return }
                    guard maps.committed.freeCountIn(range) == 0 else {
                        return noteDamage("freed and free already", run)
                    }
                    touch(index)
                    maps.committed.insert(range)
                    deferred.append(index, range)
                }
            }
            // What was not entered does not come free.
            deferredBlocks -= closed.freedBlocks - deferred.count
            return deferred
        }
    }

    private func noteDamage(_ what: String, _ run: BlockRun) {
        hasDamage = true
        isContradictory = true
        report(
            "blocks \(run.start.rawValue) to \(run.end.rawValue - 1) are \(what): run cairn fsck")
    }

    /// A node of an older group is not needed any more: its place is free in what is committed.
    func freeNode(at address: BlockNumber, _ deferred: inout DeferredBlocks) {
        lock.withLock {
            let (index, range) = place(address)
            guard let maps = regions[index].maps else { return }
            guard maps.committed.freeCountIn(range) == 0 else {
                return noteDamage(
                    "a node's and free", BlockRun(start: address, count: geometry.nodeBlocks))
            }
            touch(index)
            maps.committed.insert(range)
            deferred.append(index, range)
            deferredBlocks += range.count
        }
    }

    /// A place that was taken in this commit was not needed after all.
    func returnNode(at address: BlockNumber) {
        lock.withLock {
            let (index, range) = place(address)
            regions[index].maps?.committed.insert(range)
            insert(range, intoRegion: index)
        }
    }

    /// The region of a node, and its blocks there.
    private func place(_ address: BlockNumber) -> (Int, Range<Int>) {
        let index = geometry.region(of: address)
        let start = Int(address.rawValue - geometry.start(ofRegion: index).rawValue)
        return (index, start..<(start + Int(geometry.nodeBlocks)))
    }

    /// Whether the free extents of the region of a node are in memory, or never will be.
    func isLoaded(forNodeAt address: BlockNumber) -> Bool {
        lock.withLock {
            let region = regions[geometry.region(of: address)]
            return region.maps != nil || region.isBad
        }
    }

    /// The region is changed by this commit: keep what the tree says of it.
    func touch(_ index: Int) {
        guard touched.insert(index).inserted, let maps = regions[index].maps else { return }
        maps.inTree = maps.committed
    }

    /// What the space tree must be told, as edits of its items.
    func edits(into batch: inout EditBatch) {
        lock.lock()
        defer { lock.unlock() }
        for index in touched.sorted() {
            guard let maps = regions[index].maps, let inTree = maps.inTree else { continue }
            if let range = maps.committed.differingRange(inTree) {
                let base = geometry.start(ofRegion: index).rawValue
                batch.replaceExtents(inTree, by: maps.committed, in: range, base: base)
                maps.inTree = maps.committed
            }
            let record = record(of: maps.committed, region: index)
            if record != regions[index].inTreeRecord {
                batch.put(region: index, record)
                regions[index].inTreeRecord = record
            }
            regions[index].record = record
        }
    }

    func record(of map: FreeMap, region index: Int) -> RegionRecord {
        var free = 0
        var places: UInt64 = 0
        var longest = 0
        let base = geometry.start(ofRegion: index).rawValue
        map.forEachRun(in: 0..<map.count) { run in
            free += run.count
            longest = max(longest, run.count)
            places += geometry.nodePlaces(
                in: BlockRun(
                    start: BlockNumber(rawValue: base + UInt64(run.lowerBound)),
                    count: UInt64(run.count)))
        }
        let isEmpty = free == geometry.usableBlocks(ofRegion: index)
        return RegionRecord(
            freeBlocks: UInt32(free), freePlaces: UInt32(places), longestRun: UInt32(longest),
            holdsNodes: regions[index].record.holdsNodes && !isEmpty)
    }

    /// The nodes of the commit have their places; the space tree is complete.
    func placed(spaceNodes count: Int) {
        lock.withLock {
            closingNodes = 0
            spaceNodes = count
            for index in touched { regions[index].maps?.inTree = nil }
            touched.removeAll(keepingCapacity: true)
        }
    }

    /// Blocks free in the group that is being committed.
    var committedFreeBlocks: UInt64 {
        lock.withLock { regions.reduce(0) { $0 + UInt64($1.record.freeBlocks) } }
    }

    /// The group is durable: what it freed can be given out.
    func release(_ deferred: DeferredBlocks) {
        lock.withLock {
            for part in deferred.parts { insert(part.blocks, intoRegion: part.region) }
            deferredBlocks -= deferred.count
        }
    }
}

extension FreeMap {
    /// How many blocks of the range are free.
    func freeCountIn(_ range: Range<Int>) -> Int {
        var count = 0
        forEachRun(in: range) { count += $0.count }
        return count
    }
}

extension EditBatch {
    /// The items of the space tree that describe the free runs in a range, from what they are to
    /// what they shall be. Runs do not reach over the range's ends.
    mutating func replaceExtents(
        _ old: FreeMap, by new: FreeMap, in range: Range<Int>, base: UInt64
    ) {
        var oldRuns: [Range<Int>] = []
        old.forEachRun(in: range) { oldRuns.append($0) }
        var index = 0
        var added: [Range<Int>] = []
        new.forEachRun(in: range) { run in
            while index < oldRuns.count, oldRuns[index].lowerBound < run.lowerBound {
                removeExtent(at: base + UInt64(oldRuns[index].lowerBound))
                index += 1
            }
            if index < oldRuns.count, oldRuns[index].lowerBound == run.lowerBound {
                let isSame = oldRuns[index] == run
                index += 1
                if isSame { return }
            }
            added.append(run)
        }
        for run in oldRuns[index...] { removeExtent(at: base + UInt64(run.lowerBound)) }
        for run in added {
            put(
                extent: BlockRun(
                    start: BlockNumber(rawValue: base + UInt64(run.lowerBound)),
                    count: UInt64(run.count)))
        }
    }

    private mutating func removeExtent(at start: UInt64) {
        remove(
            object: SpaceObject.freeExtent, number: start,
            tail: UnsafeRawBufferPointer(start: nil, count: 0))
    }

    mutating func put(extent run: BlockRun) {
        withUnsafeTemporaryAllocation(byteCount: FreeExtentRecord.length, alignment: 8) { bytes in
            FreeExtentRecord.encode(run.count, into: bytes)
            put(
                object: SpaceObject.freeExtent, number: run.start.rawValue,
                tail: UnsafeRawBufferPointer(start: nil, count: 0),
                value: UnsafeRawBufferPointer(bytes))
        }
    }

    mutating func put(region index: Int, _ record: RegionRecord) {
        withUnsafeTemporaryAllocation(byteCount: RegionRecord.length, alignment: 8) { bytes in
            record.encode(into: bytes)
            put(
                object: SpaceObject.region, number: UInt64(index),
                tail: UnsafeRawBufferPointer(start: nil, count: 0),
                value: UnsafeRawBufferPointer(bytes))
        }
    }
}
