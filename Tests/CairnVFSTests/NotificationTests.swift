// Change notification (requirement V14). What is expected here was recorded from inotify.

import CairnBase
import Testing

@testable import CairnVFS

@Suite("Notification", .timeLimit(.minutes(1)))
struct NotificationTests {
    private let fileSystem = PlainFileSystem()
    private let vfs = VFS(time: ManualTime())
    private let caller = Caller(.root)
    private let queue = NotificationQueue()

    // MARK: Doing and hearing

    private func make(
        _ name: FileName, in directory: Inode, kind: FileKind = .regular
    ) throws -> Inode {
        try name.withName { name throws(Errno) in
            try blocking { () throws(Pause) in
                try vfs.create(
                    name, in: directory, NewNode(kind: kind, permissions: []), by: caller)
            }
        }
    }

    private func remove(_ name: FileName, in directory: Inode, isDirectory: Bool = false) throws {
        try name.withName { name throws(Errno) in
            try blocking { () throws(Pause) in
                try vfs.remove(name, in: directory, directory: isDirectory, by: caller)
            }
        }
    }

    private func link(_ inode: Inode, as name: FileName, in directory: Inode) throws {
        try name.withName { name throws(Errno) in
            try blocking { () throws(Pause) in
                try vfs.link(inode, as: name, in: directory, by: caller)
            }
        }
    }

    private func rename(
        _ name: FileName, in source: Inode, to newName: FileName, in target: Inode,
        flags: RenameFlags = []
    ) throws {
        try name.withName { name throws(Errno) in
            try newName.withName { newName throws(Errno) in
                try blocking { () throws(Pause) in
                    try vfs.rename(
                        name, in: source, to: newName, in: target, flags: flags, by: caller)
                }
            }
        }
    }

    /// As an open does: the name that is used is the one that is told.
    private func find(_ name: FileName, in directory: Inode) throws {
        try name.withName { name throws(Errno) in
            try blocking { () throws(Pause) in _ = try vfs.lookup(name, in: directory) }
        }
    }

    private func write(to inode: Inode) throws {
        try blocking { () throws(Pause) in
            _ = try vfs.write(
                UnsafeRawBufferPointer(start: nil, count: 0), to: inode, at: .end, options: [],
                by: caller)
        }
    }

    /// Events as "watch:KIND[ name]", without the pairing.
    private func heard() throws -> [String] {
        guard queue.count > 0 else { return [] }
        return try blocking { () throws(Pause) in try queue.read() }.map(Self.text)
    }

    private static func text(_ event: Notification) -> String {
        let names: [(WatchEvents, String)] = [
            (.modify, "MODIFY"), (.attributes, "ATTRIB"), (.movedFrom, "MOVED_FROM"),
            (.movedTo, "MOVED_TO"), (.create, "CREATE"), (.delete, "DELETE"),
            (.deleteSelf, "DELETE_SELF"), (.moveSelf, "MOVE_SELF"), (.unmount, "UNMOUNT"),
            (.overflow, "OVERFLOW"), (.ignored, "IGNORED"), (.isDirectory, "ISDIR"),
        ]
        let kinds = names.filter { event.events.contains($0.0) }.map(\.1)
        let name = event.name.map { " \($0)" } ?? ""
        return "\(event.watch.rawValue):\(kinds.joined(separator: "|"))\(name)"
    }

    // MARK: What is told

    @Test("A directory's watch hears of names, a file's of itself, in inotify's order")  // V14
    func namesAndSelf() throws {
        let root = fileSystem.root
        try queue.watch(root, for: .all)
        let file = try make("f", in: root)
        try queue.watch(file, for: .all)
        #expect(try heard() == ["1:CREATE f"])
        try link(file, as: "g", in: root)
        #expect(try heard() == ["2:ATTRIB", "1:CREATE g"])
        try remove("g", in: root)
        #expect(try heard() == ["2:ATTRIB", "1:DELETE g"])
        try find("f", in: root)
        try write(to: file)
        #expect(try heard() == ["1:MODIFY f", "2:MODIFY"])
        try remove("f", in: root)
        #expect(try heard() == ["2:ATTRIB", "2:DELETE_SELF", "2:IGNORED", "1:DELETE f"])
        _ = try make("d", in: root, kind: .directory)
        try remove("d", in: root, isDirectory: true)
        #expect(try heard() == ["1:CREATE|ISDIR d", "1:DELETE|ISDIR d"])
    }

    @Test("A file that is open when it loses its name tells its end at the last close")  // V13 V14
    func endOfOpenFile() throws {
        let root = fileSystem.root
        let file = try make("f", in: root)
        try queue.watch(file, for: .all)
        #expect(file.hold())
        #expect(file.hold())
        try remove("f", in: root)
        #expect(try heard() == ["1:ATTRIB"])
        file.drop()
        #expect(try heard() == [])
        file.drop()
        #expect(try heard() == ["1:DELETE_SELF", "1:IGNORED"])
        #expect(queue.watchCount == 0)
        #expect(!fileSystem.isWatched)
    }

    @Test("Both halves of a move carry one cookie, two moves two")  // V14
    func cookies() throws {
        let root = fileSystem.root
        let other = try make("d", in: root, kind: .directory)
        let moved = try make("f", in: root)
        let replaced = try make("g", in: other)
        for inode in [root, other, moved, replaced] { try queue.watch(inode, for: .all) }
        try rename("f", in: root, to: "g", in: other)
        let events = try blocking { () throws(Pause) in try queue.read() }
        #expect(
            events.map(Self.text) == [
                "1:MOVED_FROM f", "2:MOVED_TO g", "3:MOVE_SELF", "4:ATTRIB", "4:DELETE_SELF",
                "4:IGNORED",
            ])
        #expect(events[0].cookie != 0 && events[0].cookie == events[1].cookie)
        #expect(events.dropFirst(2).allSatisfy { $0.cookie == 0 })
        try rename("g", in: other, to: "g", in: root)
        let more = try blocking { () throws(Pause) in try queue.read() }
        #expect(more[0].cookie == more[1].cookie && more[0].cookie != events[0].cookie)
    }

    @Test("An exchange is two moves")
    func exchange() throws {
        let root = fileSystem.root
        let other = try make("d", in: root, kind: .directory)
        let first = try make("f", in: root)
        let second = try make("g", in: other)
        for inode in [root, other, first, second] { try queue.watch(inode, for: .all) }
        try rename("f", in: root, to: "g", in: other, flags: .exchange)
        #expect(
            try heard() == [
                "1:MOVED_FROM f", "2:MOVED_TO g", "3:MOVE_SELF",
                "2:MOVED_FROM g", "1:MOVED_TO f", "4:MOVE_SELF",
            ])
        // Two names of one file: rename does nothing, and nothing is told.
        try link(first, as: "h", in: other)
        _ = try heard()
        try rename("g", in: other, to: "h", in: other)
        #expect(try heard() == [])
    }

    @Test("Only what was asked for is told")
    func mask() throws {
        let root = fileSystem.root
        let watch = try queue.watch(root, for: .delete)
        _ = try make("f", in: root)
        #expect(try heard() == [])
        #expect(try queue.watch(root, for: [.create, .addToExisting]) == watch)
        _ = try make("g", in: root)
        try remove("g", in: root)
        #expect(try heard() == ["1:CREATE g", "1:DELETE g"])
        #expect(throws: Errno.EEXIST) { try queue.watch(root, for: [.create, .mustBeNew]) }
        #expect(throws: Errno.EINVAL) { try queue.watch(root, for: .onlyDirectory) }
        let file = try make("h", in: root)
        #expect(throws: Errno.ENOTDIR) { try queue.watch(file, for: [.modify, .onlyDirectory]) }
        #expect(try queue.watch(root, for: [.create, .once]) == watch)
        _ = try heard()
        _ = try make("i", in: root)
        _ = try make("j", in: root)
        #expect(try heard() == ["1:CREATE i", "1:IGNORED"])
    }

    // MARK: The queue

    @Test("Equal events in a row are one, others are not")
    func coalescing() throws {
        let root = fileSystem.root
        let file = try make("f", in: root)
        try queue.watch(file, for: .all)
        for _ in 0..<5 { try write(to: file) }
        try vfs.notifyForTest(.attributes, file)
        try write(to: file)
        #expect(try heard() == ["1:MODIFY", "1:ATTRIB", "1:MODIFY"])
        // What has been read is not there to be equal to.
        try write(to: file)
        #expect(try heard() == ["1:MODIFY"])
    }

    @Test("A full queue says once that it lost events, and goes on when it was read")  // V14
    func overflow() throws {
        let small = NotificationQueue(capacity: 4)
        let root = fileSystem.root
        try small.watch(root, for: .create)
        for index in 0..<10 { _ = try make(FileName("f\(index)"), in: root) }
        #expect(small.count == 5)
        let first = try blocking { () throws(Pause) in try small.read(upTo: 2) }
        #expect(first.map(Self.text) == ["1:CREATE f0", "1:CREATE f1"])
        _ = try make("late", in: root)
        let rest = try blocking { () throws(Pause) in try small.read() }
        #expect(
            rest.map(Self.text) == [
                "1:CREATE f2", "1:CREATE f3", "-1:OVERFLOW", "1:CREATE late",
            ])
        for index in 10..<20 { _ = try make(FileName("f\(index)"), in: root) }
        let again = try blocking { () throws(Pause) in try small.read() }
        #expect(again.filter { $0.events == .overflow }.count == 1)
    }

    @Test("A removed watch says so and is silent; its number is not used again")
    func removal() throws {
        let root = fileSystem.root
        let watch = try queue.watch(root, for: .all)
        try queue.removeWatch(watch)
        _ = try make("f", in: root)
        #expect(try heard() == ["1:IGNORED"])
        #expect(throws: Errno.EINVAL) { try queue.removeWatch(watch) }
        #expect(try queue.watch(root, for: .all) != watch)
    }

    @Test("Closing the filesystem ends every watch on it")
    func unmount() throws {
        let file = try make("f", in: fileSystem.root)
        try queue.watch(fileSystem.root, for: .create)
        try queue.watch(file, for: .modify)
        try blocking { () throws(Pause) in try fileSystem.close() }
        #expect(Set(try heard()) == ["1:UNMOUNT", "1:IGNORED", "2:UNMOUNT", "2:IGNORED"])
        #expect(!fileSystem.isWatched)
    }

    @Test("A queue that is let go of leaves nothing behind")
    func letGo() throws {
        var short: NotificationQueue? = NotificationQueue()
        weak var inode: Inode?
        do {
            let file = try make("f", in: fileSystem.root)
            try short?.watch(file, for: .all)
            inode = file
        }
        try remove("f", in: fileSystem.root)
        #expect(fileSystem.isWatched == false)
        vfs.dentries.shrink(to: 0)
        // Sections of tests beside this one may still see what was in the cache.
        for _ in 0..<1000 where inode != nil {
            Epoch.synchronize()
            Epoch.flush()
        }
        #expect(inode == nil)
        try short?.watch(fileSystem.root, for: .all)
        #expect(fileSystem.isWatched)
        short = nil
        #expect(!fileSystem.isWatched)
    }

    @Test("Bytes are struct inotify_event")
    func encoding() throws {
        try queue.watch(fileSystem.root, for: .all)
        _ = try make("sixteen-letters-", in: fileSystem.root)
        var bytes = [UInt8](repeating: 0xAA, count: 64)
        let none = bytes.withUnsafeMutableBytes { buffer in
            Result {
                try blocking { () throws(Pause) in
                    try queue.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<47]))
                }
            }
        }
        #expect(throws: Errno.EINVAL) { try none.get() }
        let count = try bytes.withUnsafeMutableBytes { buffer in
            try blocking { () throws(Pause) in try queue.read(into: buffer) }
        }
        #expect(count == 48)
        #expect(Array(bytes[0..<16]) == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0])
        #expect(Array(bytes[16..<32]) == Array("sixteen-letters-".utf8))
        #expect(bytes[32..<48].allSatisfy { $0 == 0 })
        #expect(queue.count == 0)
    }

    // MARK: Waiting

    @Test("A reader sleeps until something happens, a cancelled one gets EINTR, a closed one EBADF")
    func waiting() throws {
        let results = Recorder<String>()
        func read() -> PendingOperation {
            callingBack { () throws(Pause) in
                try queue.read()
            } completion: { result in
                switch result {
                case .success(let events): results.append(events.map(Self.text).joined())
                case .failure(let errno): results.append("\(errno.rawValue)")
                }
            }
        }
        try queue.watch(fileSystem.root, for: .create)
        let first = read()
        let second = read()
        first.cancel()
        #expect(results.items == ["4"])
        _ = try make("f", in: fileSystem.root)
        #expect(results.items == ["4", "1:CREATE f"])
        let third = read()
        queue.close()
        #expect(results.items == ["4", "1:CREATE f", "9"])
        #expect(!fileSystem.isWatched)
        withExtendedLifetime((first, second, third)) {}
    }

    @Test("No event is lost between a reader that goes to sleep and writers")
    func noLostWakeUp() throws {
        let root = fileSystem.root
        try queue.watch(root, for: .create)
        let perThread = 500
        let names = Recorder<FileName>()
        onThreads(3) { thread in
            do {
                if thread == 0 {
                    while names.items.count < 2 * perThread {
                        let events = try blocking { () throws(Pause) in
                            try queue.read(upTo: 7)
                        }
                        for case let name? in events.map(\.name) { names.append(name) }
                    }
                } else {
                    for index in 0..<perThread {
                        _ = try make(FileName("\(thread)-\(index)"), in: root)
                    }
                }
            } catch {
                names.append(FileName("\(error)"))
            }
        }
        #expect(Set(names.items).count == 2 * perThread)
        #expect(names.items.count == 2 * perThread)
    }
}

extension VFS {
    fileprivate func notifyForTest(_ event: FileEvent, _ inode: Inode) throws {
        notify(event, inode)
    }
}
