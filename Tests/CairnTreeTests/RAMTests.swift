// What stands below the tree in memory: the directory index, chunks, accounts and options
// (requirement M1).

import CairnBase
import CairnTestPace
import CairnTestSupport
import CairnTree
import CairnVFS
import Dispatch
import Testing

@testable import CairnRAM

@Suite struct RAMTests {
    // MARK: Directories

    @Test("A large directory finds and lists what it has, through growth and decay")
    func directoryIndex() throws {
        let time = ManualTime()
        let s = try Session(store: Ground.memoryStore(time: time), time: time)
        let node = try #require(s.tree.root as? TreeNode)
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let arena = ChunkArena()
        var index = DirectoryIndex()
        var expected: [Int: UInt64] = [:]
        var lastCookie: UInt64 = 0
        func check() throws {
            try #require(index.count == expected.count, "seed \(seed)")
            var seen: [UInt64] = []
            index.list(after: 0) { record in
                seen.append(record.cookie)
                return true
            }
            try #require(seen == seen.sorted(), "seed \(seed)")
            try #require(Set(seen).count == expected.count, "seed \(seed)")
            lastCookie = seen.last ?? lastCookie
        }
        for target in [20_000, 200, 5_000, 0, 1_500, 3] {
            while expected.count != target {
                let number = random.number(below: 40_000)
                let name = FileName("entry number \(number)")
                let isGrowing = expected.count < target
                name.withName { name in
                    if expected[number] == nil {
                        guard isGrowing else { return }
                        #expect(index.find(name) == nil)
                        index.insert(name, to: node, in: arena)
                        expected[number] = index.find(name)?.cookie
                    } else if !isGrowing {
                        index.remove(name, in: arena)
                        expected[number] = nil
                    }
                }
            }
            try check()
            for (number, cookie) in expected {
                let found = FileName("entry number \(number)").withName { index.find($0)?.cookie }
                try #require(found == cookie, "seed \(seed)")
            }
            if target == 0 {
                #expect(index.tables == nil)
                #expect(index.segmentCount == 0)
            }
        }
        // A listing can be taken up after any cookie, also one whose entry is gone.
        var after = 0
        index.list(after: lastCookie - 1) { _ in
            after += 1
            return true
        }
        #expect(after == 1)
        index.removeAll(in: arena)
        try s.close()
    }

    @Test("A name that comes and goes does not make its directory grow")
    func churn() throws {
        let time = ManualTime()
        let s = try Session(store: Ground.memoryStore(time: time), time: time)
        let node = try #require(s.tree.root as? TreeNode)
        let arena = ChunkArena()
        var index = DirectoryIndex()
        FileName("stays").withName { index.insert($0, to: node, in: arena) }
        for round in 0..<rounds(20_000) {
            FileName("temporary \(round)").withName {
                index.insert($0, to: node, in: arena)
                index.remove($0, in: arena)
            }
        }
        #expect(index.segmentCount <= 2)
        index.removeAll(in: arena)
        try s.close()
    }

    @Test("A directory that made room for a name gives it back with its last one")
    func room() throws {
        let time = ManualTime()
        let s = try Session(store: Ground.memoryStore(time: time), time: time)
        let node = try #require(s.tree.root as? TreeNode)
        let arena = ChunkArena()
        var index = DirectoryIndex()
        let times = rounds(3000)
        for round in 0..<times {
            let (old, new) = (FileName("name \(round)"), FileName("name \(round + 1)"))
            if round == 0 { old.withName { index.insert($0, to: node, in: arena) } }
            // As a rename does.
            #expect(new.withName { index.makeRoom(for: $0, in: arena) })
            old.withName { index.remove($0, in: arena) }
            new.withName { index.insert($0, to: node, in: arena) }
            #expect(index.count == 1)
            #expect(old.withName { index.find($0) } == nil)
            #expect(new.withName { index.find($0) } != nil)
        }
        #expect(index.segmentCount <= 2)
        FileName("name \(times)").withName { index.remove($0, in: arena) }
        #expect(index.tables == nil)
        try s.close()
    }

    @Test("Each further name of a file counts, as in tmpfs")
    func linksCount() throws {
        let time = ManualTime()
        let s = try Session(store: Ground.memoryStore(nodes: 10, time: time), time: time)
        let free = try s.statistics().freeNodes
        #expect(free == 9)
        try s.file("/f")
        for number in 1..<9 { try s.link("/f", "/\(number)") }
        #expect(try s.statistics().freeNodes == 0)
        #expect(throws: Errno.ENOSPC) { try s.link("/f", "/9") }
        #expect(throws: Errno.ENOSPC) { try s.file("/g") }
        // Neither a name that moves nor one that is exchanged is a further one.
        try s.rename("/f", "/9")
        try s.rename("/9", "/8", .exchange)
        try s.unlink("/1")
        #expect(try s.statistics().freeNodes == 1)
        try s.file("/g")
        try s.rename("/g", "/2")
        #expect(try s.statistics().freeNodes == 1)
        for name in ["2", "3", "4", "5", "6", "7", "8", "9"] { try s.unlink("/\(name)") }
        #expect(try s.statistics().freeNodes == free)
        // The first name of a file that had none is no further one.
        let unnamed = try s.temporary(in: "/")
        #expect(try s.statistics().freeNodes == free - 1)
        try s.link(unnamed, "/t")
        unnamed.drop()
        #expect(try s.statistics().freeNodes == free - 1)
        try s.unlink("/t")
        #expect(try s.statistics().freeNodes == free)
        try s.close()
    }

    // MARK: Accounts

    @Test("An account gives out exactly its limit, to however many threads")
    func account() {
        let account = SpaceAccount(limit: 100_003, batch: 1000)
        let lock = TestLock()
        nonisolated(unsafe) var total = 0  // guarded by lock
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            var taken = 0
            while account.take(thread + 1) { taken += thread + 1 }
            while account.take(1) { taken += 1 }
            lock.withLock { total += taken }
        }
        // What one thread had in hand when another was refused.
        while account.take(1) { total += 1 }
        #expect(total == 100_003)
        #expect(account.left == 0)
        account.give(100_003)
        #expect(account.left == 100_003)
        #expect(account.take(100_003))
        #expect(!account.take(1))
    }

    @Test("No two nodes get one number, whichever threads ask")
    func numbers() {
        let source = NumberSource(above: 1)
        let lock = TestLock()
        nonisolated(unsafe) var all: Set<UInt64> = []  // guarded by lock
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
            let drawn = (0..<5000).map { _ in source.next() }
            lock.withLock { all.formUnion(drawn) }
        }
        #expect(all.count == 40_000)
        #expect(all.allSatisfy { $0 > 1 })
    }

    @Test("Random changes of data leave the account exact")
    func exactAccount() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let space = RAMSpace(byteLimit: 3 << 20, nodeLimit: 10)
        var data = FileData()
        var size: UInt64 = 0
        let bytes = [UInt8](repeating: 5, count: 200_000)
        for _ in 0..<rounds(3000) {
            let offset = UInt64(random.number(below: 8 << 20))
            let length = UInt64(random.number(below: 200_000) + 1)
            switch random.number(below: 5) {
            case 0, 1:
                let written = bytes.withUnsafeBytes { buffer in
                    data.write(
                        UnsafeRawBufferPointer(rebasing: buffer[..<Int(length)]), at: offset,
                        size: size, in: space)
                }
                size = max(size, offset + UInt64(written))
            case 2:
                data.punch(offset..<offset + length, in: space)
            case 3:
                if offset < size {
                    data.cut(to: offset, in: space)
                    size = offset
                }
            default:
                let range = offset..<offset + length
                if space.bytes.take(data.cost(of: range)) {
                    let isReserved = data.reserve(range, in: space)
                    #expect(isReserved)
                    size = max(size, range.upperBound)
                }
            }
            try #require(space.bytes.left + data.held == 3 << 20, "seed \(seed)")
        }
        data.removeAll(in: space)
        #expect(data.held == 0)
        #expect(data.root == 0)
        #expect(space.bytes.left == 3 << 20, "seed \(seed)")
    }

    @Test("Reserving more than there is fails at once, also without a limit")
    func hugeReservation() throws {
        let time = ManualTime()
        let s = try Session(
            store: Ground.memoryStore(bytes: UInt64(Int.max / 2), time: time), time: time)
        try s.file("/f")
        for length: UInt64 in [1 << 45, 1 << 62] {
            #expect(throws: Errno.ENOSPC) {
                try s.allocate("/f", .reserve(keepSize: false), 0, length)
            }
        }
        #expect(try s.stat("/f").blocks == 0)
        try s.close()
    }

    @Test("Zeroing what has its place costs nothing and gives nothing back")
    func zeroingIsNoGain() throws {
        let time = ManualTime()
        let s = try Session(store: Ground.memoryStore(bytes: 5 << 20, time: time), time: time)
        let empty = try s.statistics().freeBlocks
        let file = try s.file("/f")
        try s.write(file, [UInt8](repeating: 7, count: 4 << 20))
        for _ in 0..<8 {
            try s.allocate("/f", .zero(keepSize: true), 0, 4 << 20)
            let held = try s.stat("/f").blocks * 512 / 4096
            #expect(try s.statistics().freeBlocks + held == empty)
        }
        #expect(try s.read(file, count: 4 << 20) == [UInt8](repeating: 0, count: 4 << 20))
        // Over the file's end, and over a hole.
        try s.allocate("/f", .punchHole, 1 << 20, 1 << 20)
        try s.write(file, [7])
        try s.allocate("/f", .zero(keepSize: false), 0, (4 << 20) + 100_000)
        let held = try s.stat("/f").blocks * 512 / 4096
        #expect(held >= (4 << 20) / 4096)
        #expect(try s.statistics().freeBlocks + held == empty)
        #expect(try s.read(file, count: 1) == [0])
        try s.close()
    }

    // MARK: The type

    private func open(_ text: String) throws(MountFailure) -> (FileSystem, String?) {
        var options = MountOptionList(text)
        let type = RAMFileSystemType(defaultSize: 8 << 20)
        let fileSystem = try type.open(source: "none", options: &options, in: VFS())
        return (fileSystem, options.firstUnknown)
    }

    @Test("Options are those of tmpfs, and unknown ones are left")
    func options() throws {
        let (plain, _) = try open("")
        func statistics(_ fileSystem: FileSystem) throws -> FileSystemStatistics {
            try blocking { () throws(Pause) in try fileSystem.statistics() }
        }
        #expect(try statistics(plain).totalBlocks == 2048)
        #expect(plain.typeName == "mfs_ram")
        let (given, unknown) = try open("size=1M,nr_inodes=100,mode=1777,uid=5,gid=6,other=x")
        #expect(unknown == "other")
        #expect(try statistics(given).totalBlocks == 256)
        #expect(try statistics(given).totalNodes == 100)
        #expect(given.optionsDescription == "size=1024k")
        let root = try blocking { () throws(Pause) in try given.root.attributes() }
        #expect(root.permissions.rawValue == 0o1777)
        #expect(root.user == 5 && root.group == 6)
        #expect(throws: MountFailure.self) { try open("mode=9") }
        #expect(throws: MountFailure.self) { try open("mode=17777") }
        #expect(throws: MountFailure.self) { try open("size=lots") }
        for fileSystem in [plain, given] {
            try blocking { () throws(Pause) in try fileSystem.close() }
        }
    }
}
