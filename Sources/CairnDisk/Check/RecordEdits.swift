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
    func isAbove(_ other: ItemKey) -> Bool { withKey { other < $0 } }
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
    /// About how much memory they take.
    private(set) var byteCount = 0

    /// More damage than this is beyond what one run keeps in mind.
    static let byteLimit = 256 << 20

    var isEmpty: Bool { values.isEmpty }
    var count: Int { values.count }

    mutating func put(_ key: OwnedKey, _ value: [UInt8]) {
        byteCount += 128 + key.tail.count + value.count
        values[key] = .some(value)
    }

    mutating func remove(_ key: OwnedKey) {
        byteCount += 128 + key.tail.count
        values[key] = .some(nil)
    }

    /// What these edits say of a key: nil: nothing; .some(nil): it is removed.
    func value(of key: OwnedKey) -> [UInt8]?? {
        values[key]
    }

    /// In the order of the tree.
    var sorted: [(key: OwnedKey, value: [UInt8]?)] {
        values.map { ($0.key, $0.value) }.sorted { $0.0 < $1.0 }
    }
}
