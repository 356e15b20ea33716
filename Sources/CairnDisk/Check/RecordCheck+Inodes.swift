// What the records of one inode say of one another, and the census that they go into.

import CairnBase
import CairnVFS

extension RecordCheck {
    // MARK: Attributes

    func takeAttribute(_ key: ItemKey, _ value: UnsafeRawBufferPointer) throws(CheckFailure) {
        let tail: AttributeRecord.Tail
        do throws(RecordDamage) {
            tail = try AttributeRecord.tail(key.tail)
        } catch {
            return try leaveOut(key, error.description)
        }
        if tail == .first { try endAttribute() }
        do throws(RecordDamage) {
            try enter(tail, key, value)
        } catch {
            try leaveOut(key, error.description)
        }
    }

    private func enter(
        _ tail: AttributeRecord.Tail, _ key: ItemKey, _ value: UnsafeRawBufferPointer
    ) throws(RecordDamage) {
        switch tail {
        case .first:
            let (length, start) = try AttributeRecord.first(value)
            guard context.nameKey.number(of: key.tail) == key.number else {
                throw RecordDamage("attribute \(shown(key.tail)) under a wrong name number")
            }
            current.hasAttributes = true
            current.attribute = OpenAttribute(
                name: Array(key.tail), keys: [OwnedKey(key)], length: length, size: start.count)
        case .piece(let index, let nameLength):
            let name = UnsafeRawBufferPointer(rebasing: key.tail[..<nameLength])
            guard var open = current.attribute, open.name.elementsEqual(name),
                open.keys[0].number == key.number, open.keys.count == Int(index), !value.isEmpty,
                open.size + value.count <= open.length
            else { throw RecordDamage("a piece of attribute \(shown(name)) out of place") }
            open.keys.append(OwnedKey(key))
            open.size += value.count
            current.attribute = open
        }
    }

    /// All pieces of an attribute have come.
    func endAttribute() throws(CheckFailure) {
        guard let open = current.attribute else { return }
        current.attribute = nil
        guard open.size != open.length else { return }
        context.tell(
            .record, "inode \(current.number)",
            "attribute \(open.name.lend { shown($0) }) has \(open.size) of \(open.length) bytes",
            remedy: "the attribute is removed")
        for key in open.keys { try context.remove(key) }
    }

    // MARK: Extents

    func takeExtent(_ key: ItemKey, _ value: UnsafeRawBufferPointer) throws(CheckFailure) {
        let extent: ExtentRecord
        do throws(RecordDamage) {
            guard key.tail.isEmpty else { throw RecordDamage("an extent with a name") }
            extent = try ExtentRecord(decoding: value, at: key.number, limits)
            try check(extent, at: key.number)
        } catch {
            return try leaveOut(
                key, "extent at \(key.number): \(error)",
                remedy: "it is removed; there the file reads as zeros")
        }
        let isInline = extent.form == .inline
        current.extentsEnd = key.number + UInt64(extent.length)
        let isLink = current.record?.kind == .symbolicLink
        current.nextExtent =
            isInline && !isLink
            ? UInt64(ExtentRecord.inlineEnd) : current.extentsEnd
        guard !isInline else { return }
        let run = extent.run(of: limits.blockSize)
        current.blocks += run.count
        context.summary.extents += 1
        if current.deviceEnd != run.start.rawValue { context.summary.fragments += 1 }
        current.deviceEnd = run.end.rawValue
        mark(extent)
    }

    private func check(_ extent: ExtentRecord, at offset: UInt64) throws(RecordDamage) {
        if let kind = current.record?.kind, kind != .regular, kind != .symbolicLink {
            throw RecordDamage("of a \(kind)")
        }
        guard offset >= current.nextExtent else {
            throw RecordDamage("it overlaps the one before")
        }
        if current.record?.kind == .symbolicLink {
            guard extent.form == .inline, offset == current.extentsEnd else {
                throw RecordDamage("it is no part of a link's target")
            }
            return
        }
        guard extent.form != .inline else {
            guard offset == 0 && extent.length <= ExtentRecord.inlineEnd else {
                throw RecordDamage("inline data of \(extent.length) bytes there")
            }
            return
        }
        let run = extent.run(of: limits.blockSize)
        guard context.geometry.contains(run) else {
            throw RecordDamage("outside the place for data, at block \(run.start.rawValue)")
        }
        guard extent.birth <= context.latestGroup else {
            throw RecordDamage("written by group \(extent.birth.rawValue), which is to come")
        }
    }

    // MARK: Entries

    func takeEntry(_ key: ItemKey, _ value: UnsafeRawBufferPointer) throws(CheckFailure) {
        var entry: EntryRecord
        do throws(RecordDamage) {
            if let kind = current.record?.kind, kind != .directory {
                throw RecordDamage("a name in a \(kind)")
            }
            try EntryRecord.check(name: key.tail)
            entry = try EntryRecord(decoding: value)
        } catch {
            return try leaveOut(
                key, error.description, remedy: "it is left out; what it led to is kept")
        }
        let number = context.nameKey.number(of: key.tail)
        guard number == key.number else {
            let right = OwnedKey(key.object, number, Array(key.tail))
            guard try context.items.find(right) == nil else {
                return try leaveOut(
                    key, "name \(shown(key.tail)) under a wrong name number, and once more",
                    remedy: "it is left out; what it led to is kept")
            }
            context.tell(
                .directory, "inode \(current.number)",
                "name \(shown(key.tail)) under a wrong name number",
                remedy: "it is entered anew")
            try context.remove(OwnedKey(key))
            try context.enter(key.tail, entry.inode, entry.kind, in: current.number)
            current.entries += 1
            return
        }
        if number != current.nameNumber {
            current.nameNumber = number
            current.distinctions.removeAll(keepingCapacity: true)
        }
        current.entries += 1
        guard current.distinctions.insert(entry.distinction).inserted else {
            context.tell(
                .directory, "inode \(current.number)",
                "name \(shown(key.tail)) has the same position as another",
                remedy: "it gets one of its own")
            entry.distinction = try context.freeDistinction(
                number, in: current.number, beside: current.distinctions)
            current.distinctions.insert(entry.distinction)
            return try context.put(OwnedKey(key), entry.encoded)
        }
    }

    // MARK: Inodes

    static func newRecord(_ kind: FileKind, in group: TransactionGroup) -> InodeRecord {
        InodeRecord(
            kind: kind, permissions: Permissions(rawValue: kind == .directory ? 0o700 : 0o600),
            links: 1, birth: group, time: Timestamp(seconds: 0))
    }

    /// All records of an inode have come.
    func finishInode() throws(CheckFailure) {
        try endAttribute()
        guard current.isThere, current.number != 0 else { return }
        var record: InodeRecord
        if let known = current.record {
            record = known
        } else {
            record = RecordCheck.newRecord(
                current.entries > 0 || current.number == InodeNumbers.root ? .directory : .regular,
                in: context.group)
            context.tell(
                .record, "inode \(current.number)", "its record is not there, but others of it are",
                remedy: "a new one is made for a \(record.kind) of mode "
                    + String(record.permissions.rawValue, radix: 8))
            record.size = current.extentsEnd
            if record.kind == .directory {
                record.links = 2
                record.special = InodeNumbers.root
            }
        }
        try compare(&record)
        if record != current.record {
            try context.put(
                OwnedKey(RecordKind.inode.object(of: current.number)), record.encoded)
        }
        count(record)
    }

    /// Sets what can be counted.
    private func compare(_ record: inout InodeRecord) throws(CheckFailure) {
        let place = "inode \(current.number)"
        if record.blocks != current.blocks {
            if current.record != nil {
                context.tell(
                    .record, place, "\(record.blocks) blocks, its extents have \(current.blocks)",
                    remedy: "it is counted anew")
            }
            record.blocks = current.blocks
        }
        if record.kind == .directory, record.size != current.entries {
            if current.record != nil {
                context.tell(
                    .directory, place, "\(record.size) entries, there are \(current.entries)",
                    remedy: "it is counted anew")
            }
            record.size = current.entries
        }
        if record.kind == .symbolicLink { compareTarget(&record) }
        if current.hasAttributes, !record.flags.contains(.hasAttributes) {
            if current.record != nil {
                context.tell(
                    .record, place, "has attributes, and says that it has none",
                    remedy: "it is marked")
            }
            record.flags.insert(.hasAttributes)
        }
        if current.number == InodeNumbers.root, record.special != InodeNumbers.root {
            context.tell(
                .directory, place, "the root's parent is \(record.special)", remedy: "it is set")
            record.special = InodeNumbers.root
        }
    }

    /// A link's target against its size.
    private func compareTarget(_ record: inout InodeRecord) {
        let (size, found) = (record.size, current.extentsEnd)
        guard size == 0 || size > found else { return }
        context.tell(
            .record, "inode \(current.number)",
            "a link whose target has \(size) bytes, there are \(found)",
            remedy: found == 0 ? "it becomes an empty file" : "its target is what is there")
        record.size = found
        if found == 0 { record.kind = .regular }
    }

    /// Enters it into the census.
    private func count(_ record: InodeRecord) {
        if record.kind == .directory {
            context.summary.directories += 1
            directories.add(current.number, parent: record.special, links: record.links)
        } else {
            context.summary.files += 1
        }
        if inodes.isFull {
            firstLeftOut = firstLeftOut ?? current.number
        } else {
            inodes.add(current.number, record.kind, links: record.links)
        }
    }
}
