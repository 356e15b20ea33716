// The pool's pages: found, filled once, dirty, written, removed.

import CairnBase
import CairnTestSupport
import Testing

@testable import CairnCache

@Suite struct PoolStateTests {
    // C3: what is not here is filled, and found then
    @Test func aMissFillsAndAHitFinds() throws {
        let ground = try PoolGround(pages: 8)
        let file = ground.file()
        #expect(file.peek(3) == nil)
        var fills = 0
        let outcome = once { () throws(Pause) in
            _ = try file.acquire(page(3)) {
                fills += 1
                $0.completeWithStamps()
            }
        }
        #expect(outcome == .waits)
        #expect(file.peek(3) == 3)
        let handle = try file.fetch(3)
        #expect(stamp(of: handle.bytes) == 3 && fills == 1)
        #expect(ground.pool.statistics.misses == 2)
        #expect(ground.pool.statistics.hits == 1, "the first use of what was fetched is no hit")
        file.close()
    }

    // C3: many who ask for a page cause one fill, and each gets the page
    @Test func oneFillServesAll() throws {
        let ground = try PoolGround(pages: 8)
        let file = ground.file()
        var fill: PageFill?
        var waits: [Wait] = []
        var finished = 0
        for _ in 0..<3 {
            _ = once(keep: { waits.append($0) }) { () throws(Pause) in
                _ = try file.acquire(page(0), fetching: 4) {
                    #expect(fill == nil)
                    fill = $0
                }
            }
        }
        _ = once(keep: { waits.append($0) }) { () throws(Pause) in
            _ = try file.acquire(page(2)) { _ in Issue.record("filled twice") }
        }
        #expect(waits.count == 4 && fill?.count == 4)
        #expect(file.peek(0) == nil, "not filled yet")
        nonisolated(unsafe) let count = UnsafeMutablePointer<Int>.allocate(capacity: 1)
        count.pointee = 0
        for wait in waits { wait.whenFinished { if $0 == nil { count.pointee += 1 } } }
        fill?.completeWithStamps()
        finished = count.pointee
        count.deallocate()
        #expect(finished == 4)
        #expect(file.peek(2) == 2)
        #expect(ground.pool.statistics.fetchedAhead == 3)
        file.close()
    }

    // C3: one who gives up leaves the others waiting
    @Test func aWaitIsCancelledAlone() throws {
        let ground = try PoolGround(pages: 8)
        let file = ground.file()
        var fill: PageFill?
        var waits: [Wait] = []
        for _ in 0..<2 {
            _ = once(keep: { waits.append($0) }) { () throws(Pause) in
                _ = try file.acquire(page(0)) { fill = $0 }
            }
        }
        let seen = Outcomes()
        waits[0].whenFinished { seen.add($0) }
        waits[1].whenFinished { seen.add($0) }
        waits[0].cancel()
        #expect(seen.all == [.EINTR])
        fill?.completeWithStamps()
        #expect(seen.all == [.EINTR, nil])
        file.close()
    }

    // C3, T3: who waits for the page that failed gets the error, who waits for one after it tries again
    @Test func aFillThatFailsPartly() throws {
        let ground = try PoolGround(pages: 8)
        let file = ground.file()
        var fill: PageFill?
        let seen = Outcomes()
        for index in [0, 1, 2] as [UInt64] {
            _ = once(keep: { $0.whenFinished { seen.add($0) } }) { () throws(Pause) in
                _ = try file.acquire(page(index), fetching: 3) { fill = $0 }
            }
        }
        #expect(fill?.count == 3)
        fill?.fail(.EIO, filled: 1)
        #expect(seen.all.count == 0, "the waits themselves are gone: nobody kept them")
        #expect(file.residentCount == 1)
        #expect(ground.pool.statistics.failedFills == 1)
        var kept: [Wait] = []
        fill = nil
        for index in [1, 2, 3] as [UInt64] {
            _ = once(keep: { kept.append($0) }) { () throws(Pause) in
                _ = try file.acquire(page(index), fetching: 3) { fill = $0 }
            }
        }
        for wait in kept { wait.whenFinished { seen.add($0) } }
        fill?.fail(.EIO, filled: 1)
        #expect(seen.all.count == 3)
        #expect(seen.all.filter { $0 == .EIO }.count == 1)
        kept = []
        #expect(ground.pool.statistics.pages == 2)
        file.close()
    }

    // C6: a page that is written while it is being flushed stays dirty
    @Test func writtenWhileFlushedStaysDirty() throws {
        let ground = try PoolGround(pages: 8)
        let file = ground.file()
        try file.write(0, 1)
        #expect(file.hasDirty(page(0)) && file.dirtyCount == 1)
        let write = try #require(file.takeDirty(0))
        #expect(file.hasDirty(page(0)), "not written yet")
        #expect(!file.canTakeDirty(0), "somebody writes it already")
        #expect(file.modifyDirtyInPlace(page(0)) { stamp(2, on: $0) })
        write.finish(nil)
        #expect(file.hasDirty(page(0)) && ground.pool.dirtyCount == 1)
        let second = try #require(file.takeDirty(0))
        second.finish(nil)
        #expect(!file.hasDirty(page(0)) && ground.pool.dirtyCount == 0)
        #expect(file.peek(0) == 2)
        file.close()
    }

    // C6: what could not be written is dirty again
    @Test func aFailedFlushLeavesItDirty() throws {
        let ground = try PoolGround(pages: 8)
        let file = ground.file()
        try file.write(0, 1)
        do {
            let write = file.getDirty(page(0))
            write?.markNeedsFlush()
        }
        #expect(file.hasDirty(page(0)))
        do { _ = file.getDirty(page(0)) }
        #expect(file.hasDirty(page(0)), "dropped without a word")
        if let write = file.getDirty(page(0)) { write.markFlushed() }
        #expect(!file.hasDirty(page(0)))
        #expect(file.markNeedsFlush(page(0)) && file.hasDirty(page(0)))
        #expect(!file.markNeedsFlush(page(1)))
        file.flushAll()
        #expect(file.dirtyCount == 0)
        file.close()
    }

    // C6: who must not disturb what is written waits for its end
    @Test func mutableHandlesMayWaitForTheWriter() throws {
        let ground = try PoolGround(pages: 8)
        let file = ground.file()
        try file.write(5, 1)
        let run = try #require(file.beginWriting(in: pages(0..<10), limit: 4))
        #expect(run.range == pages(5..<6))
        let seen = Outcomes()
        var kept: [Wait] = []
        let outcome = once(keep: { kept.append($0) }) { () throws(Pause) in
            _ = try file.acquireMutable(page(5), whileWriting: .waits) { _ in }
        }
        #expect(outcome == .waits)
        kept.first?.whenFinished { seen.add($0) }
        let other = try #require(file.writingWait(in: pages(0..<10)))
        other.whenFinished { seen.add($0) }
        #expect(
            once { () throws(Pause) in
                _ = try file.acquireMutable(page(5)) { _ in }
            } == .value)
        run.finish(nil)
        ground.later.run()
        #expect(seen.all == [nil, nil])
        #expect(file.writingWait(in: pages(0..<10)) == nil)
        file.close()
    }

    // C6: adjacent dirty pages go together
    @Test func runsOfDirtyPages() throws {
        let ground = try PoolGround(pages: 256)
        let file = ground.file()
        for index in [0, 1, 2, 62, 63, 64, 65, 5000, 5001] as [UInt64] {
            try file.write(index, index)
        }
        _ = try file.fetch(3)
        #expect(
            file.unflushedRanges(in: PageSet.everything) == [
                pages(0..<3), pages(62..<66), pages(5000..<5002),
            ])
        #expect(file.residentRanges(in: pages(1..<65)) == [pages(1..<4), pages(62..<65)])
        #expect(file.unflushedRanges(in: PageSet.everything, limit: 1) == [pages(0..<3)])
        var ranges: [Range<PageIndex>] = []
        var runs: [PageWriteRun] = []
        while let run = file.beginWriting(in: PageSet.everything, limit: 3) {
            ranges.append(run.range)
            runs.append(run)
            #expect(run.segments.reduce(0) { $0 + $1.count } == run.count * 4096)
            for position in 0..<run.count {
                #expect(stamp(of: run.bytes(of: position)) == run.first.rawValue + UInt64(position))
            }
        }
        #expect(ranges == [pages(0..<3), pages(62..<65), pages(65..<66), pages(5000..<5002)])
        for run in runs { run.finish(nil) }
        #expect(file.dirtyCount == 0 && file.unflushedRanges(in: PageSet.everything).isEmpty)
        file.close()
    }

    // C3: removed pages are not found, and never written; who holds one keeps its bytes
    @Test func removedPagesStayWithTheirHolders() throws {
        let ground = try PoolGround(pages: 4)
        let file = ground.file()
        for index in 0..<4 as Range<UInt64> { try file.write(index, index) }
        let run = try #require(file.beginWriting(in: pages(0..<1), limit: 1))
        let held = try file.fetch(1)
        file.remove(pages(0..<3))
        #expect(file.peek(0) == nil && file.peek(1) == nil && file.peek(3) == 3)
        #expect(file.residentCount == 1 && file.dirtyCount == 1 && ground.pool.dirtyCount == 1)
        #expect(stamp(of: held.bytes) == 1 && stamp(of: run.bytes(of: 0)) == 0)
        #expect(ground.pool.statistics.pages == 3, "two are still held")
        try file.write(0, 10)
        run.finish(nil)
        #expect(file.hasDirty(page(0)), "the write was of the page that was removed")
        drop(held)
        #expect(ground.pool.statistics.pages == 2)
        file.remove(PageSet.everything)
        #expect(ground.pool.statistics.pages == 0 && ground.pool.dirtyCount == 0)
        file.close()
    }

    // C3: by key, for inodes and for content
    @Test func operationsByKey() throws {
        let ground = try PoolGround(pages: 8)
        let pool = ground.pool
        let hash = ContentHash((1, 2, 3, 4))
        let keys = [
            PageKey(.content(hash), page(0)),
            PageKey(.inode(fileSystem: 1, number: 7), page(0)),
            PageKey(.inode(fileSystem: 2, number: 7), page(70)),
        ]
        for (number, key) in keys.enumerated() {
            #expect(pool.peek(key) == nil && !pool.hasDirty(key) && !pool.canTakeDirty(key))
            #expect(!pool.modifyDirtyInPlace(key) { _ in } && !pool.markNeedsFlush(key))
            try blocking { () throws(Pause) in
                try pool.insertDirty(key) { stamp(UInt64(number), on: $0) }
            }
            #expect(pool.hasDirty(key))
            if let write = pool.getDirty(key) { write.markFlushed() }
            #expect(!pool.hasDirty(key))
            #expect(pool.markNeedsFlush(key) && pool.hasDirty(key))
            #expect(pool.modifyDirtyInPlace(key) { stamp(UInt64(number) + 10, on: $0) })
        }
        for (number, key) in keys.enumerated() {
            let handle = try blocking { () throws(Pause) in try pool.acquire(key) { _ in } }
            #expect(stamp(of: handle.bytes) == UInt64(number) + 10)
        }
        pool.invalidate(hash)
        #expect(pool.peek(keys[0]) == nil && !pool.hasDirty(keys[0]))
        pool.remove(keys[1].owner)
        #expect(pool.peek(keys[1]) == nil && pool.hasDirty(keys[2]))
        #expect(pool.statistics.pages == 1)
        pool.remove(keys[2].owner)
        #expect(pool.statistics.pages == 0 && pool.owners.count == 0, "sets go with their pages")
    }
}

/// What waits finished with, in order.
final class Outcomes: @unchecked Sendable {
    // Sendable: `lock` guards `list`.
    private let lock = Lock()
    private var list: [Errno?] = []

    func add(_ error: Errno?) { lock.withLock { list.append(error) } }
    var all: [Errno?] { lock.withLock { list } }
}

/// Lets a handle go.
func drop(_ handle: consuming PageHandle) {}

extension PagePool {
    func peek(_ key: PageKey) -> UInt64? {
        guard let handle = tryGet(key) else { return nil }
        return stamp(of: handle.bytes)
    }

    /// Whether it is dirty and nobody writes it.
    func canTakeDirty(_ key: PageKey) -> Bool {
        guard let write = getDirty(key) else { return false }
        write.markNeedsFlush()
        return true
    }
}

extension PageSet {
    /// Whether it is dirty and nobody writes it.
    func canTakeDirty(_ index: UInt64) -> Bool {
        guard let write = getDirty(page(index)) else { return false }
        write.markNeedsFlush()
        return true
    }

    /// A run of the one dirty page.
    func takeDirty(_ index: UInt64) -> PageWriteRun? {
        beginWriting(in: pages(index..<index + 1), limit: 1)
    }
}
