// The cache of nodes over a store that can load them again (requirements V5, T1).

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Testing

@Suite struct NodeCacheTests {
    private func session(limit: Int) throws -> (Session, RecordStore) {
        let time = ManualTime()
        let store = RecordStore(time: time)
        return (try Session(store: store, time: time, nodeLimit: limit), store)
    }

    @Test("Nodes that nobody uses leave, and come back as they were")
    func bounded() throws {  // V5
        let (s, _) = try session(limit: 64)
        for index in 0..<2000 { try s.file("/f\(index)", "\(index)") }
        #expect(s.tree.residentNodeCount < 300)
        for index in stride(from: 0, to: 2000, by: 37) {
            #expect(try s.text("/f\(index)") == "\(index)")
        }
        #expect(s.tree.residentNodeCount < 300)
        #expect(try s.tree.checkInvariants() == [])
        try s.close()
    }

    @Test("A node that is in use stays the same object")
    func identity() throws {
        let (s, _) = try session(limit: 1)
        let file = try s.file("/kept", "x")
        for index in 0..<500 { try s.file("/f\(index)") }
        s.vfs.dentries.shrink(to: 0)
        s.tree.shrink(to: 0)
        s.tree.shrink(to: 0)
        #expect(s.tree.residentNodeCount == 2)
        #expect(try s.inode("/kept") === file)
        try s.close()
    }

    @Test("An orphan stays in memory and is freed by its last holder")
    func orphan() throws {  // V13
        let (s, store) = try session(limit: 1)
        let number: UInt64
        do {
            let file = try s.file("/f", "text")
            number = file.number
            #expect(file.hold())
            try s.unlink("/f")
            #expect(store.orphans == [number])
            s.tree.shrink(to: 0)
            #expect(try s.text(file) == "text")
            file.drop()
        }
        #expect(store.orphans == [])
        #expect(store.recordCount == 1)
        try s.close()
    }

    @Test("A file without links that O_TMPFILE made is an orphan until it has a name")
    func temporary() throws {
        let (s, store) = try session(limit: 1)
        let file = try s.temporary(in: "/")
        #expect(store.orphans == [file.number])
        try s.link(file, "/f")
        #expect(store.orphans == [])
        file.drop()
        #expect(try s.stat("/f").linkCount == 1)
        try s.close()
    }

    @Test("What another machine changed is read again")
    func forget() throws {
        let (s, store) = try session(limit: 100)
        let file = try s.file("/f")
        store.changeBehindTheTree(file.number) { $0.user = 77 }
        #expect(try s.stat(file).user == 0)
        s.tree.forget(node: file.number)
        #expect(try s.stat(file).user == 77)
        let directory = try s.directory("/d")
        func isOpen() -> Bool { directory.isSearchableByAll.load(ordering: .acquiring) }
        #expect(isOpen())
        store.changeBehindTheTree(directory.number) { $0.permissions = [] }
        s.tree.forget(node: directory.number)
        #expect(try s.names(directory) == [])
        #expect(!isOpen())
        s.tree.forget(node: 4711)
        try s.close()
    }

    @Test("A closed filesystem leaves nothing behind")
    func noLeak() throws {  // M1
        for ground in Ground.allCases {
            weak var tree: TreeFileSystem?
            weak var inode: Inode?
            do {
                let s = try Session(ground)
                tree = s.tree
                try s.directory("/d")
                inode = try s.file("/d/f", String(repeating: "x", count: 100_000))
                try s.setAttribute(s.inode("/d/f"), "user.a", [1])
                try s.make(.symbolicLink, "/l", target: "d")
                try s.close()
            }
            try eventually { tree == nil && inode == nil }
        }
    }
}
