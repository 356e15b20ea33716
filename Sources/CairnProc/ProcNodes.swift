// The nodes of procfs: directories with fixed entries, text that is made when opened, and links.

import CairnBase
import CairnVFS
import Glibc

/// What all nodes have in common.
class ProcNode: Inode, @unchecked Sendable {
    // Sendable: immutable.
    private let permissions: Permissions
    private let user: UInt32
    private let group: UInt32

    init(
        number: UInt64, kind: FileKind, permissions: UInt32, owner: Credentials = .root,
        in fileSystem: FileSystem
    ) {
        self.permissions = Permissions(rawValue: permissions)
        user = owner.user
        group = owner.group
        super.init(number: number, kind: kind, fileSystem: fileSystem)
        isSearchableByAll.store(
            kind == .directory && permissions & 0o111 == 0o111, ordering: .releasing)
    }

    override func attributes() throws(Pause) -> Attributes {
        Attributes(
            number: number, kind: kind, permissions: permissions,
            linkCount: kind == .directory ? 2 : 1, user: user, group: group,
            time: fileSystem.time.now())
    }
}

/// Text that is made up at each open, and stays as it is until that open is closed.
final class ProcFile: ProcNode, @unchecked Sendable {
    private let make: @Sendable () throws(Errno) -> [UInt8]

    init(
        number: UInt64, permissions: UInt32 = 0o444, owner: Credentials = .root,
        in fileSystem: FileSystem, _ make: @escaping @Sendable () throws(Errno) -> [UInt8]
    ) {
        self.make = make
        super.init(
            number: number, kind: .regular, permissions: permissions, owner: owner,
            in: fileSystem)
    }

    override func open(writing: Bool, by credentials: Credentials) throws(Pause) -> Opening? {
        guard !writing else { throw .failed(.EACCES) }
        do throws(Errno) {
            return TextOpening(try make())
        } catch {
            throw .failed(error)
        }
    }

    /// For a door that reads without opening: made up for this call.
    override func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        do throws(Errno) {
            return TextOpening(try make()).copy(into: buffer, at: offset)
        } catch {
            throw .failed(error)
        }
    }
}

final class TextOpening: Opening, @unchecked Sendable {
    // Sendable: immutable.
    private let text: [UInt8]

    init(_ text: [UInt8]) {
        self.text = text
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        copy(into: buffer, at: offset)
    }

    func copy(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int {
        guard offset < UInt64(text.count) else { return 0 }
        let part = text[Int(offset)...].prefix(buffer.count)
        buffer.copyBytes(from: part)
        return part.count
    }
}

final class ProcLink: ProcNode, @unchecked Sendable {
    private let target: @Sendable () -> [UInt8]?

    /// `target` gives nil when what it leads to is gone: ENOENT.
    init(
        number: UInt64, owner: Credentials = .root, in fileSystem: FileSystem,
        _ target: @escaping @Sendable () -> [UInt8]?
    ) {
        self.target = target
        super.init(
            number: number, kind: .symbolicLink, permissions: 0o777, owner: owner, in: fileSystem)
    }

    override func readLink() throws(Pause) -> [UInt8] {
        guard let target = target() else { throw .failed(.ENOENT) }
        return target
    }
}

/// A directory whose entries come from somewhere else, in the order of their cookies.
class ProcDirectory: ProcNode, @unchecked Sendable {
    struct Entry {
        var name: String
        var number: UInt64
        var kind: FileKind
        var cookie: UInt64
    }

    /// The directory above; nil for the root.
    weak var parent: ProcDirectory?

    init(
        number: UInt64, permissions: UInt32 = 0o555, owner: Credentials = .root,
        parent: ProcDirectory?, in fileSystem: FileSystem
    ) {
        self.parent = parent
        super.init(
            number: number, kind: .directory, permissions: permissions, owner: owner,
            in: fileSystem)
    }

    /// For subclasses: entries whose cookie is greater, in order.
    func entries(after cookie: UInt64) -> [Entry] { [] }

    override func parentDirectory() throws(Pause) -> Inode? { parent ?? self }

    override func readDirectory(
        after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        for entry in entries(after: cookie) {
            let goesOn = FileName(entry.name).withName { name in
                body(
                    DirectoryEntry(
                        name: name, number: entry.number, kind: entry.kind, cookie: entry.cookie))
            }
            guard goesOn else { return }
        }
    }
}

/// A number as a name shows it: digits without a leading zero. Nil for anything else.
func decimal(_ name: Name) -> Int32? {
    guard name.count <= 10, name.bytes.allSatisfy({ (48...57).contains($0) }) else { return nil }
    guard name.count == 1 || name.bytes.first != 48 else { return nil }
    return Int32(String(decoding: name.bytes, as: UTF8.self))
}
