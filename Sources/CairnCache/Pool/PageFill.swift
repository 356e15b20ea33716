// PageFill: a run of new pages whose content is on its way.
//
// Whoever makes it brings the content of all its pages, and then says once `complete` or `fail`. Until
// then the pages stand in their set as being filled: whoever else wants one waits for this (single
// flight), each through a PageWait of its own, which keeps the page once it is there.
//
// Threading: `complete` and `fail` from any thread. What waits is called on that thread; if that
// holds locks which a waiting operation may want, `isCalledWithLocks` brings it elsewhere.

public import CairnBase
public import CairnIO
import Synchronization

public final class PageFill: Wait, @unchecked Sendable {
    // Sendable: `pages.lock` guards what changes; the rest is immutable.
    public let pages: PageSet
    public let first: PageIndex
    /// The pages, in order. They are pinned until this has completed.
    private let numbers: [FrameNumber]
    // Guarded by `pages.lock`.
    private var hasWaiters = false
    private var isOver = false
    /// Pages from the first on that were filled.
    private var filledCount = 0

    /// The frames are taken, and stand in the tree. Under the set's lock. It keeps itself until it is
    /// over, because the frames tell of it.
    init(_ set: PageSet, first: PageIndex, _ numbers: [FrameNumber]) {
        pages = set
        self.first = first
        self.numbers = numbers
        super.init()
        for (position, number) in numbers.enumerated() {
            let frame = pages.pool.frames[number]
            frame.fill = UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque())
            frame.position = UInt32(position)
        }
        _ = Unmanaged.passRetained(self)
    }

    /// The fill of a frame that is being filled. Under its set's lock.
    static func of(_ frame: Frame) -> PageFill? {
        guard let pointer = UnsafeRawPointer(bitPattern: frame.fill) else { return nil }
        return Unmanaged<PageFill>.fromOpaque(pointer).takeUnretainedValue()
    }

    // MARK: The pages

    public var count: Int { numbers.count }

    public var range: Range<PageIndex> {
        first..<PageIndex(rawValue: first.rawValue + UInt64(numbers.count))
    }

    /// The bytes of one page, 0 ..< count.
    public func bytes(of position: Int) -> UnsafeMutableRawBufferPointer {
        let pool = pages.pool
        return UnsafeMutableRawBufferPointer(
            start: pool.address(of: numbers[position]), count: pool.pageSize)
    }

    /// The bytes of all pages, in order; neighbours in memory as one piece.
    public var segments: [BlockSegment] { pages.pool.segments(of: numbers) }

    // MARK: The end

    /// All pages have their content. `dirty`: it is new, and has to be written.
    public func complete(dirty: Bool = false, isCalledWithLocks: Bool = false) {
        end(filled: numbers.count, dirty: dirty, nil, isCalledWithLocks)
    }

    /// The pages from `filled` on did not get their content. Whoever waits for the first of these
    /// fails with the error; for the others nothing is known, so who waits for one tries again.
    public func fail(_ error: Errno, filled: Int = 0, isCalledWithLocks: Bool = false) {
        pages.pool.count(.failedFills)
        end(filled: min(max(filled, 0), numbers.count), dirty: false, error, isCalledWithLocks)
    }

    private func end(filled: Int, dirty: Bool, _ error: Errno?, _ isCalledWithLocks: Bool) {
        let pool = pages.pool
        let hasWaiters = Epoch.section {
            // Pages that go leave the queues too.
            let isWhole = filled == numbers.count
            if !isWhole { pool.lock.lock() }
            pages.lock.lock()
            defer {
                pages.lock.unlock()
                if !isWhole { pool.lock.unlock() }
            }
            precondition(!isOver, "a fill ends once")
            isOver = true
            filledCount = filled
            for number in numbers[..<filled] { settle(pool.frames[number], dirty: dirty) }
            for number in numbers[filled...] { giveUp(number) }
            return self.hasWaiters
        }
        pool.fillingCount.subtract(numbers.count, ordering: .relaxed)
        for number in numbers { pool.unpin(pool.frames[number]) }
        if filled < numbers.count { pool.wakeFrameWaiters() }
        if hasWaiters, isCalledWithLocks {
            pool.perform { self.finish(error) }
        } else {
            finish(error)
        }
        Unmanaged.passUnretained(self).release()
    }

    /// Under the set's lock.
    private func settle(_ frame: Frame, dirty: Bool) {
        frame.fill = 0
        frame.update { $0.removing(.filling) }
        if dirty { pages.pool.markDirty(frame) }
    }

    /// Under the pool's and the set's lock.
    private func giveUp(_ number: FrameNumber) {
        let pool = pages.pool
        let frame = pool.frames[number]
        frame.fill = 0
        frame.update { $0.removing(.filling) }
        // Unless its owner has removed it meanwhile.
        guard frame.word.isUsable, pages.removeSlot(frame.index) != nil else { return }
        _ = pool.discard(number)
        pages.uncountPages(1)
    }

    // MARK: Waiting

    /// A wait for one page of this, that stays while the wait lives. Under the set's lock.
    func wait(for frame: Frame) -> PageWait {
        hasWaiters = true
        return PageWait(self, frame, position: Int(frame.position))
    }

    func waitForFirst() -> PageWait {
        pages.lock.withLock { wait(for: pages.pool.frames[numbers[0]]) }
    }

    /// What came of a page, once this has finished.
    fileprivate func outcome(of position: Int, _ error: Errno?) -> Errno? {
        // The lock is not needed: it was written before this finished.
        position == filledCount ? error : nil
    }
}

/// One operation's wait for one page. It can be cancelled alone, and keeps the page.
final class PageWait: Wait, @unchecked Sendable {
    // Sendable: `ticket` is written before anybody else has this object; the rest is immutable.
    private let fill: PageFill
    private let frame: Frame
    private var ticket = 0

    /// Under the set's lock: the frame is being filled, so it is pinned.
    fileprivate init(_ fill: PageFill, _ frame: Frame, position: Int) {
        self.fill = fill
        self.frame = frame
        super.init()
        let pool = fill.pages.pool
        frame.atomicWord.pointee.add(1, ordering: .relaxed)
        pool.waitPinCount.add(1, ordering: .relaxed)
        // It has not finished: that comes after its end, which takes the set's lock.
        ticket = fill.whenFinished { [weak self] error in
            self?.finish(fill.outcome(of: position, error))
        }
    }

    deinit {
        fill.pages.pool.waitPinCount.subtract(1, ordering: .relaxed)
        fill.pages.pool.unpin(frame)
    }

    override func cancel() {
        if finish(.EINTR) { fill.withdraw(ticket) }
    }

    override func abandoned() {
        fill.withdraw(ticket)
    }
}

extension PagePool {
    /// The memory of pages, neighbours as one piece.
    func segments(of numbers: [FrameNumber]) -> [BlockSegment] {
        var result: [BlockSegment] = []
        for number in numbers {
            let start = address(of: number)
            if let last = result.last, let end = last.address.map({ $0 + last.count }), end == start
            {
                result[result.count - 1].count += pageSize
            } else {
                result.append(BlockSegment(address: start, count: pageSize))
            }
        }
        return result
    }
}
