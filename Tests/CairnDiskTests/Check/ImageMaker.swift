// An image of mfs_disk made from its records, right or wrong, in memory.
//
// Small blocks, nodes and regions, so that a few files make trees of several levels. What a test
// wants to be wrong it changes before `make`, so that checksums and counts around it are right.

import CairnBase
import CairnIO
import CairnVFS
import Glibc

@testable import CairnDisk

struct ImageMaker {
    static let seedKey = NameKey(first: 0x0706_0504_0302_0100, second: 0x0F0E_0D0C_0B0A_0908)

    let geometry: VolumeGeometry
    let uuid = VolumeUUID(high: 0x1122_3344_5566_4788, low: 0x99AA_BBCC_DDEE_FF00)
    var group = TransactionGroup(rawValue: 21)
    /// The records of the main tree.
    var items: [OwnedKey: [UInt8]] = [:]
    /// Changes the items of the space tree before it is written.
    var changeSpace: (inout [OwnedKey: [UInt8]]) -> Void = { _ in }
    /// Changes the superblock before it is written.
    var changeSuperblock: (inout Superblock) -> Void = { _ in }
    /// Data by its first block.
    var data: [UInt64: [UInt8]] = [:]
    /// Blocks that extents occupy.
    var dataBlocks: [BlockRun] = []
    var nextBlock: UInt64 = 2048
    var nextInode: UInt64 = 16

    init() throws {
        geometry = try VolumeGeometry(
            blockSize: 4096, nodeSize: 4096, totalBlocks: 4096, regionBlocks: 512,
            logStart: BlockNumber(rawValue: 32), logBlocks: 64)
        var root = record(.directory, links: 2)
        root.special = 1
        items[ImageMaker.inodeKey(1)] = root.encoded
    }

    // MARK: Records

    static func inodeKey(_ inode: UInt64) -> OwnedKey {
        OwnedKey(RecordKind.inode.object(of: inode))
    }

    static func entryKey(_ name: String, in directory: UInt64) -> OwnedKey {
        let bytes = Array(name.utf8)
        return OwnedKey(
            RecordKind.entry.object(of: directory), bytes.lend { seedKey.number(of: $0) }, bytes)
    }

    static func extentKey(_ inode: UInt64, at offset: UInt64) -> OwnedKey {
        OwnedKey(RecordKind.extent.object(of: inode), offset)
    }

    func record(_ kind: FileKind, links: UInt32) -> InodeRecord {
        InodeRecord(
            kind: kind, permissions: Permissions(rawValue: kind == .directory ? 0o755 : 0o644),
            links: links, birth: TransactionGroup(rawValue: 1),
            time: Timestamp(seconds: 1_000_000_000))
    }

    func inode(_ number: UInt64) -> InodeRecord? {
        items[ImageMaker.inodeKey(number)].flatMap { InodeRecord(leniently: $0) }
    }

    mutating func change(_ number: UInt64, _ body: (inout InodeRecord) -> Void) {
        guard var record = inode(number) else { return }
        body(&record)
        items[ImageMaker.inodeKey(number)] = record.encoded
    }

    /// Enters a name, and counts it.
    mutating func link(
        _ name: String, to number: UInt64, _ kind: FileKind, in directory: UInt64 = 1
    ) {
        let entry = EntryRecord(inode: number, distinction: 1, kind: kind)
        items[ImageMaker.entryKey(name, in: directory)] = entry.encoded
        change(directory) { record in
            record.size += 1
            if kind == .directory { record.links += 1 }
        }
    }

    @discardableResult
    mutating func makeDirectory(_ name: String, in directory: UInt64 = 1) -> UInt64 {
        let number = nextInode
        nextInode += 1
        var record = record(.directory, links: 2)
        record.special = directory
        items[ImageMaker.inodeKey(number)] = record.encoded
        link(name, to: number, .directory, in: directory)
        return number
    }

    /// A file whose data stands in blocks with checksums.
    @discardableResult
    mutating func makeFile(
        _ name: String, _ content: [UInt8], in directory: UInt64 = 1
    ) -> UInt64 {
        let number = nextInode
        nextInode += 1
        var record = record(.regular, links: 1)
        record.size = UInt64(content.count)
        let blocks = (content.count + 4095) / 4096
        if blocks > 0 {
            record.blocks = UInt64(blocks)
            let padded = content + [UInt8](repeating: 0, count: blocks * 4096 - content.count)
            let extent = ExtentRecord(
                .stored, length: UInt32(padded.count), at: BlockNumber(rawValue: nextBlock),
                birth: TransactionGroup(rawValue: 3), hasChecksums: true)
            let checksums = (0..<blocks).map { block in
                Array(padded[(block * 4096)..<((block + 1) * 4096)]).lend {
                    CRC32C.checksum($0, continuing: uuid.seed)
                }
            }
            items[ImageMaker.extentKey(number, at: 0)] = extent.encoded(checksums, blockSize: 4096)
            data[nextBlock] = padded
            dataBlocks.append(
                BlockRun(start: BlockNumber(rawValue: nextBlock), count: UInt64(blocks)))
            nextBlock += UInt64(blocks) + 1
        }
        items[ImageMaker.inodeKey(number)] = record.encoded
        link(name, to: number, .regular, in: directory)
        return number
    }

    // MARK: Making

    /// The image. Nodes of the main tree stand from block 96 on, of the space tree from 1024.
    func make() throws -> MemoryDevice {
        let device = try MemoryDevice(size: geometry.size, blockSize: 4096)
        for (block, bytes) in data {
            try bytes.lend { (memory) throws(Errno) in
                try device.write(memory, at: block * 4096)
            }
        }
        var used = BlockMap(count: geometry.totalBlocks)
        used.insertFixed(geometry)
        for run in dataBlocks { used.insert(run.start.rawValue, run.count) }
        let (mainRoot, mainNodes) = try build(.main, items, on: device, from: 96)
        used.insert(96, mainNodes)
        var nodes = BlockMap(count: geometry.totalBlocks)
        nodes.insert(96, mainNodes)
        let (spaceRoot, spaceNodes, free) = try buildSpace(used, nodes, on: device)
        var superblock = Superblock(
            group: group, uuid: uuid, label: Array("made".utf8), geometry: geometry,
            freeBlocks: free, mainRoot: mainRoot, spaceRoot: spaceRoot, mainNodes: mainNodes,
            spaceNodes: spaceNodes, dataBlocks: dataBlocks.reduce(0) { $0 + $1.count },
            logSequence: 7, nextInode: nextInode,
            nameKey: ImageMaker.seedKey,
            made: Timestamp(seconds: 1_000_000_000), written: Timestamp(seconds: 1_000_000_001))
        changeSuperblock(&superblock)
        let buffer = try AlignedBuffer(count: SuperblockSlot.length)
        for slot in SuperblockSlot.slots(of: superblock.group, isUnmounting: true) {
            superblock.encode(into: buffer.memory, slot: slot)
            try device.write(
                buffer.bytes, at: SuperblockSlot.offset(of: slot, end: geometry.size))
        }
        return device
    }

    private func buildSpace(
        _ used: BlockMap, _ nodes: BlockMap, on device: MemoryDevice
    ) throws -> (RootPointer, UInt64, UInt64) {
        var count: UInt64 = 1
        while true {
            var (all, holders) = (used, nodes)
            all.insert(1024, count)
            holders.insert(1024, count)
            var space: [OwnedKey: [UInt8]] = [:]
            for index in 0..<geometry.regionCount {
                let region = RegionRecord(of: index, used: all, nodes: holders, geometry)
                space[OwnedKey(SpaceObject.region, UInt64(index))] = [UInt8](
                    recordOf: RegionRecord.length, region.encode)
                all.forEachRun(marked: false, in: geometry.blocks(in: index)) { start, count in
                    space[OwnedKey(SpaceObject.freeExtent, start)] = [UInt8](
                        recordOf: FreeExtentRecord.length
                    ) { FreeExtentRecord.encode(count, into: $0) }
                    return true
                }
            }
            changeSpace(&space)
            let (root, built) = try build(.space, space, on: device, from: 1024)
            if built == count { return (root, count, geometry.totalBlocks - all.markedCount) }
            count = built
        }
    }

    private func build(
        _ tree: TreeIdentity, _ items: [OwnedKey: [UInt8]], on device: MemoryDevice,
        from start: UInt64
    ) throws -> (RootPointer, UInt64) {
        var next = start
        let builder = try TreeBuilder(
            tree, geometry, seed: uuid.seed, group: group, fill: 60,
            to: TreeBuilder.Target(
                place: { () throws(CheckFailure) in
                    defer { next += 1 }
                    return BlockNumber(rawValue: next)
                },
                write: { (bytes, address) throws(CheckFailure) in
                    do throws(Errno) {
                        try device.write(bytes, at: address.rawValue * 4096)
                    } catch {
                        throw CheckFailure("a node", error.description)
                    }
                }))
        for (key, value) in items.sorted(by: { $0.key < $1.key }) { try builder.add(key, value) }
        return (try builder.finish(), builder.nodes)
    }
}

extension ImageMaker {
    /// In pieces of 800 bytes.
    mutating func setAttribute(_ name: String, _ value: [UInt8], of inode: UInt64) {
        let bytes = Array(name.utf8)
        let number = bytes.lend { ImageMaker.seedKey.number(of: $0) }
        let object = RecordKind.attribute.object(of: inode)
        let length = [UInt8](recordOf: 4) { $0.put(UInt32(value.count), at: 0) }
        items[OwnedKey(object, number, bytes)] = length + value.prefix(800)
        var rest = value.dropFirst(800)
        var index: UInt8 = 1
        while !rest.isEmpty {
            items[OwnedKey(object, number, bytes + [0, index])] = Array(rest.prefix(800))
            rest = rest.dropFirst(800)
            index += 1
        }
        change(inode) { $0.flags.insert(.hasAttributes) }
    }

    @discardableResult
    mutating func makeLink(_ name: String, to target: String) -> UInt64 {
        let number = nextInode
        nextInode += 1
        var record = record(.symbolicLink, links: 1)
        record.size = UInt64(target.utf8.count)
        items[ImageMaker.inodeKey(number)] = record.encoded
        items[ImageMaker.extentKey(number, at: 0)] = Array(target.utf8).lend {
            ExtentRecord.encodedInline($0)
        }
        link(name, to: number, .symbolicLink)
        return number
    }
}

extension MemoryDevice {
    func holdsTheSame(as other: MemoryDevice) -> Bool {
        guard let one = contents.baseAddress, let two = other.contents.baseAddress else {
            return false
        }
        return size == other.size && memcmp(one, two, Int(size)) == 0
    }
}
