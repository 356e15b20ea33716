// ImageDump: what is on a device, read as a check reads it: node by node, each verified, nothing
// changed. What is damaged is a line of its own, and left out.
//
// Threading: one thread at a time; it waits for the device.

public import CairnIO

public struct ImageDump {
    let device: any BlockDevice
    let hear: (DumpLine) -> Void

    /// `hear` is told of each line, in order.
    public init(_ device: any BlockDevice, _ hear: @escaping (DumpLine) -> Void) {
        self.device = device
        self.hear = hear
    }

    public func run(_ part: DumpPart) throws(CheckFailure) {
        switch part {
        case .superblocks: try dumpSlots()
        case .tree: try dumpTree(of: try CheckedSuperblocks(on: device).chosen)
        case .extents: try dumpExtents(of: try CheckedSuperblocks(on: device).chosen)
        case .free: try dumpFree(of: try CheckedSuperblocks(on: device).chosen)
        case .log: try dumpLog(of: try CheckedSuperblocks(on: device).chosen)
        }
    }

    // MARK: Superblocks

    private func dumpSlots() throws(CheckFailure) {
        let choice = try CheckedSuperblocks.read(device)
        // Of what has nothing of mfs_disk, slots are no news.
        if choice.candidates.isEmpty, choice.damage.allSatisfy({ !$0.what.isOfSuperblock }) {
            _ = try CheckedSuperblocks(on: device)
        }
        for slot in 0..<2 * SuperblockSlot.perSet {
            var line = DumpLine("slot", "slot", UInt64(slot))
            if let found = choice.candidates.first(where: { $0.slot == slot }) {
                line.add("group", found.superblock.group.rawValue)
                line.add("written", .time(found.superblock.written))
            } else if let found = choice.damage.first(where: { $0.slot == slot }) {
                line.add("damage", found.what.description)
            } else {
                line.add("content", "nothing, or of another filesystem")
            }
            hear(line)
        }
        let superblocks = try CheckedSuperblocks(on: device)
        for passed in superblocks.passedOver {
            var line = DumpLine("damage", "group", passed.group.rawValue)
            line.add("what", passed.why)
            hear(line)
        }
        tell(superblocks.chosen)
    }

    private func tell(_ superblock: Superblock) {
        let geometry = superblock.geometry
        var line = DumpLine("superblock", "group", superblock.group.rawValue)
        line.add("uuid", superblock.uuid.description)
        line.add("label", superblock.labelText)
        line.add("block size", geometry.blockSize)
        line.add("node size", geometry.nodeSize)
        line.add("total blocks", geometry.totalBlocks)
        line.add("free blocks", superblock.freeBlocks)
        line.add("data blocks", superblock.dataBlocks)
        line.add("region blocks", geometry.regionBlocks)
        line.add("in use", superblock.isInUse ? "yes" : "no")
        line.add("damage found", superblock.isDamaged ? "yes" : "no")
        line.add("main root", superblock.mainRoot.address.rawValue)
        line.add("main root level", superblock.mainRoot.level)
        line.add("main nodes", superblock.mainNodes)
        line.add("space root", superblock.spaceRoot.address.rawValue)
        line.add("space root level", superblock.spaceRoot.level)
        line.add("space nodes", superblock.spaceNodes)
        line.add("log start", geometry.logStart.rawValue)
        line.add("log blocks", geometry.logBlocks)
        line.add("log position", superblock.logPosition)
        line.add("log sequence", superblock.logSequence)
        line.add("next inode", superblock.nextInode)
        line.add("made", .time(superblock.made))
        line.add("mounted", .time(superblock.mounted))
        line.add("written", .time(superblock.written))
        line.add("mounts", superblock.mounts)
        hear(line)
    }

    // MARK: Free space

    private func dumpFree(of superblock: Superblock) throws(CheckFailure) {
        let tree = CheckedTree(.space, of: superblock, on: device)
        tree.hearDamage = tellOfDamage
        let geometry = superblock.geometry
        try tree.forEach(from: nil) { (key, value) in
            do throws(RecordDamage) {
                switch key.object {
                case SpaceObject.region:
                    let region = try RegionRecord(
                        decoding: value, ofRegion: key.number, geometry)
                    var line = DumpLine("region", "region", key.number)
                    line.add("first block", geometry.start(ofRegion: Int(key.number)).rawValue)
                    line.add("blocks", geometry.blocks(ofRegion: Int(key.number)))
                    line.add("free blocks", region.freeBlocks)
                    line.add("free node places", region.freePlaces)
                    line.add("longest run at most", region.longestRun)
                    line.add("holds nodes", region.holdsNodes ? "yes" : "no")
                    hear(line)
                case SpaceObject.freeExtent:
                    let run = try FreeExtentRecord.decode(value, at: key.number, geometry)
                    var line = DumpLine("free", "block", run.start.rawValue)
                    line.add("blocks", run.count)
                    line.add("region", geometry.region(of: run.start))
                    hear(line)
                default: throw RecordDamage("a key of kind \(key.object)")
                }
            } catch {
                tellOfDamage(OwnedKey(key), error, depth: 0)
            }
            return true
        }
    }

    // MARK: Log

    private func dumpLog(of superblock: Superblock) throws(CheckFailure) {
        var edits = RecordEdits()
        _ = try LogCheck(of: superblock, on: device, into: &edits) { header, records in
            var line = DumpLine("entry", "sequence", header.sequence)
            line.add("position", header.position)
            line.add("group", header.group.rawValue)
            line.add("records", header.records)
            line.add("bytes", header.recordBytes)
            line.add("checksum", .hexadecimal(UInt64(header.checksum)))
            hear(line)
            for record in records { tell(record, superblock.geometry) }
        }
    }

    private func tell(_ record: LogRecord, _ geometry: VolumeGeometry) {
        let key = ItemKey(object: record.first, number: record.second, tail: record.tail)
        switch record.kind {
        case .put: tell(key, record.value, geometry, depth: 1)
        case .remove:
            hear(DumpLine("remove", "key", .text(OwnedKey(key).description), depth: 1))
        case .used, .freed:
            var line = DumpLine(
                record.kind == .used ? "used" : "freed", "block", record.first, depth: 1)
            line.add("blocks", record.second)
            hear(line)
        case .write:
            var line = DumpLine("write", "inode", record.first, depth: 1)
            line.add("offset", record.second)
            line.add("bytes", record.value.count)
            hear(line)
        case .inodes: hear(DumpLine("inodes", "below", record.first, depth: 1))
        }
    }

    // MARK: Damage

    func tellOfDamage(_ wanted: NodeExpectation, _ damage: RecordDamage) {
        var line = DumpLine("damage", "block", wanted.pointer.address.rawValue)
        line.add("what", damage.description)
        line.add("from", wanted.low?.description ?? "the first key")
        line.add("to", wanted.high?.description ?? "the last")
        hear(line)
    }

    func tellOfDamage(_ key: OwnedKey, _ damage: RecordDamage, depth: Int) {
        var line = DumpLine("damage", "key", .text(key.description), depth: depth)
        line.add("what", damage.description)
        hear(line)
    }
}
