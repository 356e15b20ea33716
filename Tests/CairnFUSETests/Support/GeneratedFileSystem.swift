// A filesystem of one file, "count", whose text is made when it is opened, and whose size is 0
// until then: as procfs does it.

import CairnBase
import CairnVFS
import Synchronization

final class GeneratedFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: atomic, or set by init.
    fileprivate let opened = Atomic<Int>(0)
    fileprivate let closed = Atomic<Int>(0)
    private var directory: GeneratedNode?
    fileprivate var file: GeneratedNode?

    init() {
        super.init(typeName: "generated", time: SystemTime())
        directory = GeneratedNode(number: 1, kind: .directory, fileSystem: self)
        file = GeneratedNode(number: 2, kind: .regular, fileSystem: self)
    }

    override var root: Inode {
        guard let directory else { preconditionFailure("made by init") }
        return directory
    }

    override var dataIsCacheable: Bool { false }
    override var namesAreCacheable: Bool { false }

    /// Openings that are not closed.
    var openCount: Int {
        opened.load(ordering: .sequentiallyConsistent)
            - closed.load(ordering: .sequentiallyConsistent)
    }
}

private final class GeneratedNode: Inode, @unchecked Sendable {
    // Sendable: immutable.
    private var owner: GeneratedFileSystem? { fileSystem as? GeneratedFileSystem }

    override func attributes() throws(Pause) -> Attributes {
        Attributes(
            number: number, kind: kind, permissions: Permissions(rawValue: 0o555),
            time: Timestamp(seconds: 1))
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        name.bytes.elementsEqual("count".utf8) ? owner?.file : nil
    }

    override func open(
        writing: Bool, by credentials: Credentials
    ) throws(Pause) -> Opening? {
        guard let owner, kind == .regular else { return nil }
        let number = owner.opened.add(1, ordering: .sequentiallyConsistent).newValue
        return GeneratedText("\(number)\n", owner)
    }
}

private final class GeneratedText: Opening, @unchecked Sendable {
    // Sendable: immutable.
    private let text: [UInt8]
    private let owner: GeneratedFileSystem

    init(_ text: String, _ owner: GeneratedFileSystem) {
        self.text = Array(text.utf8)
        self.owner = owner
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        guard offset < UInt64(text.count) else { return 0 }
        let part = text[Int(offset)...].prefix(buffer.count)
        buffer.copyBytes(from: part)
        return part.count
    }

    override func close() {
        owner.closed.add(1, ordering: .sequentiallyConsistent)
    }
}
