// FilePath: where a file is, as bytes. Names of files need not be UTF-8.

import CairnVFS

/// A path, absolute or relative, as the user gave it or as it was made from that.
struct FilePath: Hashable, Sendable {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }
    init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
    init(_ text: String) { bytes = Array(text.utf8) }

    var isEmpty: Bool { bytes.isEmpty }
    var isAbsolute: Bool { bytes.first == FilePath.slash }

    /// For people; bytes that are no UTF-8 are replaced.
    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// As the library's calls take it.
    var inLibrary: CairnVFS.Path { CairnVFS.Path(bytes) }

    /// Lends the path, ended by NUL, to a call of the C library.
    func withCString<Value>(_ body: (UnsafePointer<CChar>) -> Value) -> Value {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: bytes.count + 1) { buffer in
            _ = buffer.initialize(from: bytes)
            buffer.initializeElement(at: bytes.count, to: 0)
            // Never empty: there is a NUL at least.
            let start = UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped)
            return body(start.assumingMemoryBound(to: CChar.self))
        }
    }

    static let slash = UInt8(ascii: "/")

    func appending(_ name: some Sequence<UInt8>) -> FilePath {
        var joined = bytes
        if let last = joined.last, last != FilePath.slash { joined.append(FilePath.slash) }
        joined.append(contentsOf: name)
        return FilePath(joined)
    }

    func appending(_ name: FilePath) -> FilePath { appending(name.bytes) }

    /// The last name, without slashes after it; "/" of the root.
    var lastName: FilePath {
        let trimmed = trimmedBytes
        guard let cut = trimmed.lastIndex(of: FilePath.slash) else { return FilePath(trimmed) }
        return trimmed.count == 1 ? FilePath(trimmed) : FilePath(trimmed[(cut + 1)...])
    }

    /// All but the last name: "." where there is only one.
    var directory: FilePath {
        let trimmed = trimmedBytes
        guard let cut = trimmed.lastIndex(of: FilePath.slash) else { return FilePath(".") }
        return cut == trimmed.startIndex ? FilePath("/") : FilePath(trimmed[..<cut]).trimmed
    }

    /// Without slashes at its end; the root stays.
    var trimmed: FilePath { FilePath(trimmedBytes) }

    private var trimmedBytes: ArraySlice<UInt8> {
        var rest = bytes[...]
        while rest.count > 1, rest.last == FilePath.slash { rest.removeLast() }
        return rest
    }

    /// Whether this is `other`, or lies below it, by name alone.
    func isWithin(_ other: FilePath) -> Bool {
        let above = other.trimmedBytes
        guard bytes.starts(with: above) else { return false }
        let rest = bytes.dropFirst(above.count)
        return rest.isEmpty || above.last == FilePath.slash || rest.first == FilePath.slash
    }
}
