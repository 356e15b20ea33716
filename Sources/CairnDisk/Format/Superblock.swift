// Superblock: where a filesystem begins, as one group left it (docs/format.md §3).
//
// A value. Its offsets and its codec are in Superblock+Codec.swift, the slots in SuperblockSlot.swift.

import CairnBase

struct Superblock: Hashable, Sendable {
    static let magic: UInt32 = 0x4D46_5344
    static let version: UInt32 = 1
    /// Bytes of a superblock; the rest of its slot is zero.
    static let length = 4096
    static let labelLength = 64
    /// Inode numbers below this are reserved, or the root's.
    static let firstInode: UInt64 = 16
    static let endOfInodes: UInt64 = 1 << 55

    /// What is not known of a set of features, by what it forbids.
    struct Features: Hashable, Sendable {
        /// May be ignored.
        var compatible: UInt64 = 0
        /// May be ignored by who only reads.
        var readOnlyCompatible: UInt64 = 0
        /// Refuse the mount.
        var incompatible: UInt64 = 0
    }

    var group: TransactionGroup
    var uuid: VolumeUUID
    /// UTF-8 without the zeros behind it; at most 64 bytes.
    var label: [UInt8] = []
    var features = Features()
    var geometry: VolumeGeometry
    var freeBlocks: UInt64
    /// Set by the first commit after a mount, cleared by an unmount.
    var isInUse = false
    /// Damage was found: fsck is wanted.
    var isDamaged = false
    var mainRoot: RootPointer
    var spaceRoot: RootPointer
    var mainNodes: UInt64
    var spaceNodes: UInt64
    /// Blocks that extents of files occupy.
    var dataBlocks: UInt64 = 0
    /// Block within the log where the first entry after this group is, or will be.
    var logPosition: UInt64 = 0
    /// That entry's number.
    var logSequence: UInt64
    /// The smallest inode number never given out.
    var nextInode: UInt64 = Superblock.firstInode
    /// Key of the hash of names.
    var nameKey: NameKey
    var made: Timestamp
    /// Of the last mount for writing; zero: never.
    var mounted = Timestamp(seconds: 0)
    /// Of this commit.
    var written: Timestamp
    /// How often it was mounted for writing.
    var mounts: UInt32 = 0

    /// The label as text, whatever its bytes are.
    var labelText: String { String(decoding: label, as: UTF8.self) }
}
