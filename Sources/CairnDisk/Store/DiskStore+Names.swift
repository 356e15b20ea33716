// Names of directories: looking up, listing.
//
// An entry stands under the number of its name (NameNumber.swift), with the name as the key's tail. A
// position in a directory is number + distinction. Names with the same number stand side by side in
// the order of their bytes, but are listed in the order of their distinctions.

import CairnBase
import CairnTree
import CairnVFS

extension DiskStore {
    func find(_ name: Name, in directory: TreeNode) throws(Pause) -> EntryTarget? {
        guard let entry = try entry(name, in: directory) else { return nil }
        return EntryTarget(number: entry.inode, kind: entry.kind)
    }

    func entry(_ name: Name, in directory: TreeNode) throws(Pause) -> EntryRecord? {
        try find(.entry, of: directory.number, nameKey.number(of: name.bytes), name.bytes) {
            value throws(RecordDamage) in try EntryRecord(decoding: value)
        }
    }

    func isEmpty(_ directory: TreeNode) throws(Pause) -> Bool {
        DiskStore.node(directory).state.entryCount == 0
    }

    /// A distinction that no entry with this name number has. ENOSPC if all are taken.
    func freeDistinction(for number: UInt64, in directory: TreeNode) throws(Pause) -> UInt16 {
        var taken: [UInt16] = []
        try scan(.entry, of: directory.number, from: number) { key, value throws(RecordDamage) in
            guard key.number == number else { return false }
            taken.append(try EntryRecord(decoding: value).distinction)
            return true
        }
        guard !taken.isEmpty else { return 1 }
        taken.sort()
        guard let last = taken.last, last == .max else { return (taken.last ?? 0) + 1 }
        var next: UInt16 = 1
        for distinction in taken {
            if distinction > next { return next }
            if distinction == .max { break }
            next = distinction + 1
        }
        throw .failed(.ENOSPC)
    }

    // MARK: Listing

    func readDirectory(
        _ directory: TreeNode, after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        var position = cookie
        var listing = Listing()
        while true {
            try listing.fill(after: position, of: directory, from: self)
            for item in listing.items {
                let goesOn = listing.withName(of: item) { name in
                    body(
                        DirectoryEntry(
                            name: name, number: item.inode, kind: item.kind,
                            cookie: item.position))
                }
                if !goesOn { return }
                position = item.position
            }
            if listing.isAtEnd { return }
        }
    }

    /// Entries that were copied out of the tree, so that nobody is called with its lock held.
    private struct Listing {
        struct Item {
            var position: UInt64
            var inode: UInt64
            var kind: FileKind
            var name: Range<Int>
        }

        var items: [Item] = []
        var names: [UInt8] = []
        var isAtEnd = false

        /// How many are copied at once, but for more with the same number.
        private static var batch: Int { 128 }

        mutating func fill(
            after cookie: UInt64, of directory: TreeNode, from store: DiskStore
        ) throws(Pause) {
            let mask = (UInt64(1) << NameKey.distinctionBits) - 1
            items.removeAll(keepingCapacity: true)
            names.removeAll(keepingCapacity: true)
            isAtEnd = true
            var groupStart = 0
            var groupNumber = UInt64.max
            try store.scan(.entry, of: directory.number, from: cookie & ~mask) {
                key, value throws(RecordDamage) in
                if key.number != groupNumber {
                    sort(from: groupStart)
                    if items.count >= Listing.batch {
                        isAtEnd = false
                        return false
                    }
                    groupStart = items.count
                    groupNumber = key.number
                }
                try EntryRecord.check(name: key.tail)
                guard key.number & mask == 0 else {
                    throw RecordDamage("a directory entry under number \(key.number)")
                }
                let entry = try EntryRecord(decoding: value)
                let position = key.number + UInt64(entry.distinction)
                guard position > cookie else { return true }
                let start = names.count
                names.append(contentsOf: key.tail)
                items.append(
                    Item(
                        position: position, inode: entry.inode, kind: entry.kind,
                        name: start..<names.count))
                return true
            }
            sort(from: groupStart)
        }

        private mutating func sort(from start: Int) {
            guard items.count - start > 1 else { return }
            items[start...].sort { $0.position < $1.position }
        }

        func withName<Value>(of item: Item, _ body: (Name) -> Value) -> Value {
            names.withUnsafeBytes { body(Name(UnsafeRawBufferPointer(rebasing: $0[item.name]))) }
        }
    }
}
