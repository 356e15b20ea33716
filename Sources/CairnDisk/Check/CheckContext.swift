// CheckContext: what the passes of a check share: the image's measures, what was found, and what is
// to stand instead.
//
// Threading: one thread at a time.

final class CheckContext {
    let geometry: VolumeGeometry
    let nameKey: NameKey
    /// The group of the superblock that counts.
    let group: TransactionGroup
    /// The tree, with the log and what mends it laid over.
    let items: CheckedItems
    /// The largest group that a record may name: the log belongs to groups after the superblock's.
    var latestGroup: TransactionGroup
    /// The smallest inode number never given out.
    var nextInode: UInt64
    private let hear: (CheckFinding) -> Void
    private let progress: (CheckProgress) -> Void
    var summary = CheckSummary()

    /// Findings beyond this number are counted only.
    static let findingLimit: UInt64 = 1000

    init(
        _ superblock: Superblock, _ items: CheckedItems,
        progress: @escaping (CheckProgress) -> Void, hear: @escaping (CheckFinding) -> Void
    ) {
        geometry = superblock.geometry
        nameKey = superblock.nameKey
        group = superblock.group
        nextInode = superblock.nextInode
        self.items = items
        self.progress = progress
        self.hear = hear
        latestGroup = superblock.group
    }

    func tell(
        _ subject: CheckFinding.Subject, _ place: String, _ what: String, remedy: String?
    ) {
        summary.findings += 1
        if remedy == nil { summary.hopeless += 1 }
        if summary.findings <= CheckContext.findingLimit {
            hear(CheckFinding(subject, place, what, remedy: remedy))
        }
    }

    func isAt(_ phase: String, _ done: UInt64, of total: UInt64 = 0) {
        progress(CheckProgress(phase: phase, done: done, total: total))
    }

    // MARK: Mending

    func put(_ key: OwnedKey, _ value: [UInt8]) throws(CheckFailure) {
        items.edits.put(key, value)
        try checkRoom()
    }

    func remove(_ key: OwnedKey) throws(CheckFailure) {
        items.edits.remove(key)
        try checkRoom()
    }

    /// A number that nobody had.
    func takeInodeNumber() throws(CheckFailure) -> UInt64 {
        guard nextInode < InodeNumbers.end else {
            throw CheckFailure("the image", "has no number left for a new inode")
        }
        defer { nextInode += 1 }
        return nextInode
    }

    private func checkRoom() throws(CheckFailure) {
        guard items.edits.byteCount <= RecordEdits.byteLimit else {
            throw CheckFailure("the image", "is damaged in more places than one check can keep")
        }
    }

    /// Changes the record of an inode. Nothing happens if there is none, or none that can be read.
    func update(_ inode: UInt64, _ change: (inout InodeRecord) -> Void) throws(CheckFailure) {
        let key = OwnedKey(RecordKind.inode.object(of: inode))
        guard let bytes = try items.find(key), var record = InodeRecord(leniently: bytes) else {
            return
        }
        change(&record)
        try put(key, record.encoded)
    }
}

extension InodeRecord {
    /// Nil if the bytes are no record.
    init?(leniently bytes: [UInt8]) {
        guard let record = try? bytes.lend({ try InodeRecord(decoding: $0) }) else { return nil }
        self = record
    }
}

/// A name as a message may show it.
func shown(_ name: UnsafeRawBufferPointer) -> String {
    let safe = name.map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: "?") : $0 }
    return "'\(String(decoding: safe, as: UTF8.self))'"
}
