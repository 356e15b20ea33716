// The pages of one file: what is fetched, what is not, and what a change leaves behind.

import CairnBase
import CairnCache
import CairnIO
import CairnPlainFiles
import CairnTestSupport
import Testing

@Suite struct FilePagesTests {
    private static let page = 4096

    private func written(
        _ size: Int = 1 << 20, readAhead: ReadAheadSettings = ReadAheadSettings()
    ) throws -> (MemoryDevice, CacheBench, PlainFile) {
        let device = try MemoryDevice(size: UInt64(size))
        device.contents.copyBytes(from: pattern(size, at: 0, mark: 0))
        let bench = try CacheBench(on: device, readAhead: readAhead)
        return (device, bench, bench.file(capacity: UInt64(size), isWritten: true))
    }

    // C5: a read of several pages asks for them in one request, and once
    @Test func aRunOfMissingPagesIsOneRequest() throws {
        let (device, bench, file) = try written()
        #expect(
            try file.readAll(20_000, at: 100_000) == pattern(20_000, at: 100_000, mark: 0))
        #expect(device.statistics.reads.count == 1)
        #expect(bench.cache.statistics.demandFills == 1)
        #expect(bench.cache.statistics.demandPages == 6)
        _ = try file.readAll(20_000, at: 100_000)
        #expect(device.statistics.reads.count == 1)
    }

    // C5: whole pages and new ones need not be fetched, parts of old ones do
    @Test func onlyPartsOfOldPagesAreFetched() throws {
        let (device, _, file) = try written()
        try file.writeAll(pattern(2 * Self.page, at: 8192, mark: 1), at: 8192)
        #expect(device.statistics.reads.count == 0)
        try file.writeAll(pattern(100, at: 50_000, mark: 2), at: 50_000)
        #expect(device.statistics.reads.count == 1)
        var model = pattern(1 << 20, at: 0, mark: 0)
        model.replaceSubrange(8192..<16384, with: pattern(8192, at: 8192, mark: 1))
        model.replaceSubrange(50_000..<50_100, with: pattern(100, at: 50_000, mark: 2))
        #expect(try file.readAll(1 << 20, at: 0) == model)
    }

    // C5: what was never written is zeros, without a request
    @Test func newPagesAreZeros() throws {
        let device = try MemoryDevice(size: 1 << 20)
        device.contents.initializeMemory(as: UInt8.self, repeating: 0xAB)
        let bench = try CacheBench(on: device)
        let file = bench.file()
        try file.writeAll([1, 2, 3], at: 100_001)
        var model = [UInt8](repeating: 0, count: 100_004)
        model.replaceSubrange(100_001..., with: [1, 2, 3])
        #expect(try file.readAll(200_000, at: 0) == model)
        #expect(device.statistics.reads.count == 0)
    }

    // C5: read-ahead starts with 2 pages, doubles to the most that is allowed on sequential access, starts
    // again on random
    @Test func readAheadDoublesAndStartsAgain() throws {
        let (_, bench, file) = try written(readAhead: ReadAheadSettings(maximumPages: 32))
        var windows: [UInt64] = []
        func read(_ page: Int) throws {
            let before = bench.cache.statistics.aheadPages
            _ = try file.readAll(Self.page, at: page * Self.page)
            let more = bench.cache.statistics.aheadPages - before
            if more > 0 { windows.append(more) }
        }
        for page in 0..<150 { try read(page) }
        #expect(Array(windows.prefix(6)) == [2, 4, 8, 16, 32, 32])
        windows = []
        let before = bench.cache.statistics.demandFills
        try read(200)
        try read(230)
        try read(215)
        #expect(windows.isEmpty)
        #expect(bench.cache.statistics.demandFills == before + 3)
        try read(216)
        try read(217)
        #expect(windows == [2, 4])
    }

    // C5: pages that were fetched ahead and never used are counted
    @Test func unusedReadAheadIsCounted() throws {
        let (_, bench, file) = try written()
        _ = try file.readAll(Self.page, at: 0)
        #expect(bench.cache.statistics.aheadPages == 2)
        _ = try file.readAll(Self.page, at: Self.page)
        bench.pool.clear()
        #expect(bench.pool.statistics.aheadUnused >= 1)
    }

    // C6: a page that is written while it is in a snapshot stays dirty, and the snapshot as it was
    @Test func aChangeDuringASnapshotStaysDirty() throws {
        let (_, bench, file) = try written()
        try file.writeAll(pattern(3 * Self.page, at: 0, mark: 1), at: 0)
        let snapshot = try #require(file.pages.snapshotDirty())
        #expect(snapshot.runs.map(\.count) == [3])
        try file.writeAll([9, 9, 9], at: Self.page + 5)
        try file.writeAll([8], at: Self.page + 6)
        #expect(bench.cache.statistics.copiedPages == 1)
        let held = snapshot.runs[0].segments.flatMap { Array($0.memory) }
        #expect(held == pattern(3 * Self.page, at: 0, mark: 1))
        // What is in a snapshot is in no other, whatever became of it.
        #expect(file.pages.snapshotDirty() == nil)
        snapshot.markFlushed()
        #expect(file.pages.dirtyCount == 1)
        let next = try #require(file.pages.snapshotDirty())
        #expect(next.runs.map(\.first.rawValue) == [1])
        var expected = Array(pattern(3 * Self.page, at: 0, mark: 1)[Self.page..<2 * Self.page])
        expected.replaceSubrange(5..<8, with: [9, 8, 9])
        #expect(next.runs[0].segments.flatMap { Array($0.memory) } == expected)
        next.markFlushed()
        #expect(file.pages.dirtyCount == 0)
        #expect(bench.account.dirtyPages == 0)
    }

    // C6: what could not be written is dirty again, and each description hears of it once
    @Test func aFailureIsToldOnceToEach() throws {
        let (_, _, file) = try written()
        let early = file.open()
        try file.writeAll([1], at: 0)
        let failed = try #require(file.pages.snapshotDirty())
        failed.markFailed(.EIO)
        #expect(file.pages.dirtyCount == 1)
        let late = file.open()
        for opening in [early, late] {
            #expect(throws: Errno.EIO) { try blocking { () throws(Pause) in try opening.sync() } }
            try blocking { () throws(Pause) in try opening.sync() }
        }
        #expect(file.pages.dirtyCount == 0)
        // Whoever comes after all have heard is not told.
        let last = file.open()
        try blocking { () throws(Pause) in try last.sync() }
    }

    // C5, D6: cutting a file off leaves zeros behind its end, also in the page that stays
    @Test(arguments: [0, 1, 4095, 4096, 5000, 8192])
    func aCutLeavesZeros(_ size: Int) throws {
        let (_, _, file) = try written()
        _ = try file.readAll(30_000, at: 0)
        try file.writeAll(pattern(20_000, at: 0, mark: 3), at: 0)
        try blocking { () throws(Pause) in try file.truncate(to: UInt64(size)) }
        try file.writeAll([7], at: 40_000)
        var model = Array(pattern(20_000, at: 0, mark: 3)[..<size])
        model += [UInt8](repeating: 0, count: 40_000 - size) + [7]
        #expect(try file.readAll(50_000, at: 0) == model)
    }

    // C5: a hole is zeros, the bytes around it stay
    @Test(arguments: [
        100..<200, 0..<4096, 0..<100, 12_288..<12_289, 100..<8192, 4096..<12_300, 5000..<30_001,
    ])
    func aHoleIsZeros(_ range: Range<Int>) throws {
        let (_, bench, file) = try written()
        try file.writeAll(pattern(10_000, at: 0, mark: 3), at: 0)
        try blocking { () throws(Pause) in
            try file.punch(UInt64(range.lowerBound)..<UInt64(range.upperBound))
        }
        var model = pattern(40_000, at: 0, mark: 0)
        model.replaceSubrange(..<10_000, with: pattern(10_000, at: 0, mark: 3))
        model.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
        #expect(try file.readAll(40_000, at: 0) == model)
        let opening = file.open()
        try blocking { () throws(Pause) in try opening.sync() }
        bench.pool.clear()
        #expect(try file.readAll(40_000, at: 0) == model)
    }

    // C6: a cut waits for what is being written there, and changes nothing before
    @Test func aCutWaitsForWrites() throws {
        let (_, _, file) = try written()
        try file.writeAll(pattern(Self.page, at: 0, mark: 1), at: 3 * Self.page)
        let snapshot = try #require(file.pages.snapshotDirty())
        #expect {
            try file.truncate(to: 2 * UInt64(Self.page))
        } throws: { error in
            if case Pause.wait = error { true } else { false }
        }
        #expect(file.size == 1 << 20)
        snapshot.markFlushed()
        try blocking { () throws(Pause) in try file.truncate(to: 2 * UInt64(Self.page)) }
        #expect(file.pages.dirtyCount == 0)
    }
}

@Suite struct ErrorSequenceTests {
    // C6: each position hears of an error once, and of a later one again
    @Test func eachHearsOnce() {
        let errors = ErrorSequence()
        var first = errors.position()
        var second = errors.position()
        #expect(errors.check(since: &first) == nil)
        errors.record(.EIO)
        #expect(errors.check(since: &first) == .EIO)
        #expect(errors.check(since: &first) == nil)
        var third = errors.position()
        #expect(errors.check(since: &third) == nil)
        errors.record(.ENOSPC)
        errors.record(.ENOSPC)
        #expect(errors.check(since: &second) == .ENOSPC)
        #expect(errors.check(since: &second) == nil)
        #expect(errors.check(since: &first) == .ENOSPC)
        #expect(errors.check(since: &third) == .ENOSPC)
    }

    // C6: an error that nobody was told of is told to the next who comes
    @Test func anUnheardErrorIsKept() {
        let errors = ErrorSequence()
        errors.record(.EIO)
        var late = errors.position()
        #expect(errors.check(since: &late) == .EIO)
        var later = errors.position()
        #expect(errors.check(since: &later) == nil)
    }
}
