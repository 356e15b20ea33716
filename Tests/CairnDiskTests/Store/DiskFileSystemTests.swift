// mfs_disk as a whole filesystem: what only a store on a device can do wrong. The rules of POSIX over it
// are CairnTreeTests' affair.

import CairnBase
import CairnIO
import CairnTree
import CairnVFS
import Dispatch
import Testing

@testable import CairnDisk
@testable import CairnTestSupport

@Suite struct DiskFileSystemTests {
    private func bytes(_ count: Int, _ seed: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private static let methods: [Compression] = [.none, .lz4, .zstd]

    // D1, D2, D7: what is there before an unmount is there after the next mount.
    @Test(arguments: methods, [UInt32(4096), 16384])
    func everythingIsThereAfterARemount(_ method: Compression, _ blockSize: UInt32) throws {
        let device = try DiskGround.formatted(size: 64 << 20, blockSize: blockSize)
        var options = DiskGround.smallOptions
        options.compression = CompressionSetting(method: method)
        var random = SeededRandom(seed: UInt64(blockSize) + UInt64(method.rawValue))
        var before: String?
        for round in 0..<3 {
            let ground = DiskGround(device)
            let store = try ground.store(options)
            let s = try Session(store: store, time: ground.time)
            if let before { #expect(try s.dump() == before, "round \(round)") }
            try s.directory("/d\(round)")
            try s.make(
                .symbolicLink, "/d\(round)/link", target: String(repeating: "x", count: 3000))
            try s.make(.fifo, "/d\(round)/fifo")
            for index in 0..<12 {
                let path = "/d\(round)/f\(index)"
                let file = try s.file(path)
                let isText = random.oneIn(2)
                let count = [10, 1500, 5000, 70_000, 200_000][random.number(below: 5)]
                let content =
                    isText ? [UInt8](repeating: 97, count: count) : bytes(count, random.next())
                try s.write(file, content, at: .offset(random.oneIn(3) ? 100_000 : 0))
                if random.oneIn(3) {
                    try s.setAttribute(file, "user.small", [1, 2, 3])
                    try s.setAttribute(file, "user.large", bytes(9_000, random.next()))
                }
                if random.oneIn(3) { try s.truncate(path, UInt64(random.number(below: 200_000))) }
                if random.oneIn(3) { try s.write(file, bytes(100, 1), at: .offset(50_000)) }
                if random.oneIn(4) { try s.allocate(path, .punchHole, 8000, 60_000) }
                if random.oneIn(4) { try s.allocate(path, .reserve(keepSize: true), 0, 300_000) }
                if random.oneIn(6) { try s.unlink(path) }
                if random.oneIn(6) { try store.commit() }
            }
            try store.commit()
            before = try s.dump()
            try s.close()
            #expect(ground.reports == [], "round \(round)")
            try VolumeGround.expectSound(device, "round \(round)")
        }
    }

    // D1: names whose hashes are the same.
    @Test func namesWithTheSameHashAreKeptApart() throws {
        let device = try DiskGround.formatted(size: 16 << 20)
        var names = Set<String>()
        for round in 0..<3 {
            let ground = DiskGround(device)
            let s = try Session(store: try ground.store(hashBits: 2), time: ground.time)
            #expect(try Set(s.names("/")) == names)
            for index in 0..<100 {
                let name = "name \(round) \(index)"
                try s.file("/" + name, name)
                names.insert(name)
            }
            for name in names.sorted().prefix(40) {
                try s.unlink("/" + name)
                names.remove(name)
            }
            for name in names { #expect(try s.text("/" + name) == name) }
            #expect(try s.names("/").count == names.count)
            // Each position is one that a stream can go on from.
            var seen: [String] = []
            var cookie: UInt64 = 0
            while let entry = try s.entries(s.tree.root, after: cookie).first {
                seen.append(entry.name)
                cookie = entry.cookie
            }
            #expect(seen.sorted() == names.sorted())
            try s.close()
        }
    }

    // D8: damage to data is EIO, never wrong bytes, and is reported with its place.
    @Test(arguments: methods)
    func damagedDataIsAnError(_ method: Compression) throws {
        let device = try DiskGround.formatted(size: 16 << 20)
        var options = DiskGround.smallOptions
        options.compression = CompressionSetting(method: method)
        let content = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 100) }
        var start: UInt64 = 0
        do {
            let ground = DiskGround(device)
            let store = try ground.store(options)
            let s = try Session(store: store, time: ground.time)
            let file = try s.file("/f")
            try s.write(file, content, at: .offset(0))
            try store.commit()
            let extents = try blocking { () throws(Pause) in
                try store.extents(of: file.number, in: 0..<4096)
            }
            start = try #require(extents.first).record.address.rawValue * 4096
            try s.close()
        }
        let buffer = try AlignedBuffer(count: 4096)
        try device.read(into: buffer.memory, at: start)
        buffer.memory[100] ^= 4
        try device.write(buffer.bytes, at: start)
        let ground = DiskGround(device)
        let s = try Session(store: try ground.store(options), time: ground.time)
        let file = try s.inode("/f")
        #expect(throws: Errno.EIO) { try s.read(file, count: 4096) }
        #expect(ground.reports.contains { $0.contains("inode \(file.number)") })
        #expect(try s.read(file, at: 290_000, count: 10_000) == Array(content[290_000...]))
        try s.close()
    }

    // D5: a file that is placed in several parts and is written to again does not stop commits.
    @Test func aFilePlacedInPartsIsListedOnce() throws {
        let device = try DiskGround.formatted(size: 64 << 20)
        var options = DiskOptions()
        options.cacheBytes = 160 << 20
        options.dirtyBytes = 64 << 20
        let ground = DiskGround(device)
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        let file = try s.file("/f")
        let part = bytes(1 << 20, 1)
        // More than one batch.
        for index in 0..<20 { try s.write(file, part, at: .offset(UInt64(index) << 20)) }
        for round in 0..<2 {
            let done = DispatchSemaphore(value: 0)
            DispatchQueue.global().async {
                try? store.commit()
                done.signal()
            }
            try #require(done.wait(timeout: .now() + 60) == .success, "commit \(round) hangs")
            #expect(store.dirtyNodes.count <= 1)
            try s.write(file, [1, 2, 3], at: .offset(0))
        }
        try s.close()
        try VolumeGround.expectSound(device)
    }

    // D1: one placement overwrites several parts of one extent.
    @Test(arguments: methods)
    func severalPartsOfOneExtentAreOverwritten(_ method: Compression) throws {
        let device = try DiskGround.formatted(size: 16 << 20)
        var options = DiskGround.smallOptions
        options.compression = CompressionSetting(method: method)
        let ground = DiskGround(device)
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        let file = try s.file("/f")
        var content = [UInt8](repeating: 1, count: 40 * 4096)
        try s.write(file, content, at: .offset(0))
        try store.commit()
        for (round, blocks) in [[1, 3], [0, 2, 39], [5, 6, 20], [10, 30, 35]].enumerated() {
            for block in blocks {
                let part = [UInt8](repeating: UInt8(10 + round), count: 4096)
                try s.write(file, part, at: .offset(UInt64(block) * 4096))
                content.replaceSubrange(block * 4096..<(block + 1) * 4096, with: part)
            }
            try store.commit()
        }
        try s.close()
        try VolumeGround.expectSound(device)
        let again = DiskGround(device)
        let t = try Session(store: try again.store(options), time: again.time)
        #expect(try t.read(t.inode("/f"), count: 50 * 4096) == content)
        try t.close()
        #expect(ground.reports + again.reports == [])
    }

    // D6: everything that was used comes back, to the block.
    @Test func removingEverythingLeavesWhatMkfsLeft() throws {
        let device = try DiskGround.formatted(size: 32 << 20)
        func free() throws -> UInt64 {
            let ground = DiskGround(device)
            let s = try Session(store: try ground.store(), time: ground.time)
            defer { try? s.close() }
            return try s.statistics().freeBlocks
        }
        let before = try free()
        do {
            let ground = DiskGround(device)
            let store = try ground.store()
            let s = try Session(store: store, time: ground.time)
            for index in 0..<300 {
                let file = try s.file("/f\(index)")
                try s.write(file, bytes(1 + index * 97, 1), at: .offset(0))
                try s.setAttribute(file, "user.a", bytes(index * 9, 2))
                if index % 50 == 0 { try store.commit() }
            }
            try store.commit()
            for index in 0..<300 { try s.unlink("/f\(index)") }
            try s.close()
        }
        try VolumeGround.expectSound(device)
        #expect(try free() == before)
    }

    // D6: ENOSPC comes from the write; what was written before stays, and removing works.
    @Test(arguments: methods)
    func aFullFilesystemCanBeEmptied(_ method: Compression) throws {
        let device = try DiskGround.formatted(size: 8 << 20)
        var options = DiskGround.smallOptions
        options.compression = CompressionSetting(method: method)
        // Writers that are slowed down would wait for the clock, which stands.
        options.cacheBytes = 256 << 20
        let ground = DiskGround(device)
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        let small = bytes(3000, 3)
        for round in 0..<3 {
            var made: [String] = []
            var full: Errno?
            do {
                while true {
                    let path = "/f\(round) \(made.count)"
                    let file = try s.file(path)
                    made.append(path)
                    var offset: UInt64 = 0
                    for _ in 0...(made.count % 20) {
                        offset += UInt64(try s.write(file, small, at: .offset(offset)))
                    }
                }
            } catch {
                full = error
            }
            #expect(full == .ENOSPC)
            #expect(made.count > 20)
            for path in made { #expect(try s.read(s.inode(path), count: 3000).count <= 3000) }
            for path in made { try s.unlink(path) }
            try store.commit()
        }
        #expect(try s.names("/") == [])
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }

    // V5: a mount with a small cache keeps few nodes.
    @Test func nodesInMemoryFollowTheCache() throws {
        var options = DiskOptions()
        #expect(options.nodeLimit == 1 << 16)
        options.cacheBytes = DiskOptions.leastCache
        #expect(options.nodeLimit == 1024)
        let device = try DiskGround.formatted(size: 32 << 20)
        let mount = try SteppedMount(device, options, Stepper(seed: 1), nodeLimit: nil)
        let root = mount.fileSystem.root
        let node = NewNode(kind: .regular, permissions: Permissions(rawValue: 0o644))
        for index in 0..<4000 {
            try mount.attempt { () throws(Pause) in
                try FileName("f\(index)").withName { name throws(Pause) in
                    _ = try mount.vfs.create(name, in: root, node, by: Caller(.root))
                }
            }
        }
        #expect(mount.fileSystem.residentNodeCount < 1500)
        try mount.close()
    }

    // D6, V10: statfs tells at once what a write has taken, and again the same when it is on the device.
    @Test func statfsKnowsWhatIsPromised() throws {
        let device = try DiskGround.formatted(size: 64 << 20)
        let ground = DiskGround(device)
        var options = DiskGround.smallOptions
        options.cacheBytes = 128 << 20
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        let file = try s.file("/f")
        try store.commit()
        let before = try s.statistics()
        try s.write(file, [UInt8](repeating: 1, count: 8 << 20))
        let written = try s.statistics()
        #expect(written.freeBlocks == before.freeBlocks - 2048)
        #expect(written.availableBlocks <= before.availableBlocks - 2048)
        try store.commit()
        let placed = try s.statistics()
        #expect(placed.freeBlocks <= written.freeBlocks)
        #expect(placed.freeBlocks > written.freeBlocks - 64, "nodes for the extents")
        try s.unlink("/f")
        #expect(try s.statistics().freeBlocks > before.freeBlocks - 64)
        try s.close()
        #expect(ground.reports == [])
    }
}
