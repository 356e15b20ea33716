// RecordCheck: every record of the main tree by itself, and what the records of one inode say of one
// another (docs/format.md §5).
//
// Records come in the order of their keys, so those of an inode together: first the inode, then its
// attributes, extents and entries. What one record breaks is mended by leaving it out; what an inode
// counts wrongly, by counting; an inode that is lost while its records are there, by a new one.
//
// Threading: one thread at a time.

import CairnBase
import CairnVFS

final class RecordCheck {
    let context: CheckContext
    let mark: (ExtentRecord) -> Void
    var inodes: InodeCensus
    var directories = DirectoryCensus()
    /// Inodes that stand in the list of orphans.
    private(set) var orphans: Set<UInt64> = []
    /// The smallest inode that did not fit into the window.
    var firstLeftOut: UInt64?
    private(set) var highestInode: UInt64 = 0

    /// The inode whose records come now.
    var current = CurrentInode(number: 0)

    struct CurrentInode {
        let number: UInt64
        var record: InodeRecord?
        /// Some record of it was seen.
        var isThere = false
        var blocks: UInt64 = 0
        /// Where the last extent ends.
        var extentsEnd: UInt64 = 0
        /// Where the next extent may begin.
        var nextExtent: UInt64 = 0
        /// Where the last extent ends on the device.
        var deviceEnd: UInt64?
        var entries: UInt64 = 0
        var hasAttributes = false
        var attribute: OpenAttribute?
        /// The name number of the entries that come now, and their distinctions.
        var nameNumber: UInt64?
        var distinctions: Set<UInt16> = []
    }

    /// An attribute whose pieces come.
    struct OpenAttribute {
        var name: [UInt8]
        var keys: [OwnedKey]
        var length: Int
        var size: Int
    }

    /// `mark` is told of every extent that is in order.
    init(
        _ context: CheckContext, window: Int = InodeCensus.defaultWindow,
        mark: @escaping (ExtentRecord) -> Void
    ) {
        self.context = context
        self.mark = mark
        inodes = InodeCensus(capacity: window)
    }

    var limits: ExtentRecord.Limits {
        ExtentRecord.Limits(
            blockSize: context.geometry.blockSize, totalBlocks: context.geometry.totalBlocks)
    }

    // MARK: Records

    func take(_ key: ItemKey, _ value: UnsafeRawBufferPointer) throws(CheckFailure) {
        let inode = key.object >> 8
        if inode != current.number {
            try finishInode()
            current = CurrentInode(number: inode)
        }
        guard let kind = RecordKind(rawValue: key.object & 0xFF),
            inode < InodeNumbers.end, (inode == 0) == (kind == .orphan),
            !(InodeNumbers.root + 1..<InodeNumbers.first).contains(inode)
        else {
            return try leaveOut(key, "a record that the format does not know")
        }
        current.isThere = current.isThere || inode != 0
        highestInode = max(highestInode, inode)
        if kind != .attribute { try endAttribute() }
        switch kind {
        case .orphan: try takeOrphan(key, value)
        case .inode: try takeInode(key, value)
        case .attribute: try takeAttribute(key, value)
        case .extent: try takeExtent(key, value)
        case .entry: try takeEntry(key, value)
        }
    }

    /// After the last record.
    func finish() throws(CheckFailure) {
        try finishInode()
        if directories.index(of: InodeNumbers.root) == nil {
            context.tell(
                .directory, "inode 1", "there is no root directory",
                remedy: "an empty one is made, what hung from the old one goes to /lost+found")
            var root = RecordCheck.newRecord(.directory, in: context.group)
            root.links = 2
            root.special = InodeNumbers.root
            try context.put(OwnedKey(RecordKind.inode.object(of: InodeNumbers.root)), root.encoded)
            context.summary.directories += 1
            directories.addRoot(links: 2)
            inodes.addRoot(links: 2)
        }
    }

    func leaveOut(
        _ key: ItemKey, _ what: String, remedy: String = "it is left out"
    ) throws(CheckFailure) {
        context.tell(.record, "inode \(key.object >> 8)", what, remedy: remedy)
        try context.remove(OwnedKey(key))
    }

    private func takeOrphan(
        _ key: ItemKey, _ value: UnsafeRawBufferPointer
    ) throws(CheckFailure) {
        guard key.tail.isEmpty, value.isEmpty, key.number >= InodeNumbers.first,
            key.number < InodeNumbers.end
        else { return try leaveOut(key, "an orphan's record that is none") }
        orphans.insert(key.number)
    }

    private func takeInode(_ key: ItemKey, _ value: UnsafeRawBufferPointer) throws(CheckFailure) {
        guard key.number == 0, key.tail.isEmpty else {
            return try leaveOut(key, "an inode's record with a key that is none")
        }
        do throws(RecordDamage) {
            let record = try InodeRecord(decoding: value)
            guard record.birth <= context.latestGroup else {
                throw RecordDamage("made by group \(record.birth.rawValue), which is to come")
            }
            guard key.object >> 8 != InodeNumbers.root || record.kind == .directory else {
                throw RecordDamage("the root is no directory")
            }
            current.record = record
        } catch {
            try leaveOut(key, error.description, remedy: "it is made anew from what it has")
        }
    }
}
