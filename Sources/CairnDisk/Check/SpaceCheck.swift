// SpaceCheck: the space tree against what nodes and extents use, to the block (docs/format.md §6).
//
// Region by region in ascending order, as free extents come, so it needs no memory but the map of
// what is used.
//
// Threading: one thread at a time.

import CairnBase

final class SpaceCheck {
    private let context: CheckContext
    private let used: BlockMap
    private var geometry: VolumeGeometry { context.geometry }
    private var regions: [RegionRecord?]
    /// What the tree says is free.
    private var free: BlockMap
    private(set) var freeBlocks: UInt64 = 0
    /// Something is wrong, so the tree has to be built anew.
    private(set) var isWrong = false

    private static let remedy = "free space is built anew"

    /// `used`: what is in use, with the superblock sets and the log.
    init(_ context: CheckContext, used: BlockMap) {
        self.context = context
        self.used = used
        regions = Array(repeating: nil, count: context.geometry.regionCount)
        free = BlockMap(count: context.geometry.totalBlocks)
    }

    func run(_ tree: CheckedTree) throws(CheckFailure) {
        var last: BlockRun?
        try tree.forEach(from: nil) { [self] (key, value) throws(CheckFailure) in
            do throws(RecordDamage) {
                guard key.tail.isEmpty else { throw RecordDamage("a key with a tail") }
                switch key.object {
                case SpaceObject.region:
                    let record = try RegionRecord(decoding: value, ofRegion: key.number, geometry)
                    regions[Int(key.number)] = record
                case SpaceObject.freeExtent:
                    let run = try FreeExtentRecord.decode(value, at: key.number, geometry)
                    try take(run, after: last)
                    last = run
                default: throw RecordDamage("a key of kind \(key.object)")
                }
            } catch {
                tell("free space", "\(error)")
            }
            return true
        }
        compareBlocks()
        for index in regions.indices { compareRegion(index) }
    }

    private func tell(_ place: String, _ what: String) {
        isWrong = true
        context.tell(.space, place, what, remedy: SpaceCheck.remedy)
    }

    private func take(_ run: BlockRun, after last: BlockRun?) throws(RecordDamage) {
        if let last {
            guard run.start >= last.end else {
                throw RecordDamage("block \(run.start.rawValue) is free twice")
            }
            let isSameRegion = geometry.region(of: run.start) == geometry.region(of: last.start)
            if run.start == last.end, isSameRegion {
                tell(
                    "free space",
                    "the free extents at blocks \(last.start.rawValue) and \(run.start.rawValue) "
                        + "touch")
            }
        }
        free.insert(run.start.rawValue, run.count)
        freeBlocks += run.count
    }

    /// Blocks that are neither used nor free, or both.
    private func compareBlocks() {
        used.forEachDifference(from: free.complement) { start, count, isUsed in
            let blocks = count == 1 ? "block \(start)" : "blocks \(start) to \(start + count - 1)"
            tell(blocks, isUsed ? "in use, and free in the space tree" : "neither in use nor free")
        }
    }

    private func compareRegion(_ index: Int) {
        let place = "region \(index)"
        guard let record = regions[index] else { return tell(place, "its record is not there") }
        let start = geometry.start(ofRegion: index).rawValue
        let end = start + UInt64(geometry.blocks(ofRegion: index))
        var (blocks, places, longest) = (UInt64(0), UInt64(0), UInt64(0))
        free.forEachRun(marked: true, in: start..<end) { first, count in
            blocks += count
            longest = max(longest, count)
            places += geometry.nodePlaces(
                in: BlockRun(start: BlockNumber(rawValue: first), count: count))
            return true
        }
        if UInt64(record.freeBlocks) != blocks {
            tell(place, "\(record.freeBlocks) free blocks, there are \(blocks)")
        }
        if UInt64(record.freePlaces) != places {
            tell(place, "\(record.freePlaces) free places for nodes, there are \(places)")
        }
        if UInt64(record.longestRun) < longest {
            tell(place, "no free extent beyond \(record.longestRun) blocks, one has \(longest)")
        }
    }
}

extension BlockMap {
    var complement: BlockMap {
        var map = BlockMap(count: count)
        forEachRun(marked: false, in: 0..<count) { start, count in
            map.insert(start, count)
            return true
        }
        return map
    }
}
