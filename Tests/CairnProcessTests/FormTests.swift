// V16: blocking, async and callback forms; one completion each.

import Cairn
import CairnBase
import Synchronization
import Testing

@Suite struct FormTests {
    let world: World
    let p: Process
    let held: HeldFileSystem

    init() throws {
        world = try World()
        p = world.root
        held = HeldFileSystem(vfs: world.vfs)
        try p.makeDirectory("/held")
        try p.mount(held, at: "/held")
        try p.make("/file", "text")
    }

    @Test func oneThreadKeepsHundredsInFlight() throws {
        let completed = Atomic<Int>(0)
        for _ in 0..<300 {
            p.submitStat("/held/file") { result in
                if case .success(let attributes) = result, attributes.size == 4 {
                    completed.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(completed.load(ordering: .relaxed) == 0)
        #expect(held.waiting == 300)
        held.letGo()
        #expect(completed.load(ordering: .relaxed) == 300)
        held.end()
    }

    @Test func residentCallsCompleteBeforeTheyReturn() throws {
        let completed = Atomic<Int>(0)
        p.submitStat("/file") { _ in completed.add(1, ordering: .relaxed) }
        p.submitStat("/none") { result in
            if case .failure(.ENOENT) = result { completed.add(1, ordering: .relaxed) }
        }
        #expect(completed.load(ordering: .relaxed) == 2)
        held.end()
    }

    @Test func submissionErrorsCallNothingBack() throws {
        let completed = Atomic<Int>(0)
        let wrong = Descriptor(rawValue: 77)
        expect(.EBADF) { () throws(Errno) in
            try p.submitFsync(wrong) { _ in completed.add(1, ordering: .relaxed) }
        }
        #expect(completed.load(ordering: .relaxed) == 0)
        held.end()
    }

    @Test func cancelledOperationsCompleteOnceWithEINTR() throws {
        let interrupted = Atomic<Int>(0)
        let others = Atomic<Int>(0)
        let operations = (0..<50).map { _ in
            p.submitStat("/held/file") { result in
                if case .failure(.EINTR) = result {
                    interrupted.add(1, ordering: .relaxed)
                } else {
                    others.add(1, ordering: .relaxed)
                }
            }
        }
        for operation in operations { operation.cancel() }
        held.letGo()
        for operation in operations { operation.cancel() }
        #expect(interrupted.load(ordering: .relaxed) == 50)
        #expect(others.load(ordering: .relaxed) == 0)
        held.end()
    }

    @Test func asyncCallsSuspendAndGoOn() async throws {
        let p = p
        let held = held
        let task = Task { () async throws -> UInt64 in try await p.stat("/held/file").size }
        let text = try await contentAsync("/file")
        #expect(text == "text")
        while held.waiting == 0 { await Task.yield() }
        held.letGo()
        #expect(try await task.value == 4)
        held.end()
    }

    @Test func cancelledTaskEndsItsCallWithEINTR() async throws {
        let p = p
        let held = held
        let task = Task { () async throws -> UInt64 in try await p.stat("/held/file").size }
        while held.waiting == 0 { await Task.yield() }
        task.cancel()
        await #expect(throws: Errno.EINTR) { try await task.value }
        held.end()
    }

    private func contentAsync(_ path: Path) async throws -> String {
        let file = try await p.open(path, .readOnly)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 8)
        defer { buffer.deallocate() }
        let count = try await p.read(from: file, into: buffer)
        try p.close(file)
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// V6, V16: an open that waits when it has made its file does not meet it as somebody else's.
    @Test func anOpenThatWaitsHasMadeItsFile() throws {
        held.letGo()
        held.holdOpens()
        let opened = Atomic<Int>(0)
        p.submitOpen("/held/made", [.create, .exclusive, .readWrite]) { result in
            if case .success = result { opened.add(1, ordering: .relaxed) }
        }
        #expect(held.made != nil)
        #expect(opened.load(ordering: .relaxed) == 0)
        held.letGo()
        #expect(opened.load(ordering: .relaxed) == 1)
        held.end()
    }

    @Test func aDescriptorClosedWhileItsReadWaitsIsStillTheSameFile() throws {
        held.letGo()
        let file = try p.open("/held/file", .readOnly)
        held.hold()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 8)
        defer { buffer.deallocate() }
        nonisolated(unsafe) let target = buffer
        let completed = Atomic<Int>(0)
        try p.submitRead(from: file, into: target) { result in
            if case .success(4) = result { completed.add(1, ordering: .relaxed) }
        }
        try p.close(file)
        #expect(try p.open("/file", .readOnly) == file)
        held.letGo()
        #expect(completed.load(ordering: .relaxed) == 1)
        #expect(String(decoding: buffer[..<4], as: UTF8.self) == "held")
        held.end()
    }
}
