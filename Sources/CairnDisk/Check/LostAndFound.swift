// LostAndFound: /lost+found, where a check puts what no name leads to, as "#" and its inode number.
//
// Threading: one thread at a time.

import CairnBase
import CairnVFS

struct LostAndFound {
    private let context: CheckContext

    static let name = Array("lost+found".utf8)

    init(_ context: CheckContext) {
        self.context = context
    }

    func take(_ lost: [(inode: UInt64, kind: FileKind)]) throws(CheckFailure) {
        guard !lost.isEmpty else { return }
        let directory = try findOrMake()
        for (inode, kind) in lost {
            try context.update(inode) { record in
                if kind == .directory {
                    record.special = directory
                } else {
                    record.links = 1
                }
            }
            var name = Array("#\(inode)".utf8)
            while try context.entry(name, in: directory) != nil { name.append(UInt8(ascii: "~")) }
            try name.lend { (bytes) throws(CheckFailure) in
                try context.enter(bytes, inode, kind, in: directory)
            }
            try context.update(directory) { record in
                record.size += 1
                if kind == .directory { record.links += 1 }
            }
        }
    }

    private func findOrMake() throws(CheckFailure) -> UInt64 {
        let root = InodeNumbers.root
        var name = LostAndFound.name
        while let entry = try context.entry(name, in: root) {
            if entry.kind == .directory { return entry.inode }
            // A file has its name.
            name.append(UInt8(ascii: "~"))
        }
        let number = try context.takeInodeNumber()
        var record = RecordCheck.newRecord(.directory, in: context.group)
        record.links = 2
        record.special = root
        try context.put(OwnedKey(RecordKind.inode.object(of: number)), record.encoded)
        try name.lend { (bytes) throws(CheckFailure) in
            try context.enter(bytes, number, .directory, in: root)
        }
        try context.update(root) { record in
            record.size += 1
            record.links += 1
        }
        return number
    }
}

extension CheckContext {
    /// The entry of a name, as it shall stand.
    func entry(_ name: [UInt8], in directory: UInt64) throws(CheckFailure) -> EntryRecord? {
        let number = name.lend { nameKey.number(of: $0) }
        let key = OwnedKey(RecordKind.entry.object(of: directory), number, name)
        guard let value = try items.find(key) else { return nil }
        return try? value.lend { bytes throws(RecordDamage) in try EntryRecord(decoding: bytes) }
    }

    /// Enters a name. The directory's counts are the caller's.
    func enter(
        _ name: UnsafeRawBufferPointer, _ inode: UInt64, _ kind: FileKind, in directory: UInt64
    ) throws(CheckFailure) {
        let number = nameKey.number(of: name)
        let entry = EntryRecord(
            inode: inode, distinction: try freeDistinction(number, in: directory, beside: []),
            kind: kind)
        try put(
            OwnedKey(RecordKind.entry.object(of: directory), number, Array(name)), entry.encoded)
    }

    /// A distinction that no entry with this name number has.
    func freeDistinction(
        _ number: UInt64, in directory: UInt64, beside taken: Set<UInt16>
    ) throws(CheckFailure) -> UInt16 {
        var taken = taken
        let object = RecordKind.entry.object(of: directory)
        try items.forEach(from: OwnedKey(object, number)) { (key, value) throws(CheckFailure) in
            guard key.object == object, key.number == number else { return false }
            if let entry = try? EntryRecord(decoding: value) { taken.insert(entry.distinction) }
            return true
        }
        for candidate in UInt16(1)...UInt16.max where !taken.contains(candidate) {
            return candidate
        }
        throw CheckFailure("inode \(directory)", "more names with one number than the format takes")
    }
}
