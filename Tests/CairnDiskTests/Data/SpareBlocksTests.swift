// Room for what has to be placed beside a write into a compressed extent (requirement D6).

import CairnBase
import CairnIO
import CairnTree
import CairnVFS
import Testing

@testable import CairnDisk
@testable import CairnTestSupport

@Suite struct SpareBlocksTests {
    enum Order: CaseIterable {
        case random, ascending, everySecond, descending
    }

    private func options(_ method: Compression = .lz4) -> DiskOptions {
        var options = DiskGround.smallOptions
        options.compression = CompressionSetting(method: method)
        options.cacheBytes = 64 << 20
        return options
    }

    private func noise(_ count: Int, _ seed: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    // D6: a write that was accepted is placed, also where it splits compressed extents on a full filesystem.
    @Test(arguments: Order.allCases)
    func compressedExtentsCanBeOverwrittenOnAFullFilesystem(_ order: Order) throws {
        let device = try DiskGround.formatted(size: 8 << 20)
        let ground = DiskGround(device)
        let store = try ground.store(options())
        let s = try Session(store: store, time: ground.time)
        let before = try s.statistics().freeBlocks
        let file = try s.file("/packed")
        var content = [UInt8](repeating: 7, count: 4 << 20)
        for start in stride(from: 0, to: content.count, by: 1 << 19) {
            let part = Array(content[start..<start + (1 << 19)])
            try s.write(file, part, at: .offset(UInt64(start)))
            try store.commit()
        }
        let filler = try s.file("/filler")
        let rubbish = noise(1 << 19, 1)
        #expect(throws: Errno.ENOSPC) {
            while true { try s.write(filler, rubbish, at: .end) }
        }
        try s.truncate("/filler", try s.stat(filler).size - 1_000_000)
        try store.commit()
        var random = SeededRandom(seed: 4)
        let pages = content.count / 4096
        var written = 0
        do throws(Errno) {
            for round in 0..<pages {
                let page =
                    switch order {
                    case .random: random.number(below: pages)
                    case .ascending: round
                    case .everySecond: 2 * round % pages
                    case .descending: pages - 1 - round
                    }
                let bytes = noise(4096, random.next())
                try s.write(file, bytes, at: .offset(UInt64(page * 4096)))
                content.replaceSubrange(page * 4096..<(page + 1) * 4096, with: bytes)
                written += 1
            }
        } catch {
            #expect(error == .ENOSPC)
        }
        #expect(written > 10)
        try store.commit()
        #expect(ground.reports == [])
        #expect(try s.read(file, count: content.count) == content)
        try s.unlink("/packed")
        try s.unlink("/filler")
        try store.finishEmptying()
        try store.commit()
        #expect(try s.statistics().freeBlocks == before)
        #expect(store.volume.spaceFigures.promised == 0)
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }

    // D6: whatever is done to a file, its promise is what it needs, and goes with it.
    @Test(arguments: [UInt64(1), 2, 3], [Compression.none, .lz4])
    func whatIsPromisedIsWhatIsNeeded(_ seed: UInt64, _ method: Compression) throws {
        let device = try DiskGround.formatted(size: 32 << 20)
        let ground = DiskGround(device)
        let store = try ground.store(options(method))
        let s = try Session(store: store, time: ground.time)
        let before = try s.statistics().freeBlocks
        var random = SeededRandom(seed: seed)
        let inode = try s.file("/f")
        let node = try #require(inode as? DiskNode)
        let file = try #require(node.file)
        var content: [UInt8] = []
        for round in 0..<400 {
            let offset = random.number(below: 1 << 20)
            let count = 1 + random.number(below: random.oneIn(4) ? 400_000 : 9000)
            switch random.number(below: 12) {
            case 0: try store.commit()
            case 1: try s.fsync(inode)
            case 2:
                try s.truncate("/f", UInt64(offset))
                content = Array(content.prefix(offset))
                content += [UInt8](repeating: 0, count: offset - content.count)
            case 3:
                try s.allocate("/f", .punchHole, UInt64(offset), UInt64(count))
                for index in offset..<max(offset, min(offset + count, content.count)) {
                    content[index] = 0
                }
            default:
                let isNoise = random.oneIn(2)
                let bytes =
                    isNoise ? noise(count, random.next()) : Array(repeating: 5, count: count)
                try s.write(inode, bytes, at: .offset(UInt64(offset)))
                let missing = offset + count - content.count
                if missing > 0 { content += [UInt8](repeating: 0, count: missing) }
                content.replaceSubrange(offset..<offset + count, with: bytes)
            }
            node.lock.withLock {
                guard file.placing == nil, let pages = file.pagesIfMade else { return }
                var spare = file.spare
                let clean = spare.settle(pages)
                #expect(file.reserved == pages.dirtyCount, "round \(round)")
                #expect(file.spare.blocks == clean, "round \(round)")
                if method == .none { #expect(clean == 0) }
                let promised = store.volume.spaceFigures.promised
                #expect(promised == UInt64(pages.dirtyCount + clean), "round \(round)")
            }
            if round % 20 == 0 {
                #expect(try s.read(inode, count: 2 << 20) == content, "round \(round)")
            }
        }
        try s.unlink("/f")
        try store.commit()
        try store.commit()
        #expect(store.volume.spaceFigures.promised == 0)
        #expect(try s.statistics().freeBlocks == before)
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }

    // D6: a device that fails while extents are rewritten leaves the promise as it was.
    @Test func aFailedPlacementKeepsItsRoom() throws {
        let memory = try DiskGround.formatted(size: 32 << 20)
        let device = FaultyDevice(memory, random: SeededRandom(seed: 1))
        let ground = DiskGround(device)
        let store = try ground.store(options())
        let s = try Session(store: store, time: ground.time)
        let inode = try s.file("/f")
        var content = [UInt8](repeating: 7, count: 1 << 20)
        try s.write(inode, content)
        try store.commit()
        try s.write(inode, noise(4096, 1), at: .offset(300_000))
        content.replaceSubrange(300_000..<304_096, with: noise(4096, 1))
        let promised = store.volume.spaceFigures.promised
        #expect(promised > 30)
        device.plan = FaultPlan(failing: .init(operation: .write, number: 1))
        let pass = Wait()
        Task(executorPreference: store.environment.executor) {
            await store.placeDirtyData(isLast: false)
            pass.finish()
        }
        var isNew = true
        try blocking { () throws(Pause) in
            if isNew {
                isNew = false
                throw .wait(pass)
            }
        }
        #expect(device.faults.errors == 1)
        #expect(store.volume.spaceFigures.promised == promised)
        try store.commit()
        #expect(store.volume.spaceFigures.promised == 0)
        #expect(try s.read(inode, count: 2 << 20) == content)
        try? s.close()
        #expect(ground.reports.count == 1)
        try VolumeGround.expectSound(memory)
    }
}
