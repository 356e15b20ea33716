// Path: bytes that name a place.

import CairnBase

/// A path: bytes, as Linux has them, not Unicode. From a literal or a string it takes the UTF-8.
/// Whatever is wrong with it (empty, too long, a NUL in it) is reported by the call that uses it.
public struct Path: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    private enum Storage: Hashable {
        case text(String)
        case bytes([UInt8])
    }

    private let storage: Storage

    /// PATH_MAX, without the NUL that ends a path of C.
    public static var maximumLength: Int { 4095 }

    public init(_ text: String) {
        storage = .text(text)
    }

    public init(_ bytes: [UInt8]) {
        storage = .bytes(bytes)
    }

    public init(stringLiteral text: String) {
        storage = .text(text)
    }

    /// Lends the bytes to a call.
    public func withBytes<Value, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        // The standard library's closures are not typed; the outcome is carried out by hand.
        var outcome: Result<Value, Failure>?
        func run(_ bytes: UnsafeRawBufferPointer) {
            do throws(Failure) {
                outcome = .success(try body(bytes))
            } catch {
                outcome = .failure(error)
            }
        }
        switch storage {
        case .bytes(let bytes):
            bytes.withUnsafeBytes(run)
        case .text(let text):
            if text.utf8.withContiguousStorageIfAvailable({ run(UnsafeRawBufferPointer($0)) })
                == nil
            {
                Array(text.utf8).withUnsafeBytes(run)
            }
        }
        guard let outcome else { preconditionFailure("the body is always run") }
        return try outcome.get()
    }

    public var bytes: [UInt8] {
        switch storage {
        case .bytes(let bytes): bytes
        case .text(let text): Array(text.utf8)
        }
    }

    /// For people; bytes that are no UTF-8 are replaced.
    public var description: String {
        switch storage {
        case .bytes(let bytes): String(decoding: bytes, as: UTF8.self)
        case .text(let text): text
        }
    }
}
