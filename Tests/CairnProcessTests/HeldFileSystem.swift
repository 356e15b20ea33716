// A filesystem whose I/O is held back: every operation waits until the test lets it go.

import Cairn
import CairnBase

final class HeldFileSystem: FileSystem, @unchecked Sendable {
    private let lock = Lock()
    private var waits: [Wait] = []
    private var isOpen = false
    private var rootStorage: Inode?
    private(set) var attempts = 0
    /// Opening a file waits, also when nothing else does.
    private var holdsOpens = false
    /// What the one name that can be made leads to.
    private var madeFile: HeldFile?

    init(vfs: VFS) {
        super.init(typeName: "held", time: vfs.time)
        rootStorage = HeldDirectory(number: 1, kind: .directory, fileSystem: self)
    }

    override var root: Inode { rootStorage! }

    /// Waits unless the test has let go.
    func pass() throws(Pause) {
        let wait: Wait? = lock.withLock {
            attempts += 1
            return isOpen ? nil : newWait()
        }
        if let wait { throw .wait(wait) }
    }

    func passOpening() throws(Pause) {
        let wait: Wait? = lock.withLock { isOpen && !holdsOpens ? nil : newWait() }
        if let wait { throw .wait(wait) }
    }

    /// The caller holds `lock`.
    private func newWait() -> Wait {
        let wait = Wait()
        waits.append(wait)
        return wait
    }

    var made: HeldFile? { lock.withLock { madeFile } }

    /// Makes the file; EEXIST if it is there.
    func make() throws(Pause) -> HeldFile {
        let file: HeldFile? = lock.withLock {
            if madeFile != nil { return nil }
            madeFile = HeldFile(number: 3, kind: .regular, fileSystem: self)
            return madeFile
        }
        guard let file else { throw .failed(.EEXIST) }
        return file
    }

    func holdOpens() {
        lock.withLock { holdsOpens = true }
    }

    var waiting: Int { lock.withLock { waits.count } }

    func letGo() {
        let all = lock.withLock {
            isOpen = true
            holdsOpens = false
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
        lock.withLock { madeFile = nil }
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
        if name.bytes.elementsEqual("made".utf8) { return held.made }
        return HeldFile(number: 2, kind: .regular, fileSystem: fileSystem)
    }

    override func create(
        _ name: Name, _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode {
        try held.pass()
        return try held.make()
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

    override func open(writing: Bool, by credentials: Credentials) throws(Pause) -> Opening? {
        try held.passOpening()
        return nil
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
