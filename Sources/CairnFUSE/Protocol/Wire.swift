// Reading and writing the protocol's structures: explicit offsets, no struct laid over memory.
//
// Everything is little-endian or big-endian as the machine is, for the kernel runs on the same.
// Offsets are within what was checked before (`Request.parse`, a reply's capacity); a load
// outside is our own bug and stops the program in a debug build, and reads zero otherwise.

import CairnBase
import CairnVFS

/// The fixed structure at the beginning of a request.
struct Fields: @unchecked Sendable {
    // Sendable: bytes that the request keeps alive and nobody changes.
    let bytes: UnsafeRawBufferPointer

    @inline(__always)
    func u16(_ offset: Int) -> UInt16 { load(offset) }
    @inline(__always)
    func u32(_ offset: Int) -> UInt32 { load(offset) }
    @inline(__always)
    func u64(_ offset: Int) -> UInt64 { load(offset) }

    @inline(__always)
    private func load<Number: FixedWidthInteger>(_ offset: Int) -> Number {
        guard offset >= 0, offset &+ MemoryLayout<Number>.size <= bytes.count else {
            assertionFailure("a field outside of its structure")
            return 0
        }
        return bytes.loadUnaligned(fromByteOffset: offset, as: Number.self)
    }
}

/// A reply that is being written.
struct ReplyBuffer: @unchecked Sendable {
    // Sendable: memory that belongs to one request, worked on by one thread at a time.
    let bytes: UnsafeMutableRawBufferPointer

    var capacity: Int { bytes.count }

    @inline(__always)
    func put<Number: FixedWidthInteger>(_ value: Number, at offset: Int) {
        precondition(offset >= 0 && offset &+ MemoryLayout<Number>.size <= bytes.count)
        bytes.storeBytes(of: value, toByteOffset: offset, as: Number.self)
    }

    func zero(_ offset: Int, _ count: Int) {
        precondition(offset >= 0 && count >= 0 && offset &+ count <= bytes.count)
        guard let base = bytes.baseAddress else { return }
        (base + offset).initializeMemory(as: UInt8.self, repeating: 0, count: count)
    }

    func put(_ source: UnsafeRawBufferPointer, at offset: Int) {
        precondition(offset >= 0 && offset &+ source.count <= bytes.count)
        guard let base = bytes.baseAddress, let from = source.baseAddress else { return }
        (base + offset).copyMemory(from: from, byteCount: source.count)
    }

    func part(_ offset: Int, _ count: Int) -> UnsafeMutableRawBufferPointer {
        precondition(offset >= 0 && count >= 0 && offset &+ count <= bytes.count)
        return UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + count])
    }
}

/// Sizes of the structures in replies, and their writers.
enum Wire {
    static let requestHeaderSize = 40
    static let replyHeaderSize = 16
    static let attributesSize = 88
    static let entrySize = 128
    static let attributesReplySize = 104
    static let openReplySize = 16
    static let statisticsSize = 80
    static let initReplySize = 64
    static let extendedStatusSize = 288
    static let directoryEntrySize = 24
    static let lockSize = 24

    /// struct fuse_attr.
    static func putAttributes(
        _ attributes: Attributes, number: UInt64, at offset: Int, in reply: ReplyBuffer
    ) {
        reply.put(number, at: offset)
        reply.put(attributes.size, at: offset + 8)
        reply.put(attributes.blocks, at: offset + 16)
        reply.put(attributes.accessTime.seconds, at: offset + 24)
        reply.put(attributes.modificationTime.seconds, at: offset + 32)
        reply.put(attributes.changeTime.seconds, at: offset + 40)
        reply.put(attributes.accessTime.nanoseconds, at: offset + 48)
        reply.put(attributes.modificationTime.nanoseconds, at: offset + 52)
        reply.put(attributes.changeTime.nanoseconds, at: offset + 56)
        reply.put(attributes.mode, at: offset + 60)
        reply.put(attributes.linkCount, at: offset + 64)
        reply.put(attributes.user, at: offset + 68)
        reply.put(attributes.group, at: offset + 72)
        reply.put(encodeDevice(attributes.device), at: offset + 76)
        reply.put(attributes.blockSize, at: offset + 80)
        reply.put(UInt32(0), at: offset + 84)
    }

    /// struct fuse_sx_time.
    static func putTime(_ time: Timestamp, at offset: Int, in reply: ReplyBuffer) {
        reply.put(time.seconds, at: offset)
        reply.put(time.nanoseconds, at: offset + 8)
        reply.put(UInt32(0), at: offset + 12)
    }

    /// (major << 32) | minor as the kernel's new_encode_dev packs it into 32 bits.
    static func encodeDevice(_ device: UInt64) -> UInt32 {
        let major = UInt32(truncatingIfNeeded: device >> 32)
        let minor = UInt32(truncatingIfNeeded: device)
        return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xff) << 12
    }

    static func decodeDevice(_ packed: UInt32) -> UInt64 {
        let major = (packed & 0xfff00) >> 8
        let minor = (packed & 0xff) | ((packed >> 12) & 0xfff00)
        return UInt64(major) << 32 | UInt64(minor)
    }
}
