// MappedMemory: bytes of a file as memory of this process (requirement C7).
//
// What a filesystem gives whose files can be mapped. `MappedFile` of CairnVFS is what programs use.
//
// Threading: any thread.

/// What may be done with mapped memory.
public struct MemoryProtection: OptionSet, Hashable, Sendable {
    public var rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// PROT_READ
    @inlinable public static var read: MemoryProtection { MemoryProtection(rawValue: 1) }
    /// PROT_WRITE
    @inlinable public static var write: MemoryProtection { MemoryProtection(rawValue: 2) }
}

/// What shall be mapped.
public struct MappingRequest: Hashable, Sendable {
    /// Where in the file it begins, in bytes; a multiple of `MappingRequest.granularity`.
    public var offset: UInt64
    /// In bytes, at least 1. It may reach beyond the file's end.
    public var length: Int
    public var protection: MemoryProtection
    /// MAP_SHARED: what is written becomes the file's. Otherwise MAP_PRIVATE: it stays with this
    /// mapping.
    public var isShared: Bool
    /// The protection may become `write` later.
    public var mayWrite: Bool

    /// Pages of the system, in bytes.
    @inlinable public static var granularity: Int { 4096 }

    public init(
        offset: UInt64, length: Int, protection: MemoryProtection, isShared: Bool, mayWrite: Bool
    ) {
        self.offset = offset
        self.length = length
        self.protection = protection
        self.isShared = isShared
        self.mayWrite = mayWrite
    }
}

/// One mapping. Its memory goes when the last reference to this does. Ranges count bytes from its
/// start.
public protocol MappedMemory: AnyObject, Sendable {
    var memory: UnsafeMutableRawBufferPointer { get }

    /// Changes what may be done with whole pages. EINVAL for a range that is not of such, ENOMEM
    /// for one that is not mapped, EACCES for writing where that may not be.
    func protect(_ range: Range<Int>, _ protection: MemoryProtection) throws(Errno)

    /// What was written through a shared mapping and is not known to the filesystem yet, as whole
    /// pages. A write of just this memory to where it is mapped makes it known.
    func changes(in range: Range<Int>) -> [Range<Int>]

    /// Takes whole pages out of it: their memory may not be touched any more.
    func unmap(_ range: Range<Int>) throws(Errno)
}
