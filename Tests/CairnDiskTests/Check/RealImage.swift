// RealImage: a device as mounts of mfs_disk leave it, with every form that the format has, also as one
// is left by a machine that died: files that were removed while open, and a log that is not carried out.
//
// Used by one thread.

import CairnBase
import CairnIO
import CairnTree
import CairnVFS

@testable import CairnDisk
@testable import CairnTestSupport

struct RealImage {
    let device: MemoryDevice
    /// What there is by inode number: how its data can be told.
    let contents: [UInt64: [UInt8]]

    static let size: UInt64 = 8 << 20

    /// `isCut`: the machine died, with a log and orphans.
    init(_ method: Compression, isCut: Bool) throws {
        let live = try DiskGround.formatted(
            size: RealImage.size, blockSize: 4096, nodeSize: 4096)
        var options = DiskGround.smallOptions
        options.compression = CompressionSetting(method: method)
        let ground = DiskGround(live)
        let store = try ground.store(options)
        let s = try Session(store: store, time: ground.time)
        try RealImage.fill(s, store)
        guard isCut else {
            try s.close()
            device = live
            contents = try Walk(of: device.copy()).contents
            return
        }
        let open = try s.temporary(in: "/")
        try s.write(open, RealImage.random(90_000, 3))
        let removed = try s.inode("/d0/large")
        _ = removed.hold()
        try s.unlink("/d0/large")
        try store.commit()
        for index in 0..<3 {
            let file = try s.file("/d1/synced\(index)")
            try s.write(file, RealImage.text(700 + index * 30_000))
            try s.rename("/d2/n\(index)", "/d1/moved\(index)")
            try s.fsync(file)
        }
        device = try live.copy()
        removed.drop()
        open.drop()
        try s.close()
        contents = try Walk(of: device.copy()).contents
    }

    private static func fill(_ s: Session, _ store: DiskStore) throws {
        for index in 0..<3 { try s.directory("/d\(index)") }
        try s.directory("/d0/deep")
        try s.directory("/d0/deep/deeper")
        for index in 0..<60 {
            try s.file(
                "/d2/n\(index)", "inline \(index) " + String(repeating: "x", count: index * 9))
        }
        try s.write(try s.file("/d0/large"), random(300_000, 1))
        try s.write(try s.file("/d0/text"), text(500_000))
        try s.write(try s.file("/d0/deep/part"), text(200_000))
        try store.commit()
        try s.write(try s.inode("/d0/deep/part"), random(10_000, 2), at: .offset(70_000))
        let sparse = try s.file("/d0/sparse")
        try s.write(sparse, text(5_000), at: .offset(1_000_000))
        try s.write(sparse, text(5_000), at: .offset(0))
        try s.file("/d0/reserved")
        try s.allocate("/d0/reserved", .reserve(keepSize: false), 0, 100_000)
        try s.write(try s.inode("/d0/reserved"), text(5_000), at: .offset(30_000))
        try s.file("/d0/deep/deeper/beyond", "x")
        try s.allocate("/d0/deep/deeper/beyond", .reserve(keepSize: true), 0, 60_000)
        for index in 0..<4 { try s.link("/d0/text", "/d1/hard\(index)") }
        try s.make(.symbolicLink, "/d1/link", target: "../d0/text")
        try s.make(.symbolicLink, "/d1/long", target: String(repeating: "long/", count: 700))
        try s.make(.fifo, "/d1/fifo")
        try s.make(.characterDevice, "/d1/null", device: 1 << 32 | 3)
        try s.setAttribute(try s.inode("/d0/text"), "user.small", [1, 2, 3])
        try s.setAttribute(try s.inode("/d0/text"), "user.large", random(9_000, 4))
        try s.setAttribute(try s.inode("/d1"), "user.directory", text(2_000))
        try store.commit()
    }

    static func random(_ count: Int, _ seed: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    static func text(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: 97 + $0 / 50 % 26) }
    }
}

/// Everything that a mount shows, as far as it can be read.
struct Walk {
    /// Data by inode number: a file's first and last bytes, a link's target, nothing of others.
    private(set) var contents: [UInt64: [UInt8]] = [:]
    /// What could not be read.
    private(set) var errors: [String] = []
    /// What the mount reported.
    private(set) var reports: [String] = []

    /// Mounts, looks, and writes a little where it can. Throws if it cannot be mounted.
    init(of device: MemoryDevice, writing: Bool = false) throws {
        let ground = DiskGround(device)
        let store = try ground.store()
        let s: Session
        do {
            s = try Session(store: store, time: ground.time)
        } catch {
            try? blocking { () throws(Pause) in try store.close() }
            throw error
        }
        walk(s)
        if writing { write(s, store) }
        do {
            try s.close()
        } catch {
            errors.append("close: \(error)")
        }
        reports = ground.reports
    }

    private mutating func attempt<Value>(
        _ what: String, _ body: () throws(Errno) -> Value
    ) -> Value? {
        do throws(Errno) {
            return try body()
        } catch {
            errors.append("\(what): \(error)")
            return nil
        }
    }

    private mutating func walk(_ s: Session) {
        var pending: [(path: String, inode: Inode)] = [("", s.tree.root)]
        var seen: Set<UInt64> = []
        while let (path, inode) = pending.popLast() {
            guard seen.insert(inode.number).inserted else { continue }
            look(at: inode, path, s)
            guard inode.isDirectory else { continue }
            let list = attempt("\(path)/") { () throws(Errno) in try s.entries(inode) } ?? []
            for entry in list.prefix(2000) {
                let child = attempt("\(path)/\(entry.name)") { () throws(Errno) in
                    try s.within(inode, entry.name) { name, directory throws(Pause) in
                        try directory.lookup(name)
                    }
                }
                if let child = child ?? nil { pending.append(("\(path)/\(entry.name)", child)) }
            }
        }
    }

    private mutating func look(at inode: Inode, _ path: String, _ s: Session) {
        guard let attributes = attempt(path, { () throws(Errno) in try s.stat(inode) }) else {
            return
        }
        var data: [UInt8]? = []
        if inode.kind == .regular {
            data = attempt(path) { () throws(Errno) in try s.read(inode, count: 1 << 20) }
            let end = attributes.size
            if end > 1 << 20, let start = data {
                data = attempt(path) { () throws(Errno) in
                    start + (try s.read(inode, at: end - 5_000, count: 5_000))
                }
            }
        } else if inode.kind == .symbolicLink {
            data = attempt(path) { () throws(Errno) in
                try blocking { () throws(Pause) in try inode.readLink() }
            }
        }
        if let data { contents[inode.number] = data }
        let names = attempt(path) { () throws(Errno) in try s.attributeNames(inode) } ?? []
        for name in names {
            _ = attempt("\(path) \(name)") { () throws(Errno) in try s.attribute(inode, name) }
        }
    }

    private mutating func write(_ s: Session, _ store: DiskStore) {
        _ = attempt("write") { () throws(Errno) in
            let file = try s.file("/written by a walk")
            try s.write(file, RealImage.text(9_000))
        }
        _ = attempt("commit") { () throws(Errno) in try store.commit() }
        _ = attempt("remove") { () throws(Errno) in try s.unlink("/written by a walk") }
        _ = attempt("commit") { () throws(Errno) in try store.commit() }
    }
}
