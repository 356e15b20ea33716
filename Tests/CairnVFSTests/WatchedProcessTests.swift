// What a watcher hears of the calls of a process (requirement V14).

import CairnBase
import Testing

@testable import CairnVFS

@Suite("Watching a process", .timeLimit(.minutes(1)))
struct WatchedProcessTests {
    private let fileSystem = PlainFileSystem()
    private let queue = NotificationQueue()
    private let namespace: Namespace
    private let process: Process

    init() throws {
        namespace = try Namespace(vfs: VFS(time: ManualTime()), root: fileSystem)
        process = try Process(in: namespace)
    }

    private func write(_ text: String, to file: Descriptor) throws {
        _ = try [UInt8](text.utf8).withUnsafeBytes { try process.write($0, to: file) }
    }

    private func heard() throws -> [Notification] {
        try queue.count == 0 ? [] : blocking { () throws(Pause) in try queue.read() }
    }

    @Test("A directory's watch is told the name that a file was opened by, also before the watch")
    func namesOfOpenFiles() throws {
        let early = try process.open("/early", [.create, .readWrite])
        let watch = try queue.watch(fileSystem.root, for: .all)
        func event(_ events: WatchEvents, _ name: FileName) -> Notification {
            Notification(watch: watch, events: events, name: name)
        }
        try write("x", to: early)
        #expect(try heard() == [event(.modify, "early")])
        let late = try process.open("/late", [.create, .readWrite])
        try write("x", to: late)
        try process.close(late)
        #expect(
            try heard() == [
                event(.create, "late"), event(.open, "late"), event(.modify, "late"),
                event(.closeWrite, "late"),
            ])
        try process.truncate("/late", to: 0)
        try process.close(try process.open("/late", .readOnly))
        #expect(
            try heard() == [
                event(.modify, "late"), event(.open, "late"), event(.closeNoWrite, "late"),
            ])
        try process.close(early)
    }

    @Test("A reader's callback may use the very description whose write woke it")
    func callbackUsesDescription() throws {
        let file = try process.open("/f", [.create, .readWrite])
        try queue.watch(fileSystem.root, for: .modify)
        let offsets = Recorder<UInt64>()
        let (process, queue) = (process, queue)
        let pending = callingBack { () throws(Pause) in
            try queue.read()
        } completion: { _ in
            // Takes the lock of the offset, which the write held.
            if let offset = try? process.seek(file, .current(0)) { offsets.append(offset) }
        }
        try write("hello", to: file)
        #expect(offsets.items == [5])
        withExtendedLifetime(pending) {}
    }
}
