// Many threads in the same directories: names, links and data stay consistent (requirements V3, T1,
// T5).

import CairnBase
import CairnTestPace
import CairnTestSupport
import CairnTree
import CairnVFS
import Dispatch
import Testing

@Suite(.serialized) struct ConcurrencyTests {
    /// Errors that a thread may get because another was faster.
    private static let fair: [Errno] = [
        .ENOENT, .EEXIST, .ENOTEMPTY, .ENOTDIR, .EISDIR, .EINVAL, .ESTALE, .EPERM,
    ]

    @Test("Threads that rename, link, write and remove leave a tree", arguments: Ground.allCases)
    func stress(_ ground: Ground) throws {  // T5
        let seed = UInt64.random(in: 0...UInt64.max)
        let s = try Session(ground, seed: seed)
        let free = try s.statistics()
        let times = rounds(ground == .memory ? 4000 : 700)
        for index in 0..<3 { try s.directory("/d\(index)") }
        nonisolated(unsafe) var unexpected: [String] = []  // guarded by lock
        let lock = TestLock()
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            var random = SeededRandom(seed: seed &+ UInt64(thread))
            for _ in 0..<times {
                do {
                    try act(s, &random)
                } catch let error as Errno where Self.fair.contains(error) {
                    continue
                } catch {
                    lock.withLock { unexpected.append("\(error)") }
                }
            }
        }
        #expect(unexpected == [], "seed \(seed)")
        #expect(try s.tree.checkInvariants() == [], "seed \(seed)")
        try removeAll(s, "/")
        try eventually { (try? s.tree.checkInvariants()) == [] }
        #expect(try s.names("/") == [])
        if ground.countsSpaceAtOnce { #expect(try s.statistics() == free, "seed \(seed)") }
        try s.close()
    }

    private func act(_ s: Session, _ random: inout SeededRandom) throws {
        func directory() -> String {
            let top = "/d\(random.number(below: 3))"
            return random.oneIn(3) ? top + "/s\(random.number(below: 2))" : top
        }
        func path() -> String { directory() + "/f\(random.number(below: 5))" }
        switch random.number(below: 12) {
        case 0, 1: try s.file(path())
        case 2: try s.unlink(path())
        case 3: try s.rename(path(), path())
        case 4: try s.rename(path(), path(), random.oneIn(2) ? .exchange : .noReplace)
        case 5: try s.link(path(), path())
        case 6: try s.directory("/d\(random.number(below: 3))/s\(random.number(below: 2))")
        case 7: try s.rmdir("/d\(random.number(below: 3))/s\(random.number(below: 2))")
        case 8: try s.rename(directory(), directory())
        case 9, 10: try writeWhole(s, try s.inode(path()), &random)
        default: try checkWhole(s, try s.inode(path()))
        }
    }

    /// One write of one byte value over the whole file: readers must see one value only.
    private func writeWhole(
        _ s: Session, _ inode: Inode, _ random: inout SeededRandom
    ) throws {
        guard inode.kind == .regular, inode.hold() else { return }
        defer { inode.drop() }
        let byte = UInt8(truncatingIfNeeded: random.next())
        try s.write(inode, [UInt8](repeating: byte, count: 3000))
    }

    private func checkWhole(_ s: Session, _ inode: Inode) throws {
        guard inode.kind == .regular, inode.hold() else { return }
        defer { inode.drop() }
        let bytes = try s.read(inode, count: 4000)
        #expect(bytes.isEmpty || bytes.count == 3000)
        #expect(bytes.allSatisfy { $0 == bytes[0] })
    }

    private func removeAll(_ s: Session, _ path: String) throws {
        for entry in try s.entries(try s.inode(path)) {
            if entry.kind == .directory {
                try removeAll(s, path + entry.name + "/")
                try s.rmdir(path + entry.name)
            } else {
                try s.unlink(path + entry.name)
            }
        }
    }

    @Test("A name that is renamed over is always there", arguments: Ground.allCases)
    func atomicRename(_ ground: Ground) throws {  // T1
        let s = try Session(ground)
        try s.file("/target", "old")
        let times = rounds(ground == .memory ? 1500 : 250)
        DispatchQueue.concurrentPerform(iterations: 3) { thread in
            do {
                for round in 0..<times {
                    if thread == 0 {
                        try s.file("/new", "new\(round)")
                        try s.rename("/new", "/target")
                    } else {
                        _ = try s.inode("/target")
                    }
                }
            } catch {
                Issue.record("thread \(thread): \(error)")
            }
        }
        #expect(try s.names("/") == ["target"])
        #expect(try s.tree.checkInvariants() == [])
        try s.close()
    }

    @Test("Appends of many threads all arrive, each in one piece", arguments: Ground.allCases)
    func appends(_ ground: Ground) throws {  // V6
        let s = try Session(ground)
        let file = try s.file("/log")
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            do {
                for _ in 0..<100 {
                    try s.write(file, [UInt8](repeating: UInt8(thread), count: 10), at: .end)
                }
            } catch {
                Issue.record("thread \(thread): \(error)")
            }
        }
        let bytes = try s.read(file)
        #expect(bytes.count == 4000)
        for start in stride(from: 0, to: bytes.count, by: 10) {
            #expect(Set(bytes[start..<start + 10]).count == 1)
        }
        try s.close()
    }

    @Test("Directories that many threads move about never make a loop", arguments: Ground.allCases)
    func movingDirectories(_ ground: Ground) throws {  // T1
        let s = try Session(ground)
        for index in 0..<6 { try s.directory("/m\(index)") }
        let times = rounds(ground == .memory ? 1500 : 300)
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            var random = SeededRandom(seed: UInt64(thread))
            for _ in 0..<times {
                let from = "/m\(random.number(below: 6))"
                let into = "/m\(random.number(below: 6))/m\(random.number(below: 6))"
                do {
                    try random.oneIn(2) ? s.rename(from, into) : s.rename(into, from)
                } catch let error as Errno where Self.fair.contains(error) {
                    continue
                } catch {
                    Issue.record("thread \(thread): \(error)")
                }
            }
        }
        #expect(try s.tree.checkInvariants() == [])
        try s.close()
    }
}

/// CairnBase's lock, where a test shares something between threads.
final class TestLock: Sendable {
    private let lock = Lock()
    func withLock(_ body: () -> Void) { lock.withLock { body() } }
}
