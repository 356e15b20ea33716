// What must hold of a tree at a quiescent moment: walks all of it, through the store, and says what
// does not hold. For tests, and for whoever suspects a store.

public import CairnBase
import CairnVFS

extension TreeFileSystem {
    /// What is wrong, in words; empty if nothing is. Nobody else may use the tree meanwhile.
    public final func checkInvariants() throws(Errno) -> [String] {
        var check = TreeCheck(tree: self)
        try check.walk()
        check.compareLinks()
        check.lookAtResidentNodes()
        return check.complaints
    }
}

private struct TreeCheck {
    let tree: TreeFileSystem
    var complaints: [String] = []
    /// Names that lead to a node that is no directory.
    private var names: [UInt64: UInt32] = [:]
    private var kinds: [UInt64: FileKind] = [:]
    private var directories: Set<UInt64> = []

    init(tree: TreeFileSystem) {
        self.tree = tree
    }

    private mutating func complain(_ number: UInt64, _ text: String) {
        complaints.append("node \(number): \(text)")
    }

    private struct Entry {
        var name: FileName
        var number: UInt64
        var kind: FileKind
    }

    // MARK: The names

    mutating func walk() throws(Errno) {
        let tree = self.tree
        let root = tree.store.rootNumber
        directories.insert(root)
        var pending: [(number: UInt64, above: UInt64)] = [(root, root)]
        while let (number, above) = pending.popLast() {
            let directory = try blocking { () throws(Pause) in try tree.node(number) }
            let attributes = try blocking { () throws(Pause) in try directory.attributes() }
            if directory.directoryAbove != above {
                complain(number, "is below \(above) and says \(directory.directoryAbove)")
            }
            var subdirectories: UInt32 = 0
            for entry in try entries(of: directory) {
                try checkLookup(entry, in: directory)
                if let kind = kinds.updateValue(entry.kind, forKey: entry.number),
                    kind != entry.kind
                {
                    complain(entry.number, "is \(kind) by one name and \(entry.kind) by another")
                }
                guard entry.kind == .directory else {
                    names[entry.number, default: 0] += 1
                    continue
                }
                subdirectories += 1
                if directories.insert(entry.number).inserted {
                    pending.append((entry.number, number))
                } else {
                    complain(entry.number, "a directory with two names")
                }
            }
            if attributes.linkCount != subdirectories + 2 {
                complain(
                    number, "has \(subdirectories) subdirectories and \(attributes.linkCount) links"
                )
            }
        }
    }

    private mutating func entries(of directory: TreeNode) throws(Errno) -> [Entry] {
        var entries: [Entry] = []
        var cookie: UInt64 = 0
        var isAscending = true
        try blocking { () throws(Pause) in
            entries = []
            cookie = 0
            try directory.readDirectory(after: 0) { entry in
                isAscending = isAscending && entry.cookie > cookie
                cookie = entry.cookie
                entries.append(
                    Entry(name: entry.name.owned, number: entry.number, kind: entry.kind))
                return true
            }
        }
        if !isAscending { complain(directory.number, "its cookies do not ascend") }
        if Set(entries.map(\.name)).count != entries.count {
            complain(directory.number, "lists a name twice")
        }
        return entries
    }

    private mutating func checkLookup(_ entry: Entry, in directory: TreeNode) throws(Errno) {
        let found = try entry.name.withName { name throws(Errno) in
            try blocking { () throws(Pause) in try directory.lookup(name) }
        }
        guard let found else {
            complain(directory.number, "lists '\(entry.name)' and does not find it")
            return
        }
        if found.number != entry.number || found.kind != entry.kind {
            complain(
                directory.number,
                "'\(entry.name)' is \(entry.number) in the list and \(found.number) when looked up")
        }
        let attributes = try blocking { () throws(Pause) in try found.attributes() }
        if attributes.number != entry.number || attributes.kind != entry.kind {
            complain(entry.number, "has attributes of \(attributes.number), \(attributes.kind)")
        }
    }

    // MARK: The links

    mutating func compareLinks() {
        for node in tree.nodes.all {
            guard let count = names[node.number] else { continue }
            if node.stored.linkCount != count {
                complain(node.number, "has \(count) names and \(node.stored.linkCount) links")
            }
        }
    }

    mutating func lookAtResidentNodes() {
        for node in tree.nodes.all {
            // Orphans are freed in the background, where their store has to wait.
            node.lock.lockShared()
            defer { node.lock.unlockShared() }
            let isReachable = names[node.number] != nil || directories.contains(node.number)
            if node.condition.contains(.freed) {
                complain(node.number, "was freed and is still in the table")
            }
            if node.isReleased { complain(node.number, "is released and was not freed") }
            if node.stored.linkCount == 0 {
                if isReachable { complain(node.number, "has no links and is reachable") }
                if !node.isHeld { complain(node.number, "an orphan that nobody holds") }
            } else if !isReachable {
                complain(node.number, "has \(node.stored.linkCount) links and no name")
            }
            if node.isSearchableByAll.load(ordering: .acquiring),
                !node.stored.permissions.isSuperset(of: .executeAll) || node.lists?.access != nil
            {
                complain(node.number, "is searchable by all, against its mode or ACL")
            }
            if node.isSynchronous.load(ordering: .acquiring) != node.stored.flags.contains(.sync) {
                complain(node.number, "is synchronous, or not, against its flag")
            }
        }
    }
}
