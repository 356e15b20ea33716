// PlainFileSystem: the least that the VFS can stand on, for tests of the VFS itself. Everything is
// in dictionaries under one lock; nothing waits; access is not checked.

import CairnBase
@testable import CairnVFS

final class PlainFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: `lock` guards the nodes.
    let lock = Lock()
    private var lastNumber: UInt64 = 1
    private var top: PlainInode?

    init(time: any TimeSource = ManualTime()) {
        super.init(typeName: "plain", time: time)
        top = PlainInode(number: 1, kind: .directory, in: self)
    }

    override var root: Inode {
        guard let top else { preconditionFailure("closed") }
        return top
    }

    /// Breaks the circle between the root and the filesystem.
    override func close() throws(Pause) {
        endWatches()
        top = nil
    }

    func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }
}

final class PlainInode: Inode, @unchecked Sendable {
    // Sendable: guarded by the filesystem's lock.
    private var entries: [FileName: PlainInode] = [:]
    private var linkCount: UInt32 = 1
    private var size: UInt64 = 0

    init(number: UInt64, kind: FileKind, in fileSystem: PlainFileSystem) {
        super.init(number: number, kind: kind, fileSystem: fileSystem)
    }

    private func locked<Value>(_ body: () throws(Pause) -> Value) throws(Pause) -> Value {
        guard let owner = fileSystem as? PlainFileSystem else {
            preconditionFailure("an inode of another filesystem")
        }
        owner.lock.lock()
        defer { owner.lock.unlock() }
        return try body()
    }

    private func plain(_ inode: Inode) -> PlainInode {
        guard let inode = inode as? PlainInode else {
            preconditionFailure("an inode of another filesystem")
        }
        return inode
    }

    override func attributes() throws(Pause) -> Attributes {
        try locked { () throws(Pause) -> Attributes in
            Attributes(
                number: number, kind: kind, permissions: [], linkCount: linkCount, size: size,
                time: Timestamp(seconds: 0))
        }
    }

    override func setAttributes(
        _ change: AttributeChange, by credentials: Credentials
    ) throws(Pause) -> Attributes {
        try locked { () throws(Pause) in size = change.size ?? size }
        return try attributes()
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        try locked { () throws(Pause) -> Inode? in entries[name.owned] }
    }

    override func create(
        _ name: Name, _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode {
        try locked { () throws(Pause) -> Inode in
            guard entries[name.owned] == nil, let owner = fileSystem as? PlainFileSystem else {
                throw .failed(.EEXIST)
            }
            let inode = PlainInode(number: owner.nextNumber(), kind: node.kind, in: owner)
            entries[name.owned] = inode
            return inode
        }
    }

    override func link(
        _ inode: Inode, as name: Name, by credentials: Credentials
    ) throws(Pause) {
        try locked { () throws(Pause) in
            guard entries[name.owned] == nil else { throw .failed(.EEXIST) }
            entries[name.owned] = plain(inode)
            plain(inode).linkCount += 1
        }
    }

    override func remove(
        _ name: Name, directory: Bool, expecting expected: Inode, by credentials: Credentials
    ) throws(Pause) {
        try locked { () throws(Pause) in
            guard entries[name.owned] === expected else { throw .failed(.ESTALE) }
            entries[name.owned] = nil
            plain(expected).linkCount -= 1
        }
    }

    override func rename(
        _ name: Name, expecting expected: Inode, to target: Inode, _ newName: Name,
        replacing replaced: Inode?, flags: RenameFlags, by credentials: Credentials
    ) throws(Pause) {
        try locked { () throws(Pause) in
            if expected === replaced { return }
            entries[name.owned] = flags.contains(.exchange) ? replaced.map(plain) : nil
            plain(target).entries[newName.owned] = plain(expected)
            if let replaced, !flags.contains(.exchange) {
                plain(replaced).linkCount -= 1
            }
        }
    }

    override func write(
        _ bytes: UnsafeRawBufferPointer, at position: WritePosition, options: WriteOptions
    ) throws(Pause) -> Written {
        try locked { () throws(Pause) -> Written in
            var offset = size
            if case .offset(let given) = position { offset = given }
            size = max(size, offset + UInt64(bytes.count))
            return Written(offset: offset, count: bytes.count)
        }
    }
}
