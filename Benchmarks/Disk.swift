// mfs_disk through the library: an image with many files (how long it takes to open it, what memory it takes
// to look at all of them), reads of what is in memory, and a cold file in order beside the device's own rate.

import Cairn
import CSystem
import Glibc

struct DiskBenchmark {
    private let path: String
    private let files: Int
    private static let filesOfADirectory = 1000
    private static let fileSize = 1 << 30
    private static let step = 1 << 20

    init(_ path: String, files: Int) {
        self.path = path
        self.files = files
    }

    func run() throws {
        defer { unlink(path) }
        try many()
        unlink(path)
        try large()
    }

    // MARK: Opening

    private struct Opened {
        let namespace: Namespace
        let process: Process
    }

    private func open() throws -> Opened {
        let vfs = VFS()
        let namespace = try Namespace(vfs: vfs, root: try HostDiskType.open(path, in: vfs))
        return Opened(namespace: namespace, process: try Process(in: namespace))
    }

    private func close(_ opened: Opened) throws {
        opened.process.exit()
        try opened.namespace.close()
    }

    /// Nothing of the host's caches is left, as far as this user may say so.
    private func dropCaches() -> Bool {
        sync()
        let descriptor = Glibc.open("/proc/sys/vm/drop_caches", O_WRONLY)
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        return write(descriptor, "3", 1) == 1
    }

    /// Milliseconds to open the image and to look at the root.
    private func openingTime() throws -> Double {
        let start = cairn_clock_monotonic()
        let opened = try open()
        _ = try opened.process.stat("/")
        let time = cairn_clock_monotonic() - start
        try close(opened)
        return Double(time) / 1e6
    }

    // MARK: Many files

    private func many() throws {
        try HostDiskType.make(path, size: UInt64(files) * 1024 + 1 << 30)
        let before = residentBytes()
        let opened = try open()
        let process = opened.process
        let text = [UInt8](repeating: 0x5A, count: 100)
        let start = cairn_clock_monotonic()
        var highest = 0
        for number in 0..<files {
            let (directory, inside) = number.quotientAndRemainder(dividingBy: Self.filesOfADirectory)
            if inside == 0 {
                try process.makeDirectory(Path("/d\(directory)"))
                highest = max(highest, residentBytes())
            }
            let file = try process.open(Path("/d\(directory)/f\(inside)"), [.create, .writeOnly])
            _ = try text.withUnsafeBytes { try process.write($0, to: file) }
            try process.close(file)
        }
        try close(opened)
        let made = Double(cairn_clock_monotonic() - start) / 1e9
        var warm: [Double] = []
        var cold: [Double] = []
        for _ in 0..<9 {
            if dropCaches() { cold.append(try openingTime()) }
            warm.append(try openingTime())
        }

        let again = try open()
        let idle = residentBytes()
        let walk = cairn_clock_monotonic()
        var walked = 0
        for number in 0..<files {
            let (directory, inside) = number.quotientAndRemainder(dividingBy: Self.filesOfADirectory)
            _ = try again.process.stat(Path("/d\(directory)/f\(inside)"))
            if inside == 0 { walked = max(walked, residentBytes()) }
        }
        let walkTime = Double(cairn_clock_monotonic() - walk) / 1e9
        try close(again)

        func median(_ times: [Double]) -> String {
            times.isEmpty ? "not measured" : "\(fixed(times.sorted()[times.count / 2], 1)) ms"
        }
        printTable(
            "\(files) files of 100 bytes on mfs_disk, through the library", ["", ""],
            [
                Row(name: "made and closed", figures: ["\(fixed(made, 1)) s"]),
                Row(name: "opened again (wanted: 50 ms)", figures: [median(warm)]),
                Row(name: "opened with cold caches (wanted: 150 ms)", figures: [median(cold)]),
                Row(name: "stat of each, in order", figures: ["\(fixed(walkTime, 1)) s"]),
                Row(name: "memory before", figures: [mebibytes(before)]),
                Row(name: "at most while they were made", figures: [mebibytes(highest)]),
                Row(name: "once they were opened again", figures: [mebibytes(idle)]),
                Row(name: "at most while each was looked at", figures: [mebibytes(walked)]),
            ])
    }

    private func mebibytes(_ bytes: Int) -> String { "\(bytes >> 20) MiB" }

    private func residentBytes() -> Int {
        let descriptor = Glibc.open("/proc/self/statm", O_RDONLY)
        guard descriptor >= 0 else { return 0 }
        defer { Glibc.close(descriptor) }
        var text = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &text, text.count)
        let fields = String(decoding: text.prefix(max(count, 0)), as: UTF8.self).split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * sysconf(Int32(_SC_PAGESIZE)) : 0
    }

    // MARK: A large file

    private func large() throws {
        try HostDiskType.make(path, size: UInt64(2 * Self.fileSize))
        let opened = try open()
        let process = opened.process
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.step, alignment: 4096)
        defer { buffer.deallocate() }
        var random = SystemRandomNumberGenerator()
        for offset in stride(from: 0, to: Self.step, by: 8) {
            buffer.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
        }
        let small = 16 << 20
        for (name, size) in [("/small", small), ("/large", Self.fileSize)] {
            let file = try process.open(Path(name), [.create, .writeOnly])
            for _ in 0..<size / Self.step {
                _ = try process.write(UnsafeRawBufferPointer(buffer), to: file)
            }
            try process.fsync(file)
            try process.close(file)
        }
        try close(opened)

        let again = try open()
        let file = try again.process.open("/small", .readOnly)
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<4096])
        let times = timeInTurns([
            { count in
                for turn in 0..<count {
                    let offset = (UInt64(turn) &* 0x9E37_79B9_7F4A_7C15) >> 40 & UInt64(small - 4096)
                    _ = try? again.process.read(from: file, into: part, at: offset & ~4095)
                }
            }
        ])
        try close(again)
        printTable(
            "4 KiB at random of \(small >> 20) MiB that are in memory, on mfs_disk", ["", ""],
            [
                Row(
                    name: "reads a second (wanted: 300 000)",
                    figures: ["\(Int(1e9 / times[0].nanoseconds))"])
            ])

        var ours: [Double] = []
        var peers: [Double] = []
        for _ in 0..<3 {
            if let rate = deviceRate() { peers.append(rate) }
            ours.append(try coldRate(buffer))
        }
        guard peers.count == ours.count else {
            print("fio cannot be run: no figures of the device")
            return
        }
        let (rate, peer) = (ours.sorted()[1], peers.sorted()[1])
        printTable(
            "A cold file of \(Self.fileSize >> 30) GiB in order, on mfs_disk",
            ["through the library", "fio, 1 MiB, 8 at once, of the image", "(wanted: 0.9×)"],
            [
                Row(
                    name: "\(fixed(rate / 1e6, 0)) MB/s",
                    figures: ["\(fixed(peer / 1e6, 0)) MB/s", "\(fixed(rate / peer, 2))×"])
            ])
    }

    /// Bytes a second of a file that nobody has in memory.
    private func coldRate(_ buffer: UnsafeMutableRawBufferPointer) throws -> Double {
        let opened = try open()
        let file = try opened.process.open("/large", .readOnly)
        let start = cairn_clock_monotonic()
        var left = Self.fileSize
        while left > 0 {
            let count = try opened.process.read(from: file, into: buffer)
            guard count > 0 else { throw Errno.EIO }
            left -= count
        }
        let time = cairn_clock_monotonic() - start
        try close(opened)
        return Double(Self.fileSize) * 1e9 / Double(time)
    }

    private func deviceRate() -> Double? {
        let command =
            "fio --name=peer --filename='\(path)' --ioengine=io_uring --direct=1 --thread --readonly"
            + " --rw=read --bs=1M --iodepth=8 --offset=256M --size=\(Self.fileSize) --minimal"
        guard let fields = terse(command), let kilobytes = Double(fields[5]),
            let milliseconds = Double(fields[8]), milliseconds > 0
        else { return nil }
        return kilobytes * 1024 * 1000 / milliseconds
    }
}
