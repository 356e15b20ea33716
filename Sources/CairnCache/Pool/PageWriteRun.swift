// PageWriteRun: adjacent pages that are being written together.
//
// Made by `PageSet.beginWriting`, which makes dirty pages be written; `finish` says what came of it,
// once. The pages are pinned until then. A run that is dropped has failed: its pages are dirty again.
//
// Threading: `finish` from any thread; it calls nothing back on it.

public import CairnBase
public import CairnIO
import Synchronization

public final class PageWriteRun: Sendable {
    public let pages: PageSet
    public let first: PageIndex
    private let numbers: [FrameNumber]
    private let isOver = Atomic<Bool>(false)

    /// The frames are pinned, and being written.
    init(_ set: PageSet, first: PageIndex, _ numbers: [FrameNumber]) {
        pages = set
        self.first = first
        self.numbers = numbers
    }

    deinit {
        if !isOver.load(ordering: .relaxed) { end(isFlushed: false) }
    }

    public var count: Int { numbers.count }

    public var range: Range<PageIndex> {
        first..<PageIndex(rawValue: first.rawValue + UInt64(numbers.count))
    }

    /// The bytes of one page, 0 ..< count.
    public func bytes(of position: Int) -> UnsafeRawBufferPointer {
        let pool = pages.pool
        return UnsafeRawBufferPointer(
            start: pool.address(of: numbers[position]), count: pool.pageSize)
    }

    /// The bytes of all pages, in order; neighbours in memory as one piece.
    public var segments: [BlockSegment] { pages.pool.segments(of: numbers) }

    /// Whether the owner has removed the page since: nobody will read what is written.
    public func isRemoved(_ position: Int) -> Bool {
        pages.pool.frames[numbers[position]].word.has(.orphan)
    }

    /// Nil: the pages are written, and clean but for those that were changed meanwhile. With an error
    /// they are dirty again.
    public func finish(_ error: Errno?) {
        let isSecond = isOver.exchange(true, ordering: .acquiringAndReleasing)
        precondition(!isSecond, "a write ends once")
        end(isFlushed: error == nil)
    }

    private func end(isFlushed: Bool) {
        let pool = pages.pool
        for number in numbers {
            let frame = pool.frames[number]
            pool.endWriting(frame, isFlushed: isFlushed)
            pool.unpin(frame)
        }
    }
}
