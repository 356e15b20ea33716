// The bytes of a superblock (docs/format.md §3, the table).
//
// Decoding checks every byte: a superblock that decodes can be computed with. All 4096 bytes are
// covered by the checksum, so what fails here either was damaged, is torn, is not ours, or was made
// by software that breaks the rules.

import CairnBase

private enum Offset {
    static let magic = 0
    static let checksum = 4
    static let version = 8
    static let slot = 12
    static let group = 16
    static let uuid = 24
    static let label = 40
    static let compatible = 104
    static let readOnlyCompatible = 112
    static let incompatible = 120
    static let blockSize = 128
    static let nodeSize = 132
    static let totalBlocks = 136
    static let freeBlocks = 144
    static let regionBlocks = 152
    static let state = 156
    static let mainRoot = 160
    static let spaceRoot = 192
    static let laterRoots = 224
    static let mainNodes = 288
    static let spaceNodes = 296
    static let dataBlocks = 304
    static let logStart = 312
    static let logBlocks = 320
    static let logPosition = 328
    static let logSequence = 336
    static let nextInode = 344
    static let nameKey = 352
    static let made = 368
    static let mounted = 380
    static let written = 392
    static let mounts = 404
    static let end = 408
}

private enum StateBit {
    static let inUse: UInt32 = 1
    static let damaged: UInt32 = 2
}

extension Superblock {
    /// What the bytes of a slot are.
    enum Found: Hashable, Sendable {
        case superblock(Superblock)
        /// All zero: never written.
        case empty
        /// One of another version of the format, sound as far as can be said.
        case otherVersion(UInt32)
        /// Neither: what is wrong.
        case damaged(RecordDamage)
    }

    /// Looks at the 16384 bytes of a slot.
    static func find(in bytes: UnsafeRawBufferPointer, slot: Int) -> Found {
        precondition(bytes.count == SuperblockSlot.length, "the length of a slot")
        if bytes.isZero { return .empty }
        let head = UnsafeRawBufferPointer(rebasing: bytes[..<length])
        do throws(RecordDamage) {
            try checkFrame(head, slot: slot)
            let version = head.number(UInt32.self, at: Offset.version)
            guard version == Superblock.version else { return .otherVersion(version) }
            guard bytes.part(length..<bytes.count).isZero else {
                throw RecordDamage("bytes behind the superblock in its slot")
            }
            return .superblock(try Superblock(checked: head))
        } catch {
            return .damaged(error)
        }
    }

    private static func checkFrame(
        _ bytes: UnsafeRawBufferPointer, slot: Int
    ) throws(RecordDamage) {
        let magic = bytes.number(UInt32.self, at: Offset.magic)
        guard magic == Superblock.magic else {
            throw RecordDamage("no superblock: magic \(String(magic, radix: 16))")
        }
        let stored = bytes.number(UInt32.self, at: Offset.checksum)
        let found = checksum(of: bytes)
        guard stored == found else {
            throw RecordDamage(
                "checksum \(String(found, radix: 16)) instead of \(String(stored, radix: 16))")
        }
        let writtenTo = bytes.number(UInt32.self, at: Offset.slot)
        guard writtenTo == UInt32(slot) else {
            throw RecordDamage("a superblock that was written to slot \(writtenTo)")
        }
    }

    /// Of all bytes, with the checksum itself as zero.
    private static func checksum(of bytes: UnsafeRawBufferPointer) -> UInt32 {
        let before = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<Offset.checksum]))
        let zero = withUnsafeBytes(of: UInt32(0)) { CRC32C.checksum($0, continuing: before) }
        let behind = bytes[(Offset.checksum + 4)..<length]
        return CRC32C.checksum(UnsafeRawBufferPointer(rebasing: behind), continuing: zero)
    }

    /// Decodes bytes whose magic, checksum, slot and version are right.
    private init(checked bytes: UnsafeRawBufferPointer) throws(RecordDamage) {
        func number(_ offset: Int) -> UInt64 { bytes.number(UInt64.self, at: offset) }
        func word(_ offset: Int) -> UInt32 { bytes.number(UInt32.self, at: offset) }
        let geometry = try VolumeGeometry(
            blockSize: word(Offset.blockSize), nodeSize: word(Offset.nodeSize),
            totalBlocks: number(Offset.totalBlocks), regionBlocks: word(Offset.regionBlocks),
            logStart: BlockNumber(rawValue: number(Offset.logStart)),
            logBlocks: number(Offset.logBlocks))
        let group = TransactionGroup(rawValue: number(Offset.group))
        guard group.rawValue > 0, group.rawValue < .max / 2 else {
            throw RecordDamage("group \(group.rawValue)")
        }
        let label = bytes[Offset.label..<(Offset.label + Superblock.labelLength)]
        let labelEnd = label.firstIndex(of: 0) ?? label.endIndex
        guard label[labelEnd...].allSatisfy({ $0 == 0 }) else {
            throw RecordDamage("bytes behind the label")
        }
        self.init(
            group: group, uuid: VolumeUUID(decoding: bytes, at: Offset.uuid),
            label: Array(label[..<labelEnd]),
            features: Features(
                compatible: number(Offset.compatible),
                readOnlyCompatible: number(Offset.readOnlyCompatible),
                incompatible: number(Offset.incompatible)),
            geometry: geometry, freeBlocks: number(Offset.freeBlocks),
            isInUse: word(Offset.state) & StateBit.inUse != 0,
            isDamaged: word(Offset.state) & StateBit.damaged != 0,
            mainRoot: try RootPointer(
                decoding: bytes, at: Offset.mainRoot, of: "main", group: group, geometry),
            spaceRoot: try RootPointer(
                decoding: bytes, at: Offset.spaceRoot, of: "space", group: group, geometry),
            mainNodes: number(Offset.mainNodes), spaceNodes: number(Offset.spaceNodes),
            dataBlocks: number(Offset.dataBlocks), logPosition: number(Offset.logPosition),
            logSequence: number(Offset.logSequence), nextInode: number(Offset.nextInode),
            nameKey: NameKey(
                first: number(Offset.nameKey), second: number(Offset.nameKey + 8)),
            made: try bytes.timestamp(at: Offset.made),
            mounted: try bytes.timestamp(at: Offset.mounted),
            written: try bytes.timestamp(at: Offset.written), mounts: word(Offset.mounts))
        try checkLimits()
        guard word(Offset.state) & ~(StateBit.inUse | StateBit.damaged) == 0,
            bytes.part(Offset.laterRoots..<Offset.mainNodes).isZero,
            bytes.part(Offset.end..<bytes.count).isZero
        else { throw RecordDamage("reserved bytes of the superblock") }
    }

    private func checkLimits() throws(RecordDamage) {
        let room = geometry.endBlock.rawValue - geometry.firstBlock.rawValue
        guard freeBlocks <= room, dataBlocks <= room - freeBlocks else {
            throw RecordDamage("\(freeBlocks) free blocks and \(dataBlocks) of data")
        }
        let places = room / geometry.nodeBlocks
        guard mainNodes > 0, spaceNodes > 0, mainNodes <= places, spaceNodes <= places else {
            throw RecordDamage("\(mainNodes) nodes of the main tree, \(spaceNodes) of space")
        }
        guard logPosition < geometry.logBlocks, logSequence < .max / 2 else {
            throw RecordDamage("position \(logPosition) in the log, sequence \(logSequence)")
        }
        guard (Superblock.firstInode...Superblock.endOfInodes).contains(nextInode) else {
            throw RecordDamage("next inode \(nextInode)")
        }
    }

    /// The 16384 bytes of the slot that this is written to.
    func encode(into bytes: UnsafeMutableRawBufferPointer, slot: Int) {
        precondition(
            bytes.count == SuperblockSlot.length && label.count <= Superblock.labelLength,
            "the length of a slot or label")
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
        bytes.put(Superblock.magic, at: Offset.magic)
        bytes.put(Superblock.version, at: Offset.version)
        bytes.put(UInt32(slot), at: Offset.slot)
        bytes.put(group.rawValue, at: Offset.group)
        uuid.encode(into: bytes, at: Offset.uuid)
        for (index, byte) in label.enumerated() { bytes[Offset.label + index] = byte }
        bytes.put(features.compatible, at: Offset.compatible)
        bytes.put(features.readOnlyCompatible, at: Offset.readOnlyCompatible)
        bytes.put(features.incompatible, at: Offset.incompatible)
        bytes.put(geometry.blockSize, at: Offset.blockSize)
        bytes.put(geometry.nodeSize, at: Offset.nodeSize)
        bytes.put(geometry.totalBlocks, at: Offset.totalBlocks)
        bytes.put(freeBlocks, at: Offset.freeBlocks)
        bytes.put(geometry.regionBlocks, at: Offset.regionBlocks)
        let state = (isInUse ? StateBit.inUse : 0) | (isDamaged ? StateBit.damaged : 0)
        bytes.put(state, at: Offset.state)
        mainRoot.encode(into: bytes, at: Offset.mainRoot)
        spaceRoot.encode(into: bytes, at: Offset.spaceRoot)
        bytes.put(mainNodes, at: Offset.mainNodes)
        bytes.put(spaceNodes, at: Offset.spaceNodes)
        bytes.put(dataBlocks, at: Offset.dataBlocks)
        bytes.put(geometry.logStart.rawValue, at: Offset.logStart)
        bytes.put(geometry.logBlocks, at: Offset.logBlocks)
        bytes.put(logPosition, at: Offset.logPosition)
        bytes.put(logSequence, at: Offset.logSequence)
        bytes.put(nextInode, at: Offset.nextInode)
        bytes.put(nameKey.first, at: Offset.nameKey)
        bytes.put(nameKey.second, at: Offset.nameKey + 8)
        bytes.put(made, at: Offset.made)
        bytes.put(mounted, at: Offset.mounted)
        bytes.put(written, at: Offset.written)
        bytes.put(mounts, at: Offset.mounts)
        let head = UnsafeRawBufferPointer(rebasing: bytes[..<Superblock.length])
        bytes.put(Superblock.checksum(of: head), at: Offset.checksum)
    }
}

extension UnsafeRawBufferPointer {
    /// A time of a superblock: seconds, then nanoseconds.
    fileprivate func timestamp(at offset: Int) throws(RecordDamage) -> Timestamp {
        let nanoseconds = number(UInt32.self, at: offset + 8)
        guard nanoseconds < 1_000_000_000 else {
            throw RecordDamage("a time with \(nanoseconds) nanoseconds")
        }
        return Timestamp(seconds: number(Int64.self, at: offset), nanoseconds: nanoseconds)
    }
}

extension UnsafeMutableRawBufferPointer {
    fileprivate func put(_ time: Timestamp, at offset: Int) {
        put(time.seconds, at: offset)
        put(time.nanoseconds, at: offset + 8)
    }
}
