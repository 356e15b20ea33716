// V6, V15: descriptors, open descriptions, rights.

import Cairn
import Testing

@Suite struct DescriptorTests {
    let world: World
    let p: Process

    init() throws {
        world = try World()
        p = world.root
        try p.make("/file", "0123456789")
    }

    @Test func lowestFreeNumberIsTaken() throws {
        let numbers = try (0..<200).map { _ in try p.open("/file", .readOnly).rawValue }
        #expect(numbers == Array(0..<200))
        for closed in [Int32(7), 3, 150] { try p.close(Descriptor(rawValue: closed)) }
        for expected in [Int32(3), 7, 150, 200] {
            #expect(try p.open("/file", .readOnly).rawValue == expected)
        }
        #expect(try p.duplicate(Descriptor(rawValue: 0), from: 300).rawValue == 300)
        expect(.EBADF) { () throws(Errno) in try p.close(Descriptor(rawValue: 250)) }
        expect(.EBADF) { () throws(Errno) in try p.close(Descriptor(rawValue: -1)) }
    }

    @Test func limitIsEMFILE() throws {
        let few = try Process(in: world.namespace, descriptorLimit: 2)
        _ = try few.open("/file", .readOnly)
        _ = try few.open("/file", .readOnly)
        expect(.EMFILE) { () throws(Errno) in _ = try few.open("/file", .readOnly) }
    }

    @Test func duplicatesShareTheOffset() throws {
        let first = try p.open("/file", .readOnly)
        let second = try p.duplicate(first)
        let other = try p.open("/file", .readOnly)
        #expect(try p.get(first, 3) == "012")
        #expect(try p.get(second, 3) == "345")
        #expect(try p.get(other, 3) == "012")
        let child = try p.fork()
        #expect(try child.get(first, 2) == "67")
        #expect(try p.get(first, 2) == "89")
        child.exit()
        #expect(try p.seek(first, .start(1)) == 1)
        #expect(try p.get(second, 1) == "1")
    }

    @Test func execClosesWhatItShould() throws {
        let stays = try p.open("/file", .readOnly)
        let goes = try p.open("/file", [.readOnly, .closeOnExec])
        let child = try p.fork()
        child.exec()
        #expect(try child.get(stays, 1) == "0")
        expect(.EBADF) { () throws(Errno) in _ = try child.get(goes, 1) }
        #expect(try p.get(goes, 1) == "0")
        child.exit()
    }

    @Test func dup2ClosesItsTarget() throws {
        let first = try p.open("/file", .readOnly)
        let second = try p.open("/", .directory)
        try p.duplicate(first, onto: second)
        #expect(try p.get(second, 2) == "01")
        try p.duplicate(second, onto: second)
        #expect(try p.get(second, 1) == "2")
    }

    @Test func modesAreEnforced() throws {
        let reader = try p.open("/file", .readOnly)
        let writer = try p.open("/file", .writeOnly)
        let path = try p.open("/file", .path)
        expect(.EBADF) { () throws(Errno) in try p.put("x", to: reader) }
        expect(.EBADF) { () throws(Errno) in _ = try p.get(writer) }
        expect(.EBADF) { () throws(Errno) in _ = try p.get(path) }
        expect(.EBADF) { () throws(Errno) in try p.chmod(path, Permissions(rawValue: 0o600)) }
        #expect(try p.stat(path).size == 10)
        expect(.EINVAL) { () throws(Errno) in try p.truncate(reader, to: 0) }
        expect(.EISDIR) { () throws(Errno) in _ = try p.open("/", .readWrite) }
        expect(.ENOTDIR) { () throws(Errno) in _ = try p.open("/file", .directory) }
        try p.makeLink("/link", to: "file")
        expect(.ELOOP) { () throws(Errno) in _ = try p.open("/link", [.noFollow]) }
        expect(.EEXIST) { () throws(Errno) in _ = try p.open("/file", [.create, .exclusive]) }
    }

    @Test func appendGoesToTheEndAlways() throws {
        let append = try p.open("/file", [.readWrite, .append])
        _ = try p.seek(append, .start(0))
        try p.put("ab", to: append)
        #expect(try p.content("/file") == "0123456789ab")
        #expect(try p.seek(append, .current(0)) == 12)
        try p.setStatus(append, [])
        _ = try p.seek(append, .start(0))
        try p.put("X", to: append)
        #expect(try p.content("/file") == "X123456789ab")
    }

    @Test func unlinkedFileLivesWhileOpen() throws {  // V13
        let file = try p.open("/file", .readWrite)
        let free = try p.fileSystemStatistics("/").freeNodes
        try p.unlink("/file")
        #expect(try p.get(file) == "0123456789")
        #expect(try p.stat(file).linkCount == 0)
        try p.close(file)
        #expect(try p.fileSystemStatistics("/").freeNodes == free + 1)
    }

    @Test func temporaryFileHasNoNameUntilItIsLinked() throws {
        let file = try p.open("/", [.temporary, .readWrite])
        try p.put("hidden", to: file)
        #expect(try p.names("/") == ["file"])
        try p.link("", to: "/named", from: file)
        try p.close(file)
        #expect(try p.content("/named") == "hidden")
        let secret = try p.open("/", [.temporary, .exclusive, .readWrite])
        expect(.ENOENT) { () throws(Errno) in try p.link("", to: "/told", from: secret) }
    }

    @Test func noFileGrowsBeyondTheLimit() throws {  // V6, V7
        #expect(p.fileSizeLimit == .max)
        let child = try p.fork()
        child.fileSizeLimit = 12
        let grandchild = try child.fork()
        #expect(grandchild.fileSizeLimit == 12)
        let file = try child.open("/file", .readWrite)
        #expect(try child.put("abcd", to: file, at: 10) == 2)
        expect(.EFBIG) { () throws(Errno) in _ = try child.put("e", to: file, at: 12) }
        #expect(try child.put("", to: file, at: 20) == 0)
        #expect(try p.content("/file") == "0123456789ab")

        try p.truncate("/file", to: 10)
        let log = try child.open("/file", [.writeOnly, .append])
        #expect(try child.put("abcd", to: log, at: 0) == 2)
        expect(.EFBIG) { () throws(Errno) in _ = try child.put("e", to: log, at: 0) }
        let copy = try child.open("/copy", [.create, .readWrite])
        #expect(try child.copy(from: file, at: 0, to: copy, at: 10, length: 5) == 2)
        expect(.EFBIG) { () throws(Errno) in
            _ = try child.copy(from: file, at: 0, to: copy, at: 12, length: 5)
        }

        expect(.EFBIG) { () throws(Errno) in try child.truncate(file, to: 13) }
        expect(.EFBIG) { () throws(Errno) in try child.truncate("/file", to: 13) }
        expect(.EFBIG) { () throws(Errno) in
            try child.allocate(file, .reserve(keepSize: false), offset: 0, length: 13)
        }
        try child.allocate(file, .reserve(keepSize: true), offset: 0, length: 13)
        try child.truncate(file, to: 12)
        // What is larger already can be cut, and its beginning written.
        try p.truncate("/file", to: 100)
        #expect(try child.put("xyz", to: file, at: 0) == 3)
        try child.truncate(file, to: 50)
        grandchild.exit()
        child.exit()
    }

    @Test func rightsOnlyShrink() throws {  // V15
        let whole = try p.open("/file", .readWrite)
        let reader = try p.duplicate(whole, limitingTo: [.read])
        #expect(try p.get(reader, 2) == "01")
        #expect(try p.get(whole, 2) == "23", "one description, one offset")
        expect(.EACCES) { () throws(Errno) in try p.put("x", to: reader) }
        expect(.EACCES) { () throws(Errno) in
            try p.chmod(reader, Permissions(rawValue: 0o600))
        }
        expect(.EACCES) { () throws(Errno) in try p.fsync(reader) }
        let again = try p.duplicate(reader, limitingTo: .all)
        expect(.EACCES) { () throws(Errno) in try p.put("x", to: again) }
        let other = try world.user(1000)
        let handed = try p.send(whole, to: other, limitingTo: [.write])
        expect(.EACCES) { () throws(Errno) in _ = try other.get(handed) }
        try other.put("Y", to: handed)
        #expect(try p.content("/file") == "0123Y56789")
        let directory = try p.open("/", .directory)
        let closed = try p.duplicate(directory, limitingTo: [.read])
        expect(.EACCES) { () throws(Errno) in _ = try p.stat("file", at: closed) }
        let looking = try p.duplicate(directory, limitingTo: [.lookup])
        #expect(try p.stat("file", at: looking).size == 10)
        expect(.EACCES) { () throws(Errno) in try p.unlink("file", at: looking) }
    }

    @Test func concurrentAppendsAndReadsLoseNothing() throws {
        let threads = 4
        let each = 500
        let file = try p.open("/log", [.create, .writeOnly, .append])
        let p = p
        runThreads(threads) { index in
            for line in 0..<each {
                try? p.put("\(index):\(line)\n", to: file)
            }
        }
        let lines = try p.content("/log").split(separator: "\n").map(String.init)
        #expect(lines.count == threads * each)
        #expect(Set(lines).count == lines.count)
    }
}
