// CutWorkload: what is done to a filesystem before its power is cut.

import CairnBase
import CairnTestSupport
import CairnVFS

@testable import CairnDisk

enum CutWorkload: CaseIterable, Sendable {
    /// Directories and files of all sizes are made, one after the other.
    case unpacking
    /// Files are written beside others and renamed over them, and names change places.
    case renaming
    /// Few files, written in small pieces and synced all the time.
    case syncing
    /// Files are changed in all the ways that there are.
    case mixed
    /// Files that are overwritten in place (cow=off).
    case overwriting
    /// Until nothing more fits; then some goes, and again.
    case filling

    var deviceSize: UInt64 { self == .filling ? 4 << 20 : 8 << 20 }

    /// Does some hundred things.
    func run(_ run: RecordedRun, seed: UInt64, steps: Int) throws {
        var actor = Actor(run: run, random: SeededRandom(seed: seed &* 31 &+ 7))
        switch self {
        case .unpacking: try actor.unpack(steps)
        case .renaming: try actor.rename(steps)
        case .syncing: try actor.sync(steps)
        case .overwriting: try actor.overwrite(steps)
        case .mixed: for _ in 0..<steps { try actor.doSomething() }
        case .filling: try actor.fill(steps)
        }
    }
}

extension CutWorkload {
    /// A few things more, after a cut: whatever there is is used.
    static func goOn(_ run: RecordedRun, seed: UInt64) throws {
        var actor = Actor(run: run, random: SeededRandom(seed: seed))
        do {
            for _ in 0..<4 { try actor.growAgain() }
            for _ in 0..<6 { try actor.doSomething() }
        } catch let error as Errno where error == .ENOSPC {
            // It was full when the power was cut.
        }
    }
}

private struct Actor {
    let run: RecordedRun
    var random: SeededRandom
    private var made = 0

    init(run: RecordedRun, random: SeededRandom) {
        self.run = run
        self.random = random
        // Names that were not there before, when it goes on where another one stopped.
        made = run.tree.numbers.count * 1000
    }

    /// What was behind the end of a file does not come to light.
    mutating func growAgain() throws {
        guard let path = pick(files), let size = run.tree[path]?.content.count else { return }
        try run.truncate(path, size + 1 + random.number(below: 5000))
    }

    // MARK: Chances

    /// Now compressible, now not; never all alike.
    private mutating func content(_ count: Int) -> [UInt8] {
        let start = random.next()
        if random.oneIn(2) {
            return (0..<count).map { UInt8(truncatingIfNeeded: start &+ UInt64($0 / 64)) }
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count {
            let word = random.next()
            for shift in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * shift)))
            }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    private mutating func size() -> Int {
        switch random.number(below: 10) {
        case 0: 0
        case 1..<4: 1 + random.number(below: 900)
        case 4..<6: 1000 + random.number(below: 3000)
        case 6..<9: 4000 + random.number(below: 20_000)
        default: 30_000 + random.number(below: 120_000)
        }
    }

    private mutating func pick(_ paths: [String]) -> String? {
        paths.isEmpty ? nil : paths[random.number(below: paths.count)]
    }

    private var files: [String] { run.tree.paths(.regular) }

    private mutating func directory() -> String {
        let all = run.tree.paths(.directory) + [""]
        return all[random.number(below: all.count)]
    }

    private mutating func freshName(_ kind: String = "f") -> String {
        made += 1
        return directory() + "/\(kind)\(made)"
    }

    private mutating func maybeTick() {
        if random.oneIn(8) { run.tick(milliseconds: UInt64(random.number(below: 150))) }
    }

    private mutating func make(_ path: String, _ bytes: [UInt8], syncs: Bool = false) throws {
        let file = try run.open(path, [.create, .truncate, .writeOnly])
        var offset = 0
        while offset < bytes.count {
            let end = min(bytes.count, offset + 16384)
            try run.write(file, path, Array(bytes[offset..<end]), at: offset)
            offset = end
        }
        if syncs { try run.fsync(file) }
        try run.close(file)
    }

    // MARK: Workloads

    mutating func unpack(_ steps: Int) throws {
        for _ in 0..<steps {
            switch random.number(below: 12) {
            case 0: try run.makeDirectory(freshName("d"))
            case 1:
                try run.makeLink(
                    freshName("l"), to: String(repeating: "t", count: size() % 900 + 1))
            case 2:
                if let path = pick(files) { try run.link(path, freshName("h")) }
            case 3:
                if let path = pick(files) {
                    try run.setAttribute(
                        path, "user.a\(random.number(below: 3))", content(size() % 6000))
                }
            case 4 where random.oneIn(4): try run.sync()
            default:
                let path = freshName()
                try make(path, content(size()))
                if random.oneIn(2) { try run.setPermissions(path, 0o755) }
            }
            maybeTick()
        }
    }

    mutating func rename(_ steps: Int) throws {
        for index in 0..<8 { try make("/f\(index)", content(size())) }
        try run.makeDirectory("/d")
        for _ in 0..<steps {
            let name = "/f\(random.number(below: 8))"
            switch random.number(below: 6) {
            case 0..<3:
                try make("/new", content(size()), syncs: random.oneIn(3))
                try run.rename("/new", name)
            case 3:
                let other = (random.oneIn(2) ? "/d" : "") + "/f\(random.number(below: 8))"
                if run.tree[name] != nil, name != other { try run.rename(name, other) }
            case 4:
                let other = "/f\(random.number(below: 8))"
                if run.tree[name] != nil, run.tree[other] != nil {
                    try run.rename(name, other, exchanging: true)
                }
            default:
                if random.oneIn(3) { try run.sync() }
                if let path = pick(files), random.oneIn(3) {
                    let file = try run.open(path, .readOnly)
                    try run.fsync(file)
                    try run.close(file)
                }
            }
            maybeTick()
        }
    }

    mutating func sync(_ steps: Int) throws {
        var open: [(path: String, Descriptor, isSynchronous: Bool)] = []
        for index in 0..<4 {
            let path = "/s\(index)"
            let flags: OpenFlags =
                index == 3 ? [.create, .readWrite, .dataSync] : [.create, .readWrite]
            open.append((path, try run.open(path, flags), index == 3))
        }
        for _ in 0..<steps {
            let (path, file, isSynchronous) = open[random.number(below: open.count)]
            let size = run.tree[path]?.content.count ?? 0
            switch random.number(below: 14) {
            case 0..<5:
                try run.write(
                    file, path, content(1 + random.number(below: 300)), at: size,
                    isSynchronous: isSynchronous)
            case 5..<8:
                try run.write(
                    file, path, content(1 + random.number(below: 6000)),
                    at: random.number(below: max(1, min(size + 5000, 60_000))),
                    isSynchronous: isSynchronous)
            case 8: try run.truncate(path, random.oneIn(2) ? 0 : random.number(below: size + 3000))
            case 9 where size > 0:
                // As a database does with its journal.
                try make("/journal", content(200 + random.number(below: 8000)), syncs: true)
                try run.write(
                    file, path, content(4096), at: random.number(below: 8) * 4096,
                    isSynchronous: isSynchronous)
                try run.fsync(file, dataOnly: true)
                try run.remove("/journal")
            default: break
            }
            if random.oneIn(2) { try run.fsync(file, dataOnly: random.oneIn(2)) }
            maybeTick()
        }
        for (_, file, _) in open { try run.close(file) }
    }

    mutating func overwrite(_ steps: Int) throws {
        var open: [(path: String, Descriptor)] = []
        for index in 0..<4 {
            let path = "/o\(index)"
            let file = try run.open(path, [.create, .readWrite])
            if index < 3 { try run.overwriteInPlace(file, path) }
            try run.write(file, path, content(10_000 + random.number(below: 60_000)), at: 0)
            open.append((path, file))
        }
        for _ in 0..<steps {
            let (path, file) = open[random.number(below: open.count)]
            let size = run.tree[path]?.content.count ?? 0
            let start = random.number(below: size + 1)
            switch random.number(below: 16) {
            case 0: try run.truncate(path, random.number(below: size + 5000))
            case 1:
                try run.allocate(
                    file, path, .punchHole, start..<start + 1 + random.number(below: 20_000))
            case 2:
                try run.allocate(
                    file, path, .reserve(keepSize: false),
                    start..<start + 1 + random.number(below: 30_000))
            case 3..<5:
                try run.write(file, path, content(1 + random.number(below: 7000)), at: size)
            case 5: try make(freshName(), content(self.size()), syncs: random.oneIn(2))
            case 6: try run.sync()
            default:
                try run.write(file, path, content(1 + random.number(below: 9000)), at: start)
            }
            if random.oneIn(3) { try run.fsync(file, dataOnly: random.oneIn(2)) }
            maybeTick()
        }
        for (_, file) in open { try run.close(file) }
    }

    mutating func doSomething() throws {
        defer { maybeTick() }
        let choice = random.number(below: 20)
        guard choice >= 4, let path = pick(files) else {
            if choice == 0 { return try run.makeDirectory(freshName("d")) }
            return try make(freshName(), content(size()), syncs: random.oneIn(4))
        }
        let size = run.tree[path]?.content.count ?? 0
        switch choice {
        case 4..<10:
            let file = try run.open(path, .readWrite)
            switch random.number(below: 6) {
            case 0 where size > 0:
                let start = random.number(below: size)
                try run.allocate(
                    file, path, .punchHole, start..<start + 1 + random.number(below: 30_000))
            case 1:
                let start = random.number(below: size + 5000)
                try run.allocate(
                    file, path, .reserve(keepSize: false),
                    start..<start + 1 + random.number(below: 40_000))
            default:
                try run.write(
                    file, path, content(1 + random.number(below: 9000)),
                    at: random.number(below: size + 9000))
            }
            if random.oneIn(3) { try run.fsync(file, dataOnly: random.oneIn(2)) }
            try run.close(file)
        case 10: try run.truncate(path, random.number(below: size + 8000))
        case 11: try run.remove(path)
        case 12: try run.rename(path, random.oneIn(2) ? pick(files) ?? path : freshName())
        case 13: try run.link(path, freshName("h"))
        case 14: try run.setPermissions(path, UInt32(random.number(below: 0o1000)))
        case 15: try run.setAttribute(path, "user.x", content(self.size() % 5000))
        case 16: try run.sync()
        case 17:
            // Written after its last name is gone.
            let file = try run.open(path, .readWrite)
            let names = run.tree[path]?.names.count ?? 0
            try run.remove(path)
            if names == 1, random.oneIn(2) { try run.fsync(file) }
            try run.close(file)
        case 18:
            if let directory = pick(run.tree.paths(.directory)), !directory.isEmpty {
                let to = "/r\(made)"
                made += 1
                try run.rename(directory, to)
            }
        default: try make(path, content(self.size()))
        }
    }

    mutating func fill(_ steps: Int) throws {
        for _ in 0..<max(1, steps / 40) {
            var isFull = false
            while !isFull {
                do {
                    let path = freshName()
                    switch random.number(below: 8) {
                    case 0:
                        if let other = pick(files) {
                            try run.setAttribute(other, "user.big", content(9000))
                        }
                    case 1..<3: try make(path, content(random.number(below: 2500)))
                    default: try make(path, content(20_000 + random.number(below: 200_000)))
                    }
                } catch let error as Errno where error == .ENOSPC {
                    isFull = true
                }
                if random.oneIn(12) { run.tick(milliseconds: 120) }
                if random.oneIn(20) { try run.sync() }
            }
            if random.oneIn(2) { try run.sync() }
            for path in files where random.oneIn(2) { try run.remove(path) }
        }
    }
}
