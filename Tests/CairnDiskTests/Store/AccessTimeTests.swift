// Times of last access of mfs_disk: kept in memory while only they are new, and what makes them durable.

import CairnBase
import CairnIO
import CairnTree
import CairnVFS
import Dispatch
import Testing

@testable import CairnDisk
@testable import CairnTestSupport

@Suite struct AccessTimeTests {
    private static let count = 200

    /// A filesystem with files, and a mount of it some seconds later.
    private struct Mounted {
        let device: MemoryDevice
        let ground: DiskGround
        let store: DiskStore
        let s: Session
        /// When the files were made.
        let made: Timestamp

        init(_ options: DiskOptions = DiskGround.smallOptions) throws {
            device = try DiskGround.formatted(size: 16 << 20)
            let time = ManualTime()
            made = time.now()
            do {
                let ground = DiskGround(device, time: time)
                let s = try Session(store: try ground.store(options), time: time)
                for index in 0..<AccessTimeTests.count { try s.file("/f\(index)", "text") }
                try s.close()
            }
            time.advance(nanoseconds: 5_000_000_000)
            ground = DiskGround(device, time: time)
            store = try ground.store(options)
            s = try Session(store: store, time: time)
        }

        func readAll() throws {
            for index in 0..<AccessTimeTests.count {
                let file = try s.inode("/f\(index)")
                file.noteAccess(.relative)
                #expect(try s.stat(file).accessTime == s.time.now())
            }
        }

        func end() throws {
            try s.close()
            #expect(ground.reports == [])
            try VolumeGround.expectSound(device)
        }

        /// What a mount after a crash now would find.
        func afterACrash(_ name: String) throws -> Timestamp {
            let ground = DiskGround(try device.copy(), time: s.time)
            let s = try Session(store: try ground.store(), time: s.time)
            defer { try? s.close() }
            return try s.stat(name).accessTime
        }

        /// What the record says.
        func recorded(_ file: Inode) throws -> Timestamp? {
            try blocking { () throws(Pause) in
                try store.find(.inode, of: file.number, 0, .empty) { value throws(RecordDamage) in
                    try InodeRecord(decoding: value).accessTime
                }
            }
        }
    }

    // V11: reading keeps the time of access, without a change for each file; it is there after an unmount.
    @Test func timesOfAccessAreWrittenTogether() throws {
        var options = DiskGround.smallOptions
        options.cacheBytes = 64 << 20
        let m = try Mounted(options)
        let before = m.store.volume.syncTarget()
        let commits = m.store.volume.statistics.commits
        try m.readAll()
        let read = m.s.time.now()
        #expect(m.store.volume.syncTarget() == before, "nothing was changed")
        #expect(m.store.accessTimes.count == AccessTimeTests.count)
        // One that is gone meanwhile stays gone, one that is changed is recorded with that.
        try m.s.unlink("/f7")
        try m.s.set("/f8") { $0.permissions = Permissions(rawValue: 0o600) }
        #expect(try m.recorded(m.s.inode("/f8")) == read)
        #expect(try m.recorded(m.s.inode("/f9")) == m.made)
        try m.end()
        #expect(m.store.volume.statistics.commits <= commits + 2)
        let ground = DiskGround(m.device, time: m.s.time)
        let s = try Session(store: try ground.store(), time: m.s.time)
        for index in 0..<AccessTimeTests.count where index != 7 {
            #expect(try s.stat("/f\(index)").accessTime == read)
        }
        #expect(throws: Errno.ENOENT) { try s.inode("/f7") }
        try s.close()
        #expect(ground.reports == [])
    }

    // D1: fsync takes the file's own along, fdatasync need not, and a sync of all takes all.
    @Test func aSyncMakesThemDurable() throws {
        let m = try Mounted()
        let read = m.s.time.now()
        for name in ["/f1", "/f2", "/f3"] { try m.s.inode(name).noteAccess(.relative) }
        try m.s.fsync(m.s.inode("/f3"), dataOnly: true)
        #expect(try m.afterACrash("/f3") == m.made)
        try m.s.fsync(m.s.inode("/f1"))
        #expect(try m.afterACrash("/f1") == read)
        #expect(try m.afterACrash("/f2") == m.made)
        var point = SyncPoint()
        try blocking { () throws(Pause) in try m.s.tree.sync(&point) }
        #expect(try m.afterACrash("/f2") == read)
        #expect(m.store.accessTimes.count == 0)
        try m.end()
    }

    // D1: a time that a program sets is a change like others, in whatever moment it comes.
    @Test func aTimeThatIsSetIsAChange() throws {
        let m = try Mounted()
        try m.s.set("/f1") { $0.permissions = Permissions(rawValue: 0o600) }
        let before = m.store.volume.syncTarget()
        // The clock has not moved: nothing but the time of access differs.
        let set = Timestamp(seconds: 12, nanoseconds: 34)
        try m.s.set("/f1") { $0.accessTime = .set(set) }
        #expect(before < m.store.volume.syncTarget())
        #expect(m.store.accessTimes.count == 0)
        try m.s.fsync(m.s.inode("/f2"))
        #expect(try m.afterACrash("/f1") == set)
        try m.end()
    }

    // V11: they do not wait for ever.
    @Test func afterAWhileACommitTakesThem() throws {
        let m = try Mounted()
        let read = m.s.time.now()
        let file = try m.s.inode("/f1")
        file.noteAccess(.relative)
        try m.s.file("/new")
        try m.store.commit()
        #expect(try m.recorded(file) == m.made)
        m.ground.timers.advance(nanoseconds: AccessTimes.patienceNanoseconds)
        try m.store.commit()
        #expect(try m.recorded(file) == read)
        #expect(try m.afterACrash("/f1") == read)
        try m.end()
    }

    // V5: the memory for them is bounded, also where no commit comes in time.
    @Test func manyAreRecordedSoon() throws {
        var options = DiskGround.smallOptions
        options.cacheBytes = DiskOptions.leastCache
        #expect(options.accessTimeLimit < AccessTimeTests.count)
        let m = try Mounted(options)
        for index in 0..<AccessTimeTests.count {
            try m.s.inode("/f\(index)").noteAccess(.relative)
            #expect(m.store.accessTimes.count <= options.accessTimeLimit)
        }
        let read = m.s.time.now()
        try m.end()
        #expect(m.store.accessTimes.count == 0)
        let s = try Session(store: try DiskGround(m.device, time: m.s.time).store(), time: m.s.time)
        for index in 0..<AccessTimeTests.count {
            #expect(try s.stat("/f\(index)").accessTime == read)
        }
        try s.close()
    }

    // D6: where there is no room for them, nothing fails.
    @Test func onAFullFilesystemTheyMayStayOld() throws {
        let device = try DiskGround.formatted(size: 8 << 20, nodeSize: 4096)
        let ground = DiskGround(device)
        let store = try ground.store()
        let s = try Session(store: store, time: ground.time)
        let target = String(repeating: "t", count: 1000)
        var made = 0
        #expect(throws: Errno.ENOSPC) {
            while true {
                try s.file("/f\(made)")
                made += 1
                try s.make(.symbolicLink, "/l\(made)", target: target)
            }
        }
        ground.time.advance(nanoseconds: 5_000_000_000)
        for index in 0..<made { try s.inode("/f\(index)").noteAccess(.relative) }
        for index in stride(from: 0, to: made, by: 50) { try s.fsync(s.inode("/f\(index)")) }
        for index in 0..<made { try s.unlink("/f\(index)") }
        try s.close()
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device)
    }

    // While some read, some change, and some sync.
    @Test func manyThreadsReadAndChange() throws {
        var options = DiskGround.smallOptions
        options.cacheBytes = DiskOptions.leastCache
        let m = try Mounted(options)
        let s = m.s
        let store = m.store
        let failures = Reports()
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            var random = SeededRandom(seed: UInt64(thread))
            do {
                for _ in 0..<300 {
                    let name = "/f\(random.number(below: 100))"
                    switch (thread, random.number(below: 20)) {
                    case (0, 0...4):
                        try s.set(name) { $0.permissions = Permissions(rawValue: 0o600) }
                    case (1, 0): try s.fsync(s.inode(name))
                    case (1, 1): try store.commit()
                    case (1, 2):
                        try s.unlink("/f\(100 + random.number(below: 100))")
                    default:
                        try s.inode(name).noteAccess(.strict)
                        let other = try? s.inode("/f\(100 + random.number(below: 100))")
                        other?.noteAccess(.strict)
                    }
                }
            } catch {
                if error as? Errno != .ENOENT { failures.add("\(thread): \(error)") }
            }
        }
        #expect(failures.all == [])
        try m.end()
    }
}
