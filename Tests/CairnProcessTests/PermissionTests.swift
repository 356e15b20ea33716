// V9, V10, V11: permissions, times, attributes.

import Cairn
import Testing

@Suite struct PermissionTests {
    let world: World
    let root: Process
    let owner: Process
    let member: Process
    let other: Process

    init() throws {
        world = try World()
        root = world.root
        owner = try world.user(1000, group: 100)
        member = try world.user(2000, group: 200, groups: [100])
        other = try world.user(3000)
        try root.chmod("/", Permissions(rawValue: 0o777))
        try owner.make("/file", "text", 0o640)
    }

    @Test func classesAreOwnerGroupOthers() throws {
        #expect(try owner.content("/file") == "text")
        #expect(try member.content("/file") == "text")
        expect(.EACCES) { () throws(Errno) in _ = try member.open("/file", .writeOnly) }
        expect(.EACCES) { () throws(Errno) in _ = try other.open("/file", .readOnly) }
        #expect(try root.content("/file") == "text")
        try owner.chmod("/file", Permissions(rawValue: 0o066))
        expect(.EACCES) { () throws(Errno) in _ = try owner.content("/file") }
        expect(.EACCES) { () throws(Errno) in try root.access("/file", .execute) }
    }

    @Test func accessListsAreHonoured() throws {
        let list = try AccessControlList([
            .init(.owner, access: 6), .init(.user, access: 4, qualifier: 3000),
            .init(.owningGroup, access: 4), .init(.mask, access: 4), .init(.others, access: 0),
        ])
        try owner.setExtendedAttribute(
            "system.posix_acl_access", of: "/file", to: list.encoded())
        #expect(try other.content("/file") == "text")
        expect(.EACCES) { () throws(Errno) in _ = try other.open("/file", .writeOnly) }
        try owner.chmod("/file", Permissions(rawValue: 0o600))
        expect(.EACCES) { () throws(Errno) in _ = try other.open("/file", .readOnly) }
        expect(.EPERM) { () throws(Errno) in
            try other.setExtendedAttribute(
                "system.posix_acl_access", of: "/file", to: list.encoded())
        }
    }

    @Test func stickyDirectoriesProtectNames() throws {
        try root.makeDirectory("/tmp")
        try root.chmod("/tmp", Permissions(rawValue: 0o1777))
        try owner.make("/tmp/mine")
        expect(.EPERM) { () throws(Errno) in try other.unlink("/tmp/mine") }
        expect(.EPERM) { () throws(Errno) in try other.rename("/tmp/mine", to: "/tmp/yours") }
        try other.make("/tmp/his")
        expect(.EPERM) { () throws(Errno) in try other.rename("/tmp/his", to: "/tmp/mine") }
        try owner.unlink("/tmp/mine")
    }

    @Test func onlyOwnersChangeModesAndTimes() throws {
        expect(.EPERM) { () throws(Errno) in
            try member.chmod("/file", Permissions(rawValue: 0o666))
        }
        expect(.EPERM) { () throws(Errno) in try owner.chown("/file", user: 2000, group: nil) }
        expect(.EPERM) { () throws(Errno) in try owner.chown("/file", user: nil, group: 200) }
        try owner.chown("/file", user: nil, group: 100)
        expect(.EPERM) { () throws(Errno) in
            try member.setTimes("/file", access: .keep, modification: .set(Timestamp(seconds: 1)))
        }
        expect(.EACCES) { () throws(Errno) in
            try other.setTimes("/file", access: .now, modification: .now)
        }
        try owner.chmod("/file", Permissions(rawValue: 0o646))
        try other.setTimes("/file", access: .now, modification: .now)
    }

    @Test func setIDBitsGoWithWritesAndOwners() throws {
        try owner.chmod("/file", Permissions(rawValue: 0o6755))
        let file = try owner.open("/file", .writeOnly)
        try owner.put("x", to: file)
        #expect(try owner.stat("/file").permissions.rawValue == 0o755)
        try owner.chmod("/file", Permissions(rawValue: 0o6755))
        try root.chown("/file", user: 1000, group: 100)
        #expect(try owner.stat("/file").permissions.rawValue == 0o755)
        try other.makeDirectory("/shared")
        try root.chown("/shared", user: 3000, group: 100)
        try root.chmod("/shared", Permissions(rawValue: 0o2777))
        try other.make("/shared/file")
        #expect(try root.stat("/shared/file").group == 100)
        try other.makeDirectory("/shared/dir")
        #expect(try root.stat("/shared/dir").permissions.contains(.setGroupID))
    }

    @Test func umaskTakesBits() throws {
        owner.umask(Permissions(rawValue: 0o077))
        try owner.make("/private", "", 0o666)
        #expect(try root.stat("/private").permissions.rawValue == 0o600)
    }

    @Test func extendedAttributesFollowTheirSpaces() throws {
        try owner.setExtendedAttribute("user.note", of: "/file", to: Array("hello".utf8))
        #expect(try member.extendedAttribute("user.note", of: "/file") == Array("hello".utf8))
        expect(.EACCES) { () throws(Errno) in
            _ = try other.extendedAttribute("user.note", of: "/file")
        }
        expect(.EPERM) { () throws(Errno) in
            try owner.setExtendedAttribute("trusted.x", of: "/file", to: [1])
        }
        try root.setExtendedAttribute("trusted.x", of: "/file", to: [1])
        #expect(try owner.extendedAttributeNames(of: "/file") == ["user.note"])
        #expect(Set(try root.extendedAttributeNames(of: "/file")) == ["user.note", "trusted.x"])
        expect(.EOPNOTSUPP) { () throws(Errno) in
            try root.setExtendedAttribute("other.x", of: "/file", to: [1])
        }
        expect(.E2BIG) { () throws(Errno) in
            try owner.setExtendedAttribute(
                "user.big", of: "/file", to: [UInt8](repeating: 0, count: 65537))
        }
        try root.makeLink("/link", to: "file")
        expect(.EPERM) { () throws(Errno) in
            try root.setExtendedAttribute(
                "user.x", of: "/link", to: [1], followingLinks: false)
        }
    }

    @Test func immutableAndAppendOnlyAreKept() throws {
        let file = try root.open("/file", .readOnly)
        try root.setFlags(file, [.appendOnly])
        expect(.EPERM) { () throws(Errno) in _ = try root.open("/file", .writeOnly) }
        expect(.EPERM) { () throws(Errno) in try root.unlink("/file") }
        let append = try root.open("/file", [.writeOnly, .append])
        try root.put("!", to: append)
        try root.setFlags(file, [.immutable])
        expect(.EPERM) { () throws(Errno) in _ = try root.open("/file", [.writeOnly, .append]) }
        expect(.EPERM) { () throws(Errno) in try root.chmod("/file", Permissions(rawValue: 0)) }
        expect(.EPERM) { () throws(Errno) in try root.link("/file", to: "/second") }
        try root.setFlags(file, [])
        try root.unlink("/file")
    }

    @Test func timesMoveAsPosixSays() throws {
        let before = try root.stat("/")
        world.time.advance(nanoseconds: 1_000_000_000)
        try root.make("/new", "text")
        let after = try root.stat("/")
        #expect(after.modificationTime > before.modificationTime)
        #expect(after.changeTime > before.changeTime)
        let made = try root.stat("/new")
        world.time.advance(nanoseconds: 1_000_000_000)
        _ = try root.content("/new")
        let read = try root.stat("/new")
        #expect(read.accessTime > made.accessTime, "relatime notes the first read after a change")
        #expect(read.modificationTime == made.modificationTime)
        world.time.advance(nanoseconds: 1_000_000_000)
        _ = try root.content("/new")
        #expect(try root.stat("/new").accessTime == read.accessTime)
        world.time.advance(nanoseconds: 86_400_000_000_000)
        _ = try root.content("/new")
        #expect(try root.stat("/new").accessTime > read.accessTime, "a day later it does again")
        try root.chmod("/new", Permissions(rawValue: 0o600))
        let changed = try root.stat("/new")
        #expect(changed.changeTime > read.changeTime)
        #expect(changed.birthTime == made.birthTime)
    }
}
