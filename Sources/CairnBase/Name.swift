// Name: one component of a path.
//
// Names are bytes, not Unicode: 1 to 255 of them, without NUL and `/`. A `Name` borrows its
// bytes: it is valid only during the call that it is passed to. `FileName` owns a copy.

import CSystem
public import Glibc

/// One component of a path, borrowed for the length of a call, with its hash.
public struct Name: @unchecked Sendable {
    // Sendable: immutable bytes that the caller keeps alive for the call.
    public let bytes: UnsafeRawBufferPointer
    /// Mixed with a key that differs from process to process, so that nobody outside can choose
    /// names that collide. Not for storage.
    public let hash: UInt64

    /// NAME_MAX.
    public static var maximumLength: Int { 255 }

    @inlinable
    public init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        self.hash = hashBytes(bytes, seed: processHashSeed)
    }

    @inlinable public var count: Int { bytes.count }

    @inlinable public var isDot: Bool { bytes.count == 1 && bytes[0] == UInt8(ascii: ".") }

    @inlinable public var isDotDot: Bool {
        bytes.count == 2 && bytes[0] == UInt8(ascii: ".") && bytes[1] == UInt8(ascii: ".")
    }

    @inlinable
    public static func == (left: Name, right: Name) -> Bool {
        left.hash == right.hash && equalBytes(left.bytes, right.bytes)
    }

    /// A copy that owns its bytes.
    public var owned: FileName { FileName(Array(bytes)) }
}

/// A name that owns its bytes.
public struct FileName: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    public init(_ text: String) {
        self.bytes = Array(text.utf8)
    }

    public init(stringLiteral text: StaticString) {
        self.bytes = Array(
            UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// For people; bytes that are no UTF-8 are replaced.
    public var description: String { String(decoding: bytes, as: UTF8.self) }

    /// Lends the name to a call.
    @inlinable
    public func withName<Value, Failure>(
        _ body: (Name) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        var result: Result<Value, Failure>?
        bytes.withUnsafeBytes { buffer in
            do throws(Failure) {
                result = .success(try body(Name(buffer)))
            } catch {
                result = .failure(error)
            }
        }
        return try result.unsafelyUnwrapped.get()
    }
}

/// The key that names are hashed with in this process.
public let processHashSeed: UInt64 = {
    var seed: UInt64 = 0
    withUnsafeMutableBytes(of: &seed) { _ = cairn_getrandom($0.baseAddress, $0.count) }
    return seed | 1
}()

@inlinable @inline(__always)
public func mixHash(_ value: UInt64, _ key: UInt64) -> UInt64 {
    let product = value.multipliedFullWidth(by: key)
    return product.high ^ product.low
}

/// A fast hash of a few bytes (multiply and fold, eight bytes at a time).
@inlinable
public func hashBytes(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
    let multiplier: UInt64 = 0x9E37_79B9_7F4A_7C15
    var hash = seed ^ (UInt64(truncatingIfNeeded: bytes.count) &* 0xD6E8_FEB8_6659_FD93)
    guard var cursor = bytes.baseAddress else { return mixHash(hash, multiplier) }
    var left = bytes.count
    while left >= 8 {
        hash = mixHash(hash ^ cursor.loadUnaligned(as: UInt64.self), multiplier)
        cursor += 8
        left -= 8
    }
    var tail: UInt64 = 0
    if left >= 4 {
        tail = UInt64(cursor.loadUnaligned(as: UInt32.self))
        tail |= UInt64((cursor + left - 4).loadUnaligned(as: UInt32.self)) << 32
    } else if left > 0 {
        tail = UInt64(cursor.load(as: UInt8.self))
        tail |= UInt64((cursor + left / 2).load(as: UInt8.self)) << 8
        tail |= UInt64((cursor + left - 1).load(as: UInt8.self)) << 16
    }
    return mixHash(mixHash(hash ^ tail, multiplier) ^ seed, 0xA076_1D64_78BD_642F)
}

@inlinable @inline(__always)
public func equalBytes(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    guard left.count == right.count else { return false }
    guard let a = left.baseAddress, let b = right.baseAddress else { return true }
    return memcmp(a, b, left.count) == 0
}
