// READDIR and READDIRPLUS.
//
// A directory's offsets, as the kernel sees them: 0 is the start, 1 after ".", 2 after "..", and
// an entry's cookie + 2 after that entry. The entries are listed first, straight into the reply,
// under the directory's lock; READDIRPLUS then goes over what it wrote and looks each name up.

import CairnBase
import CairnVFS

extension Session {
    func readDirectory(
        _ request: Request, _ reply: ReplyBuffer, plus: Bool
    ) throws(Pause) -> Outcome {
        let directory = try place(request.nodeID)
        let offset = request.arguments.u64(8)
        let room = ReplyBuffer(
            bytes: reply.part(0, min(Int(request.arguments.u32(16)), reply.capacity)))
        var list = DirectoryList(room: room, plus: plus)
        let length = try fill(&list, directory, from: offset)
        if offset == 0 { noteAccess(directory) }
        guard plus else { return .reply(length) }
        return .reply(try lookUpEntries(in: directory, room, length))
    }

    private func fill(
        _ list: inout DirectoryList, _ directory: Location, from offset: UInt64
    ) throws(Pause) -> Int {
        let fileSystem = directory.mount.fileSystem
        if offset == 0 {
            let number = shownNumber(directory.inode.number, of: fileSystem)
            guard list.append(".", number: number, kind: .directory, next: 1) else {
                throw .failed(.EINVAL)
            }
        }
        if offset <= 1 {
            let parent = try namespace.parent(of: directory)
            let number = shownNumber(parent.inode.number, of: parent.mount.fileSystem)
            guard list.append("..", number: number, kind: .directory, next: 2) else {
                return list.length
            }
        }
        // The body runs under the directory's lock: it only copies.
        var filled = list
        try directory.inode.readDirectory(after: offset < 2 ? 0 : offset - 2) { entry in
            filled.append(
                entry.name.bytes, number: shownNumber(entry.number, of: fileSystem),
                kind: entry.kind, next: entry.cookie &+ 2)
        }
        list = filled
        return list.length
    }

    /// Fills the nodes of READDIRPLUS in. Where one must be waited for, the entries before it go
    /// out; an entry that is gone meanwhile keeps no node, which the kernel takes for "not told".
    private func lookUpEntries(
        in directory: Location, _ room: ReplyBuffer, _ length: Int
    ) throws(Pause) -> Int {
        let fields = Fields(bytes: UnsafeRawBufferPointer(room.bytes))
        var start = 0
        while start < length {
            let entry = start + Wire.entrySize
            let nameLength = Int(fields.u32(entry + 16))
            let name = Name(
                UnsafeRawBufferPointer(
                    room.part(entry + Wire.directoryEntrySize, nameLength)))
            if !name.isDot, !name.isDotDot {
                do throws(Pause) {
                    try lookUpEntry(name, in: directory, at: start, room)
                } catch {
                    if case .wait = error {
                        if start == 0 { throw error }
                        return start
                    }
                }
            }
            start += DirectoryList.recordSize(nameLength, plus: true)
        }
        return length
    }

    private func lookUpEntry(
        _ name: Name, in directory: Location, at offset: Int, _ reply: ReplyBuffer
    ) throws(Pause) {
        guard let found = try vfs.lookup(name, in: directory.inode) else { return }
        try putEntry(crossed(found, in: directory), at: offset, in: reply)
    }
}

/// Directory entries being written: struct fuse_dirent, or fuse_direntplus.
struct DirectoryList {
    private let room: ReplyBuffer
    private let plus: Bool
    private(set) var length = 0

    init(room: ReplyBuffer, plus: Bool) {
        self.room = room
        self.plus = plus
    }

    static func recordSize(_ nameLength: Int, plus: Bool) -> Int {
        let size = Wire.directoryEntrySize + nameLength + (plus ? Wire.entrySize : 0)
        return (size + 7) & ~7
    }

    /// False if it does not fit.
    mutating func append(
        _ name: UnsafeRawBufferPointer, number: UInt64, kind: FileKind, next: UInt64
    ) -> Bool {
        let size = Self.recordSize(name.count, plus: plus)
        guard length + size <= room.capacity else { return false }
        var at = length
        if plus {
            room.zero(at, Wire.entrySize)
            at += Wire.entrySize
        }
        room.put(number, at: at)
        room.put(next, at: at + 8)
        room.put(UInt32(name.count), at: at + 16)
        room.put(UInt32(kind.rawValue), at: at + 20)
        room.put(name, at: at + Wire.directoryEntrySize)
        let end = at + Wire.directoryEntrySize + name.count
        length += size
        room.zero(end, length - end)
        return true
    }

    mutating func append(
        _ name: StaticString, number: UInt64, kind: FileKind, next: UInt64
    ) -> Bool {
        append(
            UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount),
            number: number, kind: kind, next: next)
    }
}
