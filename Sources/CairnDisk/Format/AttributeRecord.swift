// AttributeRecord: an extended attribute (docs/format.md §5.4), in one record or in pieces.
//
// The first record's tail is the name; its value is the length of the whole value, then its first
// bytes. Pieces follow: their tail is the name, 0x00 and an index from 1, their value the next bytes.
// All decoding checks every byte; that the pieces make up the length is checked by who joins them.

enum AttributeRecord {
    /// XATTR_SIZE_MAX
    static let maximumValueSize = 65536
    /// Bytes of a first record before the value.
    static let headLength = 4

    /// What the tail of an attribute's key says.
    enum Tail: Equatable {
        /// The record that begins an attribute.
        case first
        /// A further piece, by index, and the length of the name before it.
        case piece(UInt8, nameLength: Int)
    }

    static func tail(_ bytes: UnsafeRawBufferPointer) throws(RecordDamage) -> Tail {
        let nameLength = bytes.firstIndex(of: 0) ?? bytes.count
        guard (1...255).contains(nameLength) else {
            throw RecordDamage("an attribute's name of \(nameLength) bytes")
        }
        if nameLength == bytes.count { return .first }
        guard bytes.count == nameLength + 2, bytes[nameLength + 1] > 0 else {
            throw RecordDamage("the key of a piece of an attribute")
        }
        return .piece(bytes[nameLength + 1], nameLength: nameLength)
    }

    /// The whole length, and the bytes of the value that a first record has.
    static func first(
        _ bytes: UnsafeRawBufferPointer
    ) throws(RecordDamage) -> (length: Int, start: UnsafeRawBufferPointer) {
        guard bytes.count >= headLength else {
            throw RecordDamage("an attribute of \(bytes.count) bytes")
        }
        let length = bytes.number(UInt32.self, at: 0)
        guard length <= UInt32(maximumValueSize) else {
            throw RecordDamage("an attribute's value of \(length) bytes")
        }
        guard bytes.count - headLength <= Int(length) else {
            throw RecordDamage("an attribute with more bytes than its length")
        }
        return (Int(length), UnsafeRawBufferPointer(rebasing: bytes[headLength...]))
    }

    /// How a value is cut: how many of its bytes the first record has, and how many each piece,
    /// where key's tail and value of an item have `room` bytes together.
    static func cut(nameLength: Int, room: Int) -> (first: Int, piece: Int) {
        (room - nameLength - headLength, room - nameLength - 2)
    }
}
