// Handles: a page that stays while one has it.
//
// A handle pins its page's frame: the page is not evicted, and its bytes stay where they are. It lets
// go when it goes out of scope. Handles are values that cannot be copied, and cost no allocation.
// `take` makes a plain value of one, for lists; then `unpin` must be called.
//
// What two holders do with a page's bytes at the same time is their affair: the pages of a file are
// kept apart by the file's lock, and hashed content does not change. Where nothing else does it,
// `withContentLock`, `PageSet.modifyDirtyInPlace` and `PageSet.insertDirty` exclude one another.
//
// Threading: a handle may go to another thread, but is used by one at a time. It must not outlive the
// pool.

import CairnBase
import Synchronization

/// A pin of a page, to be let go by hand. Valid until then, also where the page was removed.
public struct PinnedPage: @unchecked Sendable {
    // Sendable: the frame's record says what guards its fields; the pool outlives pins.
    unowned(unsafe) let pool: PagePool
    let frame: Frame

    @inline(__always)
    init(_ frame: Frame, _ pool: PagePool) {
        self.pool = pool
        self.frame = frame
    }

    @inline(__always)
    var number: FrameNumber { pool.frames.number(of: frame) }

    @inline(__always)
    var address: UnsafeMutableRawPointer { pool.address(of: number) }

    @inline(__always)
    public var index: PageIndex { PageIndex(rawValue: frame.index) }

    /// The page's bytes, all of them. Whoever changes them says so after (`markDirty`).
    @inline(__always)
    public var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: address, count: pool.pageSize)
    }

    /// Where the page stands in the pool's memory file (`PagePool.descriptor`), in bytes.
    public var arenaOffset: Int { Int(number) << pool.pageShift }

    /// Changed since it was last written, or being written.
    public var isDirty: Bool { frame.word.has(.unflushed) }

    /// Whether the owner has removed it: then nobody else finds it, and it is never written.
    public var isRemoved: Bool { frame.word.has(.orphan) }

    /// The bytes were changed: the page has to be written. To be called after the change: a write of
    /// the page that began before may have missed it, one that begins later does not.
    public func markDirty() {
        pool.markDirty(frame)
    }

    public func withContentLock<Value, Failure>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        frame.content.pointee.lock()
        defer { frame.content.pointee.unlock() }
        return try body(bytes)
    }

    /// Lets a pin go that `take` has taken. Once.
    public func unpin() {
        pool.heldPinCount.subtract(1, ordering: .relaxed)
        pool.unpin(frame)
    }

    /// One pin more, to be let go by itself.
    public func pinAgain() -> PinnedPage {
        frame.atomicWord.pointee.add(1, ordering: .relaxed)
        pool.heldPinCount.add(1, ordering: .relaxed)
        return self
    }
}

/// A page to read.
public struct PageHandle: ~Copyable, Sendable {
    @usableFromInline let page: PinnedPage

    @inline(__always)
    init(_ page: PinnedPage) { self.page = page }

    deinit { page.pool.unpin(page.frame) }

    @inline(__always)
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(page.bytes) }

    public var index: PageIndex { page.index }
    public var arenaOffset: Int { page.arenaOffset }
    public var isDirty: Bool { page.isDirty }

    public func withContentLock<Value, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try page.withContentLock { (bytes) throws(Failure) -> Value in
            try body(UnsafeRawBufferPointer(bytes))
        }
    }

    /// The pin as a plain value, to be let go by hand.
    public consuming func take() -> PinnedPage {
        let page = page
        discard self
        page.pool.heldPinCount.add(1, ordering: .relaxed)
        return page
    }
}

/// A page to change.
public struct MutablePageHandle: ~Copyable, Sendable {
    let page: PinnedPage

    @inline(__always)
    init(_ page: PinnedPage) { self.page = page }

    deinit { page.pool.unpin(page.frame) }

    @inline(__always)
    public var bytes: UnsafeMutableRawBufferPointer { page.bytes }

    public var index: PageIndex { page.index }
    public var arenaOffset: Int { page.arenaOffset }
    public var isDirty: Bool { page.isDirty }

    /// The bytes were changed. To be called after that.
    public func markDirty() { page.markDirty() }

    public func withContentLock<Value, Failure>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try page.withContentLock(body)
    }

    /// The pin as a plain value, to be let go by hand.
    public consuming func take() -> PinnedPage {
        let page = page
        discard self
        page.pool.heldPinCount.add(1, ordering: .relaxed)
        return page
    }
}

/// A page that is being written to where it belongs. Dropped without a word, it is dirty again.
public struct PageWrite: ~Copyable, Sendable {
    let page: PinnedPage

    init(_ page: PinnedPage) { self.page = page }

    deinit {
        page.pool.endWriting(page.frame, isFlushed: false)
        page.pool.unpin(page.frame)
    }

    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(page.bytes) }
    public var index: PageIndex { page.index }

    /// It is written: clean now, unless it was changed meanwhile.
    public consuming func markFlushed() {
        end(isFlushed: true)
    }

    /// It could not be written: dirty again.
    public consuming func markNeedsFlush() {
        end(isFlushed: false)
    }

    private consuming func end(isFlushed: Bool) {
        let page = page
        discard self
        page.pool.endWriting(page.frame, isFlushed: isFlushed)
        page.pool.unpin(page.frame)
    }
}
