// Files of mfs_disk in memory, and reads that are longer than its cache, as a program that embeds
// Cairn sees them.

import CairnBase
import CairnIO
import CairnTree
import CairnVFS
import Testing

@testable import CairnDisk
@testable import CairnTestSupport

@Suite struct DiskMappingTests {
    /// Memory that one task changes while another stores it.
    private struct SharedMapping: Sendable {
        let mapped: MappedFile
        let round: Int

        init(_ mapped: MappedFile, _ round: Int) {
            self.mapped = mapped
            self.round = round
        }

        func fill() async {
            let memory = mapped.memory
            for place in memory.indices {
                memory[place] = UInt8(truncatingIfNeeded: place &* 7 &+ round)
            }
        }
    }

    /// A mount of the device, and a process in it.
    private func mounted(
        _ device: MemoryDevice, compress: Compression = .none
    ) throws -> (Process, Namespace, DiskGround) {
        let ground = DiskGround(device)
        var options = DiskGround.smallOptions
        options.compression = CompressionSetting(method: compress)
        let tree = TreeFileSystem(
            typeName: "test", time: ground.time, store: try ground.store(options), nodeLimit: 64)
        try blocking { () throws(Pause) in try tree.start() }
        let namespace = try Namespace(vfs: VFS(time: ground.time), root: tree)
        return (try Process(in: namespace, name: "test"), namespace, ground)
    }

    private func end(_ process: Process, _ namespace: Namespace) throws {
        process.exit()
        try namespace.close()
    }

    private func bytes(_ count: Int, _ seed: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private func read(
        _ process: Process, _ file: Descriptor, _ count: Int, at offset: UInt64
    ) throws -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        defer { buffer.deallocate() }
        let got = try process.read(from: file, into: buffer, at: offset)
        return Array(buffer[..<got])
    }

    // C7: what a mapping changes is the file's: descriptors see it at once, and a remount after a sync
    @Test(arguments: [Compression.none, .lz4])
    func whatIsMappedIsTheFile(_ compress: Compression) throws {
        let device = try DiskGround.formatted(size: 64 << 20)
        var content = bytes(300_000, 1)
        do {
            let (process, namespace, _) = try mounted(device, compress: compress)
            let file = try process.open("/file", [.create, .readWrite])
            _ = try content.withUnsafeBytes { try process.write($0, to: file) }
            let mapped = try process.map(file, length: 300_000, [.read, .write])
            #expect(Array(mapped.memory) == content)
            for place in stride(from: 5, to: 300_000, by: 7_001) {
                mapped.memory[place] ^= 0xFF
                content[place] ^= 0xFF
            }
            #expect(try read(process, file, 300_000, at: 0) == content)
            try [1, 2, 3].withUnsafeBytes { bytes in
                let three = UnsafeRawBufferPointer(rebasing: bytes[..<3])
                _ = try process.write(three, to: file, at: 4095)
            }
            content.replaceSubrange(4095..<4098, with: Array(mapped.memory[4095..<4098]))
            try process.close(file)
            try mapped.sync()
            mapped.memory[100] = 0x77
            content[100] = 0x77
            try mapped.unmap()
            #expect(mapped.memory.isEmpty)
            try end(process, namespace)
        }
        try VolumeGround.expectSound(device, "after the first mount")
        let (process, namespace, ground) = try mounted(device)
        let file = try process.open("/file", .readOnly)
        #expect(try read(process, file, 400_000, at: 0) == content)
        #expect(ground.reports == [])
        try end(process, namespace)
    }

    // C7: what is written is what was there at one moment, whatever the program does to the memory
    @Test func aPageThatChangesWhileItIsStoredIsSound() throws {
        let device = try DiskGround.formatted(size: 64 << 20)
        let (process, namespace, ground) = try mounted(device)
        let file = try process.open("/file", [.create, .readWrite])
        try process.truncate(file, to: 64 << 10)
        let mapped = try process.map(file, length: 64 << 10, [.read, .write])
        let threads = TaskThreads()
        for round in 0..<6 {
            let shared = SharedMapping(mapped, round)
            try threads.run {
                async let written: Void = shared.fill()
                try await mapped.sync()
                await written
            }
        }
        let content = Array(mapped.memory)
        try mapped.unmap()
        try process.close(file)
        try end(process, namespace)
        #expect(ground.reports == [])
        try VolumeGround.expectSound(device, "after it all")
        let (later, again, reports) = try mounted(device)
        let found = try later.open("/file", .readOnly)
        #expect(try read(later, found, 64 << 10, at: 0) == content)
        #expect(reports.reports == [])
        try end(later, again)
    }

    // C7: what mmap(2) refuses is refused, and a private mapping keeps its changes to itself
    @Test func mapsAreRefusedAsLinuxDoes() throws {
        let device = try DiskGround.formatted(size: 16 << 20)
        let (process, namespace, _) = try mounted(device)
        let file = try process.open("/file", [.create, .readWrite])
        _ = try bytes(10_000, 2).withUnsafeBytes { try process.write($0, to: file) }
        let reader = try process.open("/file", .readOnly)
        let writer = try process.open("/file", .writeOnly)
        let root = try process.open("/", .directory)
        #expect(throws: Errno.EACCES) { try process.map(writer, length: 10) }
        #expect(throws: Errno.EACCES) { try process.map(reader, length: 10, [.read, .write]) }
        #expect(throws: Errno.ENODEV) { try process.map(root, length: 10) }
        #expect(throws: Errno.EINVAL) { try process.map(file, length: 0) }
        #expect(throws: Errno.EINVAL) { try process.map(file, offset: 100, length: 10) }
        #expect(throws: Errno.EBADF) { try process.map(Descriptor(rawValue: 99), length: 10) }
        let personal = try process.map(reader, length: 10_000, [.read, .write], as: .personal)
        personal.memory[0] ^= 0xFF
        #expect(try read(process, file, 1, at: 0)[0] == personal.memory[0] ^ 0xFF)
        let shared = try process.map(reader, length: 10_000)
        #expect(throws: Errno.EACCES) { try shared.protect(nil, [.read, .write]) }
        // A mapping keeps the mount busy, as an open file does.
        for descriptor in [file, reader, writer, root] { try process.close(descriptor) }
        #expect(shared.memory[9_999] == personal.memory[9_999])
        try shared.unmap()
        try personal.unmap()
        #expect(throws: Errno.EINVAL) { try shared.sync() }
        try end(process, namespace)
    }

    // C3, V7: a read that is longer than the cache is whole, of a descriptor's offset and of several
    // buffers too
    @Test func readsLongerThanTheCacheAreWhole() throws {
        let device = try DiskGround.formatted(size: 128 << 20)
        let count = 9 << 20
        let content = bytes(count, 3)
        let (process, namespace, _) = try mounted(device)
        let file = try process.open("/file", [.create, .readWrite])
        var done = 0
        // In pieces that slow no writer: the clock stands.
        while done < count {
            let piece = content[done..<min(done + (128 << 10), count)]
            done += try piece.withUnsafeBytes { try process.write($0, to: file) }
            try process.fsync(file)
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        defer { buffer.deallocate() }
        _ = try process.seek(file, .start(0))
        #expect(try process.read(from: file, into: buffer) == count)
        #expect(buffer.elementsEqual(content))
        #expect(try process.seek(file, .current(0)) == UInt64(count))
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        let parts = [
            UnsafeMutableRawBufferPointer(rebasing: buffer[..<1000]),
            UnsafeMutableRawBufferPointer(rebasing: buffer[1000..<5_000_001]),
            UnsafeMutableRawBufferPointer(rebasing: buffer[5_000_001...]),
        ]
        #expect(try process.read(from: file, into: parts, at: 0) == count)
        #expect(buffer.elementsEqual(content))
        try process.close(file)
        try end(process, namespace)
    }
}
