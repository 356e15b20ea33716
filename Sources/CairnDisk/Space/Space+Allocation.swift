// Giving out blocks (requirement D6).
//
// Data goes near a hint or behind what was given out last, in one run if a region has one that is
// long enough, else in the longest that there are. Nodes go to places of their own regions, one
// behind the other, so that a commit writes long runs.
//
// When node places become scarce, data takes the blocks that belong to no whole place first, and
// breaks up a place only while more are left than commits may need.

import CairnBase

/// What came of looking for blocks.
enum Allocation<Found: Sendable>: Sendable {
    case found(Found)
    /// The free extents of this region must be read first. Nothing was given out.
    case needsRegion(Int)
    case noSpace
}

extension Space {
    /// Blocks for data, all of them, out of a promise.
    func allocate(_ blocks: Int, near hint: BlockNumber?) -> Allocation<[BlockRun]> {
        precondition(blocks > 0, "an allocation of nothing")
        lock.lock()
        defer { lock.unlock() }
        var search = DataSearch(space: self, remaining: blocks)
        let result = search.run(near: hint)
        guard case .found = result else {
            for run in search.runs { putBack(run) }
            return result
        }
        promised.blocks = max(0, promised.blocks - blocks)
        return result
    }

    /// Blocks that were given out and did not come into use. They are not promised any more.
    func giveBack(_ runs: [BlockRun]) {
        lock.withLock {
            for run in runs { putBack(run) }
        }
    }

    /// Recovery: takes blocks that an entry of the log says are in use. False if they are not free.
    func take(_ run: BlockRun) -> Bool {
        lock.withLock {
            var isFree = true
            run.forEachPart(geometry) { index, range in
                if regions[index].maps?.available.isAllFree(range) != true { isFree = false }
            }
            guard isFree else { return false }
            run.forEachPart(geometry) { index, range in remove(range, fromRegion: index) }
            return true
        }
    }

    /// A place for a node of the group being written.
    func takePlace() -> Allocation<BlockNumber> {
        lock.lock()
        defer { lock.unlock() }
        let start = geometry.region(of: nodeCursor)
        let order = [Int](start..<regions.count) + [Int](0..<start)
        // Regions of nodes first; then a region that is wholly free, then any.
        for step in 0..<3 {
            for index in order {
                let region = regions[index]
                guard region.places > 0, !region.isBad, fits(region, index, step) else { continue }
                guard region.maps != nil else { return .needsRegion(index) }
                if let place = takePlace(inRegion: index, isFirst: index == start) {
                    return .found(place)
                }
            }
        }
        // Behind the cursor in the region that it is in.
        if regions[start].places > 0, let place = takePlace(inRegion: start, isFirst: false) {
            return .found(place)
        }
        return .noSpace
    }

    private func fits(_ region: Region, _ index: Int, _ step: Int) -> Bool {
        switch step {
        case 0: region.record.holdsNodes
        case 1:
            !region.record.holdsNodes
                && Int(region.available) == geometry.usableBlocks(ofRegion: index)
        default: !region.record.holdsNodes
        }
    }

    private func takePlace(inRegion index: Int, isFirst: Bool) -> BlockNumber? {
        let base = geometry.start(ofRegion: index).rawValue
        let grid = PlaceGrid(geometry, region: index)
        let from = isFirst ? Int(nodeCursor.rawValue - base) : 0
        guard let map = regions[index].maps?.available,
            let place = grid.freePlace(in: map, from: from)
        else { return nil }
        let range = place..<(place + grid.size)
        touch(index)
        remove(range, fromRegion: index)
        regions[index].maps?.committed.remove(range)
        regions[index].record.holdsNodes = true
        nodeCursor = BlockNumber(rawValue: base + UInt64(range.upperBound))
        if nodeCursor >= geometry.endBlock { nodeCursor = geometry.firstBlock }
        return BlockNumber(rawValue: base + UInt64(place))
    }

    // MARK: The maps of what is available (under `lock`)

    func putBack(_ run: BlockRun) {
        run.forEachPart(geometry) { index, range in insert(range, intoRegion: index) }
    }

    /// Makes blocks available that are not.
    func insert(_ range: Range<Int>, intoRegion index: Int) {
        guard let maps = regions[index].maps else { return }
        let changed = maps.available.insert(range)
        precondition(changed == range.count, "blocks that come free are free already")
        let grid = PlaceGrid(geometry, region: index)
        let places = grid.freePlaces(in: maps.available, around: range)
        regions[index].available += UInt32(range.count)
        regions[index].places += UInt32(places)
        regions[index].longest = UInt32(maps.available.longestRun)
        availableBlocks += range.count
        availablePlaces += places
    }

    /// Gives blocks out that are available.
    func remove(_ range: Range<Int>, fromRegion index: Int) {
        guard let maps = regions[index].maps else { return }
        let grid = PlaceGrid(geometry, region: index)
        let places = grid.freePlaces(in: maps.available, around: range)
        let changed = maps.available.remove(range)
        precondition(changed == range.count, "blocks that are given out are not free")
        regions[index].available -= UInt32(range.count)
        regions[index].places -= UInt32(places)
        availableBlocks -= range.count
        availablePlaces -= places
    }

    /// Places that are not broken up for data as long as there are others.
    fileprivate var keptPlaces: Int { reservePlaces + neededPlaces }

    /// Places that are never broken up for data: commits need them. (Data that was promised room leaves the
    /// reserve alone, but for what removals are just using of it.)
    fileprivate var neededPlaces: Int { demand(moreRuns: 0, moreNodes: 0) }
}

/// One search for blocks for data. Lives under the space's lock.
private struct DataSearch {
    let space: Space
    var remaining: Int
    var runs: [BlockRun] = []

    mutating func run(near hint: BlockNumber?) -> Allocation<[BlockRun]> {
        if let needed = takeBehind(hint ?? space.dataCursor) { return .needsRegion(needed) }
        // Regions of data, then those of nodes; the longest runs first.
        for holdsNodes in [false, true] {
            var wanted = min(remaining, Int(space.geometry.regionBlocks))
            while remaining > 0, wanted > 0, isRoomy {
                switch takeRun(ofAtLeast: wanted, holdsNodes: holdsNodes) {
                case .found: wanted = min(wanted, remaining)
                case .noSpace: wanted /= 2
                case .needsRegion(let region): return .needsRegion(region)
                }
            }
        }
        for mayBreak in [false, true] where remaining > 0 {
            if let needed = takeFragments(mayBreak: mayBreak) { return .needsRegion(needed) }
        }
        guard remaining == 0 else { return .noSpace }
        if let last = runs.last { space.dataCursor = last.end }
        return .found(runs)
    }

    /// So many places are left that whatever is taken leaves enough.
    private var isRoomy: Bool {
        let size = Int(space.geometry.nodeBlocks)
        return space.availablePlaces - space.keptPlaces > remaining / size + 2
    }

    private var start: Int {
        let cursor = runs.last?.end ?? space.dataCursor
        return cursor < space.geometry.endBlock ? space.geometry.region(of: cursor) : 0
    }

    /// What is free right behind a block, in its region.
    private mutating func takeBehind(_ block: BlockNumber) -> Int? {
        let geometry = space.geometry
        guard block >= geometry.firstBlock, block < geometry.endBlock, isRoomy else { return nil }
        let index = geometry.region(of: block)
        let region = space.regions[index]
        guard region.available > 0, !region.isBad, !region.record.holdsNodes else { return nil }
        guard let map = region.maps?.available else { return index }
        let offset = Int(block.rawValue - geometry.start(ofRegion: index).rawValue)
        let end = map.firstUsed(from: offset, before: map.count)
        // A short rest is not worth cutting a large piece for.
        guard end - offset >= min(remaining, 16) else { return nil }
        take(offset..<min(end, offset + remaining), inRegion: index)
        return nil
    }

    private mutating func takeRun(ofAtLeast wanted: Int, holdsNodes: Bool) -> Allocation<Void> {
        let count = space.regions.count
        let first = start
        for step in 0..<count {
            let index = first + step < count ? first + step : first + step - count
            let region = space.regions[index]
            guard region.longest >= wanted, region.available >= wanted, !region.isBad,
                region.record.holdsNodes == holdsNodes
            else { continue }
            guard let map = region.maps?.available else { return .needsRegion(index) }
            let from = step == 0 ? offset(in: index) : 0
            if let run = map.run(ofAtLeast: wanted, startingIn: from..<map.count)
                ?? map.run(ofAtLeast: wanted, startingIn: 0..<from)
            {
                take(
                    run.lowerBound..<min(run.upperBound, run.lowerBound + remaining),
                    inRegion: index)
                return .found(())
            }
            space.regions[index].longest = UInt32(wanted - 1)
        }
        return .noSpace
    }

    /// Where the cursor stands in its region, counted from the region's start.
    private func offset(in index: Int) -> Int {
        let cursor = runs.last?.end ?? space.dataCursor
        let base = space.geometry.start(ofRegion: index)
        let blocks = Int(space.geometry.blocks(ofRegion: index))
        return cursor < base ? 0 : min(Int(cursor.rawValue - base.rawValue), blocks)
    }

    /// Blocks that belong to no whole place; with `mayBreak` also whole places, while there are more
    /// than must be kept.
    private mutating func takeFragments(mayBreak: Bool) -> Int? {
        for index in space.regions.indices where remaining > 0 {
            guard space.regions[index].available > 0, !space.regions[index].isBad else { continue }
            guard let map = space.regions[index].maps?.available else { return index }
            let grid = PlaceGrid(space.geometry, region: index)
            var block = 0
            while remaining > 0, let free = map.firstFree(from: block, before: map.count) {
                block = free + 1
                if grid.isInFreePlace(free, in: map) {
                    guard mayBreak, space.availablePlaces > space.neededPlaces else {
                        block = free + 1
                        continue
                    }
                    // All of it: what is left of a broken place serves data only.
                    let end = min(free + min(remaining, grid.size), map.count)
                    take(free..<end, inRegion: index)
                    block = end
                } else {
                    take(free..<(free + 1), inRegion: index)
                }
            }
        }
        return nil
    }

    private mutating func take(_ range: Range<Int>, inRegion index: Int) {
        space.remove(range, fromRegion: index)
        remaining -= range.count
        let base = space.geometry.start(ofRegion: index).rawValue
        let run = BlockRun(
            start: BlockNumber(rawValue: base + UInt64(range.lowerBound)),
            count: UInt64(range.count))
        if let last = runs.last, last.end == run.start {
            runs[runs.count - 1].count += run.count
        } else {
            runs.append(run)
        }
    }
}
