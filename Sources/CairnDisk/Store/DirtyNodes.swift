// DirtyNodes: the files that have data which is not placed yet.
//
// The list refers to the nodes, so that the tree's cache keeps them. It does not hold the files
// (Inode.hold): one that loses its last name goes at once, with its dirty pages. No node is in it
// twice: whoever takes all of them places several at once, and would wait for itself.
//
// Threading: any thread. `lock` comes after the lock of a node.

import CairnBase

final class DirtyNodes: @unchecked Sendable {
    // Sendable: `lock` guards `nodes` and each file's `isListed`.
    private let lock = Lock()
    private var nodes: [(node: DiskNode, file: FileState)] = []

    /// Enters a node unless it is in the list.
    func list(_ node: DiskNode, _ file: FileState) {
        lock.withLock {
            guard !file.isListed else { return }
            file.isListed = true
            nodes.append((node, file))
        }
    }

    /// Takes all, in the order in which they became dirty. One that is written to before it is
    /// placed comes into the list again, and there may be nothing left to place then.
    func takeAll() -> [DiskNode] {
        lock.withLock {
            for (_, file) in nodes { file.isListed = false }
            defer { nodes = [] }
            return nodes.map(\.node)
        }
    }

    var isEmpty: Bool { lock.withLock { nodes.isEmpty } }
    var count: Int { lock.withLock { nodes.count } }
}
