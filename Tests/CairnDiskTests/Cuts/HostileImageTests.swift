// Images that were made to do harm (T4): records and nodes say anything, and all checksums are right.
// Whatever such an image is asked, the answer is a value or an error: no crash, no hang.
//
// CAIRN_HOSTILE_SECONDS=N: as many images as that time allows, from CAIRN_CUT_SEED on. With it each seed
// is printed first, so that the last line names the one that a crash is due to.

import CairnBase
import CairnIO
import CairnTestSupport
import CairnTree
import CairnVFS
import Glibc
import Testing

@testable import CairnDisk

@Suite struct HostileImageTests {
    private static func number(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }

    // T4, D12
    @Test func anImageWithRightChecksumsDoesNoHarm() throws {
        let first = HostileImageTests.number("CAIRN_CUT_SEED") ?? 1
        let seconds = HostileImageTests.number("CAIRN_HOSTILE_SECONDS")
        let end = seconds.map { time(nil) + Int($0) }
        let images = [try HostileImageTests.image(1), try HostileImageTests.image(2)]
        for image in images {
            let log = try ImageSurgeon(image, seed: 1).log
            #expect(log.count > 4 && log.allSatisfy { !$0.records.isEmpty })
        }
        let scratch = try images[0].copy()
        var answered = 0
        var seed = first
        while end.map({ time(nil) < $0 }) ?? (seed < first + 120) {
            if end != nil { print("hostile image \(seed)") }
            scratch.contents.copyMemory(
                from: UnsafeRawBufferPointer(images[Int(seed % 2)].contents))
            try ImageSurgeon(scratch, seed: seed).operate()
            if try HostileImageTests.use(scratch, seed) { answered += 1 }
            seed += 1
        }
        // Some must get past the mount, or this would prove little.
        #expect(answered * 4 > Int(seed - first))
    }

    // T4: no number stands for two files.
    @Test func aNumberThatWasNeverGivenOutIsDamage() throws {
        let device = try VolumeGround.format(size: 4 << 20, VolumeTests.options(4096, 4096))
        let run = try RecordedRun(device, DiskOptions(), seed: 1, holds: false)
        for name in ["/a", "/b", "/c"] { try run.makeDirectory(name) }
        try run.unmount()
        try ImageSurgeon(device, seed: 1).forgetNumbers()

        let mount = try SteppedMount(device, DiskOptions(), Stepper(seed: 1))
        let root = mount.fileSystem.root
        func find(_ name: FileName) throws -> Inode? {
            try mount.attempt { () throws(Pause) in
                try name.withName { (name) throws(Pause) in try root.lookup(name) }
            }
        }
        #expect(throws: Errno.EIO) { try find("c") }
        #expect(mount.reports.all.contains { $0.hasSuffix("its number was never given out") })
        for index in 0..<8 {
            _ = try Visitor.tolerant {
                try mount.attempt { () throws(Pause) in
                    try FileName("new\(index)").withName { (name) throws(Pause) in
                        try mount.vfs.create(
                            name, in: root,
                            NewNode(kind: .directory, permissions: Permissions(rawValue: 0o755)),
                            by: Caller(.root))
                    }
                }
            }
        }
        try Visitor.tolerant { try mount.close() }
    }

    /// A filesystem with something of everything; not unmounted, so that there is a log.
    private static func image(_ seed: UInt64) throws -> MemoryDevice {
        let base = try VolumeGround.format(size: 4 << 20, VolumeTests.options(4096, 4096))
        var options = DiskOptions()
        options.cacheBytes = 16 << 20
        options.compression = CompressionSetting(method: seed == 1 ? .none : .lz4)
        let run = try RecordedRun(base, options, seed: seed, holds: false)
        try CutWorkload.unpacking.run(run, seed: seed, steps: 50)
        try CutWorkload.mixed.run(run, seed: seed, steps: 40)
        // A commit, so that the log has room for what comes.
        run.tick(milliseconds: 1000)
        try logSomething(run)
        return try base.copy()
    }

    /// What only the log knows: one entry for each.
    private static func logSomething(_ run: RecordedRun) throws {
        for index in 0..<8 {
            let path = "/logged\(index)"
            let file = try run.open(path, [.create, .readWrite])
            try run.write(file, path, [UInt8](repeating: 7, count: 10 << index), at: 0)
            if index % 3 == 1 { try run.truncate(path, 50) }
            if index % 3 == 2 { try run.setAttribute(path, "user.x", [1, 2, 3]) }
            try run.fsync(file)
            try run.close(file)
            if index % 4 == 3 { try run.remove(path) }
        }
    }

    /// Mounts it, and does all kinds of things. Whether it could be mounted.
    private static func use(_ device: MemoryDevice, _ seed: UInt64) throws -> Bool {
        // It must come to an end, whatever it finds.
        _ = try? ImageCheck(device, CheckOptions(checksData: true)).check { _ in }
        var options = DiskOptions()
        options.cacheBytes = 16 << 20
        let stepper = Stepper(seed: seed)
        let mount: SteppedMount
        do {
            mount = try SteppedMount(device, options, stepper, nodeLimit: 16)
        } catch is MountFailure {
            return false
        }
        var visitor = Visitor(mount: mount, random: SeededRandom(seed: seed))
        try visitor.visitAll()
        try visitor.changeAll()
        stepper.timers.advance(nanoseconds: 300_000_000)
        stepper.settle()
        try visitor.visitAll()
        try Visitor.tolerant { try mount.close() }
        stepper.settle()
        return true
    }
}

/// Uses whatever it finds; errors are answers.
private struct Visitor {
    let mount: SteppedMount
    var random: SeededRandom
    private var names: [(directory: Inode, name: FileName)] = []
    private var inodes: [UInt64: Inode] = [:]

    init(mount: SteppedMount, random: SeededRandom) {
        self.mount = mount
        self.random = random
    }

    @discardableResult
    static func tolerant<Value>(_ body: () throws -> Value) throws -> Value? {
        do {
            return try body()
        } catch is Errno {
            return nil
        }
    }

    private func attempt<Value>(
        _ body: @escaping () throws(Pause) -> Value
    ) throws -> Value? {
        try Visitor.tolerant { try mount.attempt(body) }
    }

    mutating func visitAll() throws {
        names = []
        inodes = [:]
        var pending: [Inode] = [mount.fileSystem.root]
        while let directory = pending.popLast(), inodes.count < 2000 {
            guard inodes[directory.number] == nil else { continue }
            inodes[directory.number] = directory
            var found: [FileName] = []
            _ = try attempt { () throws(Pause) in
                found = []
                try directory.readDirectory(after: 0) { entry in
                    found.append(entry.name.owned)
                    return found.count < 3000
                }
            }
            for name in found {
                names.append((directory, name))
                let child = try attempt { () throws(Pause) in
                    try name.withName { (name) throws(Pause) in try directory.lookup(name) }
                }
                guard let child = child.flatMap({ $0 }) else { continue }
                if child.isDirectory { pending.append(child) } else { inodes[child.number] = child }
            }
        }
        for inode in inodes.values.sorted(by: { $0.number < $1.number }) { try look(inode) }
    }

    private func look(_ inode: Inode) throws {
        let attributes = try attempt { () throws(Pause) in try inode.attributes() }
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 4096)
        defer { room.deallocate() }
        _ = try attempt { () throws(Pause) in try inode.extendedAttributeNames(into: room) }
        for name: FileName in ["user.a0", "user.a1", "user.x"] {
            _ = try attempt { () throws(Pause) in
                try name.withName { (name) throws(Pause) in
                    try inode.extendedAttribute(name, into: room)
                }
            }
        }
        if inode.kind == .symbolicLink {
            _ = try attempt { () throws(Pause) in try inode.readLink() }
        }
        guard inode.kind == .regular, let size = attributes?.size else { return }
        for offset in [0, size / 2, size > 70_000 ? size - 70_000 : 0] {
            _ = try attempt { () throws(Pause) in try inode.read(into: room, at: offset) }
        }
        _ = try attempt { () throws(Pause) in try inode.seek(.hole, from: 0) }
        _ = try attempt { () throws(Pause) in try inode.seek(.data, from: size / 2) }
    }

    // MARK: Changing

    mutating func changeAll() throws {
        let vfs = mount.vfs
        let caller = Caller(.root)
        for (number, inode) in inodes.sorted(by: { $0.key < $1.key }) {
            try change(inode, number)
            if random.oneIn(10) {
                var point = SyncPoint()
                _ = try attempt { () throws(Pause) in
                    try inode.sync(dataOnly: false, &point)
                }
            }
        }
        for (index, (directory, name)) in names.enumerated() {
            let other = FileName("other \(random.number(below: 20))")
            switch random.number(below: 4) {
            case 0:
                _ = try attempt { () throws(Pause) in
                    try name.withName { (name) throws(Pause) in
                        try other.withName { (other) throws(Pause) in
                            try vfs.rename(
                                name, in: directory, to: other, in: directory, flags: [],
                                by: caller)
                        }
                    }
                }
            case 1..<3:
                for isDirectory in [false, true] {
                    _ = try attempt { () throws(Pause) in
                        try name.withName { (name) throws(Pause) in
                            try vfs.remove(
                                name, in: directory, directory: isDirectory, by: caller)
                        }
                    }
                }
            default:
                let fresh = FileName("fresh \(index)")
                let kind: FileKind = random.oneIn(3) ? .directory : .regular
                _ = try attempt { () throws(Pause) in
                    try fresh.withName { (fresh) throws(Pause) in
                        try vfs.create(
                            fresh, in: directory,
                            NewNode(kind: kind, permissions: Permissions(rawValue: 0o755)),
                            by: caller)
                    }
                }
            }
            if random.oneIn(20) {
                mount.stepper.timers.advance(nanoseconds: 150_000_000)
                mount.stepper.settle()
            }
        }
    }

    private mutating func change(_ inode: Inode, _ number: UInt64) throws {
        let vfs = mount.vfs
        let caller = Caller(.root)
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 6000, alignment: 16)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: number))
        let offset = UInt64(random.number(below: 50_000))
        switch random.number(below: 6) {
        case 0:
            var change = AttributeChange()
            change.size = UInt64(random.number(below: 40_000))
            let final = change
            _ = try attempt { () throws(Pause) in
                try vfs.setAttributes(of: inode, final, by: caller)
            }
        case 1:
            _ = try attempt { () throws(Pause) in
                try vfs.allocate(
                    .punchHole, of: inode, offset: offset, length: 9000, options: [], by: caller)
            }
        case 2:
            _ = try attempt { () throws(Pause) in
                try vfs.allocate(
                    .reserve(keepSize: false), of: inode, offset: offset, length: 9000,
                    options: [], by: caller)
            }
        case 3:
            let name: FileName = "user.a0"
            _ = try attempt { () throws(Pause) in
                try name.withName { (name) throws(Pause) in
                    try vfs.setExtendedAttribute(
                        name, of: inode, to: UnsafeRawBufferPointer(bytes), mode: .any, by: caller)
                }
            }
        default:
            _ = try attempt { () throws(Pause) in
                try vfs.write(
                    UnsafeRawBufferPointer(bytes), to: inode, at: .offset(offset), options: [],
                    by: caller)
            }
        }
    }
}
