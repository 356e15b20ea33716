// Mapped files: the memory is the cache's, and nothing that is written through it is lost.

import CairnBase
import CairnCache
import CairnIO
import CairnPlainFiles
import CairnTestSupport
import Foundation
import Testing

@Suite struct MappingTests {
    private static let page = 4096

    private func written(
        _ size: Int = 1 << 20, budget: Int = 8 << 20
    ) throws -> (MemoryDevice, CacheBench, PlainFile) {
        let device = try MemoryDevice(size: UInt64(size))
        device.contents.copyBytes(from: pattern(size, at: 0, mark: 0))
        let bench = try CacheBench(on: device, budget: budget)
        return (device, bench, bench.file(capacity: UInt64(size), isWritten: true))
    }

    private func request(
        _ offset: Int, _ length: Int, _ protection: MemoryProtection = [.read, .write],
        isShared: Bool = true, mayWrite: Bool = true
    ) -> MappingRequest {
        MappingRequest(
            offset: UInt64(offset), length: length, protection: protection, isShared: isShared,
            mayWrite: mayWrite)
    }

    // C7: what is written to the file is in the mapping at once, and the other way round
    @Test func fileAndMappingSeeOneAnother() throws {
        let (_, bench, file) = try written()
        let mapping = try file.mapped(request(8192, 20_000))
        #expect(Array(mapping.memory) == pattern(20_000, at: 8192, mark: 0))
        try file.writeAll([1, 2, 3], at: 8192 + 4095)
        #expect(Array(mapping.memory[4095..<4098]) == [1, 2, 3])
        mapping.memory[10_000] = 0x77
        mapping.memory[19_999] = 0x78
        #expect(try file.readAll(1, at: 18_192) == [0x77])
        #expect(try file.readAll(1, at: 8192 + 19_999) == [0x78])
        #expect(bench.pool.statistics.residentBytes <= bench.pool.budget)
    }

    // C7: two mappings of one file are the same memory, whichever part each shows
    @Test func mappingsSeeOneAnother() throws {
        let (_, _, file) = try written()
        let one = try file.mapped(request(0, 5 * Self.page))
        let other = try file.mapped(request(2 * Self.page, 5 * Self.page))
        one.memory[3 * Self.page + 7] = 0x55
        #expect(other.memory[Self.page + 7] == 0x55)
    }

    // C7: what was changed through the mapping is told, is written, and is told no more then
    @Test func changesBecomeTheFiles() throws {
        let (device, bench, file) = try written()
        let mapping = try file.mapped(request(4096, 10 * Self.page))
        let all = 0..<10 * Self.page
        #expect(mapping.changes(in: all).isEmpty)
        mapping.memory[3 * Self.page] ^= 0xFF
        mapping.memory[4 * Self.page + 100] ^= 0xFF
        mapping.memory[9 * Self.page + 4095] ^= 0xFF
        #expect(
            mapping.changes(in: all)
                == [3 * Self.page..<5 * Self.page, 9 * Self.page..<10 * Self.page])
        #expect(mapping.changes(in: 0..<3 * Self.page).isEmpty)
        try file.makeKnown(mapping)
        #expect(file.pages.dirtyCount == 3)
        #expect(bench.account.dirtyPages == 3)
        #expect(mapping.changes(in: all).isEmpty)
        let opening = file.open()
        try blocking { () throws(Pause) in try opening.sync() }
        #expect(file.pages.dirtyCount == 0)
        #expect(mapping.changes(in: all).isEmpty)
        #expect(Array(device.contents[4096..<4096 + all.count]) == Array(mapping.memory))
        mapping.memory[3 * Self.page] ^= 0xFF
        #expect(mapping.changes(in: all) == [3 * Self.page..<4 * Self.page])
    }

    // C6, C7: what changes while it is being written is not written half, and is told again; also when it
    // becomes what it was before
    @Test func aChangeDuringAWriteIsNotLost() throws {
        let (_, _, file) = try written()
        let mapping = try file.mapped(request(0, 2 * Self.page))
        let before = Array(mapping.memory[..<Self.page])
        mapping.memory[5] ^= 0xFF
        try file.makeKnown(mapping)
        let snapshot = try #require(file.pages.snapshotDirty())
        let held = snapshot.runs[0].segments.flatMap { Array($0.memory) }
        #expect(held == Array(mapping.memory[..<Self.page]))
        mapping.memory[5] ^= 0xFF
        #expect(Array(mapping.memory[..<Self.page]) == before)
        #expect(snapshot.runs[0].segments.flatMap { Array($0.memory) } == held)
        snapshot.markFlushed()
        #expect(mapping.changes(in: 0..<2 * Self.page) == [0..<Self.page])
        try file.makeKnown(mapping)
        let next = try #require(file.pages.snapshotDirty())
        #expect(next.runs[0].segments.flatMap { Array($0.memory) } == before)
        next.markFlushed()
        // A write by a descriptor while a snapshot is out stays in the mapping's own memory.
        try file.writeAll([9], at: 6)
        let last = try #require(file.pages.snapshotDirty())
        try file.writeAll([8], at: 7)
        #expect(Array(mapping.memory[6...7]) == [9, 8])
        last.markFlushed()
        #expect(file.pages.dirtyCount == 1)
    }

    // C7: a mapping made while a page is being written waits for that
    @Test func aMappingWaitsForWrites() throws {
        let (_, _, file) = try written()
        try file.writeAll([1], at: Self.page)
        let snapshot = try #require(file.pages.snapshotDirty())
        var progress: FileMapping?
        var isWaiting = false
        for _ in 0..<10 where !isWaiting {
            do throws(Pause) {
                _ = try file.map(request(0, 2 * Self.page), &progress)
                Issue.record("it was mapped")
            } catch {
                if case .wait(let wait) = error { isWaiting = wait is OperationWait }
            }
        }
        #expect(isWaiting)
        snapshot.markFlushed()
        let mapping = try file.mapped(request(0, 2 * Self.page))
        #expect(mapping.memory[Self.page] == 1)
    }

    // C3, C7: eviction takes no page that is mapped; all mappings may have half of the pool
    @Test func mappedPagesStay() throws {
        let (device, bench, file) = try written(4 << 20, budget: 1 << 20)
        let mapping = try file.mapped(request(0, 100 * Self.page))
        let reads = device.statistics.reads.count
        mapping.memory[50 * Self.page] = 0x42
        for _ in 0..<2 { _ = try file.readAll(4 << 20, at: 0) }
        bench.pool.clear()
        #expect(mapping.memory[50 * Self.page] == 0x42)
        #expect(try file.readAll(1, at: 50 * Self.page) == [0x42])
        #expect(device.statistics.reads.count > reads)
        #expect(throws: Errno.ENOMEM) { try file.mapped(request(0, 200 * Self.page)) }
        #expect(throws: Errno.ENOMEM) {
            try file.mapped(request(100 * Self.page, 100 * Self.page))
        }
        let resident = file.pages.residentCount
        withExtendedLifetime(mapping) {}
        #expect(resident >= 100)
    }

    // C7: what is unmapped can be evicted again, and the rest stays
    @Test func unmappedPagesGo() throws {
        let (_, bench, file) = try written()
        var mapping: FileMapping? = try file.mapped(request(0, 10 * Self.page))
        try mapping?.unmap(2 * Self.page..<6 * Self.page)
        bench.pool.clear()
        #expect(file.pages.residentCount == 6)
        let memory = try #require(mapping?.memory)
        #expect(!canRead(memory, 3 * Self.page))
        #expect(canRead(memory, 6 * Self.page))
        #expect(throws: Errno.EINVAL) { try mapping?.unmap(100..<8192) }
        mapping = nil
        bench.pool.clear()
        #expect(file.pages.residentCount == 0)
    }

    // C7: a private mapping keeps what is written to it, and the file knows nothing of it
    @Test func aPrivateMappingKeepsItsChanges() throws {
        let (_, _, file) = try written()
        let mapping = try file.mapped(request(0, 3 * Self.page, isShared: false))
        mapping.memory[10] = 0x11
        #expect(mapping.changes(in: 0..<3 * Self.page).isEmpty)
        #expect(try file.readAll(20, at: 0) == pattern(20, at: 0, mark: 0))
        try file.writeAll([0x22], at: 10)
        try file.writeAll([0x33], at: Self.page)
        #expect(mapping.memory[10] == 0x11)
        #expect(mapping.memory[Self.page] == 0x33)
    }

    // C7: a write to memory that is not writable is refused, and protection may change
    @Test func protectionIsKept() throws {
        let (_, _, file) = try written()
        let mapping = try file.mapped(request(0, 4 * Self.page, .read))
        #expect(canRead(mapping.memory, 0))
        #expect(!canWrite(mapping.memory, 0))
        try mapping.protect(Self.page..<2 * Self.page, [.read, .write])
        #expect(canWrite(mapping.memory, Self.page))
        #expect(!canWrite(mapping.memory, 2 * Self.page))
        try mapping.protect(Self.page..<2 * Self.page, [])
        #expect(!canRead(mapping.memory, Self.page))
        #expect(throws: Errno.EINVAL) { try mapping.protect(1..<5000, .read) }
        let fixed = try file.mapped(request(0, Self.page, .read, mayWrite: false))
        #expect(throws: Errno.EACCES) { try fixed.protect(0..<Self.page, [.read, .write]) }
        #expect(!canWrite(fixed.memory, 0))
    }

    // C7: pages behind the end of the file cannot be touched, and can be when the file grows
    @Test func theEndOfTheFileIsTheEnd() throws {
        let (_, _, file) = try written()
        let mapping = try file.mapped(request(0, 4 * Self.page))
        try blocking { () throws(Pause) in try file.truncate(to: UInt64(Self.page + 100)) }
        #expect(canRead(mapping.memory, Self.page))
        #expect(!canRead(mapping.memory, 2 * Self.page))
        #expect(mapping.memory[Self.page + 99] == pattern(1, at: Self.page + 99, mark: 0)[0])
        #expect(mapping.memory[Self.page + 100] == 0)
        // What is written behind the end is no part of the file, also when that grows.
        mapping.memory[Self.page + 200] = 0xAA
        try file.writeAll([0x44], at: 3 * Self.page + 5)
        #expect(mapping.memory[Self.page + 200] == 0)
        #expect(canRead(mapping.memory, 3 * Self.page))
        #expect(mapping.memory[3 * Self.page + 5] == 0x44)
        #expect(mapping.memory[3 * Self.page + 6] == 0)
        try file.bringUp(mapping)
        #expect(canRead(mapping.memory, 2 * Self.page))
        mapping.memory[2 * Self.page] = 0x45
        #expect(try file.readAll(1, at: 2 * Self.page) == [0x45])
    }

    // C7: a hole that is made in the file is zeros in the mapping, which goes on to be the file's memory
    @Test func aHoleShowsInTheMapping() throws {
        let (_, bench, file) = try written()
        let mapping = try file.mapped(request(0, 6 * Self.page))
        mapping.memory[2 * Self.page] = 1
        try file.makeKnown(mapping)
        try blocking { () throws(Pause) in
            try file.punch(UInt64(Self.page + 10)..<UInt64(5 * Self.page))
        }
        let zeros = [UInt8](repeating: 0, count: 4 * Self.page - 10)
        #expect(Array(mapping.memory[Self.page + 10..<5 * Self.page]) == zeros)
        #expect(mapping.changes(in: 0..<6 * Self.page).isEmpty)
        #expect(file.pages.dirtyCount == 1)
        #expect(bench.account.dirtyPages == 1)
        mapping.memory[3 * Self.page] = 7
        #expect(try file.readAll(1, at: 3 * Self.page) == [7])
        #expect(mapping.changes(in: 0..<6 * Self.page) == [3 * Self.page..<4 * Self.page])
    }

    // T5, C7: programs that write through mappings and descriptors, while pages are written back: in the
    // end the device has what the memory says
    @Test func nothingIsLostUnderLoad() async throws {
        let memory = try MemoryDevice(size: 1 << 20)
        let bench = try CacheBench(on: HeldDevice(memory))
        let file = bench.file(isWritten: true)
        let mapping = try file.mapped(request(0, 64 * Self.page))
        await withTaskGroup(of: Void.self) { group in
            for writer in 0..<2 as Range<Int> {
                group.addTask {
                    await onThread {
                        var random = SeededRandom(seed: UInt64(writer))
                        for turn in 0..<20_000 {
                            let place = random.number(below: 32 * Self.page) * 2 + writer
                            mapping.memory[place] = UInt8(truncatingIfNeeded: turn)
                        }
                    }
                }
            }
            group.addTask {
                await onThread {
                    for _ in 0..<60 {
                        try? file.makeKnown(mapping)
                        sync(file)
                    }
                }
            }
            await group.waitForAll()
        }
        try file.makeKnown(mapping)
        sync(file)
        #expect(Array(memory.contents[..<(64 * Self.page)]) == Array(mapping.memory))
    }
}

private func sync(_ file: PlainFile) {
    let opening = file.open()
    try? blocking { () throws(Pause) in try opening.sync() }
}

/// Whether the system may read the byte: it says EFAULT where a program would be ended.
private func canRead(_ memory: UnsafeMutableRawBufferPointer, _ offset: Int) -> Bool {
    guard let start = memory.baseAddress else { return false }
    return onPipe { _, input in write(input, start + offset, 1) == 1 }
}

private func canWrite(_ memory: UnsafeMutableRawBufferPointer, _ offset: Int) -> Bool {
    guard let start = memory.baseAddress else { return false }
    return onPipe { output, input in
        var byte = memory[offset]
        guard write(input, &byte, 1) == 1 else { return false }
        return read(output, start + offset, 1) == 1
    }
}

private func onPipe(_ body: (_ output: Int32, _ input: Int32) -> Bool) -> Bool {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return false }
    defer { for end in ends { close(end) } }
    return body(ends[0], ends[1])
}

extension PlainFile {
    fileprivate func mapped(_ request: MappingRequest) throws(Errno) -> FileMapping {
        var progress: FileMapping?
        return try blocking { () throws(Pause) in try self.map(request, &progress) }
    }

    fileprivate func bringUp(_ mapping: FileMapping) throws(Errno) {
        try blocking { () throws(Pause) in try self.bring(mapping) }
    }

    /// What msync(2) does first.
    fileprivate func makeKnown(_ mapping: FileMapping) throws(Errno) {
        try blocking { () throws(Pause) in
            for range in mapping.changes(in: 0..<mapping.memory.count) {
                _ = try self.write(
                    UnsafeRawBufferPointer(rebasing: mapping.memory[range]),
                    at: mapping.offset + UInt64(range.lowerBound))
            }
        }
    }
}
