// Region: what is free in one region, now and in the group that is being committed.
//
// Invariants, for a region whose maps are loaded:
//  - `committed` is what the space tree says, or will say when the group being written has put its
//    edits into it (`inTree` is then what it says now).
//  - `available` has no block that `committed` does not have. What the group being written freed is
//    in `committed` only, until that group is durable.
//  - A block that was given out and is not in use yet is in `committed` and not in `available`.
//
// Guarded by the lock of `Space`.

struct Region {
    /// As the space tree has it, or will have it when the commit under way has told it.
    var record: RegionRecord
    /// As the space tree has it.
    var inTreeRecord: RegionRecord
    /// What can be given out now.
    var available: UInt32
    /// Whole node places among it.
    var places: UInt32
    /// No run of it is longer.
    var longest: UInt32
    /// Nil: not loaded; then what is available is what the tree says.
    var maps: Maps?

    /// An object, so that a map is changed in place.
    final class Maps {
        var committed: FreeMap
        var available: FreeMap
        /// While a commit changes the region: what the tree says.
        var inTree: FreeMap?

        /// Of a region of which nothing is given out.
        init(_ free: FreeMap) {
            committed = free
            available = free
        }
    }

    /// Its free extents are damaged: nothing is given out of it, nor taken back.
    var isBad = false

    init(_ record: RegionRecord) {
        self.record = record
        inTreeRecord = record
        available = record.freeBlocks
        places = record.freePlaces
        longest = record.longestRun
    }
}

/// Counts node places and finds them in a map whose region starts at a block of the device.
struct PlaceGrid {
    /// Blocks of a node.
    let size: Int
    /// The first block of the region that begins a place.
    let first: Int

    init(_ geometry: VolumeGeometry, region: Int) {
        size = Int(geometry.nodeBlocks)
        let rest = Int(geometry.start(ofRegion: region).rawValue % geometry.nodeBlocks)
        first = rest == 0 ? 0 : size - rest
    }

    /// How many wholly free places have blocks in a range, all blocks of which are free.
    func freePlaces(in map: FreeMap, around range: Range<Int>) -> Int {
        guard !range.isEmpty else { return 0 }
        let firstPlace = floor(range.lowerBound)
        let lastPlace = floor(range.upperBound - 1)
        var free = max(0, (lastPlace - firstPlace) / size - 1)
        if isFree(firstPlace, in: map) { free += 1 }
        if lastPlace != firstPlace, isFree(lastPlace, in: map) { free += 1 }
        return free
    }

    private func isFree(_ place: Int, in map: FreeMap) -> Bool {
        place >= 0 && place + size <= map.count && map.isAllFree(place..<(place + size))
    }

    /// The first block of the place that a block belongs to; may be negative.
    private func floor(_ block: Int) -> Int {
        block < first ? first - size : block - (block - first) % size
    }

    /// The first free place from there on.
    func freePlace(in map: FreeMap, from start: Int) -> Int? {
        var block = start <= first ? first : start + (size - (start - first) % size) % size
        while let free = map.firstFree(from: block, before: map.count) {
            block = free <= first ? first : free + (size - (free - first) % size) % size
            guard block + size <= map.count else { return nil }
            let used = map.firstUsed(from: block, before: block + size)
            if used == block + size { return block }
            block = used
        }
        return nil
    }

    /// Whether the block is part of a wholly free place.
    func isInFreePlace(_ block: Int, in map: FreeMap) -> Bool {
        isFree(floor(block), in: map)
    }
}
