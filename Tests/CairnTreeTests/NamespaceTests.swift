// Names: making, linking, removing, listing (requirements V7, V13, M1), over every ground.

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Glibc
import Testing

/// Runs the body on a fresh filesystem and checks the tree afterwards.
func onFreshTree(
    _ ground: Ground, seed: UInt64 = 1, _ body: (Session) throws -> Void
) throws {
    let session = try Session(ground, seed: seed)
    defer { try? session.close() }
    try body(session)
    #expect(try session.tree.checkInvariants() == [])
}

@Suite struct NamespaceTests {
    @Test("A name leads to what was made under it", arguments: Ground.allCases)
    func create(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let made = try s.file("/a", mode: 0o640)
            #expect(try s.inode("/a").number == made.number)
            let attributes = try s.stat("/a")
            #expect(attributes.kind == .regular)
            #expect(attributes.permissions.rawValue == 0o640)
            #expect(attributes.linkCount == 1)
            #expect(attributes.size == 0)
            #expect(throws: Errno.EEXIST) { try s.file("/a") }
            #expect(throws: Errno.ENOENT) { try s.inode("/b") }
            #expect(throws: Errno.ENOTDIR) { try s.file("/a/x") }
            #expect(throws: Errno.ENOTDIR) { try s.inode("/a/x") }
        }
    }

    @Test("Directories count their subdirectories", arguments: Ground.allCases)
    func directoryLinks(_ ground: Ground) throws {  // T1
        try onFreshTree(ground) { s in
            #expect(try s.stat("/").linkCount == 2)
            try s.directory("/d")
            try s.directory("/d/e")
            try s.file("/d/f")
            #expect(try s.stat("/").linkCount == 3)
            #expect(try s.stat("/d").linkCount == 3)
            #expect(try s.stat("/d/e").linkCount == 2)
            #expect(throws: Errno.ENOTEMPTY) { try s.rmdir("/d") }
            #expect(throws: Errno.ENOTDIR) { try s.rmdir("/d/f") }
            #expect(throws: Errno.EISDIR) { try s.unlink("/d/e") }
            try s.rmdir("/d/e")
            #expect(try s.stat("/d").linkCount == 2)
            try s.unlink("/d/f")
            try s.rmdir("/d")
            #expect(try s.stat("/").linkCount == 2)
            #expect(throws: Errno.ENOENT) { try s.rmdir("/d") }
        }
    }

    @Test("A directory knows the one above, wherever it is moved", arguments: Ground.allCases)
    func parents(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let a = try s.directory("/a")
            let b = try s.directory("/b")
            let c = try s.directory("/a/c")
            func above(_ inode: Inode) throws -> UInt64? {
                try blocking { () throws(Pause) in try inode.parentDirectory() }?.number
            }
            #expect(try above(c) == a.number)
            try s.rename("/a/c", "/b/c")
            #expect(try above(c) == b.number)
            #expect(try above(s.tree.root) == s.tree.root.number)
        }
    }

    @Test("Hard links share one file", arguments: Ground.allCases)
    func hardLinks(_ ground: Ground) throws {  // M1
        try onFreshTree(ground) { s in
            try s.file("/a", "one")
            try s.directory("/d")
            try s.link("/a", "/d/b")
            #expect(try s.stat("/a").linkCount == 2)
            #expect(try s.stat("/d/b").number == s.stat("/a").number)
            try s.write("/d/b", "two")
            #expect(try s.text("/a") == "two")
            #expect(throws: Errno.EEXIST) { try s.link("/a", "/d/b") }
            #expect(throws: Errno.EPERM) { try s.link("/d", "/e") }
            try s.unlink("/a")
            #expect(try s.stat("/d/b").linkCount == 1)
            #expect(try s.text("/d/b") == "two")
        }
    }

    @Test(
        "Symbolic links and special nodes keep what they were made with", arguments: Ground.allCases
    )
    func specialNodes(_ ground: Ground) throws {  // V12
        try onFreshTree(ground) { s in
            let target = String(repeating: "x/", count: 2000)
            try s.make(.symbolicLink, "/l", mode: 0o600, umask: 0o777, target: target)
            #expect(try s.target("/l") == target)
            #expect(try s.stat("/l").size == 4000)
            #expect(try s.stat("/l").permissions.rawValue == 0o777)
            let device: UInt64 = 8 << 32 | 3
            try s.make(.blockDevice, "/b", device: device)
            #expect(try s.stat("/b").device == device)
            try s.make(.fifo, "/f", device: device)
            #expect(try s.stat("/f").device == 0)
            try s.make(.socket, "/s")
            #expect(try Set(s.entries(s.tree.root).map(\.kind.rawValue)) == [10, 6, 1, 12])
            #expect(throws: Errno.EINVAL) { try s.target("/f") }
            #expect(throws: Errno.EINVAL) { try s.read(s.inode("/f")) }
        }
    }

    @Test("An unlinked file works while it is held, and is gone after", arguments: Ground.allCases)
    func orphans(_ ground: Ground) throws {  // V13
        try onFreshTree(ground) { s in
            let free = try s.statistics()
            let file = try s.file("/a", "text")
            #expect(file.hold())
            #expect(file.hold())
            try s.unlink("/a")
            #expect(try s.stat(file).linkCount == 0)
            #expect(try s.text(file) == "text")
            try s.write(file, "more", at: .end)
            #expect(try s.text(file) == "textmore")
            #expect(throws: Errno.ENOENT) { try s.link(file, "/b") }
            #expect(try s.tree.checkInvariants() == [])
            file.drop()
            #expect(try s.text(file) == "textmore")
            file.drop()
            try eventually { file.isReleased && (try? s.tree.checkInvariants()) == [] }
            #expect(!file.hold())
            #expect(throws: Errno.ENOENT) { try s.read(file) }
            #expect(try s.stat(file).linkCount == 0)
            #expect(try s.statistics().freeNodes == free.freeNodes)
            #expect(try s.statistics().freeBlocks == free.freeBlocks)
        }
    }

    @Test("A temporary file can be given a name, once", arguments: Ground.allCases)
    func temporary(_ ground: Ground) throws {  // V6
        try onFreshTree(ground) { s in
            let file = try s.temporary(in: "/")
            #expect(try s.stat(file).linkCount == 0)
            #expect(try s.names("/") == [])
            try s.write(file, "text")
            try s.link(file, "/a")
            #expect(try s.stat("/a").linkCount == 1)
            file.drop()
            #expect(try s.text("/a") == "text")
            let other = try s.temporary(in: "/")
            other.drop()
            try eventually { other.isReleased && (try? s.tree.checkInvariants()) == [] }
            #expect(throws: Errno.ENOENT) { try s.link(other, "/b") }
        }
    }

    @Test("Nothing can be made in a directory that was removed", arguments: Ground.allCases)
    func removedDirectory(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let directory = try s.directory("/d")
            try s.directory("/other")
            try s.file("/f")
            #expect(directory.hold())
            try s.rmdir("/d")
            let caller = s.caller
            let node = NewNode(kind: .regular, permissions: [])
            #expect(throws: Errno.ENOENT) {
                try s.within(directory, "x") { name, directory throws(Pause) in
                    try s.vfs.create(name, in: directory, node, by: caller)
                }
            }
            let file = try s.inode("/f")
            #expect(throws: Errno.ENOENT) {
                try s.within(directory, "x") { name, directory throws(Pause) in
                    try s.vfs.link(file, as: name, in: directory, by: caller)
                }
            }
            #expect(throws: Errno.ENOENT) {
                try s.within(s.tree.root, "f") { name, root throws(Pause) in
                    try s.vfs.rename(name, in: root, to: name, in: directory, flags: [], by: caller)
                }
            }
            #expect(throws: Errno.ENOENT) { try s.names(directory) }
            #expect(throws: Errno.ENOENT) {
                try blocking { () throws(Pause) in
                    _ = try s.vfs.createTemporary(in: directory, node, by: caller)
                }
            }
            #expect(try s.stat(directory).linkCount == 0)
            directory.drop()
            try eventually { directory.isReleased }
        }
    }

    @Test(
        "A listing shows what stays exactly once, while names come and go",
        arguments: Ground.allCases)
    func listing(_ ground: Ground) throws {  // V8
        try onFreshTree(ground) { s in
            let directory = try s.directory("/d")
            for index in 0..<60 { try s.file("/d/stays\(index)") }
            for index in 0..<60 { try s.file("/d/goes\(index)") }
            var seen: [String] = []
            var cookie: UInt64 = 0
            var step = 0
            while case let part = try s.entries(directory, after: cookie, atMost: 7), !part.isEmpty
            {
                seen += part.map(\.name)
                cookie = part[part.count - 1].cookie
                for index in min(60, step * 5)..<min(60, step * 5 + 5) {
                    try s.unlink("/d/goes\(index)")
                }
                try s.file("/d/comes\(step)")
                step += 1
                if step > 60 { break }
            }
            #expect(Set(seen).count == seen.count)
            #expect(seen.filter { $0.hasPrefix("stays") }.count == 60)
            #expect(try s.names(directory).filter { $0.hasPrefix("goes") } == [])
        }
    }

    @Test("A file has no more names than its filesystem can count")
    func linkLimit() throws {
        let time = ManualTime()
        let s = try Session(store: RecordStore(time: time, maximumLinkCount: 4), time: time)
        defer { try? s.close() }
        try s.file("/f")
        for index in 0..<3 { try s.link("/f", "/l\(index)") }
        #expect(throws: Errno.EMLINK) { try s.link("/f", "/x") }
        try s.directory("/a")
        try s.directory("/b")
        #expect(throws: Errno.EMLINK) { try s.directory("/c") }
        try s.directory("/a/1")
        try s.directory("/a/2")
        try s.directory("/b/1")
        #expect(throws: Errno.EMLINK) { try s.rename("/b/1", "/a/3") }
        try s.rename("/b/1", "/a/1")
        #expect(try s.tree.checkInvariants() == [])
    }

    @Test("Changes of names are dated", arguments: Ground.allCases)
    func times(_ ground: Ground) throws {  // V10
        try onFreshTree(ground) { s in
            func tick() -> Timestamp {
                s.time.advance(nanoseconds: 1_000_000_007)
                return s.time.now()
            }
            try s.directory("/d")
            let made = tick()
            try s.file("/d/f")
            let file = try s.stat("/d/f")
            #expect(file.birthTime == made)
            #expect(file.accessTime == made)
            #expect(file.modificationTime == made)
            #expect(file.changeTime == made)
            #expect(try s.stat("/d").modificationTime == made)
            #expect(try s.stat("/d").changeTime == made)
            let linked = tick()
            try s.link("/d/f", "/d/g")
            #expect(try s.stat("/d/f").changeTime == linked)
            #expect(try s.stat("/d/f").modificationTime == made)
            #expect(try s.stat("/d").modificationTime == linked)
            let unlinked = tick()
            try s.unlink("/d/g")
            #expect(try s.stat("/d/f").changeTime == unlinked)
            #expect(try s.stat("/d").changeTime == unlinked)
            try s.directory("/e")
            let moved = tick()
            try s.rename("/d/f", "/e/f")
            #expect(try s.stat("/e/f").changeTime == moved)
            #expect(try s.stat("/e/f").modificationTime == made)
            #expect(try s.stat("/d").modificationTime == moved)
            #expect(try s.stat("/e").modificationTime == moved)
            #expect(try s.stat("/e/f").birthTime == made)
        }
    }
}

/// Waits until something that happens in the background has happened.
func eventually(_ condition: () -> Bool) throws {
    for _ in 0..<20_000 {
        if condition() { return }
        usleep(1000)
    }
    Issue.record("it did not happen")
}
