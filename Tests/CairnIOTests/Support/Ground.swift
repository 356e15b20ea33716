// The grounds that devices are tested on: engines, and places for files.

import CairnBase
import CairnIO
import CairnTestCalls
import Glibc
import Testing

/// A way to have a file as a device.
struct Ground: Sendable, CustomTestStringConvertible {
    enum Place: String, Sendable, CaseIterable { case disk, memory }

    var engine: Reactor.Engine
    var place = Place.disk
    var isDirect = true

    static let all: [Ground] = Reactor.Engine.allCases.flatMap { engine in
        Place.allCases.flatMap { place in
            [true, false].map { Ground(engine: engine, place: place, isDirect: $0) }
        }
    }

    var testDescription: String {
        "\(engine.rawValue), \(place.rawValue), \(isDirect ? "direct" : "buffered")"
    }

    /// A reactor with its thread, and an empty directory, for the time of the body.
    func run(_ body: (Bench) async throws -> Void) async throws {
        let bench = try Bench(self)
        do {
            try await body(bench)
        } catch {
            bench.end()
            throw error
        }
        bench.end()
    }
}

struct Bench {
    let thread: ReactorThread
    let directory: String
    let ground: Ground
    var reactor: Reactor { thread.reactor }

    init(_ ground: Ground) throws {
        self.ground = ground
        thread = try ReactorThread(Reactor.Options(engine: ground.engine, workerLimit: 8))
        directory = try Bench.makeDirectory(in: ground.place)
    }

    static func makeDirectory(in place: Ground.Place) throws -> String {
        let parent = place == .memory ? "/dev/shm" : "/var/tmp"
        var name = Array("\(parent)/cairn-io-XXXXXX".utf8CString)
        guard mkdtemp(&name) != nil else { throw Errno(rawValue: errno) }
        return String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The reactor must be idle soon.
    func end() {
        thread.stop()
        Bench.remove(directory)
    }

    static func remove(_ directory: String) {
        for name in namesInDirectory(directory) { unlink(directory + "/" + name) }
        rmdir(directory)
    }

    var imagePath: String { directory + "/image" }

    func options(queueDepth: Int = 64, isReadOnly: Bool = false) -> FileDevice.Options {
        FileDevice.Options(
            isReadOnly: isReadOnly, isDirect: ground.isDirect, queueDepth: queueDepth)
    }

    func makeImage(size: UInt64 = 4 << 20, queueDepth: Int = 64) throws -> FileDevice {
        try FileDevice.create(
            path: imagePath, size: size, options: options(queueDepth: queueDepth), reactor: reactor)
    }
}

/// The errno that the body throws, nil if it does not.
func failure<Value>(_ body: () throws(Errno) -> Value) -> Errno? {
    do throws(Errno) {
        _ = try body()
        return nil
    } catch {
        return error
    }
}

func asyncFailure<Value>(_ body: () async throws(Errno) -> Value) async -> Errno? {
    do throws(Errno) {
        _ = try await body()
        return nil
    } catch {
        return error
    }
}

/// The bytes of a file, by the host's own calls.
func fileBytes(_ path: String) -> [UInt8] {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = read(descriptor, &chunk, chunk.count)
        if count <= 0 { return bytes }
        bytes.append(contentsOf: chunk[..<count])
    }
}
