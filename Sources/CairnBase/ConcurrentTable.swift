// ConcurrentTable: a hash table from (owner, bytes) to an object, read without locks.
//
// Buckets are chains of records. A reader follows them inside an epoch section. Writers take the
// lock of the bucket's stripe, put new records at the head, and unlink old ones; a record never
// changes once it is linked, but for its `next` and its mark. Unlinked records are retired, with
// the reference they hold. The number of buckets is fixed, so costs do not grow as long as the
// limit on entries is kept: the dentry cache evicts (second chance, in bucket order).
//
//     buckets  ┌────┬────┬────┐        record: next │ hash │ owner │ object │ length, mark │ bytes
//              │  ● │    │  ● │──▶ record ──▶ record
//              └────┴────┴────┘
//
// An entry can say that there is nothing (object 0): a negative dentry.

public import Glibc
public import Synchronization

public final class ConcurrentTable<Object: AnyObject>: @unchecked Sendable {
    // Sendable: records are immutable or atomic; chains are changed under `stripes`.

    public enum Found {
        /// The table knows nothing of the key.
        case unknown
        /// The table knows that there is nothing.
        case absent
        /// Valid in the epoch section of the call.
        case object(Unmanaged<Object>)
    }

    @usableFromInline typealias Bucket = Atomic<UInt>
    @usableFromInline let buckets: UnsafeMutablePointer<Bucket>
    @usableFromInline let mask: Int
    @usableFromInline let stripes: StripedLocks
    private let evicted = Atomic<Int>(0)
    private let hand = Atomic<Int>(0)
    /// The most entries that it keeps; Int.max: it never evicts.
    public let limit: Int

    /// `expected`: how many entries to be fast for.
    public init(expected: Int, limit: Int = .max) {
        var size = 64
        while size < expected { size *= 2 }
        mask = size - 1
        self.limit = limit
        stripes = StripedLocks(count: min(size, 256), limit: limit)
        // Atomic<UInt> is a UInt that is stored raw: zeroed memory is an array of zeros.
        guard let memory = calloc(size, MemoryLayout<UInt>.stride) else {
            preconditionFailure("no memory for a table of \(size) buckets")
        }
        buckets = memory.assumingMemoryBound(to: Bucket.self)
    }

    deinit {
        for index in 0...mask {
            var bits = buckets[index].load(ordering: .relaxed)
            while let record = Record<Object>(bits) {
                bits = record.next.pointee.load(ordering: .relaxed)
                record.object?.release()
                free(record.base)
            }
        }
        free(buckets)
    }

    /// How many entries there are; of a large table, nearly (StripedLocks says why).
    @inlinable public var count: Int { stripes.total.load(ordering: .relaxed) }
    public var evictions: Int { evicted.load(ordering: .relaxed) }

    @inlinable
    func bucketIndex(owner: UInt64, hash: UInt64) -> Int {
        reader.bucketIndex(owner: owner, hash: hash)
    }

    // MARK: Reading

    /// What reading takes: plain words, so that a reader counts no references. Valid while the
    /// table lives.
    public struct Reader: @unchecked Sendable {
        // Sendable: the buckets are atomics.
        @usableFromInline let buckets: UnsafeMutablePointer<Bucket>
        @usableFromInline let mask: Int

        @usableFromInline
        init(buckets: UnsafeMutablePointer<Bucket>, mask: Int) {
            self.buckets = buckets
            self.mask = mask
        }

        @inlinable @inline(__always)
        func bucketIndex(owner: UInt64, hash: UInt64) -> Int {
            Int(truncatingIfNeeded: mixHash(owner ^ hash, 0x9E37_79B9_7F4A_7C15)) & mask
        }

        /// To be called in an epoch section.
        @inlinable @inline(__always)
        public func find(owner: UInt64, _ name: Name) -> Found {
            let index = bucketIndex(owner: owner, hash: name.hash)
            var bits = buckets[index].load(ordering: .sequentiallyConsistent)
            while let record = Record<Object>(bits) {
                if record.matches(owner: owner, name) {
                    record.touch()
                    if let object = record.object { return .object(object) }
                    return .absent
                }
                bits = record.next.pointee.load(ordering: .acquiring)
            }
            return .unknown
        }
    }

    @inlinable public var reader: Reader { Reader(buckets: buckets, mask: mask) }

    /// To be called in an epoch section.
    @inlinable
    public func find(owner: UInt64, _ name: Name) -> Found {
        reader.find(owner: owner, name)
    }

    // MARK: Writing. Inlinable, because generic code of another module looks types up as it runs.

    /// Enters the object (nil: there is nothing) in place of what stood there, if `condition`,
    /// asked under the key's lock, agrees.
    @inlinable
    public func insert(
        owner: UInt64, _ name: Name, _ object: Object?, if condition: () -> Bool
    ) {
        let index = bucketIndex(owner: owner, hash: name.hash)
        // In a section, so that what is retired under the lock is released after it.
        let isOver = Epoch.section {
            stripes.withLock(index) { () -> Bool in
                guard condition() else { return false }
                let wasThere = unlink(owner: owner, name, at: index)
                let record = Record<Object>(
                    owner: owner, name, object.map { Unmanaged.passRetained($0) })
                record.next.pointee.store(
                    buckets[index].load(ordering: .relaxed), ordering: .relaxed)
                buckets[index].store(record.bits, ordering: .sequentiallyConsistent)
                if !wasThere { stripes.count(1, at: index) }
                return !wasThere && count > limit
            }
        }
        if isOver {
            evict()
        }
    }

    @inlinable @discardableResult
    public func remove(owner: UInt64, _ name: Name) -> Bool {
        let index = bucketIndex(owner: owner, hash: name.hash)
        return Epoch.section {
            stripes.withLock(index) {
                guard unlink(owner: owner, name, at: index) else { return false }
                stripes.count(-1, at: index)
                return true
            }
        }
    }

    /// Takes out every entry that `shouldGo` names. Visits the whole table.
    public func removeAll(where shouldGo: (Object?) -> Bool) {
        for index in 0...mask where buckets[index].load(ordering: .relaxed) != 0 {
            _ = Epoch.section {
                stripes.withLock(index) {
                    sweep(index) { record in
                        shouldGo(record.object?._withUnsafeGuaranteedRef { $0 })
                    }
                }
            }
        }
    }

    /// Takes out entries, those that were not used lately first, until `count` or fewer are left.
    public func shrink(to count: Int) {
        var visited = 0
        while self.count > count, visited <= 2 * (mask + 1) {
            visited += 1
            evictFromNextBucket()
        }
    }

    // MARK: Under a stripe's lock

    @inlinable
    func unlink(owner: UInt64, _ name: Name, at index: Int) -> Bool {
        var link = buckets + index
        while let record = Record<Object>(link.pointee.load(ordering: .relaxed)) {
            if record.matches(owner: owner, name) {
                take(record, outOf: link)
                return true
            }
            link = record.next
        }
        return false
    }

    @inlinable
    func take(_ record: Record<Object>, outOf link: UnsafeMutablePointer<Bucket>) {
        link.pointee.store(
            record.next.pointee.load(ordering: .relaxed), ordering: .sequentiallyConsistent)
        Epoch.retire(
            memory: record.base,
            object: record.object.map { Unmanaged<AnyObject>.fromOpaque($0.toOpaque()) })
    }

    /// Gives how many went.
    @discardableResult
    private func sweep(_ index: Int, _ shouldGo: (Record<Object>) -> Bool) -> Int {
        var gone = 0
        var link = buckets + index
        while let record = Record<Object>(link.pointee.load(ordering: .relaxed)) {
            if shouldGo(record) {
                take(record, outOf: link)
                gone += 1
            } else {
                link = record.next
            }
        }
        stripes.count(-gone, at: index)
        return gone
    }

    // MARK: Eviction

    @usableFromInline @inline(never)
    func evict() {
        // A little below the limit, so that not every insertion evicts.
        let goal = limit - limit / 64
        var visited = 0
        while count > goal, visited < 4096 {
            visited += 1
            evictFromNextBucket()
        }
    }

    private func evictFromNextBucket() {
        let index = hand.add(1, ordering: .relaxed).oldValue & mask
        guard buckets[index].load(ordering: .relaxed) != 0 else { return }
        let gone = Epoch.section {
            stripes.withLock(index) {
                sweep(index) { !$0.takeMark() }
            }
        }
        if gone > 0 { evicted.add(gone, ordering: .relaxed) }
    }
}

/// One entry, in memory of its own.
@usableFromInline
struct Record<Object: AnyObject> {
    // 0 next │ 8 hash │ 16 owner │ 24 object │ 32 length (UInt32) │ 36 mark (UInt8) │ 40 bytes
    @usableFromInline let base: UnsafeMutableRawPointer

    @inlinable @inline(__always)
    init?(_ bits: UInt) {
        guard let base = UnsafeMutableRawPointer(bitPattern: bits) else { return nil }
        self.base = base
    }

    @inlinable
    init(owner: UInt64, _ name: Name, _ object: Unmanaged<Object>?) {
        guard let memory = malloc(40 + name.count) else {
            preconditionFailure("no memory for a table entry")
        }
        base = memory
        memory.storeBytes(of: 0, as: UInt.self)
        memory.storeBytes(of: name.hash, toByteOffset: 8, as: UInt64.self)
        memory.storeBytes(of: owner, toByteOffset: 16, as: UInt64.self)
        memory.storeBytes(
            of: object.map { UInt(bitPattern: $0.toOpaque()) } ?? 0, toByteOffset: 24,
            as: UInt.self)
        memory.storeBytes(of: UInt32(name.count), toByteOffset: 32, as: UInt32.self)
        memory.storeBytes(of: 0, toByteOffset: 36, as: UInt32.self)
        if let bytes = name.bytes.baseAddress {
            (memory + 40).copyMemory(from: bytes, byteCount: name.count)
        }
    }

    @inlinable var bits: UInt { UInt(bitPattern: base) }

    @inlinable var next: UnsafeMutablePointer<Atomic<UInt>> {
        base.assumingMemoryBound(to: Atomic<UInt>.self)
    }

    @inlinable var object: Unmanaged<Object>? {
        guard
            let pointer = UnsafeRawPointer(
                bitPattern: base.load(fromByteOffset: 24, as: UInt.self))
        else { return nil }
        return Unmanaged.fromOpaque(pointer)
    }

    @inlinable @inline(__always)
    func matches(owner: UInt64, _ name: Name) -> Bool {
        base.load(fromByteOffset: 8, as: UInt64.self) == name.hash
            && base.load(fromByteOffset: 16, as: UInt64.self) == owner
            && Int(base.load(fromByteOffset: 32, as: UInt32.self)) == name.count
            && equalBytes(UnsafeRawBufferPointer(start: base + 40, count: name.count), name.bytes)
    }

    @inlinable var mark: UnsafeMutablePointer<Atomic<UInt8>> {
        (base + 36).assumingMemoryBound(to: Atomic<UInt8>.self)
    }

    /// Used lately. Stored only if it was not, to leave the cache line alone.
    @inlinable @inline(__always)
    func touch() {
        if mark.pointee.load(ordering: .relaxed) == 0 {
            mark.pointee.store(1, ordering: .relaxed)
        }
    }

    /// Whether it was used since the last time this was asked.
    func takeMark() -> Bool {
        mark.pointee.exchange(0, ordering: .relaxed) != 0
    }
}

/// Locks that many things share by index, each on a cache line of its own, and how many things there
/// are. A stripe counts on its own line, under its lock, and adds to the total only when its share
/// has changed by `slack`, so that threads do not meet there.
@usableFromInline
final class StripedLocks: @unchecked Sendable {
    // Sendable: the locks are atomics, and guard what stands beside them.
    @usableFromInline let memory: UnsafeMutableRawPointer
    @usableFromInline let mask: Int
    @usableFromInline let slack: Int
    @usableFromInline let total = Atomic<Int>(0)

    /// `count`: a power of two. `limit`: about how many things there may be, of which the total may be
    /// wrong by a sixteenth.
    init(count: Int, limit: Int) {
        slack = max(1, min(limit / (16 * count), 64))
        guard let memory = aligned_alloc(64, count * 64) else {
            preconditionFailure("no memory for locks")
        }
        self.memory = memory
        mask = count - 1
        for index in 0..<count {
            (memory + index * 64).bindMemory(to: Lock.self, capacity: 1)
                .initialize(to: Lock())
            (memory + index * 64).storeBytes(of: 0, toByteOffset: 8, as: Int.self)
        }
    }

    deinit { free(memory) }

    @inlinable
    func withLock<Value>(_ index: Int, _ body: () -> Value) -> Value {
        (memory + (index & mask) * 64).assumingMemoryBound(to: Lock.self).pointee.withLock(body)
    }

    /// So many more. The caller holds the lock of the index.
    @inlinable
    func count(_ change: Int, at index: Int) {
        let share = (memory + (index & mask) * 64 + 8).assumingMemoryBound(to: Int.self)
        share.pointee &+= change
        guard abs(share.pointee) >= slack else { return }
        total.add(share.pointee, ordering: .relaxed)
        share.pointee = 0
    }
}
