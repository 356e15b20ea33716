// DirtyNodes: the files that have data which is not placed yet.
//
// The list refers to the nodes, so that the tree's cache keeps them. It does not hold the files
// (Inode.hold): one that loses its last name goes at once, with its dirty pages.
//
// Threading: any thread. `lock` comes after the lock of a node.

import CairnBase

final class DirtyNodes: @unchecked Sendable {
    // Sendable: `lock` guards `nodes`.
    private let lock = Lock()
    private var nodes: [DiskNode] = []

    /// Enters a node, whose lock the caller holds exclusively, unless it is in the list.
    func list(_ node: DiskNode, _ file: FileState) {
        guard !file.isListed else { return }
        file.isListed = true
        lock.withLock { nodes.append(node) }
    }

    /// Takes all, in the order in which they became dirty. They count as listed until their
    /// placement takes that back.
    func takeAll() -> [DiskNode] {
        lock.withLock {
            let taken = nodes
            nodes = []
            return taken
        }
    }

    /// Takes one, if it is there: whoever places it by itself, so that it is not in the list twice.
    func take(_ node: DiskNode) {
        lock.withLock { nodes.removeAll { $0 === node } }
    }

    /// All, which stay; nil if they are more.
    func all(atMost limit: Int) -> [DiskNode]? {
        lock.withLock { nodes.count <= limit ? nodes : nil }
    }

    var isEmpty: Bool { lock.withLock { nodes.isEmpty } }
    var count: Int { lock.withLock { nodes.count } }
}
