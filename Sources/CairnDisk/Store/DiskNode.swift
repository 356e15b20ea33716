// DiskNode: a node of mfs_disk in memory: what its inode's record says beside the attributes.
//
// Threading: everything here that does not say otherwise is guarded by the node's `lock`, as the
// attributes are.
//
// Invariants, whenever the lock is free
//  - The record in the main tree says `state` and `stored`, but for what is not placed yet: the size
//    there is `state.recordedSize`, or what the log says, and the times may be older.
//  - `file` is nil for all but regular files.

import CairnBase
import CairnTree
import CairnVFS

/// What the tree has of a node, beside the attributes that everybody sees.
struct NodeState: Sendable {
    /// The group in which it was made.
    var birth = TransactionGroup(rawValue: 0)
    /// Entries of a directory.
    var entryCount: UInt64 = 0
    /// Blocks that its extents occupy.
    var extentBlocks: UInt64 = 0
    /// Its size in the tree: up to there data is placed.
    var recordedSize: UInt64 = 0
    /// Its size in the log, as long as the log has bytes of it that are not placed; else 0.
    var loggedSize: UInt64 = 0
    var attributesMayExist = false
    /// Which compression FS_COMPR_FL stands for; `.asMounted` where it is not set.
    var compression = InodeRecord.CompressionChoice.asMounted
    /// Made where `cow=off` is the rule.
    var isInPlace = false
    /// It is recorded as an orphan.
    var isOrphan = false
    /// There may be records of extents.
    var extentsMayExist = false
    /// There may be extents of reserved space.
    var reservationsMayExist = false
    /// There may be compressed extents.
    var packedMayExist = false
}

final class DiskNode: TreeNode, @unchecked Sendable {
    var state: NodeState
    private(set) var file: FileState?
    /// The time of last access is newer than the record's (AccessTimes).
    var hasNewAccessTime = false
    /// It is in the list of AccessTimes, whose lock guards this.
    var isInAccessTimes = false

    /// A node that is to be made.
    init(new attributes: Attributes, _ file: FileState?, in tree: TreeFileSystem) {
        state = NodeState()
        self.file = file
        super.init(attributes, hasNoLists: true, in: tree)
    }

    /// A node that was loaded.
    init(
        _ number: UInt64, _ record: InodeRecord, _ file: FileState?, blockSize: UInt32,
        in tree: TreeFileSystem
    ) {
        state = NodeState(record)
        self.file = file
        super.init(
            DiskNode.attributes(number, record, blockSize: blockSize),
            parent: record.kind == .directory ? record.special : 0,
            hasNoLists: !record.flags.contains(.hasAttributes), in: tree)
    }

    override func adopt(_ fresh: TreeNode) {
        state = unsafeDowncast(fresh, to: DiskNode.self).state
    }

    // Only files have data that is written late.
    override var writeErrors: ErrorSequence.Position? {
        guard let file else { return nil }
        return file.pagesIfMade?.errors.position() ?? ErrorSequence().position()
    }

    override func writeError(since position: inout ErrorSequence.Position) -> Errno? {
        file?.pagesIfMade?.errors.check(since: &position)
    }

    /// Data is overwritten in place, without checksums and compression.
    var isInPlace: Bool { state.isInPlace || stored.flags.contains(.noCopyOnWrite) }

    // MARK: Between record and attributes

    /// st_size of a directory: this for each entry.
    static let entrySize: UInt64 = 32

    static func attributes(
        _ number: UInt64, _ record: InodeRecord, blockSize: UInt32
    ) -> Attributes {
        var result = Attributes(
            number: number, kind: record.kind, permissions: record.permissions,
            linkCount: record.links, user: record.user, group: record.group, size: record.size,
            blockSize: blockSize, device: record.kind.isDevice ? record.special : 0,
            time: record.birthTime)
        if record.kind == .directory { result.size = record.size &* entrySize }
        result.blocks = record.blocks &* UInt64(blockSize / 512)
        if record.blocks == 0, record.kind == .regular {
            result.blocks = inlineSectors(record.size)
        }
        result.accessTime = record.accessTime
        result.modificationTime = record.modificationTime
        result.changeTime = record.changeTime
        result.flags = fileFlags(record)
        return result
    }

    /// st_blocks of a file that may stand in its inode: the sectors that its bytes would fill.
    /// Programs take 0 for a file that is all hole.
    static func inlineSectors(_ size: UInt64) -> UInt64 {
        size <= UInt64(ExtentRecord.inlineEnd) ? (size + 511) / 512 : 0
    }

    private static let flagPairs: [(FileFlags, InodeRecord.Flags)] = [
        (.noCopyOnWrite, .inPlace), (.immutable, .immutable), (.appendOnly, .appendOnly),
        (.noDump, .noDump), (.noAccessTime, .noAccessTime), (.sync, .synchronous),
    ]

    private static func fileFlags(_ record: InodeRecord) -> FileFlags {
        var flags: FileFlags = record.compression.rawValue > 1 ? .compress : []
        guard !record.flags.isEmpty else { return flags }
        for (flag, recorded) in flagPairs where record.flags.contains(recorded) {
            flags.insert(flag)
        }
        return flags
    }

    private static func recordFlags(_ flags: FileFlags) -> InodeRecord.Flags {
        var result: InodeRecord.Flags = []
        guard !flags.isEmpty else { return result }
        for (flag, recorded) in flagPairs where flags.contains(flag) { result.insert(recorded) }
        return result
    }

    /// The record that says this of the node. `parent`: the directory above a directory.
    func record(_ attributes: Attributes, _ state: NodeState, parent: UInt64) -> InodeRecord {
        var result = InodeRecord(
            kind: kind, permissions: attributes.permissions, links: attributes.linkCount,
            birth: state.birth, time: attributes.birthTime)
        result.user = attributes.user
        result.group = attributes.group
        result.size =
            kind == .directory ? state.entryCount : max(state.recordedSize, state.loggedSize)
        result.blocks = state.extentBlocks
        if kind == .directory {
            result.special = parent
        } else if kind.isDevice {
            result.special = attributes.device
        }
        result.accessTime = attributes.accessTime
        result.modificationTime = attributes.modificationTime
        result.changeTime = attributes.changeTime
        result.flags = DiskNode.recordFlags(attributes.flags)
        if state.isInPlace { result.flags.insert(.inPlace) }
        if state.attributesMayExist { result.flags.insert(.hasAttributes) }
        result.compression = state.compression
        return result
    }
}

extension NodeState {
    init(_ record: InodeRecord) {
        birth = record.birth
        attributesMayExist = record.flags.contains(.hasAttributes)
        compression = record.compression
        isOrphan = record.links == 0
        if record.kind == .directory {
            entryCount = record.size
        } else {
            extentBlocks = record.blocks
            recordedSize = record.size
            extentsMayExist = true
            reservationsMayExist = record.blocks > 0
            packedMayExist = record.blocks > 0
        }
    }
}
