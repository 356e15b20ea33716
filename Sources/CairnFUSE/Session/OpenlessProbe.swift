// OpenlessProbe: makes the kernel learn at once that OPEN is not needed.
//
// The kernel learns it from the first OPEN that is answered with ENOSYS. Until then it sends a
// RELEASE for every file that was opened by CREATE: a program that only makes files, such as tar,
// would pay for one request more with each. So, as serving starts, a thread of ours opens a file
// that is there for nobody else: a name in the root that nobody can guess. While it is open the
// mount is busy, so whoever waits for the mount to be ready waits for the probe, too.
//
// Threading: immutable, but for what is atomic.

import CSystem
import CairnBase
import CairnVFS
import Glibc
import Synchronization

final class OpenlessProbe: Sendable {
    /// A number that the node table never gives out: its use count would be 0.
    static let nodeID: UInt64 = 2
    private let isArmed = Atomic<Bool>(false)
    private let isOver = Atomic<Bool>(false)
    private let name: String

    init() {
        var number: UInt64 = 0
        withUnsafeMutableBytes(of: &number) { _ = cairn_getrandom($0.baseAddress, $0.count) }
        name = ".cairn-openless-\(number)"
    }

    /// Opens the file; to be called while others serve. Failing is harmless.
    func run(below mountPoint: String) {
        isArmed.store(true, ordering: .releasing)
        let file = open("\(mountPoint)/\(name)", O_RDONLY | O_CLOEXEC)
        if file >= 0 { close(file) }
        isArmed.store(false, ordering: .releasing)
        skip()
    }

    /// There will be no probe.
    func skip() { isOver.store(true, ordering: .releasing) }

    /// The mount is not busy by us.
    var hasEnded: Bool { isOver.load(ordering: .acquiring) }

    /// Waits for its end, for a second at most: serving may not have begun.
    func awaitEnd() {
        for _ in 0..<1000 where !hasEnded { usleep(1000) }
    }

    /// Whether a LOOKUP is ours. The kernel shall keep nothing of it.
    @inline(__always)
    func isMeant(_ request: Request) -> Bool {
        isArmed.load(ordering: .relaxed) && request.nodeID == NodeTable.rootID
            && isNamed(request)
    }

    private func isNamed(_ request: Request) -> Bool {
        guard let asked = try? request.text() else { return false }
        return asked.elementsEqual(name.utf8)
    }

    /// struct fuse_entry_out of an empty file, valid for no time.
    func putEntry(_ reply: ReplyBuffer) -> Session.Outcome {
        reply.zero(0, Wire.entrySize)
        reply.put(Self.nodeID, at: 0)
        Wire.putAttributes(Self.attributes, number: Self.nodeID, at: 40, in: reply)
        return .reply(Wire.entrySize)
    }

    func putAttributes(_ reply: ReplyBuffer) -> Session.Outcome {
        reply.zero(0, Wire.attributesReplySize)
        Wire.putAttributes(Self.attributes, number: Self.nodeID, at: 16, in: reply)
        return .reply(Wire.attributesReplySize)
    }

    private static let attributes = Attributes(
        number: nodeID, kind: .regular, permissions: Permissions(rawValue: 0o444),
        time: Timestamp(seconds: 0))
}
