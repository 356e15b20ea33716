// What `cairn bench` measures: the calls that programs make most, one at a time, by one thread.
//
// Works in a directory of its own, which it removes at the end, also when it is interrupted.

import CairnBase
import CairnVFS
import Glibc

struct Workloads {
    /// The directory that everything happens in.
    let place: Place
    let files: Int
    let fileBytes: UInt64

    private static let blockBytes = 4096
    private static let largeBytes = 1 << 20
    private static let syncs = 64

    /// Runs all and gives the measurements in order.
    func run() throws(Failure) -> [Measurement] {
        let signals = BlockedSignals()
        try place.attempt { tree, path throws(Errno) in
            try tree.makeDirectory(path, permissions: 0o700)
        }
        let result: [Measurement]
        do throws(Failure) {
            result = try names(signals) + data(signals)
        } catch {
            try? RemoveCommand.removeTree(place)
            throw error
        }
        try RemoveCommand.removeTree(place)
        return result
    }

    // MARK: Names

    private func names(_ signals: BlockedSignals) throws(Failure) -> [Measurement] {
        let tree = place.tree
        let paths = (0..<files).map { place.path.appending("file-\($0)".utf8) }
        let moved = (0..<files).map { place.path.appending("moved-\($0)".utf8) }
        let missing = place.path.appending("missing".utf8)
        let block = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Workloads.blockBytes, alignment: 4096)
        defer { block.deallocate() }
        block.initializeMemory(as: UInt8.self, repeating: 0x5A)
        func each(
            _ name: String, _ body: (Int) throws(Errno) -> Void
        ) throws(Failure) -> Measurement {
            try measure(name, files, signals, body)
        }
        func readFirstBlock(_ index: Int) throws(Errno) {
            let file = try tree.open(paths[index], for: .reading)
            _ = try file.read(into: block, at: 0)
            try file.close()
        }
        return [
            try each("create") { (i) throws(Errno) in
                try tree.open(paths[i], for: .creating(permissions: 0o600)).close()
            },
            try each("open+write 4K+close") { (i) throws(Errno) in
                let file = try tree.open(paths[i], for: .updating)
                try file.write(UnsafeRawBufferPointer(block), at: 0)
                try file.close()
            },
            try each("stat") { (i) throws(Errno) in
                _ = try tree.status(of: paths[i], following: true)
            },
            try each("stat, warm") { (i) throws(Errno) in
                _ = try tree.status(of: paths[i], following: true)
            },
            try each("stat, missing") { (_) throws(Errno) in
                do throws(Errno) {
                    _ = try tree.status(of: missing, following: true)
                } catch {
                    if error != .ENOENT { throw error }
                }
            },
            try each("open+read 4K+close", readFirstBlock),
            try each("open+read 4K+close, warm", readFirstBlock),
            try measure("list \(files) names", 5, signals) { (_) throws(Errno) in
                _ = try tree.entries(of: place.path)
            },
            try each("rename") { (i) throws(Errno) in try tree.rename(paths[i], to: moved[i]) },
            try each("unlink") { (i) throws(Errno) in
                try tree.remove(moved[i], directory: false)
            },
            try each("mkdir") { (i) throws(Errno) in
                try tree.makeDirectory(paths[i], permissions: 0o700)
            },
            try each("rmdir") { (i) throws(Errno) in try tree.remove(paths[i], directory: true) },
        ]
    }

    // MARK: Data

    private func data(_ signals: BlockedSignals) throws(Failure) -> [Measurement] {
        let path = place.path.appending("data".utf8)
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Workloads.largeBytes, alignment: 4096)
        defer { buffer.deallocate() }
        for index in 0..<buffer.count { buffer[index] = UInt8(truncatingIfNeeded: index &* 31) }
        let all = UnsafeRawBufferPointer(buffer)
        let block = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Workloads.blockBytes])
        let large = UInt64(Workloads.largeBytes)
        let pieces = max(1, Int(fileBytes / large))
        let blocks = UInt64(pieces) * large / UInt64(Workloads.blockBytes)
        var random = SystemRandomNumberGenerator()
        let offsets = (0..<files).map { _ in
            UInt64.random(in: 0..<blocks, using: &random) * UInt64(Workloads.blockBytes)
        }
        let file = try place.attempt { tree, _ throws(Errno) in
            try tree.open(path, for: .creating(permissions: 0o600))
        }
        defer { try? file.close() }
        var result = [
            try measure("write 1M, in order", pieces, signals, bytes: large) { (i) throws(Errno) in
                try file.write(all, at: UInt64(i) * large)
            },
            try measure("read 1M, in order", pieces, signals, bytes: large) { (i) throws(Errno) in
                _ = try file.read(into: buffer, at: UInt64(i) * large)
            },
        ]
        let small = UInt64(Workloads.blockBytes)
        result.append(
            try measure("write 4K, at random", files, signals, bytes: small) { (i) throws(Errno) in
                try file.write(UnsafeRawBufferPointer(block), at: offsets[i])
            })
        result.append(
            try measure("read 4K, at random", files, signals, bytes: small) { (i) throws(Errno) in
                _ = try file.read(into: block, at: offsets[i])
            })
        result.append(
            try measure("write 4K+fsync", Workloads.syncs, signals, bytes: small) {
                (i) throws(Errno) in
                try file.write(UnsafeRawBufferPointer(block), at: offsets[i % offsets.count])
                try file.sync()
            })
        return result
    }

    // MARK: Measuring

    private func measure(
        _ name: String, _ count: Int, _ signals: BlockedSignals, bytes: UInt64 = 0,
        _ body: (Int) throws(Errno) -> Void
    ) throws(Failure) -> Measurement {
        var measurement = Measurement(name, expected: count)
        for index in 0..<count {
            if index % 64 == 0 { try signals.check() }
            do throws(Errno) {
                try measurement.time { () throws(Errno) in try body(index) }
            } catch {
                throw Failure("\(place.text): \(name)", error)
            }
        }
        measurement.bytes = bytes * UInt64(count)
        return measurement
    }
}

/// Ctrl-C and SIGTERM wait until the work looks for them, so that it can clean up.
private struct BlockedSignals {
    init() {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGINT)
        sigaddset(&set, SIGTERM)
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    func check() throws(Failure) {
        var set = sigset_t()
        sigpending(&set)
        if sigismember(&set, SIGINT) == 1 || sigismember(&set, SIGTERM) == 1 {
            throw Failure("bench", "interrupted")
        }
    }
}
