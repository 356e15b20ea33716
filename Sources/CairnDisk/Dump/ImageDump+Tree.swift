// The tree of files: nodes, and records in words (docs/format.md §4, §5).

import CairnVFS

extension ImageDump {
    func dumpTree(of superblock: Superblock) throws(CheckFailure) {
        let tree = CheckedTree(.main, of: superblock, on: device)
        let top = superblock.mainRoot.level
        tree.hearDamage = tellOfDamage
        tree.hearNode = { wanted, node in
            var line = DumpLine(
                "node", "block", wanted.pointer.address.rawValue, depth: Int(top - wanted.level))
            line.add("level", wanted.level)
            line.add("group", wanted.pointer.birth.rawValue)
            line.add("items", node.count)
            line.add("free bytes", node.size - NodeView.headerSize - node.used)
            line.add("checksum", .hexadecimal(UInt64(wanted.pointer.checksum)))
            hear(line)
        }
        try tree.forEach(from: nil) { (key, value) in
            tell(key, value, superblock.geometry, depth: Int(top) + 1)
            return true
        }
    }

    /// The records that say where data stands, and nothing else.
    func dumpExtents(of superblock: Superblock) throws(CheckFailure) {
        let tree = CheckedTree(.main, of: superblock, on: device)
        tree.hearDamage = tellOfDamage
        try tree.forEach(from: nil) { (key, value) in
            if key.object & 0xFF == RecordKind.extent.rawValue {
                tell(key, value, superblock.geometry, depth: 0)
            }
            return true
        }
    }

    /// One item of the main tree.
    func tell(
        _ key: ItemKey, _ value: UnsafeRawBufferPointer, _ geometry: VolumeGeometry, depth: Int
    ) {
        do throws(RecordDamage) {
            hear(try line(of: key, value, geometry, depth: depth))
        } catch {
            tellOfDamage(OwnedKey(key), error, depth: depth)
        }
    }

    private func line(
        of key: ItemKey, _ value: UnsafeRawBufferPointer, _ geometry: VolumeGeometry, depth: Int
    ) throws(RecordDamage) -> DumpLine {
        let inode = key.object >> 8
        switch RecordKind(rawValue: key.object & 0xFF) {
        case .inode:
            return ImageDump.line(of: try InodeRecord(decoding: value), inode, depth: depth)
        case .orphan:
            return DumpLine("orphan", "inode", key.number, depth: depth)
        case .attribute:
            var line = DumpLine("attribute", "inode", inode, depth: depth)
            switch try AttributeRecord.tail(key.tail) {
            case .first:
                let (length, start) = try AttributeRecord.first(value)
                line.add("name", shown(key.tail))
                line.add("bytes", length)
                line.add("here", start.count)
            case .piece(let index, let nameLength):
                line.add("name", shown(UnsafeRawBufferPointer(rebasing: key.tail[..<nameLength])))
                line.add("piece", index)
                line.add("here", value.count)
            }
            return line
        case .entry:
            let entry = try EntryRecord(decoding: value)
            try EntryRecord.check(name: key.tail)
            var line = DumpLine("entry", "directory", inode, depth: depth)
            line.add("name", shown(key.tail))
            line.add("inode", entry.inode)
            line.add("type", ImageDump.word(for: entry.kind))
            line.add("hash", .hexadecimal(key.number))
            line.add("distinction", entry.distinction)
            return line
        case .extent:
            let extent = try ExtentRecord(
                decoding: value, at: key.number,
                ExtentRecord.Limits(
                    blockSize: geometry.blockSize, totalBlocks: geometry.totalBlocks))
            return ImageDump.line(of: extent, inode, key.number, geometry, depth: depth)
        case nil:
            throw RecordDamage("a key of kind \(key.object & 0xFF)")
        }
    }

    private static func line(of record: InodeRecord, _ inode: UInt64, depth: Int) -> DumpLine {
        var line = DumpLine("inode", "inode", inode, depth: depth)
        line.add("type", word(for: record.kind))
        line.add("mode", String(record.permissions.rawValue, radix: 8))
        line.add("owner", record.user)
        line.add("group of owners", record.group)
        line.add("links", record.links)
        line.add(record.kind == .directory ? "entries" : "size", record.size)
        if record.kind == .directory { line.add("parent", record.special) }
        if record.kind == .characterDevice || record.kind == .blockDevice {
            line.add("device", .hexadecimal(record.special))
        }
        line.add("blocks", record.blocks)
        line.add("group", record.birth.rawValue)
        line.add("accessed", .time(record.accessTime))
        line.add("modified", .time(record.modificationTime))
        line.add("changed", .time(record.changeTime))
        line.add("made", .time(record.birthTime))
        if !record.flags.isEmpty { line.add("flags", .hexadecimal(UInt64(record.flags.rawValue))) }
        if record.compression != .asMounted { line.add("compression", "\(record.compression)") }
        return line
    }

    private static func line(
        of extent: ExtentRecord, _ inode: UInt64, _ offset: UInt64, _ geometry: VolumeGeometry,
        depth: Int
    ) -> DumpLine {
        var line = DumpLine("extent", "inode", inode, depth: depth)
        line.add("offset", offset)
        line.add("length", extent.length)
        guard extent.form != .inline else {
            line.add("form", "inline")
            return line
        }
        let run = extent.run(of: geometry.blockSize)
        line.add("form", extent.form == .reserved ? "reserved" : "stored")
        line.add("block", run.start.rawValue)
        line.add("blocks", run.count)
        line.add("group", extent.birth.rawValue)
        line.add("checksums", extent.checksumCount(of: geometry.blockSize))
        if extent.compression != .none {
            line.add("compression", "\(extent.compression)")
            line.add("stored bytes", extent.stored)
            line.add("whole bytes", extent.whole)
            line.add("skipped bytes", extent.skip)
        }
        return line
    }

    private static func word(for kind: FileKind) -> String {
        switch kind {
        case .regular: "file"
        case .directory: "directory"
        case .symbolicLink: "link"
        case .characterDevice: "character device"
        case .blockDevice: "block device"
        case .fifo: "fifo"
        case .socket: "socket"
        }
    }
}
