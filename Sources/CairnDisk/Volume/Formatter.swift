// Formatter: makes a new filesystem on a device (mkfs).
//
//     zeros over all slots and the head of the log ─▶ flush ─▶ both trees ─▶ flush
//     ─▶ superblock of group 1 in slots 1 and 8 ─▶ flush
//
// So an interrupted mkfs leaves no filesystem, neither a new one nor one whose trees are half
// overwritten. Nothing else is written: what is free stays as it is, and takes no room in a sparse file.
//
// Used by one task.

public import CairnBase
public import CairnIO
import CairnVFS

public struct Formatter {
    private let device: any BlockDevice
    private let geometry: VolumeGeometry
    private let options: FormatOptions
    private let uuid: VolumeUUID
    private let nameKey: NameKey
    private let now: Timestamp

    /// Formats the whole device. Gives the UUID of the new filesystem.
    ///
    /// Throws EINVAL for a device that is too small, a label that is too long and the like, EROFS, and
    /// what the device says.
    @discardableResult
    public static func format(
        _ device: any BlockDevice, _ options: FormatOptions, time: any TimeSource,
        random: inout some RandomNumberGenerator
    ) async throws(VolumeFailure) -> VolumeUUID {
        let formatter = Formatter(
            device: device, geometry: try options.geometry(deviceSize: device.size),
            options: options, uuid: VolumeUUID(using: &random),
            nameKey: NameKey(first: random.next(), second: random.next()), now: time.now())
        guard !device.isReadOnly else {
            throw VolumeFailure(.EROFS, "the device", "it can only be read")
        }
        guard device.blockSize <= Int(options.blockSize) else {
            throw VolumeFailure(
                .EINVAL, "blocks of \(options.blockSize) bytes",
                "the device writes \(device.blockSize) bytes at once")
        }
        do throws(Errno) {
            try await formatter.clear()
            try await formatter.make()
        } catch {
            throw VolumeFailure(error, "the device", "it cannot be written (\(error))")
        }
        return formatter.uuid
    }

    /// Zeros over what could be taken for a filesystem. All of the log, so that an image has room for
    /// it: an entry that is the first to be written to its place would cost the host's filesystem
    /// an allocation, and a commit of its own.
    private func clear() async throws(Errno) {
        let zeros = try AlignedBuffer(count: 1 << 20)
        let set = zeros.bytes.part(0..<Int(VolumeGeometry.setLength))
        try await device.write(set, at: 0)
        try await device.write(set, at: geometry.size - VolumeGeometry.setLength)
        var offset = geometry.offset(of: geometry.logStart)
        let end = geometry.offset(of: geometry.firstBlock)
        while offset < end {
            let count = Int(min(UInt64(zeros.bytes.count), end - offset))
            try await device.write(zeros.bytes.part(0..<count), at: offset)
            offset += UInt64(count)
        }
        try await device.flush()
    }

    private func make() async throws(Errno) {
        let group = TransactionGroup(rawValue: 1)
        let cache = NodeCache(
            device: device,
            geometry: NodeGeometry(
                blockSize: Int(geometry.blockSize), nodeSize: Int(geometry.nodeSize),
                seed: uuid.seed, places: geometry.firstBlock.rawValue..<geometry.endBlock.rawValue),
            limitBytes: 1 << 30, report: { _ in })
        let mainTree = ItemTree(emptyWith: .main, openGroup: group, in: cache)
        try apply(rootDirectory, to: mainTree)
        // How many nodes there are decides what is free, which decides how many nodes there are.
        var nodes: UInt64 = 2
        var spaceTree = try makeSpaceTree(nodes: nodes, in: cache)
        while spaceTree.nodeCount + 1 != nodes {
            nodes = max(nodes + 1, spaceTree.nodeCount + 1)
            spaceTree = try makeSpaceTree(nodes: nodes, in: cache)
        }
        var next = firstPlace.rawValue
        let place: (UInt8) -> BlockNumber = { _ in
            defer { next += geometry.nodeBlocks }
            return BlockNumber(rawValue: next)
        }
        let main = mainTree.close()
        let space = spaceTree.close()
        main.place(place)
        space.place(place)
        let (mainRoot, mainImages) = main.seal()
        let (spaceRoot, spaceImages) = space.seal()
        for image in mainImages + spaceImages {
            try await device.write(image.bytes, at: geometry.offset(of: image.address))
        }
        try await device.flush()
        var superblock = Superblock(
            group: group, uuid: uuid, label: Array(options.label.utf8), geometry: geometry,
            freeBlocks: usableBlocks - nodes * geometry.nodeBlocks, mainRoot: RootPointer(mainRoot),
            spaceRoot: RootPointer(spaceRoot), mainNodes: main.nodeCount,
            spaceNodes: space.nodeCount, logSequence: 1,
            nameKey: nameKey, made: now,
            written: now)
        superblock.label = Array(options.label.utf8)
        for slot in [1, 8] {
            let buffer = try AlignedBuffer(count: SuperblockSlot.length)
            superblock.encode(into: buffer.memory, slot: slot)
            try await device.write(
                buffer.bytes, at: SuperblockSlot.offset(of: slot, end: geometry.size))
        }
        try await device.flush()
        withExtendedLifetime((mainTree, spaceTree)) {}
    }

    // MARK: What the trees hold

    private var usableBlocks: UInt64 { geometry.endBlock.rawValue - geometry.firstBlock.rawValue }

    private var firstPlace: BlockNumber {
        let size = geometry.nodeBlocks
        return BlockNumber(rawValue: (geometry.firstBlock.rawValue + size - 1) / size * size)
    }

    private var rootDirectory: EditBatch {
        var record = InodeRecord(
            kind: .directory, permissions: Permissions(rawValue: UInt32(options.rootPermissions)),
            links: 2, birth: TransactionGroup(rawValue: 1), time: now)
        record.user = options.rootUser
        record.group = options.rootGroup
        record.special = InodeNumbers.root
        var batch = EditBatch()
        record.encoded.withUnsafeBytes {
            batch.put(
                object: RecordKind.inode.object(of: InodeNumbers.root), number: 0,
                tail: UnsafeRawBufferPointer(start: nil, count: 0), value: $0)
        }
        return batch
    }

    /// A space tree in which the first places belong to so many nodes.
    private func makeSpaceTree(nodes: UInt64, in cache: NodeCache) throws(Errno) -> ItemTree {
        let tree = ItemTree(
            emptyWith: .space, openGroup: TransactionGroup(rawValue: 1), in: cache)
        let used = firstPlace.rawValue..<(firstPlace.rawValue + nodes * geometry.nodeBlocks)
        guard used.upperBound <= geometry.endBlock.rawValue else { throw .ENOSPC }
        for index in 0..<geometry.regionCount {
            var batch = EditBatch()
            batch.put(region: index, record(ofRegion: index, used: used))
            try apply(batch, to: tree)
        }
        for index in 0..<geometry.regionCount {
            var batch = EditBatch()
            for run in freeRuns(ofRegion: index, used: used) { batch.put(extent: run) }
            try apply(batch, to: tree)
        }
        return tree
    }

    private func freeRuns(ofRegion index: Int, used: Range<UInt64>) -> [BlockRun] {
        let start = max(geometry.start(ofRegion: index), geometry.firstBlock).rawValue
        let end = min(geometry.start(ofRegion: index + 1), geometry.endBlock).rawValue
        var runs: [BlockRun] = []
        for (low, high) in [
            (start, min(end, used.lowerBound)), (max(start, used.upperBound), end),
        ] where high > low {
            runs.append(BlockRun(start: BlockNumber(rawValue: low), count: high - low))
        }
        return runs
    }

    private func record(ofRegion index: Int, used: Range<UInt64>) -> RegionRecord {
        let runs = freeRuns(ofRegion: index, used: used)
        let blocks =
            geometry.start(ofRegion: index)
            .rawValue..<geometry.start(ofRegion: index + 1)
            .rawValue
        return RegionRecord(
            freeBlocks: UInt32(runs.reduce(0) { $0 + $1.count }),
            freePlaces: UInt32(runs.reduce(0) { $0 + geometry.nodePlaces(in: $1) }),
            longestRun: UInt32(runs.map(\.count).max() ?? 0),
            holdsNodes: blocks.overlaps(used))
    }

    /// Nothing is ever missing of a tree that was just made.
    private func apply(_ batch: borrowing EditBatch, to tree: ItemTree) throws(Errno) {
        do throws(Pause) {
            tree.apply(batch.edits, try tree.prepare(batch.edits))
        } catch {
            throw .EIO
        }
    }
}
