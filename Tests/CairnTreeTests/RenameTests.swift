// renameat2 (requirements V7, T1), over every ground.

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Testing

@Suite struct RenameTests {
    @Test("A file moves with all that it is", arguments: Ground.allCases)
    func plain(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let file = try s.file("/a", "text")
            try s.directory("/d")
            try s.rename("/a", "/b")
            #expect(try s.names("/").sorted() == ["b", "d"])
            try s.rename("/b", "/d/c")
            #expect(try s.inode("/d/c").number == file.number)
            #expect(try s.text("/d/c") == "text")
            #expect(throws: Errno.ENOENT) { try s.rename("/b", "/x") }
            #expect(throws: Errno.ENOENT) { try s.rename("/nowhere/b", "/x") }
            try s.rename("/d/c", "/d/c")
            #expect(try s.text("/d/c") == "text")
        }
    }

    @Test(
        "A file that is replaced goes, unless it has other names or holders",
        arguments: Ground.allCases)
    func replacesFile(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let free = try s.statistics().freeNodes
            try s.file("/a", "new")
            let old = try s.file("/b", "old")
            try s.rename("/a", "/b")
            #expect(try s.text("/b") == "new")
            #expect(old.isReleased)
            #expect(try s.statistics().freeNodes == free - (free == 0 ? 0 : 1))

            let linked = try s.file("/c", "linked")
            try s.link("/c", "/c2")
            try s.rename("/b", "/c")
            #expect(try s.stat(linked).linkCount == 1)
            #expect(try s.text("/c2") == "linked")
            #expect(try s.text("/c") == "new")

            let held = try s.file("/h", "held")
            #expect(held.hold())
            try s.rename("/c", "/h")
            #expect(try s.text(held) == "held")
            #expect(try s.stat(held).linkCount == 0)
            held.drop()
            try eventually { held.isReleased && (try? s.tree.checkInvariants()) == [] }
        }
    }

    @Test("Two names of one file stay two names", arguments: Ground.allCases)
    func sameFile(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            try s.file("/a", "x")
            try s.link("/a", "/b")
            try s.rename("/a", "/b")
            #expect(try s.names("/").sorted() == ["a", "b"])
            #expect(try s.stat("/a").linkCount == 2)
            #expect(throws: Errno.EEXIST) { try s.rename("/a", "/b", .noReplace) }
        }
    }

    @Test("Kinds that do not fit are refused", arguments: Ground.allCases)
    func kinds(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            try s.file("/f")
            try s.directory("/d")
            try s.directory("/full")
            try s.file("/full/x")
            #expect(throws: Errno.EISDIR) { try s.rename("/f", "/d") }
            #expect(throws: Errno.ENOTDIR) { try s.rename("/d", "/f") }
            #expect(throws: Errno.ENOTEMPTY) { try s.rename("/d", "/full") }
            #expect(throws: Errno.EEXIST) { try s.rename("/f", "/d", .noReplace) }
            #expect(throws: Errno.ENOENT) { try s.rename("/f", "/none", .exchange) }
            #expect(throws: Errno.EINVAL) { try s.rename("/f", "/d", [.exchange, .noReplace]) }
            try s.rename("/f", "/g", .noReplace)
            #expect(try s.names("/").sorted() == ["d", "full", "g"])
        }
    }

    @Test("Directories that move keep link counts right", arguments: Ground.allCases)
    func directories(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            for path in ["/a", "/b", "/a/x", "/b/empty"] { try s.directory(path) }
            try s.file("/a/x/f")
            try s.rename("/a/x", "/b/x")
            #expect(try s.stat("/a").linkCount == 2)
            #expect(try s.stat("/b").linkCount == 4)
            try s.rename("/b/x", "/b/empty")
            #expect(try s.stat("/b").linkCount == 3)
            #expect(try s.names("/b/empty") == ["f"])
            try s.rename("/b/empty", "/a")
            #expect(try s.names("/").sorted() == ["a", "b"])
            #expect(try s.stat("/").linkCount == 4)
            #expect(try s.names("/a") == ["f"])
        }
    }

    @Test("A directory never comes below itself", arguments: Ground.allCases)
    func loops(_ ground: Ground) throws {  // T1
        try onFreshTree(ground) { s in
            for path in ["/a", "/a/b", "/a/b/c", "/o"] { try s.directory(path) }
            #expect(throws: Errno.EINVAL) { try s.rename("/a", "/a/b/c/x") }
            #expect(throws: Errno.EINVAL) { try s.rename("/a", "/a/x") }
            #expect(throws: Errno.EINVAL) { try s.rename("/a", "/a/b") }
            #expect(throws: Errno.ENOTEMPTY) { try s.rename("/a/b/c", "/a") }
            #expect(throws: Errno.EINVAL) { try s.rename("/a/b/c", "/a", .exchange) }
            #expect(throws: Errno.EINVAL) { try s.rename("/a", "/a/b/c", .exchange) }
            try s.file("/a/b/c/f")
            #expect(throws: Errno.ENOTEMPTY) { try s.rename("/a/b/c/f", "/a") }
            try s.rename("/a/b", "/o/b")
            try s.rename("/a", "/o/b/c/a")
            #expect(try s.names("/o/b/c").sorted() == ["a", "f"])
        }
    }

    @Test("An exchange swaps whatever the names lead to", arguments: Ground.allCases)
    func exchange(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            for path in ["/a", "/b", "/a/d"] { try s.directory(path) }
            try s.file("/b/f", "file")
            try s.file("/a/d/in", "inside")
            try s.rename("/a/d", "/b/f", .exchange)
            #expect(try s.text("/a/d") == "file")
            #expect(try s.text("/b/f/in") == "inside")
            #expect(try s.stat("/a").linkCount == 2)
            #expect(try s.stat("/b").linkCount == 3)
            try s.rename("/a/d", "/b/f", .exchange)
            #expect(try s.text("/b/f") == "file")
            try s.rename("/a", "/b", .exchange)
            #expect(try s.names("/b") == ["d"])
        }
    }

    @Test("What was checked and is no longer there is looked at again", arguments: Ground.allCases)
    func stale(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let a = try s.file("/a")
            let b = try s.file("/b")
            let root = s.tree.root
            func rename(expecting moved: Inode, replacing replaced: Inode?) throws(Errno) {
                try FileName("b").withName { newName throws(Errno) in
                    try s.within(root, "a") { name, root throws(Pause) in
                        try root.rename(
                            name, expecting: moved, to: root, newName, replacing: replaced,
                            flags: [], by: .root)
                    }
                }
            }
            #expect(throws: Errno.ESTALE) { try rename(expecting: b, replacing: nil) }
            #expect(throws: Errno.ESTALE) { try rename(expecting: a, replacing: nil) }
            #expect(throws: Errno.ESTALE) { try rename(expecting: a, replacing: a) }
            #expect(throws: Errno.ESTALE) {
                try s.within(root, "a") { name, root throws(Pause) in
                    try root.remove(name, directory: false, expecting: b, by: .root)
                }
            }
            try rename(expecting: a, replacing: b)
            #expect(try s.names("/") == ["b"])
        }
    }
}
