// Modes, owners, times, flags, extended attributes and ACLs (requirements V9–V11), over every
// ground.

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Testing

private let alice = Credentials(user: 1000, group: 100, groups: [101])

@Suite struct AttributeTests {
    @Test("A new node belongs to its maker, within the umask", arguments: Ground.allCases)
    func owners(_ ground: Ground) throws {  // V9
        try onFreshTree(ground) { s in
            let a = s.as(alice)
            try a.file("/f", mode: 0o6777, umask: 0o027)
            #expect(try s.stat("/f").permissions.rawValue == 0o6750)
            #expect(try s.stat("/f").user == 1000)
            #expect(try s.stat("/f").group == 100)
            try a.directory("/d", mode: 0o7777, umask: 0o022)
            #expect(try s.stat("/d").permissions.rawValue == 0o1755)
        }
    }

    @Test("A set-group-id directory hands its group on", arguments: Ground.allCases)
    func setGroupID(_ ground: Ground) throws {  // V9
        try onFreshTree(ground) { s in
            try s.directory("/d")
            try s.set("/d") {
                $0.group = 500
                $0.permissions = Permissions(rawValue: 0o2777)
            }
            let a = s.as(alice)
            try a.directory("/d/sub", mode: 0o755)
            #expect(try s.stat("/d/sub").group == 500)
            #expect(try s.stat("/d/sub").permissions.rawValue == 0o2755)
            // Not a member: no executable that runs as the group.
            try a.file("/d/f", mode: 0o2755)
            #expect(try s.stat("/d/f").group == 500)
            #expect(try s.stat("/d/f").permissions.rawValue == 0o755)
            try a.file("/d/g", mode: 0o2744)
            #expect(try s.stat("/d/g").permissions.rawValue == 0o2744)
            try s.set("/d") { $0.group = 101 }
            try a.file("/d/h", mode: 0o2755)
            #expect(try s.stat("/d/h").permissions.rawValue == 0o2755)
            let temporary = try a.temporary(in: "/d")
            #expect(try s.stat(temporary).group == 101)
            temporary.drop()
        }
    }

    @Test("What is made takes over how its directory keeps data", arguments: Ground.allCases)
    func inheritedFlags(_ ground: Ground) throws {  // V11
        try onFreshTree(ground) { s in
            for (path, flags) in [
                ("/c", FileFlags.compress), ("/n", .noCopyOnWrite), ("/s", .sync),
            ] {
                try s.directory(path)
                try s.set(path) { $0.flags = [flags, .noDump] }
                try s.file(path + "/f", "text")
                try s.directory(path + "/d")
                try s.make(.symbolicLink, path + "/l", target: "f")
                #expect(try s.stat(path + "/f").flags == flags)
                #expect(try s.stat(path + "/d").flags == flags)
                #expect(try s.stat(path + "/l").flags == [])
                let temporary = try s.temporary(in: path)
                #expect(try s.stat(temporary).flags == flags)
                temporary.drop()
                #expect(try s.text(path + "/f") == "text")
            }
        }
    }

    @Test("chmod and chown have their effects in one step", arguments: Ground.allCases)
    func change(_ ground: Ground) throws {  // V9, V10
        try onFreshTree(ground) { s in
            let file = try s.file("/f", "data")
            s.time.advance(nanoseconds: 1_000_000_000)
            let now = s.time.now()
            let after = try s.set(file) {
                $0.permissions = Permissions(rawValue: 0o6755)
                $0.user = 7
                $0.group = 8
                $0.modificationTime = .set(Timestamp(seconds: -5, nanoseconds: 999_999_999))
            }
            #expect(after == (try s.stat(file)))
            #expect(after.permissions.rawValue == 0o6755)
            #expect(after.user == 7 && after.group == 8)
            #expect(after.modificationTime == Timestamp(seconds: -5, nanoseconds: 999_999_999))
            #expect(after.changeTime == now)
            try s.set(file) {
                $0.user = 9
                $0.clearsPrivileges = true
            }
            #expect(try s.stat(file).permissions.rawValue == 0o755)
            // Only a member of the group may set the bit that runs as it.
            try s.as(alice).set(file) { $0.permissions = Permissions(rawValue: 0o2755) }
            #expect(try s.stat(file).permissions.rawValue == 0o755)
            s.time.advance(nanoseconds: 1)
            try s.set(file) { _ in }
            #expect(try s.stat(file).changeTime == now)
            try s.set(file) {
                $0.accessTime = .now
                $0.changeTime = Timestamp(seconds: 3)
            }
            #expect(try s.stat(file).accessTime == s.time.now())
            #expect(try s.stat(file).changeTime == Timestamp(seconds: 3))
        }
    }

    @Test("isSearchableByAll follows the mode and the ACL", arguments: Ground.allCases)
    func searchable(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let directory = try s.directory("/d", mode: 0o755)
            #expect(directory.hold())
            func isOpen() -> Bool { directory.isSearchableByAll.load(ordering: .acquiring) }
            #expect(isOpen())
            try s.set(directory) { $0.permissions = Permissions(rawValue: 0o750) }
            #expect(!isOpen())
            try s.set(directory) { $0.permissions = Permissions(rawValue: 0o711) }
            #expect(isOpen())
            try s.setAttribute(directory, "system.posix_acl_access", list(user: 5, access: 0))
            #expect(!isOpen())
            try s.setAttribute(directory, "system.posix_acl_access", nil)
            try s.set(directory) { $0.permissions = Permissions(rawValue: 0o755) }
            #expect(isOpen())
            directory.drop()
        }
    }

    @Test("Immutable and append-only files stay as they are", arguments: Ground.allCases)
    func flags(_ ground: Ground) throws {  // V7
        try onFreshTree(ground) { s in
            try s.file("/f", "text")
            try s.directory("/d")
            try s.file("/d/x")
            #expect(throws: Errno.EPERM) { try s.as(alice).set("/f") { $0.flags = .immutable } }
            try s.set("/f") { $0.flags = .immutable }
            #expect(throws: Errno.EPERM) { try s.write("/f", "x") }
            #expect(throws: Errno.EPERM) { try s.truncate("/f", 0) }
            #expect(throws: Errno.EPERM) { try s.set("/f") { $0.permissions = [] } }
            #expect(throws: Errno.EPERM) { try s.set("/f") { $0.accessTime = .now } }
            #expect(throws: Errno.EPERM) { try s.unlink("/f") }
            #expect(throws: Errno.EPERM) { try s.rename("/f", "/g") }
            #expect(throws: Errno.EPERM) { try s.link("/f", "/g") }
            #expect(throws: Errno.EPERM) { try s.allocate("/f", .punchHole, 0, 1) }
            #expect(throws: Errno.EPERM) { try s.setAttribute(s.inode("/f"), "user.a", []) }
            try s.file("/over")
            #expect(throws: Errno.EPERM) { try s.rename("/over", "/f") }
            try s.set("/f") { $0.flags = .appendOnly }
            #expect(throws: Errno.EPERM) { try s.write("/f", "x") }
            try s.write("/f", "+", at: .end)
            #expect(try s.text("/f") == "text+")
            #expect(throws: Errno.EPERM) { try s.truncate("/f", 0) }
            try s.set("/f") { $0.accessTime = .now }
            try s.set("/f") { $0.flags = [] }
            try s.unlink("/f")
            try s.set("/d") { $0.flags = .immutable }
            #expect(throws: Errno.EPERM) { try s.file("/d/y") }
            #expect(throws: Errno.EPERM) { try s.unlink("/d/x") }
            #expect(throws: Errno.EPERM) { try s.rename("/over", "/d/y") }
            try s.set("/d") { $0.flags = .appendOnly }
            try s.file("/d/y")
            #expect(throws: Errno.EPERM) { try s.unlink("/d/x") }
            #expect(throws: Errno.EPERM) { try s.rename("/d/x", "/x") }
            try s.set("/d") { $0.flags = [] }
        }
    }

    @Test("Extended attributes keep Linux's rules", arguments: Ground.allCases)
    func extendedAttributes(_ ground: Ground) throws {  // V11
        try onFreshTree(ground) { s in
            let file = try s.file("/f")
            let changed = try s.stat(file).changeTime
            s.time.advance(nanoseconds: 1)
            try s.setAttribute(file, "user.one", [1, 2, 3])
            #expect(try s.stat(file).changeTime > changed)
            #expect(try s.attribute(file, "user.one") == [1, 2, 3])
            #expect(throws: Errno.ERANGE) { try s.attribute(file, "user.one", room: 2) }
            #expect(throws: Errno.EEXIST) { try s.setAttribute(file, "user.one", [], .create) }
            #expect(throws: Errno.ENODATA) { try s.setAttribute(file, "user.two", [], .replace) }
            try s.setAttribute(file, "user.one", [9], .replace)
            try s.setAttribute(file, "trusted.two", [], .create)
            #expect(try s.attribute(file, "trusted.two") == [])
            #expect(try s.attributeNames(file).sorted() == ["trusted.two", "user.one"])
            #expect(throws: Errno.ERANGE) { try s.attributeNames(file, room: 5) }
            try s.setAttribute(file, "user.big", [UInt8](repeating: 1, count: 65_536))
            #expect(try s.attribute(file, "user.big").count == 65_536)
            #expect(throws: Errno.E2BIG) {
                try s.setAttribute(file, "user.big", [UInt8](repeating: 1, count: 65_537))
            }
            let long = "user." + String(repeating: "n", count: 250)
            try s.setAttribute(file, long, [5])
            #expect(try s.attribute(file, long) == [5])
            #expect(throws: Errno.ERANGE) { try s.setAttribute(file, long + "n", [5]) }
            #expect(throws: Errno.ERANGE) { try s.setAttribute(file, "", [5]) }
            #expect(throws: Errno.EINVAL) { try s.setAttribute(file, "user.", [5]) }
            #expect(throws: Errno.EOPNOTSUPP) { try s.setAttribute(file, "other.x", [5]) }
            #expect(throws: Errno.EOPNOTSUPP) { try s.setAttribute(file, "system.x", [5]) }
            #expect(throws: Errno.ENODATA) { try s.setAttribute(file, "user.none", nil) }
            try s.setAttribute(file, "user.one", nil)
            #expect(throws: Errno.ENODATA) { try s.attribute(file, "user.one") }
            try s.make(.symbolicLink, "/l", target: "f")
            let link = try s.inode("/l")
            #expect(throws: Errno.EPERM) { try s.setAttribute(link, "user.x", []) }
            #expect(throws: Errno.ENODATA) { try s.attribute(link, "user.x") }
            try s.setAttribute(link, "security.x", [4])
            #expect(try s.attribute(link, "security.x") == [4])
            #expect(throws: Errno.EOPNOTSUPP) {
                try s.setAttribute(link, "system.posix_acl_access", list(user: 1, access: 4))
            }
        }
    }

    /// An ACL's bytes: owner rwx, a user, group rx, mask rwx, others r.
    private func list(user: UInt32, access: UInt32, mask: UInt32 = 7) throws -> [UInt8] {
        try AccessControlList([
            .init(.owner, access: 7), .init(.user, access: access, qualifier: user),
            .init(.owningGroup, access: 5), .init(.mask, access: mask), .init(.others, access: 4),
        ]).encoded()
    }

    @Test("An ACL and the mode say the same", arguments: Ground.allCases)
    func accessLists(_ ground: Ground) throws {  // V9
        try onFreshTree(ground) { s in
            let file = try s.file("/f", mode: 0o600)
            func parsed(_ kind: AccessControlList.Kind = .access) throws -> AccessControlList? {
                try blocking { () throws(Pause) in try file.accessControlList(kind) }
            }
            #expect(try parsed() == nil)
            try s.setAttribute(file, "system.posix_acl_access", list(user: 5, access: 6, mask: 6))
            #expect(try s.stat(file).permissions.rawValue == 0o764)
            #expect(try parsed()?.entries.count == 5)
            try s.set(file) { $0.permissions = Permissions(rawValue: 0o640) }
            #expect(try parsed()?.entries[3].access == 4)
            #expect(try parsed()?.entries[2].access == 5)
            #expect(
                try s.attribute(file, "system.posix_acl_access") == parsed()?.encoded())
            #expect(throws: Errno.EINVAL) {
                try s.setAttribute(file, "system.posix_acl_access", [2, 0, 0, 0, 9])
            }
            #expect(throws: Errno.EACCES) {
                try s.setAttribute(file, "system.posix_acl_default", list(user: 5, access: 6))
            }
            // What says no more than the mode is not kept.
            let minimal = AccessControlList(permissions: Permissions(rawValue: 0o604))
            try s.setAttribute(file, "system.posix_acl_access", minimal.encoded())
            #expect(try s.stat(file).permissions.rawValue == 0o604)
            #expect(try parsed() == nil)
            #expect(throws: Errno.ENODATA) { try s.attribute(file, "system.posix_acl_access") }
            try s.setAttribute(file, "system.posix_acl_access", nil)
        }
    }

    @Test("A default ACL is inherited instead of the umask", arguments: Ground.allCases)
    func defaultLists(_ ground: Ground) throws {  // V9
        try onFreshTree(ground) { s in
            let directory = try s.directory("/d")
            let bytes = try list(user: 5, access: 7)
            try s.setAttribute(directory, "system.posix_acl_default", bytes)
            #expect(try s.stat(directory).permissions.rawValue == 0o755)
            try s.file("/d/f", mode: 0o666, umask: 0o077)
            #expect(try s.stat("/d/f").permissions.rawValue == 0o664)
            let file = try s.inode("/d/f")
            let inherited = try blocking { () throws(Pause) in
                try file.accessControlList(.access)
            }
            #expect(inherited?.entries[1].access == 7)
            #expect(inherited?.entries[3].access == 6)
            try s.directory("/d/sub", mode: 0o777, umask: 0o077)
            let sub = try s.inode("/d/sub")
            #expect(try s.attribute(sub, "system.posix_acl_default") == bytes)
            #expect(try s.stat(sub).permissions.rawValue == 0o774)
            try s.make(.symbolicLink, "/d/l", target: "x")
            #expect(try s.attributeNames(s.inode("/d/l")) == [])
            let minimal = AccessControlList(permissions: Permissions(rawValue: 0o750))
            try s.setAttribute(directory, "system.posix_acl_default", minimal.encoded())
            try s.file("/d/g", mode: 0o666, umask: 0o777)
            #expect(try s.stat("/d/g").permissions.rawValue == 0o640)
            #expect(try s.attributeNames(s.inode("/d/g")) == [])
            try s.setAttribute(directory, "system.posix_acl_default", nil)
            try s.file("/d/h", mode: 0o666, umask: 0o026)
            #expect(try s.stat("/d/h").permissions.rawValue == 0o640)
        }
    }
}
