// A filesystem whose I/O is held back: every operation waits until the test lets it go.

import Cairn
import CairnBase

final class HeldFileSystem: FileSystem, @unchecked Sendable {
    private let lock = Lock()
    private var waits: [Wait] = []
    private var isOpen = false
    private var rootStorage: Inode?
    private(set) var attempts = 0

    init(vfs: VFS) {
        super.init(typeName: "held", time: vfs.time)
        rootStorage = HeldDirectory(number: 1, kind: .directory, fileSystem: self)
    }

    override var root: Inode { rootStorage! }

    /// Waits unless the test has let go.
    func pass() throws(Pause) {
        let wait: Wait? = lock.withLock {
            attempts += 1
            if isOpen { return nil }
            let wait = Wait()
            waits.append(wait)
            return wait
        }
        if let wait { throw .wait(wait) }
    }

    var waiting: Int { lock.withLock { waits.count } }

    func letGo() {
        let all = lock.withLock {
            isOpen = true
            defer { waits = [] }
            return waits
        }
        for wait in all { wait.finish() }
    }

    func hold() {
        lock.withLock { isOpen = false }
    }

    /// The inodes hold the filesystem; the test breaks the circle.
    func end() {
        rootStorage = nil
    }
}

final class HeldDirectory: Inode, @unchecked Sendable {
    var held: HeldFileSystem { unsafeDowncast(fileSystem, to: HeldFileSystem.self) }

    override func attributes() throws(Pause) -> Attributes {
        try held.pass()
        return Attributes(
            number: number, kind: .directory, permissions: Permissions(rawValue: 0o755),
            linkCount: 2, time: Timestamp(seconds: 0))
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        try held.pass()
        return HeldFile(number: 2, kind: .regular, fileSystem: fileSystem)
    }
}

final class HeldFile: Inode, @unchecked Sendable {
    var held: HeldFileSystem { unsafeDowncast(fileSystem, to: HeldFileSystem.self) }

    override func attributes() throws(Pause) -> Attributes {
        try held.pass()
        return Attributes(
            number: number, kind: .regular, permissions: Permissions(rawValue: 0o644), size: 4,
            time: Timestamp(seconds: 0))
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        try held.pass()
        guard offset < 4 else { return 0 }
        let count = min(4 - Int(offset), buffer.count)
        buffer.copyBytes(from: Array("held".utf8)[Int(offset)..<Int(offset) + count])
        return count
    }
}
