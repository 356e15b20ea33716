// Thousands of random operations, against a model that says what each must do (requirements T1, M1).

import CairnBase
import CairnTestPace
import CairnTestSupport
import CairnTree
import CairnVFS
import Glibc
import Testing

@Suite struct ModelTests {
    /// CAIRN_MODEL_SEED replays what failed.
    private static let fixedSeed = getenv("CAIRN_MODEL_SEED").flatMap {
        UInt64(String(cString: $0))
    }

    @Test("The tree does what the model does", arguments: Ground.allCases)
    func compare(_ ground: Ground) throws {
        let seed = Self.fixedSeed ?? UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let s = try Session(ground, seed: seed)
        let model = ModelTree()
        for round in 0..<rounds(ground == .memory ? 6000 : 2000) {
            let step = Operation.random(&random)
            let expected = outcome { () throws(Errno) in try step.run(on: model) }
            let actual = outcome { () throws(Errno) in try step.run(on: s) }
            try #require(actual == expected, "seed \(seed), round \(round): \(step)")
            if round % 250 == 0 {
                let difference = try model.difference(from: s)
                try #require(difference == nil, "seed \(seed), round \(round)")
                try #require(try s.tree.checkInvariants() == [], "seed \(seed), round \(round)")
            }
        }
        #expect(try model.difference(from: s) == nil, "seed \(seed)")
        #expect(try s.tree.checkInvariants() == [], "seed \(seed)")
        try s.close()
    }

    private func outcome(_ body: () throws(Errno) -> Void) -> Errno? {
        do throws(Errno) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    private enum Operation {
        case make(FileKind, String)
        case link(String, String)
        case remove(String, isDirectory: Bool)
        case rename(String, String, RenameFlags)
        case write(String, count: Int, byte: UInt8, at: Int?)
        case truncate(String, Int)
        case punch(String, Range<Int>)
        case zero(String, Range<Int>)

        static func random(_ random: inout SeededRandom) -> Operation {
            func path() -> String {
                var path = ""
                for _ in 0...random.number(below: 4) {
                    path += "/\(["a", "b", "c", "d", "long name"][random.number(below: 5)])"
                }
                return path
            }
            func offset() -> Int {
                random.oneIn(3) ? random.number(below: 5) * 65_536 : random.number(below: 200_000)
            }
            func range() -> Range<Int> {
                let start = offset()
                return start..<start + 1 + random.number(below: 150_000)
            }
            switch random.number(below: 16) {
            case 0, 1: return .make(.regular, path())
            case 2, 3: return .make(.directory, path())
            case 4: return .make(random.oneIn(2) ? .fifo : .symbolicLink, path())
            case 5: return .link(path(), path())
            case 6: return .remove(path(), isDirectory: false)
            case 7: return .remove(path(), isDirectory: true)
            case 8, 9: return .rename(path(), path(), [])
            case 10: return .rename(path(), path(), random.oneIn(3) ? .noReplace : .exchange)
            case 11, 12:
                return .write(
                    path(), count: random.number(below: 3000) * (random.oneIn(8) ? 30 : 1),
                    byte: UInt8(truncatingIfNeeded: random.next()),
                    at: random.oneIn(3) ? nil : offset())
            case 13: return .truncate(path(), offset())
            case 14: return .punch(path(), range())
            default: return .zero(path(), range())
            }
        }

        func run(on model: ModelTree) throws(Errno) {
            switch self {
            case .make(let kind, let path): try model.make(kind, path)
            case .link(let old, let new): try model.link(old, new)
            case .remove(let path, let isDirectory): try model.remove(path, directory: isDirectory)
            case .rename(let old, let new, let flags): try model.rename(old, new, flags)
            case .write(let path, let count, let byte, let offset):
                try model.write(path, [UInt8](repeating: byte, count: count), at: offset)
            case .truncate(let path, let size): try model.truncate(path, size)
            case .punch(let path, let range), .zero(let path, let range):
                try model.zero(path, range)
            }
        }

        func run(on session: Session) throws(Errno) {
            switch self {
            case .make(let kind, let path): try session.make(kind, path, target: "")
            case .link(let old, let new): try session.link(old, new)
            case .remove(let path, let isDirectory):
                try isDirectory ? session.rmdir(path) : session.unlink(path)
            case .rename(let old, let new, let flags): try session.rename(old, new, flags)
            case .write(let path, let count, let byte, let offset):
                try session.write(
                    session.inode(path), [UInt8](repeating: byte, count: count),
                    at: offset.map { .offset(UInt64($0)) } ?? .end)
            case .truncate(let path, let size): try session.truncate(path, UInt64(size))
            case .punch(let path, let range):
                try session.allocate(
                    path, .punchHole, UInt64(range.lowerBound), UInt64(range.count))
            case .zero(let path, let range):
                try session.allocate(
                    path, .zero(keepSize: true), UInt64(range.lowerBound), UInt64(range.count))
            }
        }
    }
}
