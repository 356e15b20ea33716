// A full filesystem: what only takes away finds room, whoever still holds what it takes (D6, V13).

import CairnBase
import CairnIO
import CairnTree
import CairnVFS
import Testing

@testable import CairnDisk
@testable import CairnTestSupport

@Suite struct FullDiskTests {
    /// Does it again and again until it fails, for want of room.
    private func repeatUntilFull(_ body: () throws -> Void) {
        #expect(throws: Errno.ENOSPC) {
            while true { try body() }
        }
    }

    /// Fills with one file that somebody holds, as the kernel does whose names lead there.
    @Test func aHeldFileCanBeRemovedFromAFullFilesystem() throws {
        let device = try DiskGround.formatted(size: 12 << 20)
        var options = DiskGround.smallOptions
        options.cacheBytes = 256 << 20
        let ground = DiskGround(device)
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        try s.directory("/d")
        try s.file("/d/other", "x")
        try s.link("/d/other", "/d/second")
        try store.commit()
        let before = try s.statistics().freeBlocks
        let file = try s.file("/large")
        let piece = [UInt8](repeating: 7, count: 1 << 18)
        var offset: UInt64 = 0
        repeatUntilFull {
            let written = try s.write(file, piece, at: .offset(offset))
            offset += UInt64(written)
            if written < piece.count { throw Errno.ENOSPC }
        }
        try store.commit()
        #expect(throws: Errno.ENOSPC) { try s.write(file, piece, at: .offset(offset)) }
        #expect(file.hold())
        try s.unlink("/large")
        try s.unlink("/d/second")
        try s.unlink("/d/other")
        try s.rmdir("/d")
        file.drop()
        try store.commit()
        // The large one is emptied behind the caller's back.
        try store.finishEmptying()
        try store.commit()
        #expect(try s.statistics().freeBlocks >= before)
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }

    /// Fills with what stands in the tree alone, and scatters: each removal changes nodes all over it, and a
    /// commit finds places for all of them.
    @Test func manyNamesCanBeRemovedFromAFullFilesystem() throws {
        let device = try DiskGround.formatted(size: 8 << 20, nodeSize: 4096)
        let ground = DiskGround(device)
        let store = try ground.store()
        let s = try Session(store: store, time: ground.time)
        let before = try s.statistics().freeBlocks
        let target = String(repeating: "t", count: 1000)
        let padding = String(repeating: "0", count: 180)
        var made: [String] = []
        repeatUntilFull {
            let path = "/\(padding)\(made.count)"
            try s.make(.symbolicLink, path, target: target)
            made.append(path)
        }
        #expect(made.count > 1000)
        var random = SeededRandom(seed: 5)
        made.shuffle(using: &random)
        for path in made { try s.unlink(path) }
        try store.commit()
        #expect(try s.statistics().freeBlocks == before)
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }

    /// What one node's attributes take is more than a change finds room for on a full filesystem.
    @Test func aNodeWithManyAttributesGoesFromAFullFilesystem() throws {
        let device = try DiskGround.formatted(size: 16 << 20, nodeSize: 4096)
        let ground = DiskGround(device)
        let store = try ground.store()
        let s = try Session(store: store, time: ground.time)
        let before = try s.statistics().freeBlocks
        let value = [UInt8](repeating: 9, count: 60_000)
        var made: [String] = []
        repeatUntilFull {
            let path = "/f\(made.count)"
            let file = try s.file(path)
            made.append(path)
            for index in 0..<10 { try s.setAttribute(file, "user.\(index)", value) }
        }
        #expect(made.count > 5)
        for path in made { try s.unlink(path) }
        try store.finishEmptying()
        try store.commit()
        #expect(try s.statistics().freeBlocks == before)
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }

    /// Attributes and lists take room as names do, and give it back.
    @Test(arguments: [UInt64(4) << 20, 16 << 20], [UInt32(4096), 16384])
    func attributesCanBeRemovedFromAFullFilesystem(_ size: UInt64, _ nodeSize: UInt32) throws {
        let device = try DiskGround.formatted(size: size, nodeSize: nodeSize)
        let ground = DiskGround(device)
        let store = try ground.store()
        let s = try Session(store: store, time: ground.time)
        let before = try s.statistics().freeBlocks
        var random = SeededRandom(seed: 3)
        let value = [UInt8](repeating: 9, count: 65536)
        var made: [(path: String, attribute: String)] = []
        // Small ones until nothing more fits, in what large ones have left.
        for limit in [65536, 4000, 100, 1] {
            repeatUntilFull {
                let path = "/f\(made.count)"
                let file = try s.file(path)
                let count = limit == 65536 ? limit : 1 + random.number(below: limit)
                made.append((path, "user.none"))
                try s.setAttribute(file, "user.x", Array(value.prefix(count)))
                made[made.count - 1].attribute = "user.x"
            }
            try store.commit()
        }
        #expect(made.count > 20)
        made.shuffle(using: &random)
        for (path, attribute) in made where attribute == "user.x" {
            try s.setAttribute(s.inode(path), attribute, nil)
        }
        for (path, _) in made { try s.unlink(path) }
        try store.finishEmptying()
        try store.commit()
        #expect(try s.statistics().freeBlocks == before)
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }
}

extension DiskStore {
    /// Waits until all that was removed has given back what it held.
    func finishEmptying() throws(Errno) {
        try blocking { () throws(Pause) in
            if let wait = emptier.untilIdle { throw .wait(wait) }
        }
    }
}
