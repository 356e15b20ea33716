// ItemKey and ItemEdit: what an item of a tree is known by, and what is done to items (format §4,
// ADR 010).
//
// Keys are ordered by object, then number, then tail; tails as memcmp orders them, and a prefix
// stands before what it is a prefix of. Values; a key borrows its tail from whoever made it, so it
// lives no longer than that memory.

import Glibc

/// The key of an item. The tail is borrowed.
package struct ItemKey {
    package var object: UInt64
    package var number: UInt64
    package var tail: UnsafeRawBufferPointer

    @inline(__always)
    package init(
        object: UInt64, number: UInt64,
        tail: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
    ) {
        self.object = object
        self.number = number
        self.tail = tail
    }

    /// The least of all keys.
    package static var first: ItemKey { ItemKey(object: 0, number: 0) }

    /// Less than 0, 0 or more than 0, as this stands before, at or after the other.
    @inline(__always)
    package func compare(to other: ItemKey) -> Int {
        if object != other.object { return object < other.object ? -1 : 1 }
        if number != other.number { return number < other.number ? -1 : 1 }
        return compareTails(tail, other.tail)
    }

    package static func < (one: ItemKey, other: ItemKey) -> Bool { one.compare(to: other) < 0 }
    package static func <= (one: ItemKey, other: ItemKey) -> Bool { one.compare(to: other) <= 0 }
    package static func == (one: ItemKey, other: ItemKey) -> Bool { one.compare(to: other) == 0 }
}

/// One change of a tree. What it points to is borrowed.
package enum ItemEdit {
    /// Enters the item, or replaces its value.
    case put(ItemKey, UnsafeRawBufferPointer)
    /// Takes the item out; nothing, if there is none.
    case remove(ItemKey)

    package var key: ItemKey {
        switch self {
        case .put(let key, _), .remove(let key): key
        }
    }
}

/// A key with a tail of its own, for what outlives the memory that it was found in.
package struct OwnedKey: Hashable, Sendable, CustomStringConvertible {
    package var object: UInt64
    package var number: UInt64
    package var tail: [UInt8]

    package init(object: UInt64, number: UInt64, tail: [UInt8] = []) {
        self.object = object
        self.number = number
        self.tail = tail
    }

    package init(_ key: ItemKey) {
        self.init(object: key.object, number: key.number, tail: Array(key.tail))
    }

    package func withKey<Value, Failure>(
        _ body: (ItemKey) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try tail.withUnsafeBufferPointer { (bytes) throws(Failure) -> Value in
            try body(
                ItemKey(object: object, number: number, tail: UnsafeRawBufferPointer(bytes)))
        }
    }

    /// As reports show it: numbers in hexadecimal, a tail as text if it is some.
    package var description: String {
        let place = "\(String(object, radix: 16)):\(String(number, radix: 16))"
        guard !tail.isEmpty else { return place }
        if tail.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) {
            return place + ":\"" + String(decoding: tail, as: UTF8.self) + "\""
        }
        let digits = tail.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }
        return place + ":0x" + digits.joined()
    }
}

@inline(__always)
func compareTails(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Int {
    let common = min(one.count, other.count)
    if common > 0, let left = one.baseAddress, let right = other.baseAddress {
        let order = memcmp(left, right, common)
        if order != 0 { return Int(order) }
    }
    return one.count &- other.count
}
