// EntryRecord: a name in a directory (docs/format.md §5.2). The name itself is the key's tail.
//
// Values; decoding checks every byte.
//
//     0 inode  8 distinction  10 type  11 reserved

import CairnVFS

struct EntryRecord: Hashable, Sendable {
    static let length = 12

    /// 1 ..< InodeNumbers.end.
    var inode: UInt64
    /// At least 1; differs from that of every other entry of the directory with the same number.
    var distinction: UInt16
    var kind: FileKind

    init(inode: UInt64, distinction: UInt16, kind: FileKind) {
        self.inode = inode
        self.distinction = distinction
        self.kind = kind
    }

    init(decoding bytes: UnsafeRawBufferPointer) throws(RecordDamage) {
        guard bytes.count == EntryRecord.length else {
            throw RecordDamage("a directory entry of \(bytes.count) bytes")
        }
        inode = bytes.number(UInt64.self, at: 0)
        guard inode > 0, inode < InodeNumbers.end else {
            throw RecordDamage("a directory entry that leads to inode \(inode)")
        }
        distinction = bytes.number(UInt16.self, at: 8)
        guard distinction > 0 else { throw RecordDamage("a directory entry without distinction") }
        guard let kind = FileKind(rawValue: bytes[10]) else {
            throw RecordDamage("a directory entry of type \(bytes[10])")
        }
        self.kind = kind
        guard bytes[11] == 0 else { throw RecordDamage("a reserved field of a directory entry") }
    }

    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count == EntryRecord.length, "the length of a directory entry")
        bytes.put(inode, at: 0)
        bytes.put(distinction, at: 8)
        bytes[10] = kind.rawValue
        bytes[11] = 0
    }

    var encoded: [UInt8] { [UInt8](recordOf: EntryRecord.length, encode) }

    /// Checks a name that stands in a key: 1 to 255 bytes, no NUL, no slash, neither `.` nor `..`.
    static func check(name: UnsafeRawBufferPointer) throws(RecordDamage) {
        guard (1...255).contains(name.count) else {
            throw RecordDamage("a name of \(name.count) bytes")
        }
        for byte in name where byte == 0 || byte == UInt8(ascii: "/") {
            throw RecordDamage("a name with byte \(byte)")
        }
        let dot = UInt8(ascii: ".")
        if name[0] == dot, name.count == 1 || (name.count == 2 && name[1] == dot) {
            throw RecordDamage("an entry for \(name.count == 1 ? "." : "..")")
        }
    }
}
