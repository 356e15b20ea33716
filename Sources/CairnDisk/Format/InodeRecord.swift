// InodeRecord: what the main tree keeps of an inode (docs/format.md §5.1), and the kinds of records.
//
// Values. Decoding checks every byte; what a decoded record says is within the format's limits,
// but may still be a lie (a link count, a number of blocks): fsck counts.
//
//     0 mode  4 owner  8 group  12 links  16 size  24 blocks  32 special  40 birth
//     48 seconds ×4  80 nanoseconds ×4  96 flags  100 reserved

import CairnBase
import CairnVFS

/// The low 8 bits of the first part of a key: which record of an object it is.
enum RecordKind: UInt64, Sendable {
    case inode = 0x01
    case orphan = 0x02
    case attribute = 0x10
    case extent = 0x20
    case entry = 0x30

    /// The first part of the key of such a record of an inode.
    @inline(__always)
    func object(of inode: UInt64) -> UInt64 { inode << 8 | rawValue }
}

enum InodeNumbers {
    static let root: UInt64 = 1
    /// The first that is given to a file.
    static let first: UInt64 = 16
    /// The first that can no longer stand in a key.
    static let end: UInt64 = 1 << 55
}

/// How data is compressed on the device.
enum Compression: UInt8, Sendable, CaseIterable {
    case none = 0
    case lz4 = 1
    case zstd = 2
}

struct InodeRecord: Hashable, Sendable {
    static let length = 104

    /// Compression that was chosen for new data of a file.
    enum CompressionChoice: UInt8, Sendable, CaseIterable {
        case asMounted = 0
        case none = 1
        case lz4 = 2
        case zstd = 3
    }

    struct Flags: OptionSet, Hashable, Sendable {
        let rawValue: UInt32
        /// Data is overwritten in place, without checksums and compression.
        static var inPlace: Flags { Flags(rawValue: 1) }
        /// There may be extended attributes; without it there are none.
        static var hasAttributes: Flags { Flags(rawValue: 2) }
        static var immutable: Flags { Flags(rawValue: 4) }
        static var appendOnly: Flags { Flags(rawValue: 8) }
        static var noDump: Flags { Flags(rawValue: 16) }
        static var noAccessTime: Flags { Flags(rawValue: 32) }
        static var synchronous: Flags { Flags(rawValue: 64) }
        static var known: Flags { Flags(rawValue: 127) }
    }

    var kind: FileKind
    var permissions: Permissions
    var user: UInt32 = 0
    var group: UInt32 = 0
    var links: UInt32
    /// Bytes; of a directory: entries.
    var size: UInt64 = 0
    /// Blocks that the extents occupy.
    var blocks: UInt64 = 0
    /// A directory's parent, or a device's number.
    var special: UInt64 = 0
    var birth: TransactionGroup
    var accessTime: Timestamp
    var modificationTime: Timestamp
    var changeTime: Timestamp
    var birthTime: Timestamp
    var flags: Flags = []
    var compression: CompressionChoice = .asMounted

    // MARK: Decoding

    init(decoding bytes: UnsafeRawBufferPointer) throws(RecordDamage) {
        guard bytes.count == InodeRecord.length else {
            throw RecordDamage("an inode of \(bytes.count) bytes")
        }
        let mode = bytes.number(UInt32.self, at: 0)
        guard mode >> 16 == 0, let kind = FileKind(mode: mode) else {
            throw RecordDamage("mode \(String(mode, radix: 8))")
        }
        self.kind = kind
        permissions = Permissions(rawValue: mode & 0o7777)
        user = bytes.number(UInt32.self, at: 4)
        group = bytes.number(UInt32.self, at: 8)
        links = bytes.number(UInt32.self, at: 12)
        size = bytes.number(UInt64.self, at: 16)
        guard size <= UInt64(Int64.max) else { throw RecordDamage("size \(size)") }
        blocks = bytes.number(UInt64.self, at: 24)
        guard blocks <= 1 << 48 else { throw RecordDamage("\(blocks) blocks") }
        special = bytes.number(UInt64.self, at: 32)
        switch kind {
        case .directory:
            guard special > 0, special < InodeNumbers.end else {
                throw RecordDamage("parent \(special)")
            }
        case .characterDevice, .blockDevice:
            break
        default:
            guard special == 0 else { throw RecordDamage("a special number where none belongs") }
        }
        birth = TransactionGroup(rawValue: bytes.number(UInt64.self, at: 40))
        accessTime = try InodeRecord.time(0, in: bytes)
        modificationTime = try InodeRecord.time(1, in: bytes)
        changeTime = try InodeRecord.time(2, in: bytes)
        birthTime = try InodeRecord.time(3, in: bytes)
        let word = bytes.number(UInt32.self, at: 96)
        guard word & ~(Flags.known.rawValue | 0xFF00) == 0,
            let choice = CompressionChoice(rawValue: UInt8(truncatingIfNeeded: word >> 8))
        else { throw RecordDamage("flags \(String(word, radix: 16))") }
        flags = Flags(rawValue: word & Flags.known.rawValue)
        compression = choice
        guard bytes.number(UInt32.self, at: 100) == 0 else {
            throw RecordDamage("a reserved field of an inode")
        }
    }

    private static func time(
        _ index: Int, in bytes: UnsafeRawBufferPointer
    ) throws(RecordDamage) -> Timestamp {
        let nanoseconds = bytes.number(UInt32.self, at: 80 + 4 * index)
        guard nanoseconds < 1_000_000_000 else {
            throw RecordDamage("a time with \(nanoseconds) nanoseconds")
        }
        return Timestamp(
            seconds: bytes.number(Int64.self, at: 48 + 8 * index), nanoseconds: nanoseconds)
    }

    // MARK: Encoding

    /// Writes all `length` bytes.
    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count == InodeRecord.length, "the length of an inode")
        bytes.put(kind.modeBits | permissions.rawValue, at: 0)
        bytes.put(user, at: 4)
        bytes.put(group, at: 8)
        bytes.put(links, at: 12)
        bytes.put(size, at: 16)
        bytes.put(blocks, at: 24)
        bytes.put(special, at: 32)
        bytes.put(birth.rawValue, at: 40)
        InodeRecord.put(accessTime, 0, into: bytes)
        InodeRecord.put(modificationTime, 1, into: bytes)
        InodeRecord.put(changeTime, 2, into: bytes)
        InodeRecord.put(birthTime, 3, into: bytes)
        bytes.put(flags.rawValue | UInt32(compression.rawValue) << 8, at: 96)
        bytes.put(UInt32(0), at: 100)
    }

    @inline(__always)
    private static func put(
        _ time: Timestamp, _ index: Int, into bytes: UnsafeMutableRawBufferPointer
    ) {
        bytes.put(time.seconds, at: 48 + 8 * index)
        bytes.put(time.nanoseconds, at: 80 + 4 * index)
    }

    /// A record that says this.
    init(
        kind: FileKind, permissions: Permissions, links: UInt32, birth: TransactionGroup,
        time: Timestamp
    ) {
        self.kind = kind
        self.permissions = permissions
        self.links = links
        self.birth = birth
        accessTime = time
        modificationTime = time
        changeTime = time
        birthTime = time
    }

    var encoded: [UInt8] { [UInt8](recordOf: InodeRecord.length, encode) }
}
