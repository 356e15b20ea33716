// The n-th call of the store fails, for each n until the operation succeeds: the right error,
// nothing half done, still consistent (requirement T3).

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Testing

/// One operation, and what has to be there before it.
struct Step: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let prepare: @Sendable (Session) throws -> Void
    let run: @Sendable (Session) throws -> Void

    init(
        _ name: String, prepare: @escaping @Sendable (Session) throws -> Void = { _ in },
        run: @escaping @Sendable (Session) throws -> Void
    ) {
        testDescription = name
        self.prepare = prepare
        self.run = run
    }

    private static func accessList(_ session: Session, _ path: String, _ name: String) throws {
        let list = try AccessControlList([
            .init(.owner, access: 7), .init(.user, access: 5, qualifier: 5),
            .init(.owningGroup, access: 5), .init(.mask, access: 7), .init(.others, access: 4),
        ])
        try session.setAttribute(session.inode(path), name, list.encoded())
    }

    static let all: [Step] = [
        Step("create") { try $0.file("/new") },
        Step("mkdir") { try $0.directory("/d/new") },
        Step("symlink") { try $0.make(.symbolicLink, "/new", target: "somewhere") },
        Step("create with ACLs") {
            try accessList($0, "/d", "system.posix_acl_default")
        } run: {
            try $0.directory("/d/new")
        },
        Step("O_TMPFILE, named") { session in
            let file = try session.temporary(in: "/d")
            defer { file.drop() }
            try session.link(file, "/d/new")
        },
        Step("link") { try $0.link("/f", "/d/new") },
        Step("unlink") { try $0.unlink("/f") },
        Step("unlink of one name of two") {
            try $0.link("/f", "/g2")
        } run: {
            try $0.unlink("/f")
        },
        Step("rmdir") { try $0.rmdir("/d/empty") },
        Step("rename") { try $0.rename("/f", "/d/f") },
        Step("rename over a file") { try $0.rename("/f", "/g") },
        Step("rename over a directory") {
            try $0.directory("/e")
        } run: {
            try $0.rename("/e", "/d/empty")
        },
        Step("rename of a directory") { try $0.rename("/d/empty", "/moved") },
        Step("exchange") { try $0.rename("/f", "/d/empty", .exchange) },
        Step("write") { try $0.write("/f", "0123456789", at: .offset(100_000)) },
        Step("append") { try $0.write("/f", "0123456789", at: .end) },
        Step("truncate") { try $0.truncate("/f", 2) },
        Step("chmod and chown") {
            try $0.set("/f") {
                $0.permissions = []
                $0.user = 3
            }
        },
        Step("chmod with an ACL") {
            try accessList($0, "/f", "system.posix_acl_access")
        } run: {
            try $0.set("/f") { $0.permissions = Permissions(rawValue: 0o600) }
        },
        Step("setxattr") { try $0.setAttribute($0.inode("/f"), "user.a", [1, 2]) },
        Step("removexattr") { try $0.setAttribute($0.inode("/g"), "user.old", nil) },
        Step("set an ACL") { try accessList($0, "/d", "system.posix_acl_access") },
        Step("fallocate") { try $0.allocate("/f", .reserve(keepSize: false), 0, 300_000) },
        Step("punch") { try $0.allocate("/g", .punchHole, 1, 3) },
        Step("copy_file_range") { _ = try $0.copy("/f", 0, "/g", 2, 4) },
    ]
}

@Suite struct FaultTests {
    enum Store: CaseIterable {
        case memory
        case records
    }

    @Test("A failure changes nothing", arguments: Step.all, Store.allCases)
    func failure(_ step: Step, _ ground: Store) throws {  // T3
        var number = 1
        while number < 100 {
            let errno = number % 2 == 0 ? Errno.EIO : Errno.ENOSPC
            let time = ManualTime()
            let inner: any NodeStore =
                ground == .memory ? Ground.memoryStore(time: time) : RecordStore(time: time)
            let store = FailingStore(inner)
            let s = try Session(store: store, time: time)
            defer { try? s.close() }
            try s.directory("/d")
            try s.directory("/d/empty")
            try s.file("/f", "contents of f")
            try s.file("/g", "contents of g")
            try s.setAttribute(s.inode("/g"), "user.old", [1])
            try step.prepare(s)
            let before = try s.dump()
            let free = try s.statistics()

            var failure: Errno?
            store.fail(call: number, with: errno)
            do {
                try step.run(s)
            } catch let error as Errno {
                failure = error
            }
            let hasFailed = store.disarm()
            #expect(try s.tree.checkInvariants() == [], "call \(number)")
            guard hasFailed else {
                #expect(failure == nil)
                break
            }
            #expect(failure == errno, "call \(number)")
            #expect(try s.dump() == before, "call \(number)")
            #expect(try s.statistics() == free, "call \(number)")
            // Nothing is in the way of doing it again.
            try step.run(s)
            #expect(try s.tree.checkInvariants() == [])
            number += 1
        }
        #expect(number > 1, "the operation never asks the store")
        #expect(number < 100, "the operation never ends")
    }

    @Test("A failed unlink leaves a file that can be opened")
    func holdAfterFailedUnlink() throws {  // T3, V13
        let time = ManualTime()
        let store = FailingStore(Ground.memoryStore(time: time))
        let s = try Session(store: store, time: time)
        defer { try? s.close() }
        let file = try s.file("/f", "text")
        for call in 1...20 {
            store.fail(call: call, with: .EIO)
            do {
                try s.unlink("/f")
            } catch {
                #expect(error == .EIO)
            }
            guard store.disarm() else { break }
            #expect(file.hold())
            #expect(try s.text(file) == "text")
            file.drop()
        }
        #expect(file.isReleased)
        #expect(try s.tree.checkInvariants() == [])
    }

    @Test("A full filesystem says so, and can be emptied")
    func noSpace() throws {  // M1
        let time = ManualTime()
        let s = try Session(
            store: Ground.memoryStore(bytes: 1 << 20, nodes: 40, time: time), time: time)
        defer { try? s.close() }
        let free = try s.statistics()
        #expect(free.totalBlocks == 256)
        #expect(free.freeBlocks == 256)
        #expect(free.freeNodes == 39)
        let file = try s.file("/f")
        let block = [UInt8](repeating: 1, count: 4096)
        for index in 0..<256 {
            #expect(try s.write(file, block, at: .offset(UInt64(index) * 4096)) == 4096)
        }
        #expect(throws: Errno.ENOSPC) { try s.write(file, block, at: .end) }
        #expect(try s.statistics().freeBlocks == 0)
        try s.write(file, block, at: .offset(8192))
        let other = try s.file("/g")
        #expect(throws: Errno.ENOSPC) { try s.write(other, [1]) }
        #expect(throws: Errno.ENOSPC) { try s.setAttribute(other, "user.a", [1]) }
        #expect(throws: Errno.ENOSPC) { try s.make(.symbolicLink, "/l", target: "x") }
        #expect(throws: Errno.ENOSPC) {
            try s.allocate("/g", .reserve(keepSize: false), 0, 1 << 50)
        }
        #expect(try s.stat(other).size == 0)
        try s.truncate("/f", 4096)
        #expect(try s.statistics().freeBlocks == 255)
        // A write that has room for a part does that part.
        let large = [UInt8](repeating: 2, count: 2 << 20)
        let written = try s.write(other, large)
        #expect(written > 900_000 && written < 1 << 20)
        #expect(try s.stat(other).size == UInt64(written))
        try s.unlink("/f")
        try s.unlink("/g")
        #expect(try s.statistics() == free)
        // What is small is given back, too.
        try s.make(.symbolicLink, "/l", target: String(repeating: "x", count: 3000))
        let marked = try s.file("/x")
        for size in [60_000, 10, 5000] {
            try s.setAttribute(marked, "user.a", [UInt8](repeating: 1, count: size))
        }
        #expect(try s.statistics().freeBlocks < free.freeBlocks)
        try s.setAttribute(marked, "user.a", nil)
        try s.unlink("/l")
        #expect(try s.statistics().freeBlocks == free.freeBlocks)
        try s.setAttribute(marked, "user.b", [UInt8](repeating: 1, count: 60_000))
        try s.unlink("/x")
        #expect(try s.statistics() == free)
        for index in 0..<39 { try s.file("/n\(index)") }
        #expect(throws: Errno.ENOSPC) { try s.file("/more") }
        #expect(throws: Errno.ENOSPC) { try s.directory("/more") }
        for index in 0..<39 { try s.unlink("/n\(index)") }
        #expect(try s.statistics() == free)
        #expect(try s.tree.checkInvariants() == [])
    }
}
