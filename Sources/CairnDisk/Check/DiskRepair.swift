// DiskRepair: writes an image anew as a check found that it should be.
//
// Copy-on-write, as a commit: what is wrong is written beside what is there, into blocks that nothing
// uses, then a superblock of the next group. Until that stands, nothing has changed; after it, the
// damage is out of reach. So mending needs free room for the trees that it writes.
//
// Threading: one thread at a time; it waits for the device.

import CairnBase
import CairnIO

final class DiskRepair {
    private let check: DiskCheck
    private let time: any TimeSource
    private var device: any BlockDevice { check.device }
    private var geometry: VolumeGeometry { check.geometry }
    private let group: TransactionGroup

    /// What nothing may be written to.
    private var occupied: BlockMap
    /// Blocks of the new main tree.
    private var newMain: BlockMap
    private var nextPlace: UInt64 = 0

    init(_ check: DiskCheck, time: any TimeSource) throws(CheckFailure) {
        self.check = check
        self.time = time
        let newest = check.superblocks.choice.candidates.first?.superblock.group
        let latest = max(newest ?? check.superblock.group, check.context.latestGroup)
        group = latest.next
        occupied = check.mainMap
        occupied.formUnion(check.spaceMap)
        occupied.formUnion(check.dataMap)
        // Also what only the old state uses.
        occupied.formUnion(try check.committedMap())
        occupied.insertFixed(check.geometry)
        newMain = check.mainMap
    }

    /// Writes what is wrong. The next mount, and the next check, find the new state.
    func run() throws(CheckFailure) {
        var superblock = check.superblock
        superblock.group = group
        if check.mustWriteItems {
            newMain = BlockMap(count: geometry.totalBlocks)
            superblock.mainRoot = try writeMainTree()
        }
        if check.mustWriteItems || check.isSpaceWrong {
            try writeSpaceTree(&superblock)
        }
        superblock.mainNodes = newMain.markedCount / geometry.nodeBlocks
        superblock.dataBlocks = check.dataMap.markedCount
        superblock.nextInode = check.context.nextInode
        superblock.isInUse = false
        superblock.isDamaged = false
        superblock.written = time.now()
        // No entry that stands in the log goes on from here.
        superblock.logSequence += check.log.entries + 1
        try write(superblock)
    }

    // MARK: Trees

    private func writeMainTree() throws(CheckFailure) -> RootPointer {
        let builder = try TreeBuilder(
            .main, geometry, seed: check.superblock.uuid.seed, group: group, fill: 90,
            to: TreeBuilder.Target(
                place: { [self] () throws(CheckFailure) in
                    let place = try takePlace()
                    newMain.insert(place.rawValue, geometry.nodeBlocks)
                    return place
                }, write: writeNode))
        try check.items.forEach(from: nil) { (key, value) throws(CheckFailure) in
            try builder.add(OwnedKey(key), Array(value))
            return true
        }
        return try builder.finish()
    }

    private func writeNode(
        _ bytes: UnsafeRawBufferPointer, _ address: BlockNumber
    ) throws(CheckFailure) {
        do throws(Errno) {
            try device.write(bytes, at: geometry.offset(of: address))
        } catch {
            throw CheckFailure("block \(address.rawValue)", "cannot be written: \(error)")
        }
    }

    /// The next place for a node that nothing occupies.
    private func takePlace() throws(CheckFailure) -> BlockNumber {
        let unit = geometry.nodeBlocks
        nextPlace = max(nextPlace, geometry.firstBlock.rawValue)
        nextPlace = (nextPlace + unit - 1) / unit * unit
        while nextPlace + unit <= geometry.endBlock.rawValue {
            let place = nextPlace
            nextPlace += unit
            if !occupied.intersects(place, unit) {
                occupied.insert(place, unit)
                return BlockNumber(rawValue: place)
            }
        }
        throw CheckFailure("the image", "has no free room to write its trees anew")
    }

    /// The space tree describes the blocks of its own nodes too. So their number is settled first:
    /// it is counted with the places that it would take, until both agree.
    private func writeSpaceTree(_ superblock: inout Superblock) throws(CheckFailure) {
        var used = newMain
        used.formUnion(check.dataMap)
        used.insertFixed(geometry)
        for fill in [90, 80, 70, 60] {
            var places: [BlockNumber] = []
            for _ in 0..<16 {
                var withOwn = used
                for place in places { withOwn.insert(place.rawValue, geometry.nodeBlocks) }
                let count = try buildSpaceTree(withOwn, newMain, places, fill: fill, writes: false)
                    .1
                if count == UInt64(places.count) {
                    (superblock.spaceRoot, superblock.spaceNodes) = try buildSpaceTree(
                        withOwn, newMain, places, fill: fill, writes: true)
                    superblock.freeBlocks = geometry.totalBlocks - withOwn.markedCount
                    return
                }
                while places.count < Int(count) { places.append(try takePlace()) }
                while places.count > Int(count) {
                    guard let place = places.popLast() else { break }
                    occupied.remove(place.rawValue, geometry.nodeBlocks)
                    nextPlace = min(nextPlace, place.rawValue)
                }
            }
            for place in places { occupied.remove(place.rawValue, geometry.nodeBlocks) }
            nextPlace = 0
        }
        throw CheckFailure("the space tree", "its size cannot be settled")
    }

    private func buildSpaceTree(
        _ used: BlockMap, _ nodes: BlockMap, _ places: [BlockNumber], fill: Int, writes: Bool
    ) throws(CheckFailure) -> (RootPointer, UInt64) {
        var next = 0
        let builder = try TreeBuilder(
            .space, geometry, seed: check.superblock.uuid.seed, group: group, fill: fill,
            to: TreeBuilder.Target(
                place: { () throws(CheckFailure) in
                    defer { next += 1 }
                    return next < places.count ? places[next] : BlockNumber(rawValue: 0)
                },
                write: { [self] (bytes, address) throws(CheckFailure) in
                    if writes { try writeNode(bytes, address) }
                }))
        var holders = nodes
        for place in places { holders.insert(place.rawValue, geometry.nodeBlocks) }
        for index in 0..<geometry.regionCount {
            let record = RegionRecord(of: index, used: used, nodes: holders, geometry)
            let bytes = [UInt8](recordOf: RegionRecord.length, record.encode)
            try builder.add(OwnedKey(SpaceObject.region, UInt64(index)), bytes)
        }
        for index in 0..<geometry.regionCount {
            var runs: [(UInt64, UInt64)] = []
            used.forEachRun(marked: false, in: geometry.blocks(in: index)) { start, count in
                runs.append((start, count))
                return true
            }
            for (start, count) in runs {
                let bytes = [UInt8](recordOf: FreeExtentRecord.length) {
                    FreeExtentRecord.encode(count, into: $0)
                }
                try builder.add(OwnedKey(SpaceObject.freeExtent, start), bytes)
            }
        }
        return (try builder.finish(), builder.nodes)
    }

    // MARK: Superblocks

    private func write(_ superblock: Superblock) throws(CheckFailure) {
        do throws(Errno) {
            let slot = try AlignedBuffer(count: SuperblockSlot.length)
            let offset = { SuperblockSlot.offset(of: $0, end: self.geometry.size) }
            try device.flush()
            for number in SuperblockSlot.slots(of: group, isUnmounting: true) {
                superblock.encode(into: slot.memory, slot: number)
                try device.write(slot.bytes, at: offset(number))
                try device.flush()
            }
            let zeros = try AlignedBuffer(count: SuperblockSlot.length)
            let written = SuperblockSlot.slots(of: group, isUnmounting: true)
            for number in check.superblocks.slotsToEmpty where !written.contains(number) {
                try device.write(zeros.bytes, at: offset(number))
            }
            try device.flush()
        } catch {
            throw CheckFailure("the superblocks", "cannot be written: \(error)")
        }
    }
}

extension VolumeGeometry {
    /// The blocks of a region.
    func blocks(in region: Int) -> Range<UInt64> {
        let start = start(ofRegion: region).rawValue
        return start..<(start + UInt64(blocks(ofRegion: region)))
    }
}

extension RegionRecord {
    /// What is to be said of a region with these blocks in use, and these by nodes.
    init(of region: Int, used: BlockMap, nodes: BlockMap, _ geometry: VolumeGeometry) {
        let range = geometry.blocks(in: region)
        var (blocks, places, longest) = (UInt64(0), UInt64(0), UInt64(0))
        used.forEachRun(marked: false, in: range) { start, count in
            blocks += count
            longest = max(longest, count)
            places += geometry.nodePlaces(
                in: BlockRun(start: BlockNumber(rawValue: start), count: count))
            return true
        }
        self.init(
            freeBlocks: UInt32(blocks), freePlaces: UInt32(places), longestRun: UInt32(longest),
            holdsNodes: nodes.intersects(range.lowerBound, UInt64(range.count)))
    }
}
