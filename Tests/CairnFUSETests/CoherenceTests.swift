// What the kernel keeps stays true: it is told of changes by other doors, and asks nothing that
// it was told. Filesystems that are held still hold nobody else (V3).

import CairnBase
import CairnFUSE
import CairnTestPace
import CairnVFS
import Glibc
import Synchronization
import Testing

extension MountTests {
    @Suite(.serialized) struct Coherence {
        @Test(arguments: transports, [false, true])
        func changesByAnotherDoorShow(
            over transport: FUSEMountOptions.Transport, writeback: Bool
        ) async throws {
            var options = FUSEMountOptions()
            options.writebackCache = writeback
            try await withMount(over: transport, options: options) { mounted in
                #expect(status(mounted("late")) == nil)
                #expect(names(mounted.path) == [])
                let late = try mounted.make("late")
                #expect(eventually { status(mounted("late")) != nil })
                #expect(eventually { names(mounted.path) == ["late"] })

                try mounted.write("by the library", to: late)
                #expect(
                    eventually { contents(mounted("late")) == Array("by the library".utf8) })
                #expect(eventually { status(mounted("late"))?.st_size == 14 })
                try mounted.write("BY", to: late)
                #expect(
                    eventually { contents(mounted("late")) == Array("BY the library".utf8) })

                var change = AttributeChange()
                change.permissions = Permissions(rawValue: 0o611)
                let asked = change
                try blocking { () throws(Pause) in
                    _ = try mounted.namespace.vfs.setAttributes(of: late, asked, by: Caller(.root))
                }
                #expect(eventually { status(mounted("late"))?.st_mode == S_IFREG | 0o611 })

                try mounted.remove("late")
                #expect(eventually { status(mounted("late")) == nil })
                #expect(eventually { names(mounted.path) == [] })
            }
        }

        @Test(arguments: transports, [false, true])
        func anOpenFileGrowsByAnotherDoor(
            over transport: FUSEMountOptions.Transport, writeback: Bool
        ) async throws {
            var options = FUSEMountOptions()
            options.writebackCache = writeback
            try await withMount(over: transport, options: options) { mounted in
                #expect(put(mounted("log"), "one\n"))
                let file = open(mounted("log"), O_RDONLY)
                #expect(contents(of: file) == Array("one\n".utf8))
                let log = try mounted.find("log")
                try mounted.write("two\n", to: log, at: 4)
                var found: [UInt8] = []
                #expect(
                    eventually {
                        found += contents(of: file) ?? []
                        return found.count >= 4
                    })
                #expect(found == Array("two\n".utf8))
                var change = AttributeChange()
                change.size = 3
                let cut = change
                try blocking { () throws(Pause) in
                    _ = try mounted.namespace.vfs.setAttributes(of: log, cut, by: Caller(.root))
                }
                close(file)
                #expect(eventually { status(mounted("log"))?.st_size == 3 })
            }
        }

        @Test(arguments: transports)
        func aFloodOfChangesIsNotLost(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                let all = (0..<rounds(6000)).map { "n\($0)" }
                for name in all { _ = status(mounted(name)) }
                for name in all { try mounted.make(name) }
                #expect(eventually { all.allSatisfy { status(mounted($0)) != nil } })
                for name in all { try mounted.remove(name) }
                #expect(eventually { all.allSatisfy { status(mounted($0)) == nil } })
            }
        }

        @Test(arguments: transports)
        func whatIsWarmIsNotAskedAgain(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                #expect(put(mounted("f"), [UInt8](repeating: 1, count: 100_000)))
                for _ in 0..<3 {
                    _ = contents(mounted("f"))
                    _ = status(mounted("f"))
                    _ = status(mounted("none"))
                    _ = names(mounted.path)
                }
                let before = mounted.settledRequestCount
                for _ in 0..<100 {
                    let file = open(mounted("f"), O_RDONLY)
                    var byte: UInt8 = 0
                    #expect(pread(file, &byte, 1, 50_000) == 1 && byte == 1)
                    close(file)
                    #expect(status(mounted("none")) == nil)
                }
                #expect(mounted.requestCount == before)
                #expect(mounted.mount.statistics.nodes >= 1)
            }
        }

        @Test(arguments: transports)  // V3
        func aFilesystemHeldStillHoldsNobodyElse(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let slow = ScratchFileSystem()
            try await withMount(
                over: transport,
                prepare: { namespace in
                    let place = try blocking { () throws(Pause) in
                        try FileName("slow").withName { (name) throws(Pause) in
                            try namespace.vfs.create(
                                name, in: namespace.root.inode,
                                NewNode(kind: .directory, permissions: .executeAll),
                                by: Caller(.root))
                        }
                    }
                    try namespace.mount(
                        slow, at: Location(mount: namespace.rootMount, inode: place))
                }
            ) { mounted in
                let count = 40
                for number in 0..<count {
                    #expect(put(mounted("slow/\(number)"), "12345"))
                }
                slow.holdBack()
                defer { slow.letGo() }
                let done = Counter()
                let held = (0..<count).map { number in
                    let path = mounted("slow/\(number)")
                    return OwnThread {
                        if truncate(path, 2) == 0 { done.add() }
                    }
                }
                #expect(eventually { mounted.mount.statistics.waiting == count })
                for number in 0..<200 {
                    #expect(put(mounted("fast-\(number)"), "abc"))
                    #expect(contents(mounted("fast-\(number)")) == Array("abc".utf8))
                }
                #expect(status(mounted("slow/3")).map { $0.st_size } == 5)
                #expect(done.value == 0)
                slow.letGo()
                for thread in held { thread.join() }
                #expect(done.value == count)
                #expect(eventually { mounted.mount.statistics.waiting == 0 })
                #expect(contents(mounted("slow/7")) == Array("12".utf8))
            }
        }

        @Test(arguments: transports)
        func anEndWhileRequestsWaitFinishesThem(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let slow = ScratchFileSystem()
            try await withMount(over: transport, slow) { mounted in
                #expect(put(mounted("f"), "12345"))
                slow.holdBack()
                let result = Counter()
                let path = mounted("f")
                let thread = OwnThread {
                    if truncate(path, 2) == -1 { result.add() }
                }
                #expect(eventually { mounted.mount.statistics.waiting == 1 })
                try mounted.mount.unmount(lazy: true, force: true)
                thread.join()
                #expect(result.value == 1)
                mounted.end()
                slow.letGo()
            }
        }
    }
}

extension MountedNamespace {
    /// Requests that were answered so far, forgets not counted.
    var requestCount: UInt64 {
        mount.statistics.operations.filter { !$0.name.contains("forget") }
            .reduce(0) { $0 + $1.count }
    }
}

extension MountedNamespace {
    /// The same, once what was answered is counted: that comes after the answer.
    var settledRequestCount: UInt64 {
        var count = requestCount
        _ = eventually {
            usleep(20_000)
            defer { count = requestCount }
            return count == requestCount
        }
        return count
    }
}

/// A number that threads share.
final class Counter: Sendable {
    private let number = Atomic<Int>(0)
    func add(_ more: Int = 1) { number.add(more, ordering: .sequentiallyConsistent) }
    var value: Int { number.load(ordering: .sequentiallyConsistent) }
}

/// The thread that a test wants to signal.
final class SharedThreadID: Sendable {
    private let number = Atomic<UInt>(0)
    func set(_ thread: pthread_t) { number.store(thread, ordering: .sequentiallyConsistent) }
    var value: pthread_t? {
        let found = number.load(ordering: .sequentiallyConsistent)
        return found == 0 ? nil : found
    }
}
