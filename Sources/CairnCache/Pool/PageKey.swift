// PageKey: what a block in the pool is known by (requirement C3).
//
// Values. A page belongs to an inode of a filesystem, or to content that is known by its hash; the
// index counts pages from the start of either.

/// Counts pages from the start of a file or of hashed content.
public struct PageIndex: RawRepresentable, Hashable, Comparable, Sendable {
    public var rawValue: UInt64

    @inlinable
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    @inlinable
    public static func < (one: PageIndex, other: PageIndex) -> Bool {
        one.rawValue < other.rawValue
    }
}

/// Whose pages they are.
public enum PageOwner: Hashable, Sendable {
    /// A file: `fileSystem` tells apart the filesystems that share a pool.
    case inode(fileSystem: UInt64, number: UInt64)
    /// Content, known by 256 bits of its hash.
    case content(ContentHash)
}

/// 256 bits that stand for content.
public struct ContentHash: Hashable, Sendable {
    public var words: (UInt64, UInt64, UInt64, UInt64)

    @inlinable
    public init(_ words: (UInt64, UInt64, UInt64, UInt64)) {
        self.words = words
    }

    @inlinable
    public static func == (one: ContentHash, other: ContentHash) -> Bool {
        one.words == other.words
    }

    @inlinable
    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
    }
}

/// One block in the pool.
public struct PageKey: Hashable, Sendable {
    public var owner: PageOwner
    public var index: PageIndex

    @inlinable
    public init(_ owner: PageOwner, _ index: PageIndex) {
        self.owner = owner
        self.index = index
    }
}
