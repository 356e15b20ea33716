// Path: bytes that name a place.

import CairnBase
import Glibc

/// A path: bytes, as Linux has them, not Unicode. From a literal or a string it takes the UTF-8.
/// Whatever is wrong with it (empty, too long, a NUL in it) is reported by the call that uses it.
///
/// A literal costs nothing; a path made from a string or from bytes owns a copy of them, so whoever
/// uses one often keeps it.
public struct Path: @unchecked Sendable, ExpressibleByStringLiteral {
    // Sendable: the bytes never change; they are the literal's, or `owner` keeps them.
    private let start: UnsafePointer<UInt8>
    public let count: Int
    private let owner: OwnedBytes?

    /// PATH_MAX, without the NUL that ends a path of C.
    public static var maximumLength: Int { 4095 }

    public init(_ text: String) {
        self.init(Array(text.utf8))
    }

    public init(_ bytes: [UInt8]) {
        let owner = OwnedBytes(bytes)
        self.init(start: owner.start, count: bytes.count, owner: owner)
    }

    private init(start: UnsafePointer<UInt8>, count: Int, owner: OwnedBytes?) {
        self.start = start
        self.count = count
        self.owner = owner
    }

    public init(stringLiteral text: StaticString) {
        // A literal of one scalar can be stored without an address.
        if text.hasPointerRepresentation {
            self.init(start: text.utf8Start, count: text.utf8CodeUnitCount, owner: nil)
        } else {
            self.init(String(describing: text))
        }
    }

    /// Lends the bytes to a call.
    @inline(__always)
    public func withBytes<Value, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        // Whoever passed the path in keeps it, and so its owner, for the length of the call.
        defer { withExtendedLifetime(owner) {} }
        return try body(UnsafeRawBufferPointer(start: start, count: count))
    }

    public var bytes: [UInt8] { Array(UnsafeBufferPointer(start: start, count: count)) }
}

extension Path: Hashable, CustomStringConvertible {
    public static func == (left: Path, right: Path) -> Bool {
        left.withBytes { a in right.withBytes { b in equalBytes(a, b) } }
    }

    public func hash(into hasher: inout Hasher) {
        withBytes { hasher.combine(bytes: $0) }
    }

    /// For people; bytes that are no UTF-8 are replaced.
    public var description: String {
        String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }
}

/// Bytes at a fixed address.
private final class OwnedBytes {
    let start: UnsafePointer<UInt8>
    private let memory: UnsafeMutablePointer<UInt8>
    private let count: Int

    init(_ bytes: [UInt8]) {
        memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(bytes.count, 1))
        count = bytes.count
        memory.initialize(from: bytes, count: bytes.count)
        start = UnsafePointer(memory)
    }

    deinit {
        memory.deinitialize(count: count)
        memory.deallocate()
    }
}
