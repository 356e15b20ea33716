// Attempts: listing directories, in Swift's form and in Linux's.
//
// A directory's offset is a cookie: 0 the start, 1 after ".", 2 after "..", and the filesystem's
// own cookies, moved up by 2, from there.

public import CairnBase

/// An entry of a directory, with a name of its own.
public struct ListedEntry: Hashable, Sendable {
    public var name: FileName
    public var number: UInt64
    public var kind: FileKind
    /// Where to go on after this entry.
    public var cookie: UInt64
}

extension Process {
    /// Lists from `cookie` on, "." and ".." first, until `body` gives false, which leaves that
    /// entry for the next time. EBADF, ENOTDIR; ENOENT if the directory is removed.
    func attemptList(
        _ file: OpenFile, from cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        guard !file.isPathOnly else { throw .failed(.EBADF) }
        guard file.inode.isDirectory else { throw .failed(.ENOTDIR) }
        try file.requireRight(.read)
        let attributes = try file.inode.attributes()
        guard attributes.linkCount > 0 else { throw .failed(.ENOENT) }
        if cookie == 0 {
            let entry = dotEntry(".", number: file.inode.number, cookie: 1)
            guard body(entry) else { return }
        }
        if cookie <= 1 {
            let parent = try namespace.parent(of: file.location)
            let entry = dotEntry("..", number: parent.inode.number, cookie: 2)
            guard body(entry) else { return }
        }
        try file.inode.readDirectory(after: cookie <= 2 ? 0 : cookie - 2) { entry in
            var entry = entry
            entry.cookie += 2
            return body(entry)
        }
        noteAccess(to: file)
    }

    private func dotEntry(_ name: StaticString, number: UInt64, cookie: UInt64) -> DirectoryEntry {
        let bytes = UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
        return DirectoryEntry(name: Name(bytes), number: number, kind: .directory, cookie: cookie)
    }

    /// getdents64(2): as many of Linux's records as fit, from the descriptor's offset on. Gives the
    /// number of bytes; 0 at the end; EINVAL if not even one record fits.
    func attemptDirectoryRecords(
        _ file: OpenFile, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        let shared = file.shared
        return try shared.offsetLock.withLock { () throws(Pause) in
            var used = 0
            var next = shared.offsetStorage
            var isTooSmall = false
            try attemptList(file, from: next) { entry in
                guard let size = LinuxDirectoryRecord.write(entry, into: buffer, at: used) else {
                    isTooSmall = used == 0
                    return false
                }
                used += size
                next = entry.cookie
                return true
            }
            if isTooSmall { throw .failed(.EINVAL) }
            shared.offsetStorage = next
            return used
        }
    }

    /// At most `limit` entries from the descriptor's offset on; none at the end.
    func attemptEntries(_ file: OpenFile, limit: Int) throws(Pause) -> [ListedEntry] {
        let shared = file.shared
        return try shared.offsetLock.withLock { () throws(Pause) in
            var entries: [ListedEntry] = []
            try attemptList(file, from: shared.offsetStorage) { entry in
                guard entries.count < limit else { return false }
                entries.append(
                    ListedEntry(
                        name: entry.name.owned, number: entry.number, kind: entry.kind,
                        cookie: entry.cookie))
                return true
            }
            if let last = entries.last { shared.offsetStorage = last.cookie }
            return entries
        }
    }
}
