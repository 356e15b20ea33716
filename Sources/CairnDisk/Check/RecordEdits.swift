// RecordEdits: what shall stand in the main tree instead of what stands there.
//
// A check lays them over the tree: first what the log holds, then what mends the damage that was
// found. Later passes see the tree with both, so that one cause is not reported twice, and mending
// writes just that.
//
// Threading: one thread at a time.

extension OwnedKey: Comparable {
    init(_ object: UInt64, _ number: UInt64 = 0, _ tail: [UInt8] = []) {
        self.init(object: object, number: number, tail: tail)
    }

    package static func < (one: OwnedKey, other: OwnedKey) -> Bool {
        one.withKey { one in other.withKey { one < $0 } }
    }

    func isBelow(_ other: ItemKey) -> Bool { withKey { $0 < other } }
    func isEqual(to other: ItemKey) -> Bool { withKey { $0 == other } }
}

extension Array where Element == UInt8 {
    /// `withUnsafeBytes`, with a typed error.
    func lend<Value, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let result: Result<Value, Failure> = withUnsafeBytes { bytes in
            do throws(Failure) {
                return .success(try body(bytes))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// Edits by key; a value of nil removes.
struct RecordEdits {
    private var values: [OwnedKey: [UInt8]?] = [:]
    private var order = KeyOrder()
    /// About how much memory they take.
    private(set) var byteCount = 0

    /// More damage than this is beyond what one run keeps in mind.
    static let byteLimit = 256 << 20

    var isEmpty: Bool { values.isEmpty }

    mutating func put(_ key: OwnedKey, _ value: [UInt8]) { set(key, value) }

    mutating func remove(_ key: OwnedKey) { set(key, nil) }

    private mutating func set(_ key: OwnedKey, _ value: [UInt8]?) {
        if let old = values.updateValue(value, forKey: key) {
            byteCount += (value?.count ?? 0) - (old?.count ?? 0)
        } else {
            order.insert(key)
            byteCount += 192 + 2 * key.tail.count + (value?.count ?? 0)
        }
    }

    /// What these edits say of a key: nil: nothing; .some(nil): it is removed.
    func value(of key: OwnedKey) -> [UInt8]?? {
        values[key]
    }

    /// Goes through them in the order of the tree, as they were when it was made.
    struct Cursor {
        fileprivate let edits: RecordEdits
        fileprivate var position: KeyOrder.Position

        /// Nil: there are no more.
        var current: (key: OwnedKey, value: [UInt8]?)? {
            guard let key = edits.order.key(at: position) else { return nil }
            return (key, edits.values[key].flatMap { $0 })
        }

        mutating func advance() { position = edits.order.position(after: position) }
    }

    /// From the first edit on whose key is not below this one.
    func cursor(from start: OwnedKey?) -> Cursor {
        Cursor(edits: self, position: order.position(from: start))
    }
}

/// Keys in ascending order, in pieces of a bounded length: so entering one costs little, however many
/// there are.
private struct KeyOrder {
    private var pieces: [[OwnedKey]] = []
    private static let pieceLength = 512

    struct Position {
        var piece: Int
        var index: Int
    }

    /// The key is not there yet.
    mutating func insert(_ key: OwnedKey) {
        guard !pieces.isEmpty else {
            pieces.append([key])
            return
        }
        // The last piece that begins below it; before the first of all, the first.
        let piece = max(pieces.firstIndex(sorted: { key < $0[0] }) - 1, 0)
        let index = pieces[piece].firstIndex(sorted: { key < $0 })
        pieces[piece].insert(key, at: index)
        guard pieces[piece].count > KeyOrder.pieceLength else { return }
        let half = Array(pieces[piece][(KeyOrder.pieceLength / 2)...])
        pieces[piece].removeLast(half.count)
        pieces.insert(half, at: piece + 1)
    }

    func position(from start: OwnedKey?) -> Position {
        guard let start, !pieces.isEmpty else { return Position(piece: 0, index: 0) }
        let piece = max(pieces.firstIndex(sorted: { start < $0[0] }) - 1, 0)
        let index = pieces[piece].firstIndex(sorted: { !($0 < start) })
        return settled(Position(piece: piece, index: index))
    }

    func position(after position: Position) -> Position {
        settled(Position(piece: position.piece, index: position.index + 1))
    }

    private func settled(_ position: Position) -> Position {
        position.index < pieces[position.piece].count
            ? position : Position(piece: position.piece + 1, index: 0)
    }

    func key(at position: Position) -> OwnedKey? {
        position.piece < pieces.count ? pieces[position.piece][position.index] : nil
    }
}

extension Array {
    /// The first element of which something holds that holds of all behind it too; the count if there
    /// is none.
    fileprivate func firstIndex(sorted holds: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low &+ high) / 2
            if holds(self[middle]) { high = middle } else { low = middle &+ 1 }
        }
        return low
    }
}
