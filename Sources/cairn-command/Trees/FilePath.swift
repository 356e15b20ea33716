// FilePath: where a file is, as bytes. Names of files need not be UTF-8.

/// A path, absolute or relative, as the user gave it or as it was made from that.
struct FilePath: Hashable, Sendable {
    /// The bytes and a NUL, for the C library.
    private var terminated: [UInt8]

    init(_ bytes: [UInt8]) { terminated = bytes + [0] }
    init(_ bytes: some Sequence<UInt8>) { terminated = Array(bytes) + [0] }
    init(_ text: String) { self.init(text.utf8) }

    var bytes: ArraySlice<UInt8> { terminated.dropLast() }
    var isEmpty: Bool { terminated.count == 1 }
    var isAbsolute: Bool { terminated[0] == FilePath.slash }

    /// For people; bytes that are no UTF-8 are replaced.
    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Lends the path to a call of the C library.
    func withCString<Value>(_ body: (UnsafePointer<CChar>) -> Value) -> Value {
        terminated.withUnsafeBytes { buffer in
            // Never empty: there is a NUL at least.
            body(buffer.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self))
        }
    }

    static let slash = UInt8(ascii: "/")

    func appending(_ name: some Sequence<UInt8>) -> FilePath {
        var path = self
        path.terminated.removeLast()
        if let last = path.terminated.last, last != FilePath.slash {
            path.terminated.append(FilePath.slash)
        }
        path.terminated.append(contentsOf: name)
        path.terminated.append(0)
        return path
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
        var rest = bytes
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
