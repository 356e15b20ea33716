// EditBatch: what one operation changes, all of it or nothing.
//
// Its bytes are records of the log (docs/format.md §8), one after the other: that is what a sync
// writes of it, so nothing is encoded twice. Used by one thread; whoever makes it fills it, and
// `Volume.change` reads it.
//
//     var batch = EditBatch()
//     batch.put(object: …, number: …, tail: name, value: record)
//     batch.use(run)                    // blocks that an extent put above refers to
//     try volume.change(batch, pass)
//
// Order counts: of several edits of one item the last one stays.

struct EditBatch: ~Copyable {
    /// The records.
    private(set) var bytes: UnsafeMutableRawBufferPointer
    /// Bytes in use.
    private(set) var count = 0
    /// Records in all, and those that edit items of the main tree.
    private(set) var records = 0
    private(set) var itemEdits = 0
    /// Blocks of data that came into use, and that were freed.
    private(set) var usedBlocks: UInt64 = 0
    private(set) var freedBlocks: UInt64 = 0
    /// It makes room (removes, cuts, frees): it may use the reserve that is kept so that removing
    /// works on a full filesystem.
    var mayUseReserve = false
    /// It edits extents of a file whose data went into the log (`DirtyDataOwner.logDirtyData`) and was
    /// not placed since. Replaying the log would not lead to what it edits, so the next sync has to
    /// be a commit.
    var editsLoggedData = false

    init(capacity: Int = 1024) {
        bytes = .allocate(byteCount: max(capacity, 64), alignment: 8)
    }

    deinit {
        bytes.deallocate()
    }

    var isEmpty: Bool { records == 0 }

    /// Enters or replaces an item of the main tree. The bytes are copied.
    mutating func put(
        object: UInt64, number: UInt64, tail: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
    ) {
        append(.put, object, number, tail, value)
        itemEdits += 1
    }

    /// Removes an item of the main tree; nothing if it is not there.
    mutating func remove(object: UInt64, number: UInt64, tail: UnsafeRawBufferPointer) {
        append(.remove, object, number, tail, UnsafeRawBufferPointer(start: nil, count: 0))
        itemEdits += 1
    }

    /// These blocks, which `Volume.allocate` gave, are in use from now on: an extent of this batch
    /// refers to them.
    mutating func use(_ run: BlockRun) {
        append(.used, run)
        usedBlocks &+= run.count
    }

    /// No extent refers to these blocks any more. They are given out again after the commit.
    mutating func free(_ run: BlockRun) {
        append(.freed, run)
        freedBlocks &+= run.count
    }

    /// Inode numbers below this were given out.
    mutating func giveOut(inodesBelow number: UInt64) {
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        append(.inodes, number, 0, nothing, nothing)
    }

    /// For the log only (`DirtyDataOwner.logDirtyData`): bytes written to a file's data, which are
    /// not placed yet. `Volume.change` takes no batch with such a record.
    mutating func write(inode: UInt64, offset: UInt64, bytes: UnsafeRawBufferPointer) {
        append(.write, inode, offset, UnsafeRawBufferPointer(start: nil, count: 0), bytes)
    }

    /// Appends the records of another one.
    mutating func append(_ other: borrowing EditBatch) {
        makeRoom(other.count)
        UnsafeMutableRawBufferPointer(rebasing: bytes[count..<(count + other.count)])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: other.bytes[..<other.count]))
        count += other.count
        records += other.records
        itemEdits += other.itemEdits
        usedBlocks &+= other.usedBlocks
        freedBlocks &+= other.freedBlocks
    }

    /// Appends a record as it stands in the log.
    mutating func append(_ record: LogRecord) {
        append(record.kind, record.first, record.second, record.tail, record.value)
        switch record.kind {
        case .put, .remove: itemEdits += 1
        case .used: usedBlocks &+= record.second
        case .freed: freedBlocks &+= record.second
        case .write, .inodes: break
        }
    }

    /// Forgets everything, and keeps the memory.
    mutating func removeAll() {
        count = 0
        records = 0
        itemEdits = 0
        usedBlocks = 0
        freedBlocks = 0
    }

    /// The records, in order.
    borrowing func forEachRecord<Failure>(
        _ body: (LogRecord) throws(Failure) -> Void
    ) throws(Failure) {
        var rest = UnsafeRawBufferPointer(rebasing: bytes[..<count])
        while !rest.isEmpty {
            let (record, length) = LogRecord.first(ofTrusted: rest)
            try body(record)
            rest = UnsafeRawBufferPointer(rebasing: rest[length...])
        }
    }

    /// The edits of items; valid as long as this batch is not changed.
    var edits: RecordedEdits {
        RecordedEdits(bytes: UnsafeRawBufferPointer(rebasing: bytes[..<count]), count: itemEdits)
    }

    private mutating func append(_ kind: LogRecord.Kind, _ run: BlockRun) {
        precondition(run.count > 0, "a run of no blocks")
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        append(kind, run.start.rawValue, run.count, nothing, nothing)
    }

    private mutating func append(
        _ kind: LogRecord.Kind, _ first: UInt64, _ second: UInt64, _ tail: UnsafeRawBufferPointer,
        _ value: UnsafeRawBufferPointer
    ) {
        let length = LogRecord.length(tail: tail.count, value: value.count)
        makeRoom(length)
        let place = UnsafeMutableRawBufferPointer(rebasing: bytes[count..<(count + length)])
        LogRecord(kind: kind, first: first, second: second, tail: tail, value: value)
            .encode(into: place)
        count += length
        records += 1
    }

    private mutating func makeRoom(_ length: Int) {
        guard count + length > bytes.count else { return }
        let larger = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(bytes.count * 2, count + length), alignment: 8)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        bytes.deallocate()
        bytes = larger
    }
}

/// The edits of items in records that are trusted, in order; borrowed.
struct RecordedEdits: Collection {
    let bytes: UnsafeRawBufferPointer
    let count: Int

    init(bytes: UnsafeRawBufferPointer, count: Int) {
        self.bytes = bytes
        self.count = count
    }

    /// Of records that all edit items.
    init(all bytes: UnsafeRawBufferPointer) {
        var count = 0
        var index = 0
        while index < bytes.count {
            index += LogRecord.first(ofTrusted: bytes.part(index..<bytes.count)).length
            count += 1
        }
        self.init(bytes: bytes, count: count)
    }

    var startIndex: Int { skip(from: 0) }
    var endIndex: Int { bytes.count }

    func index(after index: Int) -> Int {
        skip(from: index + LogRecord.first(ofTrusted: bytes.part(index..<bytes.count)).length)
    }

    subscript(index: Int) -> ItemEdit {
        let (record, _) = LogRecord.first(ofTrusted: bytes.part(index..<bytes.count))
        let key = ItemKey(object: record.first, number: record.second, tail: record.tail)
        return record.kind == .put ? .put(key, record.value) : .remove(key)
    }

    /// The place of the first record from there on that edits an item.
    private func skip(from start: Int) -> Int {
        var index = start
        while index < bytes.count {
            let (record, length) = LogRecord.first(ofTrusted: bytes.part(index..<bytes.count))
            if record.kind == .put || record.kind == .remove { return index }
            index += length
        }
        return bytes.count
    }
}
