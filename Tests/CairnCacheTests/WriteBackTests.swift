// Write-back: when pages go out, in what pieces, and how it slows writers down.

import CairnBase
import CairnIO
import CairnPlainFiles
import CairnTestSupport
import Synchronization
import Testing

@testable import CairnCache

/// A second, in nanoseconds.
private let second: UInt64 = 1_000_000_000

@Suite struct WriteBackTests {
    private func isWait(_ body: () throws(Pause) -> Void) throws(Errno) -> Wait? {
        do throws(Pause) {
            try body()
            return nil
        } catch {
            switch error {
            case .wait(let wait): return wait
            case .failed(let errno): throw errno
            }
        }
    }

    private func write(_ file: PlainFile, _ pages: Int, at offset: UInt64) throws(Errno) -> Wait? {
        let buffer = try AlignedBuffer(count: pages * 4096)
        return try isWait { () throws(Pause) in
            _ = try file.write(buffer.bytes, at: offset)
        }
    }

    // C6: adjacent dirty pages go out in writes of 128 KiB to 1 MiB
    @Test func adjacentPagesGoOutTogether() throws {
        let device = try MemoryDevice(size: 8 << 20)
        let bench = try CacheBench(on: device, budget: 64 << 20)
        let file = bench.file(capacity: 8 << 20)
        for offset in stride(from: 0, to: 4 << 20, by: 4096) {
            try file.writeAll(pattern(4096, at: offset, mark: 1), at: offset)
        }
        let opening = file.open()
        try blocking { () throws(Pause) in try opening.sync() }
        #expect(device.statistics.writes.count == 4)
        #expect(device.statistics.writes.bytes == 4 << 20)
        #expect(device.statistics.flushes.count == 1)
        #expect(
            Array(device.contents[..<(4 << 20)]) == pattern(4 << 20, at: 0, mark: 1))
    }

    // C6: a page is dirty for 30 s at most, and not written at once either
    @Test func noPageIsDirtyForLong() throws {
        let device = try MemoryDevice(size: 1 << 20)
        let bench = try CacheBench(on: device)
        let file = bench.file()
        bench.flusher.start()
        try file.writeAll([1], at: 0)
        bench.timers.advance(nanoseconds: 10 * second)
        #expect(file.pages.dirtyCount == 1)
        // It is changed again and again; that does not make it younger.
        for _ in 0..<19 {
            try file.writeAll([2], at: 0)
            bench.timers.advance(nanoseconds: second)
        }
        #expect(device.contents[0] == 2)
        bench.timers.advance(nanoseconds: 60 * second)
        #expect(file.pages.dirtyCount == 0)
        bench.flusher.stop()
    }

    // C6: half of the limit makes write-back begin, whatever the age
    @Test func manyDirtyPagesAreWrittenAtOnce() throws {
        let device = try MemoryDevice(size: 8 << 20)
        let bench = try CacheBench(on: device, budget: 8 << 20)
        let file = bench.file(capacity: 8 << 20)
        bench.flusher.start()
        defer { bench.flusher.stop() }
        let limit = bench.account.dirtyLimit
        #expect(limit == 204)
        for page in 0..<limit / 2 { try file.writeAll([1], at: page * 4096) }
        #expect(device.statistics.writes.count == 0)
        for page in limit / 2..<4 * limit {
            while let wait = try write(file, 1, at: UInt64(page) * 4096) {
                // Where write-back comes late, writers are paced: none waits longer than this.
                bench.timers.advance(nanoseconds: second / 10)
                try finish(wait)
            }
        }
        #expect(device.statistics.writes.count > 0)
        #expect(bench.account.dirtyPages <= limit)
    }

    // C6: below the free part nobody waits; above, writers are paced by the clock; at the limit they
    // are stopped until something was written
    @Test func writersAreSlowedBeforeTheyAreStopped() throws {
        let device = try MemoryDevice(size: 16 << 20)
        let bench = try CacheBench(on: device, budget: 40 << 20)
        let file = bench.file(capacity: 16 << 20)
        let limit = bench.account.dirtyLimit
        #expect(limit == 1024)
        var page: UInt64 = 0
        for _ in 0..<192 {
            #expect(try write(file, 4, at: page * 4096) == nil)
            page += 4
        }
        #expect(file.pages.dirtyCount == 768)
        var pauses = 0
        while file.pages.dirtyCount < limit {
            if try write(file, 4, at: page * 4096) != nil {
                let before = bench.timers.monotonicNanoseconds()
                #expect(bench.timers.advanceToNext())
                // None is longer than 100 ms.
                #expect(bench.timers.monotonicNanoseconds() - before <= second / 10)
                pauses += 1
            } else {
                page += 4
            }
        }
        #expect(pauses > 1)
        let stopped = try #require(try write(file, 4, at: page * 4096))
        let isOver = Atomic<Bool>(false)
        stopped.whenFinished { _ in isOver.store(true, ordering: .relaxed) }
        #expect(!bench.timers.advanceToNext())
        let isOverTooEarly = isOver.load(ordering: .relaxed)
        #expect(!isOverTooEarly)
        let snapshot = try #require(file.pages.snapshotDirty(limit: 512))
        snapshot.markFlushed()
        try finish(stopped)
        #expect(try write(file, 4, at: page * 4096) == nil)
        let rest = try #require(file.pages.snapshotDirty())
        rest.markFlushed()
        #expect(bench.account.dirtyPages == 0)
    }

    // C6: all filesystems together have a limit too
    @Test func oneFilesystemFeelsTheOthers() throws {
        let device = try MemoryDevice(size: 16 << 20)
        let bench = try CacheBench(on: device, budget: 8 << 20, share: 0.10)
        let others = DirtyAccount(in: bench.cache, timers: bench.timers, share: 0.18)
        let flusher = Flusher(others)
        let large = PlainFile(
            number: 2, on: device, at: 8 << 20, capacity: 8 << 20, flusher: flusher)
        let small = bench.file()
        for page in 0..<bench.account.dirtyLimit / 2 {
            try small.writeAll([1], at: page * 4096)
        }
        var isStopped = false
        for page in 0..<UInt64(others.dirtyLimit) where !isStopped {
            while let wait = try write(large, 1, at: page * 4096) {
                _ = wait
                isStopped = !bench.timers.advanceToNext()
                if isStopped { break }
            }
        }
        #expect(isStopped)
        #expect(bench.pool.dirtyCount <= bench.cache.dirtyLimit)
        for file in [small, large] {
            let opening = file.open()
            try blocking { () throws(Pause) in try opening.sync() }
        }
        #expect(bench.pool.dirtyCount == 0)
    }

    // C6: a page that is written while it is being flushed stays dirty, and goes out after it
    @Test func aPageWrittenWhileItIsFlushedGoesOutAgain() throws {
        let memory = try MemoryDevice(size: 1 << 20)
        let device = HeldDevice(memory)
        let bench = try CacheBench(on: device)
        let file = bench.file()
        try file.writeAll([UInt8](repeating: 1, count: 4096), at: 0)
        device.hold()
        let first = bench.flusher.sync(file.pages)
        #expect(device.heldCount == 1)
        try file.writeAll([UInt8](repeating: 2, count: 4096), at: 0)
        let second = bench.flusher.sync(file.pages)
        // The newer content is not on its way while the older one is.
        #expect(device.heldCount == 1)
        device.release()
        #expect(memory.contents[0] == 1)
        #expect(file.pages.dirtyCount == 1)
        #expect(device.heldCount == 1)
        device.letGo()
        try finish(first)
        // The second sync asked for what was dirty when it was called.
        try finish(second)
        #expect(memory.contents[0] == 2)
        #expect(file.pages.dirtyCount == 0)
    }

    /// Waits on this thread.
    private func finish(_ wait: Wait) throws(Errno) {
        var isFirst = true
        try blocking { () throws(Pause) in
            guard isFirst else { return }
            isFirst = false
            throw .wait(wait)
        }
    }

    // C6: the pace: twice the rate where it begins, the rate at the set point, nothing at the limit
    @Test func thePaceFallsSmoothly() {
        let limits = DirtyLimits(limit: 1000)
        #expect(limits.position(750) == 2)
        #expect(abs(limits.position(875) - 1) < 0.01)
        #expect(limits.position(1000) == 0)
        var last = 2.0
        for dirty in 751...1000 {
            let now = limits.position(dirty)
            #expect(now <= last && last - now < 0.03)
            last = now
        }
        #expect(limits.pause(pages: 10, dirty: 700, rate: 1000, longest: second) == 0)
        #expect(limits.pause(pages: 10, dirty: 875, rate: 1000, longest: second) == 10_000_000)
        #expect(limits.pause(pages: 10, dirty: 1000, rate: 1000, longest: 50) == 50)
    }

    // C6: the rate follows the device
    @Test func theRateFollows() {
        var rate = WriteBackRate()
        var now: UInt64 = second
        for _ in 0..<200 {
            now += second / 20
            rate.written(100, at: now, wasBusy: true)
        }
        #expect(abs(rate.pagesPerSecond - 2000) < 100)
    }
}
