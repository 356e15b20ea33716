// NameCheck: names against inodes. Every name leads to an inode of its type, every inode has as many
// names as it says, every directory one, in its parent, and all of them hang from the root.
//
// It goes through all names once for each window of inodes (InodeCensus). What no name leads to goes
// to /lost+found.
//
// Threading: one thread at a time.

import CairnBase
import CairnVFS

final class NameCheck {
    private let context: CheckContext
    private var inodes: InodeCensus
    private var directories: DirectoryCensus
    private let orphans: Set<UInt64>
    private var seenOrphans: Set<UInt64> = []
    /// Names of directories that are not in the directory's parent.
    private var strayNames: [StrayName] = []
    /// What goes to /lost+found.
    private var lost: [(inode: UInt64, kind: FileKind)] = []

    private struct StrayName {
        let key: OwnedKey
        let inode: UInt64
        var directory: UInt64 { key.object >> 8 }
    }

    init(_ context: CheckContext, _ records: RecordCheck) {
        self.context = context
        inodes = records.inodes
        directories = records.directories
        orphans = records.orphans
        next = records.firstLeftOut
    }

    private var windowStart: UInt64 = 0
    /// Where the next window begins.
    private var next: UInt64?

    func run() throws(CheckFailure) {
        while true {
            try countNames()
            try compareInodes()
            guard let start = next else { break }
            try fillWindow(from: start)
        }
        try settleStrayNames()
        try cutLoops()
        try compareDirectories()
        for orphan in orphans.subtracting(seenOrphans).sorted() {
            context.tell(
                .links, "inode \(orphan)", "stands in the list of orphans, and is not there",
                remedy: "it is taken out")
            try context.remove(OwnedKey(RecordKind.orphan.rawValue, orphan))
        }
        try LostAndFound(context).take(lost)
    }

    // MARK: Windows

    private func fillWindow(from start: UInt64) throws(CheckFailure) {
        inodes.removeAll()
        windowStart = start
        var window = inodes
        var leftOut: UInt64?
        try context.items.forEach(from: OwnedKey(RecordKind.inode.object(of: start))) {
            (key, value) throws(CheckFailure) in
            guard key.object & 0xFF == RecordKind.inode.rawValue,
                let record = try? InodeRecord(decoding: value)
            else { return true }
            guard !window.isFull else {
                leftOut = key.object >> 8
                return false
            }
            window.add(key.object >> 8, record.kind, links: record.links)
            return true
        }
        inodes = window
        next = leftOut
    }

    private func countNames() throws(CheckFailure) {
        var done: UInt64 = 0
        var parent: (number: UInt64, index: Int?) = (0, nil)
        try context.items.forEach(from: OwnedKey(RecordKind.entry.object(of: InodeNumbers.root))) {
            [self] (key, value) throws(CheckFailure) in
            guard key.object & 0xFF == RecordKind.entry.rawValue else { return true }
            done += 1
            if done & 0xFFF == 0 { context.isAt("names", done) }
            let directory = key.object >> 8
            if parent.number != directory {
                parent = (directory, directories.index(of: directory))
            }
            if let entry = try? EntryRecord(decoding: value), let index = parent.index {
                try count(entry, key, in: index)
            }
            return true
        }
    }

    /// Whether a number belongs to the window, whether or not it is there.
    private func isInWindow(_ inode: UInt64) -> Bool {
        inode >= windowStart && next.map { inode < $0 } ?? true
    }

    private func count(
        _ entry: EntryRecord, _ key: ItemKey, in parent: Int
    ) throws(CheckFailure) {
        guard isInWindow(entry.inode) else { return }
        guard let index = inodes.index(of: entry.inode) else {
            return try removeName(
                OwnedKey(key), shown(key.tail), "leads to inode \(entry.inode), which is not there")
        }
        let kind = inodes.kinds[index]
        if kind == .directory {
            guard entry.inode != InodeNumbers.root,
                let child = directories.index(of: entry.inode)
            else {
                return try removeName(OwnedKey(key), shown(key.tail), "leads to the root")
            }
            guard directories.parents[child] == key.object >> 8 else {
                strayNames.append(StrayName(key: OwnedKey(key), inode: entry.inode))
                return
            }
            guard !directories.isNamed[child] else {
                return try removeName(
                    OwnedKey(key), shown(key.tail),
                    "is a second name of directory \(entry.inode)")
            }
            directories.isNamed[child] = true
            directories.subdirectories[parent] &+= 1
        }
        inodes.names[index] &+= 1
        if entry.kind != kind {
            context.tell(
                .directory, "inode \(key.object >> 8)",
                "name \(shown(key.tail)) says \(entry.kind), inode \(entry.inode) is a \(kind)",
                remedy: "the name is set")
            var mended = entry
            mended.kind = kind
            try context.put(OwnedKey(key), mended.encoded)
        }
    }

    private func removeName(
        _ key: OwnedKey, _ name: String, _ what: String
    ) throws(CheckFailure) {
        context.tell(
            .directory, "inode \(key.object >> 8)", "name \(name) \(what)",
            remedy: "the name is removed")
        try context.remove(key)
        try context.update(key.object >> 8) { $0.size = $0.size == 0 ? 0 : $0.size - 1 }
    }

    // MARK: Inodes

    /// The window's inodes against the names that were counted. (Directories: when all windows are
    /// done.)
    private func compareInodes() throws(CheckFailure) {
        for index in 0..<inodes.count {
            let (number, kind) = (inodes.numbers[index], inodes.kinds[index])
            let (links, names) = (inodes.links[index], inodes.names[index])
            if orphans.contains(number) {
                seenOrphans.insert(number)
                if try settleOrphan(number, links: links, names: names) { continue }
            }
            guard kind != .directory else { continue }
            if names == 0 {
                context.tell(
                    .links, "inode \(number)", "no name leads to this \(kind)",
                    remedy: "it goes to /lost+found")
                lost.append((number, kind))
            } else if links != names {
                try setLinks(names, of: number, from: links)
            }
        }
    }

    /// True if it is an orphan without a name, with nothing else to compare. (One with names has
    /// only its data cut.)
    private func settleOrphan(
        _ number: UInt64, links: UInt32, names: UInt32
    ) throws(CheckFailure) -> Bool {
        guard names == 0, number != InodeNumbers.root else { return false }
        if links != 0 {
            context.tell(
                .links, "inode \(number)", "an orphan without names with \(links) links",
                remedy: "it has none, and is freed when the image is mounted")
            try context.update(number) { $0.links = 0 }
        }
        return true
    }

    private func setLinks(
        _ count: UInt32, of inode: UInt64, from old: UInt32
    ) throws(CheckFailure) {
        context.tell(
            .links, "inode \(inode)", "\(old) links, there are \(count)",
            remedy: "it is counted anew")
        try context.update(inode) { $0.links = count }
    }

    // MARK: Directories

    /// Names in other directories than the parent: the first one makes its directory the parent of
    /// one that has no name there; the others go.
    private func settleStrayNames() throws(CheckFailure) {
        for stray in strayNames {
            guard let child = directories.index(of: stray.inode) else { continue }
            let name = stray.key.tail.lend { shown($0) }
            if directories.isNamed[child] || orphans.contains(stray.inode) {
                try removeName(stray.key, name, "is a second name of directory \(stray.inode)")
                continue
            }
            let parent = stray.directory
            context.tell(
                .directory, "inode \(stray.inode)",
                "its parent is \(directories.parents[child]), its name stands in \(parent)",
                remedy: "the parent is set")
            directories.parents[child] = parent
            directories.isNamed[child] = true
            if let index = directories.index(of: parent) {
                directories.subdirectories[index] &+= 1
            }
            try context.update(stray.inode) { $0.special = parent }
        }
    }

    /// Directories that hang from one another, and not from the root.
    private func cutLoops() throws(CheckFailure) {
        for index in directories.loops(root: InodeNumbers.root) {
            let (number, parent) = (directories.numbers[index], directories.parents[index])
            context.tell(
                .links, "inode \(number)", "this directory lies within itself",
                remedy: "it goes to /lost+found")
            var names: [OwnedKey] = []
            let object = RecordKind.entry.object(of: parent)
            try context.items.forEach(from: OwnedKey(object)) {
                (key, value) throws(CheckFailure) in
                guard key.object == object else { return false }
                if let entry = try? EntryRecord(decoding: value), entry.inode == number {
                    names.append(OwnedKey(key))
                }
                return true
            }
            for key in names {
                try context.remove(key)
                try context.update(parent) { $0.size = $0.size == 0 ? 0 : $0.size - 1 }
            }
            if let above = directories.index(of: parent) {
                directories.subdirectories[above] &-= 1
            }
            directories.isNamed[index] = true  // it is taken care of
            lost.append((number, .directory))
        }
    }

    private func compareDirectories() throws(CheckFailure) {
        for index in 0..<directories.count {
            let number = directories.numbers[index]
            if orphans.contains(number), !directories.isNamed[index] { continue }
            if number != InodeNumbers.root, !directories.isNamed[index] {
                context.tell(
                    .links, "inode \(number)", "no name leads to this directory",
                    remedy: "it goes to /lost+found")
                lost.append((number, .directory))
            }
            let links = directories.subdirectories[index] &+ 2
            if directories.links[index] != links {
                try setLinks(links, of: number, from: directories.links[index])
            }
        }
    }
}
