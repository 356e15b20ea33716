// CheckedNode: one node of a tree, with every rule of docs/format.md §4 checked.
//
// Threading: immutable.

import CairnBase
import CairnIO

/// Which tree a node belongs to.
enum TreeNumber: UInt8, Sendable, CaseIterable {
    case main = 1
    case space = 2
}

/// What a pointer says of the node that it leads to.
struct NodePlace {
    var address: BlockNumber
    var birth: TransactionGroup
    var checksum: UInt32
    var level: UInt8
    var isRoot: Bool
}

/// The keys that a node may hold: from `low` on, below `high`; nil: no bound.
struct KeyBounds {
    var low: OwnedKey?
    var high: OwnedKey?
}

final class CheckedNode {
    private static let magic: UInt32 = 0x4D46_4E31
    private static let headerLength = 32
    private static let itemLength = 24

    private let buffer: AlignedBuffer
    private var bytes: UnsafeRawBufferPointer { buffer.bytes }

    var level: UInt8 { bytes[24] }
    var count: Int { Int(bytes.number(UInt16.self, at: 26)) }

    /// Between items and content; of a node that was checked.
    var freeBytes: Int { Int(bytes.number(UInt16.self, at: 28)) - item(count) }

    init(_ buffer: AlignedBuffer) {
        self.buffer = buffer
    }

    // MARK: Items

    private func item(_ index: Int) -> Int {
        CheckedNode.headerLength + CheckedNode.itemLength * index
    }

    private func piece(_ index: Int) -> (place: Int, tail: Int, value: Int) {
        let item = item(index)
        return (
            Int(bytes.number(UInt16.self, at: item + 16)),
            Int(bytes.number(UInt16.self, at: item + 18)),
            Int(bytes.number(UInt16.self, at: item + 20))
        )
    }

    func key(_ index: Int) -> ItemKey {
        let piece = piece(index)
        let tail = bytes[piece.place..<(piece.place + piece.tail)]
        return ItemKey(
            object: bytes.number(UInt64.self, at: item(index)),
            number: bytes.number(UInt64.self, at: item(index) + 8),
            tail: UnsafeRawBufferPointer(rebasing: tail))
    }

    func value(_ index: Int) -> UnsafeRawBufferPointer {
        let piece = piece(index)
        let start = piece.place + piece.tail
        return UnsafeRawBufferPointer(rebasing: bytes[start..<(start + piece.value)])
    }

    /// The first item whose key is not below this one.
    func firstIndex(notBelow key: OwnedKey) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if key.isAbove(self.key(middle)) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func child(_ index: Int) -> NodePlace {
        let value = value(index)
        return NodePlace(
            address: BlockNumber(rawValue: value.number(UInt64.self, at: 0)),
            birth: TransactionGroup(rawValue: value.number(UInt64.self, at: 8)),
            checksum: value.number(UInt32.self, at: 16), level: level - 1, isRoot: false)
    }

    /// Child 0 begins where the node itself does.
    func bounds(ofChild index: Int, within bounds: KeyBounds) -> KeyBounds {
        KeyBounds(
            low: index == 0 ? bounds.low : OwnedKey(key(index)),
            high: index + 1 < count ? OwnedKey(key(index + 1)) : bounds.high)
    }

    // MARK: Checking

    /// All that the node says of itself.
    func checkContent(seed: UInt32) throws(RecordDamage) {
        let magic = bytes.number(UInt32.self, at: 0)
        guard magic == CheckedNode.magic else {
            throw RecordDamage("no node: magic \(String(magic, radix: 16))")
        }
        let stored = bytes.number(UInt32.self, at: 4)
        let found = checksum(seed: seed)
        guard stored == found else {
            throw RecordDamage(
                "checksum \(String(found, radix: 16)) instead of \(String(stored, radix: 16))")
        }
        let content = Int(bytes.number(UInt16.self, at: 28))
        guard bytes.number(UInt16.self, at: 30) == 0 else {
            throw RecordDamage("a reserved field of the header")
        }
        let itemsEnd = item(count)
        guard itemsEnd <= bytes.count else { throw RecordDamage("\(count) items") }
        var end = bytes.count
        for index in 0..<count {
            let piece = piece(index)
            guard bytes.number(UInt16.self, at: item(index) + 22) == 0,
                piece.place + piece.tail + piece.value == end, piece.place >= itemsEnd
            else { throw RecordDamage("the place of item \(index)") }
            end = piece.place
            if level == 0 {
                let size = CheckedNode.itemLength + piece.tail + piece.value
                guard size <= (bytes.count - CheckedNode.headerLength) / 4 else {
                    throw RecordDamage("item \(index) of \(size) bytes")
                }
            } else {
                guard piece.value == 24,
                    bytes.number(UInt32.self, at: piece.place + piece.tail + 20) == 0
                else { throw RecordDamage("the pointer to child \(index)") }
            }
        }
        guard content == end else { throw RecordDamage("content from \(content) on, not \(end)") }
        guard bytes.part(itemsEnd..<end).isZero else {
            throw RecordDamage("bytes between items and content")
        }
        for index in 1..<max(count, 1)
        where !(key(index - 1) < key(index)) {
            throw RecordDamage("the order of items \(index - 1) and \(index)")
        }
    }

    private func checksum(seed: UInt32) -> UInt32 {
        let before = CRC32C.checksum(
            UnsafeRawBufferPointer(rebasing: bytes[..<4]), continuing: seed)
        let zero = withUnsafeBytes(of: UInt32(0)) { CRC32C.checksum($0, continuing: before) }
        return CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[8...]), continuing: zero)
    }

    /// What the pointer to it and its parent say.
    func check(_ place: NodePlace, _ bounds: KeyBounds, of tree: TreeNumber) throws(RecordDamage) {
        let checksum = bytes.number(UInt32.self, at: 4)
        guard checksum == place.checksum else {
            throw RecordDamage(
                "another node than its parent means: checksum \(String(checksum, radix: 16)) "
                    + "instead of \(String(place.checksum, radix: 16))")
        }
        let address = bytes.number(UInt64.self, at: 8)
        guard address == place.address.rawValue else {
            throw RecordDamage("a node that was written to block \(address)")
        }
        let birth = bytes.number(UInt64.self, at: 16)
        guard birth == place.birth.rawValue else {
            throw RecordDamage("a node of group \(birth) instead of \(place.birth.rawValue)")
        }
        guard level == place.level else {
            throw RecordDamage("a node of level \(level) instead of \(place.level)")
        }
        guard bytes[25] == tree.rawValue else { throw RecordDamage("a node of tree \(bytes[25])") }
        guard count > 0 || (place.isRoot && level == 0) else {
            throw RecordDamage("a node without items")
        }
        // Above the leaves, key 0 does not count.
        let first = level == 0 ? 0 : 1
        guard first < count else { return }
        if let low = bounds.low, low.isAbove(key(first)) {
            throw RecordDamage("a key below what its parent allows")
        }
        if let high = bounds.high, !high.isAbove(key(count - 1)) {
            throw RecordDamage("a key above what its parent allows")
        }
    }
}
