// DirectorySegments: the records of a directory, in the order of their cookies.
//
//     segment:  firstCookie u64 │ used u32, size u32     │ live u32, liveBytes u32 │ records …
//     record:   cookie u64 │ node (reference) u64 │ number u64 │ hash's top half u32 │
//               name length u8 │ kind u8 │ place in segment / 8 u16 │ name, padded to 8
//
// The reference to the node is not counted: the node stands as long as an entry leads to it.

import CairnBase
import CairnTree
import CairnVFS
import Glibc

/// One entry, where it lies in its segment.
struct Record {
    let address: UnsafeMutableRawPointer

    static var headerSize: Int { 32 }

    static func size(nameLength: Int) -> Int { (headerSize + nameLength + 7) & ~7 }

    @inline(__always) var cookie: UInt64 { address.load(as: UInt64.self) }
    @inline(__always) var number: UInt64 { address.load(fromByteOffset: 16, as: UInt64.self) }
    @inline(__always) var hashTop: UInt32 { address.load(fromByteOffset: 24, as: UInt32.self) }
    @inline(__always) var nameLength: Int {
        Int(address.load(fromByteOffset: 28, as: UInt8.self))
    }
    @inline(__always) var size: Int { Record.size(nameLength: nameLength) }

    @inline(__always) var kind: FileKind {
        FileKind(rawValue: address.load(fromByteOffset: 29, as: UInt8.self)) ?? .regular
    }

    /// Kind 0, which no node has.
    var isDead: Bool {
        @inline(__always) get { address.load(fromByteOffset: 29, as: UInt8.self) == 0 }
        nonmutating set {
            address.storeBytes(of: newValue ? 0 : 8, toByteOffset: 29, as: UInt8.self)
        }
    }

    @inline(__always) var name: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: address + Record.headerSize, count: nameLength)
    }

    @inline(__always) var node: TreeNode {
        let reference = address.load(fromByteOffset: 8, as: UnsafeRawPointer.self)
        return Unmanaged<TreeNode>.fromOpaque(reference).takeUnretainedValue()
    }

    var segment: Segment {
        let place = Int(address.load(fromByteOffset: 30, as: UInt16.self)) * 8
        return Segment(header: address - place - Segment.headerSize)
    }

    func initialize(_ name: Name, cookie: UInt64, at offset: Int) {
        address.storeBytes(of: cookie, as: UInt64.self)
        address.storeBytes(of: UInt32(name.hash >> 32), toByteOffset: 24, as: UInt32.self)
        address.storeBytes(of: UInt8(name.count), toByteOffset: 28, as: UInt8.self)
        address.storeBytes(of: UInt16(offset / 8), toByteOffset: 30, as: UInt16.self)
        if let bytes = name.bytes.baseAddress {
            memcpy(address + Record.headerSize, bytes, name.count)
        }
    }

    func lead(to node: TreeNode) {
        let reference = UnsafeRawPointer(Unmanaged.passUnretained(node).toOpaque())
        address.storeBytes(of: reference, toByteOffset: 8, as: UnsafeRawPointer.self)
        address.storeBytes(of: node.number, toByteOffset: 16, as: UInt64.self)
        address.storeBytes(of: node.kind.rawValue, toByteOffset: 29, as: UInt8.self)
    }
}

/// Some records, one after the other, in one chunk.
struct Segment {
    let header: UnsafeMutableRawPointer

    static var headerSize: Int { 24 }
    /// Of a chunk, in bytes.
    static var smallestSize: Int { 256 }

    init(header: UnsafeMutableRawPointer) { self.header = header }

    /// Has room for at least `capacity` bytes of records. Nil: the machine has no memory.
    init?(capacity: Int, firstCookie: UInt64, in arena: ChunkArena) {
        let size = min(capacity + Segment.headerSize, Chunk.largestSize)
        guard let chunk = arena.take(max(size, Segment.smallestSize), zeroed: false),
            let address = chunk.address
        else { return nil }
        header = address
        header.storeBytes(of: firstCookie, as: UInt64.self)
        header.storeBytes(of: 0, toByteOffset: 8, as: UInt32.self)
        header.storeBytes(of: UInt32(chunk.capacity), toByteOffset: 12, as: UInt32.self)
        header.storeBytes(of: 0, toByteOffset: 16, as: UInt64.self)
    }

    func free(in arena: ChunkArena) {
        arena.free(Chunk(header, sizeClass: Chunk.sizeClass(for: size)))
    }

    /// Of the chunk, in bytes.
    private var size: Int { Int(header.load(fromByteOffset: 12, as: UInt32.self)) }
    var capacity: Int { size - Segment.headerSize }
    @inline(__always) var firstCookie: UInt64 { header.load(as: UInt64.self) }
    @inline(__always) var used: Int {
        get { Int(header.load(fromByteOffset: 8, as: UInt32.self)) }
        nonmutating set {
            header.storeBytes(of: UInt32(newValue), toByteOffset: 8, as: UInt32.self)
        }
    }
    var liveCount: Int {
        get { Int(header.load(fromByteOffset: 16, as: UInt32.self)) }
        nonmutating set {
            header.storeBytes(of: UInt32(newValue), toByteOffset: 16, as: UInt32.self)
        }
    }
    var liveBytes: Int {
        get { Int(header.load(fromByteOffset: 20, as: UInt32.self)) }
        nonmutating set {
            header.storeBytes(of: UInt32(newValue), toByteOffset: 20, as: UInt32.self)
        }
    }

    @inline(__always)
    func record(at offset: Int) -> Record {
        Record(address: header + Segment.headerSize + offset)
    }

    /// Room for one more record of this size, which the caller has made sure of.
    func append(size: Int) -> (record: Record, offset: Int) {
        let offset = used
        used = offset + size
        liveCount += 1
        liveBytes += size
        return (record(at: offset), offset)
    }
}

extension DirectoryIndex {
    /// A record behind all others. Nil: the machine has no memory.
    mutating func appendRecord(
        _ name: Name, cookie: UInt64, _ node: TreeNode, in arena: ChunkArena
    ) -> Record? {
        let size = Record.size(nameLength: name.count)
        guard let segment = lastSegment(withRoomFor: size, cookie: cookie, in: arena) else {
            return nil
        }
        let (record, offset) = segment.append(size: size)
        record.initialize(name, cookie: cookie, at: offset)
        record.lead(to: node)
        return record
    }

    /// The segment that records go to, with so much room. Nil: the machine has no memory.
    mutating func lastSegment(
        withRoomFor size: Int, cookie: UInt64, in arena: ChunkArena
    ) -> Segment? {
        var next = size
        if segmentCount > 0, let segments {
            let last = segments[segmentCount - 1]
            if last.used + size <= last.capacity { return last }
            // Names that come and go: the dead make room before anything grows.
            if last.liveBytes * 2 < last.used,
                let fresh = rewrite(segmentCount - 1, capacity: last.capacity, in: arena)
            {
                if fresh.used + size <= fresh.capacity { return fresh }
            }
            next = max(size, last.capacity * 2)
        }
        guard
            let segment = Segment(
                capacity: next, firstCookie: segmentCount == 0 ? 0 : cookie, in: arena)
        else { return nil }
        addSegment(segment)
        return segment
    }

    private mutating func addSegment(_ segment: Segment) {
        if segmentCount == segmentCapacity {
            let capacity = max(1, segmentCapacity * 2)
            let fresh = UnsafeMutablePointer<Segment>.allocate(capacity: capacity)
            if let segments {
                fresh.moveInitialize(from: segments, count: segmentCount)
                segments.deallocate()
            }
            segments = fresh
            segmentCapacity = capacity
        }
        (segments.unsafelyUnwrapped + segmentCount).initialize(to: segment)
        segmentCount += 1
    }

    /// A record of this segment died.
    mutating func shrinkSegment(of record: Record, in arena: ChunkArena) {
        let segment = record.segment
        segment.liveCount -= 1
        segment.liveBytes -= record.size
        let isLast = segments?[segmentCount - 1].header == segment.header
        if segment.liveCount == 0 {
            if isLast {
                segment.used = 0
            } else {
                removeSegment(index(of: segment), in: arena)
            }
        } else if !isLast, segment.liveBytes * 4 < segment.used {
            _ = rewrite(index(of: segment), capacity: segment.liveBytes, in: arena)
        }
    }

    private mutating func removeSegment(_ index: Int, in arena: ChunkArena) {
        guard let segments else { return }
        segments[index].free(in: arena)
        segmentCount -= 1
        (segments + index).update(from: segments + index + 1, count: segmentCount - index)
    }

    /// Copies a segment's live records into a new one that takes its place. Nil: the machine has no
    /// memory, and the old one stays.
    private func rewrite(_ index: Int, capacity: Int, in arena: ChunkArena) -> Segment? {
        guard let segments else { preconditionFailure("no segment to rewrite") }
        let old = segments[index]
        guard let fresh = Segment(capacity: capacity, firstCookie: old.firstCookie, in: arena)
        else { return nil }
        var offset = 0
        while offset < old.used {
            let record = old.record(at: offset)
            let size = record.size
            offset += size
            guard !record.isDead else { continue }
            let (copy, place) = fresh.append(size: size)
            memcpy(copy.address, record.address, size)
            copy.address.storeBytes(of: UInt16(place / 8), toByteOffset: 30, as: UInt16.self)
            let hash = Name(record.name).hash
            let tag = hash & Slot.tagMask
            let table = table(for: hash).pointee
            table.slots[Int(table.place(of: record, tag: tag))] = Slot(copy, tag: tag)
        }
        old.free(in: arena)
        segments[index] = fresh
        return fresh
    }

    private func index(of segment: Segment) -> Int {
        guard let segments else { preconditionFailure("no segments") }
        var low = 0
        var high = segmentCount
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].firstCookie < segment.firstCookie {
                low = middle + 1
            } else {
                high = middle
            }
        }
        precondition(segments[low].header == segment.header, "a segment out of order")
        return low
    }
}
