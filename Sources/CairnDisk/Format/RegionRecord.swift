// RegionRecord and FreeExtentRecord: the items of the space tree (docs/format.md §6).
//
// Values; decoding checks every byte, and the keys against the geometry. Whether the free extents
// are what the record of their region says, whoever reads a region checks.
//
//     region:       0 free blocks  4 free node places  8 longest run  12 flags
//     free extent:  0 number of blocks

/// The first part of the keys of the space tree.
enum SpaceObject {
    static let region: UInt64 = 1
    static let freeExtent: UInt64 = 2
}

struct RegionRecord: Hashable, Sendable {
    static let length = 16
    private static let knownFlags: UInt32 = 1

    var freeBlocks: UInt32
    /// Aligned runs of a node's size.
    var freePlaces: UInt32
    /// No free extent is longer.
    var longestRun: UInt32
    var holdsNodes: Bool

    init(freeBlocks: UInt32, freePlaces: UInt32, longestRun: UInt32, holdsNodes: Bool) {
        self.freeBlocks = freeBlocks
        self.freePlaces = freePlaces
        self.longestRun = longestRun
        self.holdsNodes = holdsNodes
    }

    init(
        decoding bytes: UnsafeRawBufferPointer, ofRegion number: UInt64, _ geometry: VolumeGeometry
    ) throws(RecordDamage) {
        guard bytes.count == RegionRecord.length else {
            throw RecordDamage("the record of a region with \(bytes.count) bytes")
        }
        guard number < UInt64(geometry.regionCount) else {
            throw RecordDamage("region \(number) of \(geometry.regionCount)")
        }
        freeBlocks = bytes.number(UInt32.self, at: 0)
        freePlaces = bytes.number(UInt32.self, at: 4)
        longestRun = bytes.number(UInt32.self, at: 8)
        let flags = bytes.number(UInt32.self, at: 12)
        holdsNodes = flags & 1 != 0
        guard flags & ~RegionRecord.knownFlags == 0 else {
            throw RecordDamage("flags \(flags) of region \(number)")
        }
        let blocks = geometry.blocks(ofRegion: Int(number))
        guard freeBlocks <= blocks, longestRun <= blocks,
            UInt64(freePlaces) * geometry.nodeBlocks <= UInt64(freeBlocks)
        else { throw RecordDamage("the numbers of free blocks of region \(number)") }
    }

    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count == RegionRecord.length, "the length of a region's record")
        bytes.put(freeBlocks, at: 0)
        bytes.put(freePlaces, at: 4)
        bytes.put(longestRun, at: 8)
        bytes.put(holdsNodes ? RegionRecord.knownFlags : 0, at: 12)
    }
}

/// The value of a free extent; its first block is in the key.
enum FreeExtentRecord {
    static let length = 4

    /// The extent that starts at this block, which lies in one region between log and second set.
    static func decode(
        _ bytes: UnsafeRawBufferPointer, at start: UInt64, _ geometry: VolumeGeometry
    ) throws(RecordDamage) -> BlockRun {
        guard bytes.count == length else {
            throw RecordDamage("a free extent of \(bytes.count) bytes")
        }
        let run = BlockRun(
            start: BlockNumber(rawValue: start), count: UInt64(bytes.number(UInt32.self, at: 0)))
        guard geometry.contains(run) else {
            throw RecordDamage("a free extent of \(run.count) blocks at block \(start)")
        }
        let last = BlockNumber(rawValue: run.end.rawValue - 1)
        guard geometry.region(of: run.start) == geometry.region(of: last) else {
            throw RecordDamage("a free extent in two regions, at block \(start)")
        }
        return run
    }

    static func encode(_ count: UInt64, into bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count == length && count > 0, "a free extent")
        bytes.put(UInt32(count), at: 0)
    }
}
