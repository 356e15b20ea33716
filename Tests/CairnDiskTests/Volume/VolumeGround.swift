// VolumeGround: what the tests of volumes stand on.

import CairnBase
import CairnIO
import CairnTestSupport
import Testing

@testable import CairnDisk

/// Collects what is reported.
final class Reports: @unchecked Sendable {
    // Sendable: `lock` guards the lines.
    private let lock = Lock()
    private var lines: [String] = []

    var all: [String] { lock.withLock { lines } }
    func add(_ line: String) { lock.withLock { lines.append(line) } }
}

struct VolumeGround {
    let executor = InlineExecutor()
    let timers = ManualTimers()
    let time = ManualTime()
    let reports = Reports()

    func environment(_ device: any BlockDevice) -> VolumeEnvironment {
        let reports = reports
        return VolumeEnvironment(
            device: device, timers: timers, time: time, executor: executor,
            report: { reports.add($0) })
    }

    static func format(
        size: UInt64 = 4 << 20, _ options: FormatOptions = FormatOptions()
    ) throws -> MemoryDevice {
        let device = try MemoryDevice(size: size)
        try format(device, options)
        return device
    }

    static func format(_ device: any BlockDevice, _ options: FormatOptions) throws {
        let time = ManualTime()
        _ = try InlineExecutor().run {
            var random = SeededRandom(seed: 1)
            return try await Formatter.format(device, options, time: time, random: &random)
        }
    }

    func open(
        _ device: any BlockDevice, _ options: VolumeOptions = VolumeOptions()
    ) throws -> Volume {
        let environment = environment(device)
        return try executor.run { try await Volume.open(environment, options) }
    }

    /// Opened, recovered and in use, with a store on it.
    func mount(
        _ device: any BlockDevice, _ options: VolumeOptions = VolumeOptions()
    ) throws -> ToyStore {
        let volume = try open(device, options)
        let store = ToyStore(volume)
        try executor.run { try await volume.start(owner: store) }
        return store
    }

    func unmount(_ store: ToyStore) throws {
        try executor.run { try await store.volume.unmount() }
    }

    /// Commits now.
    func commit(_ volume: Volume) throws(Errno) {
        let wait = volume.commitWait()
        var isNew = true
        try blocking { () throws(Pause) in
            guard isNew else { return }
            isNew = false
            throw .wait(wait)
        }
    }

    /// Fsck finds nothing.
    static func expectSound(_ device: any BlockDevice, _ what: String = "") throws {
        let found = try findings(device)
        #expect(found.isEmpty, "\(what) \(found.prefix(5))")
    }

    /// What fsck finds.
    static func findings(_ device: any BlockDevice) throws -> [String] {
        var found: [String] = []
        _ = try ImageCheck(device, CheckOptions(checksData: true)).check {
            found.append("\($0.place): \($0.what)")
        }
        return found
    }
}
