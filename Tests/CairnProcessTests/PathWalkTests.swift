// V4, T1: path walk.

import Cairn
import Testing

@Suite struct PathWalkTests {
    let world: World
    let p: Process

    init() throws {
        world = try World()
        p = world.root
        try p.makeDirectory("/a")
        try p.makeDirectory("/a/b")
        try p.make("/a/b/file", "content")
    }

    @Test func emptyPartsAndDotsLeadToTheSameFile() throws {
        let number = try p.stat("/a/b/file").number
        for path in ["//a//b///file", "/./a/./b/./file", "/a/../a/b/../b/file", "/../../a/b/file"] {
            #expect(try p.stat(Path(path)).number == number, "\(path)")
        }
        try p.changeDirectory("/a")
        for path in ["b/file", "./b/file", "../a/b/file"] {
            #expect(try p.stat(Path(path)).number == number, "\(path)")
        }
    }

    @Test func emptyPathIsNoFile() {
        expect(.ENOENT) { () throws(Errno) in _ = try p.stat("") }
        expect(.ENOENT) { () throws(Errno) in try p.makeDirectory("") }
    }

    @Test func lengthsAreLimitedAsOnLinux() throws {
        let longest = String(repeating: "n", count: 255)
        try p.make(Path("/" + longest))
        expect(.ENAMETOOLONG) { () throws(Errno) in _ = try p.stat(Path("/" + longest + "n")) }
        expect(.ENAMETOOLONG) { () throws(Errno) in try p.makeDirectory(Path("/" + longest + "n")) }
        let deep = String(repeating: "/.", count: 2047)
        #expect(deep.utf8.count == 4094)
        _ = try p.stat(Path(deep))
        _ = try p.stat(Path(deep + "/"))
        expect(.ENAMETOOLONG) { () throws(Errno) in _ = try p.stat(Path(deep + "//")) }
    }

    @Test func namesAreBytesAndHaveNoNUL() throws {
        let name: [UInt8] = [UInt8(ascii: "/"), 0xFF, 0xFE, 0x80]
        try p.make(Path(name))
        #expect(try p.stat(Path(name)).kind == .regular)
        expect(.EINVAL) { () throws(Errno) in _ = try p.stat(Path([0x2F, 0x61, 0, 0x62])) }
    }

    @Test func trailingSlashAsksForADirectory() throws {
        _ = try p.stat("/a/")
        expect(.ENOTDIR) { () throws(Errno) in _ = try p.stat("/a/b/file/") }
        expect(.ENOTDIR) { () throws(Errno) in try p.unlink("/a/b/file/") }
        expect(.EISDIR) { () throws(Errno) in _ = try p.open("/a/new/", [.create, .writeOnly]) }
        try p.makeDirectory("/a/new/")
        try p.removeDirectory("/a/new/")
        expect(.ENOTDIR) { () throws(Errno) in try p.rename("/a/b/file", to: "/a/moved/") }
    }

    @Test func fileInTheMiddleIsNoDirectory() {
        expect(.ENOTDIR) { () throws(Errno) in _ = try p.stat("/a/b/file/x") }
        expect(.ENOTDIR) { () throws(Errno) in _ = try p.stat("/a/b/file/..") }
    }

    @Test func linksAreFollowedUpToForty() throws {
        try p.make("/l0")
        for index in 1...41 {
            try p.makeLink(Path("/l\(index)"), to: Path("l\(index - 1)"))
        }
        #expect(try p.stat("/l40").kind == .regular)
        expect(.ELOOP) { () throws(Errno) in _ = try p.stat("/l41") }
        #expect(try p.stat("/l41", followingLinks: false).kind == .symbolicLink)
        try p.makeLink("/self", to: "self")
        expect(.ELOOP) { () throws(Errno) in _ = try p.stat("/self") }
        try p.makeLink("/one", to: "two")
        try p.makeLink("/two", to: "one")
        expect(.ELOOP) { () throws(Errno) in _ = try p.open("/one", [.create, .writeOnly]) }
    }

    @Test func linksLeadRelativelyAndAbsolutely() throws {
        try p.makeLink("/a/up", to: "../a/b")
        try p.makeLink("/a/root", to: "/a/b")
        try p.makeLink("/a/b/back", to: "..")
        #expect(try p.content("/a/up/file") == "content")
        #expect(try p.content("/a/root/file") == "content")
        #expect(try p.content("/a/up/back/b/file") == "content")
        #expect(try p.stat("/a/up/", followingLinks: false).isDirectory)
        try p.makeLink("/dangling", to: "nowhere")
        expect(.ENOENT) { () throws(Errno) in _ = try p.stat("/dangling") }
        expect(.EEXIST) { () throws(Errno) in _ = try p.open("/dangling", [.create, .exclusive]) }
        try p.close(try p.open("/dangling", [.create, .writeOnly]))
        #expect(try p.stat("/nowhere").kind == .regular)
    }

    @Test func pathsStartAtADescriptor() throws {
        let directory = try p.open("/a", [.directory, .path])
        #expect(try p.stat("b/file", at: directory).size == 7)
        #expect(try p.stat("", at: directory).isDirectory)
        let file = try p.open("/a/b/file", .readOnly)
        expect(.ENOTDIR) { () throws(Errno) in _ = try p.stat("x", at: file) }
        expect(.EBADF) { () throws(Errno) in _ = try p.stat("x", at: Descriptor(rawValue: 99)) }
        #expect(try p.stat("/a", at: Descriptor(rawValue: 99)).isDirectory)
    }

    @Test func rootOfAProcessIsAsHighAsItGets() throws {
        try p.changeRoot("/a")
        try p.changeDirectory("/")
        #expect(try p.content("/b/file") == "content")
        #expect(try p.content("/../../b/file") == "content")
        #expect(try p.currentDirectory() == Array("/".utf8))
        try p.changeDirectory("b")
        #expect(try p.currentDirectory() == Array("/b".utf8))
    }

    @Test func searchNeedsPermission() throws {
        try p.chmod("/a", Permissions(rawValue: 0o700))
        let other = try world.user(1000)
        expect(.EACCES) { () throws(Errno) in _ = try other.stat("/a/b/file") }
        try p.chmod("/a", Permissions(rawValue: 0o711))
        #expect(try other.stat("/a/b/file").size == 7)
    }

    @Test func workingDirectoryCanBeRemoved() throws {
        try p.makeDirectory("/gone")
        try p.changeDirectory("/gone")
        try p.removeDirectory("/gone")
        expect(.ENOENT) { () throws(Errno) in _ = try p.currentDirectory() }
        expect(.ENOENT) { () throws(Errno) in try p.make("x") }
        #expect(try p.stat(".").linkCount == 0)
    }
}
