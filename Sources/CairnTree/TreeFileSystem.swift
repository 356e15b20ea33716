// TreeFileSystem: a filesystem whose nodes stand in a NodeStore, with POSIX's rules over them.
//
// Invariants
//  - At most one TreeNode object stands for a number at any time (NodeTable.swift says how).
//  - A node whose link count is 0 is held, or is just being freed; while it is held, the store
//    has it recorded as an orphan.
//  - Nodes refer to their filesystem strongly and the node table to its nodes: `close` breaks
//    the circle. A filesystem that is never closed is never freed.
//
// Lock order, outermost first:
//
//     renameLock          moving a directory to another directory
//      └─ TreeNode.lock   of all nodes concerned, in the order of their numbers
//          └─ a shard of the node table, or the store's own locks
//
// No lock is held across a wait: every hook is an attempt (Wait.swift).

public import CairnBase
public import CairnVFS

open class TreeFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: immutable, or guarded by what is said at the field.

    public final let store: any NodeStore
    /// As the store has them.
    final let maximumFileSize: UInt64
    final let maximumLinkCount: UInt32
    final let nodes: NodeTable
    /// Keeps every directory below the directory that it is below, except for its holder.
    final let renameLock = Lock()
    /// Written by `start`, before anybody else knows this object, and by `close`, after everybody.
    private final var rootNode: TreeNode?

    /// `nodeLimit`: how many nodes are kept at most that nobody uses; without meaning for a store
    /// that cannot reload.
    public init(
        typeName: String, time: any TimeSource, store: any NodeStore, nodeLimit: Int = 1 << 16
    ) {
        self.store = store
        maximumFileSize = store.maximumFileSize
        maximumLinkCount = store.maximumLinkCount
        self.nodes = NodeTable(limit: store.canReload ? nodeLimit : .max)
        super.init(typeName: typeName, time: time)
        store.attach(to: self)
    }

    /// Brings the root into memory. To be run to its end before the filesystem is used.
    public final func start() throws(Pause) {
        rootNode = try node(store.rootNumber)
    }

    // MARK: Hooks

    open override var root: Inode {
        guard let rootNode else {
            preconditionFailure("the root of a tree that is not started, or is closed")
        }
        return rootNode
    }

    open override var isReadOnly: Bool { store.isReadOnly }

    open override var optionsDescription: String { store.optionsDescription }

    open override var acceptsLateWrites: Bool { store.acceptsLateWrites }

    /// Nodes in memory. A store that caches or commits adds its own figures in a subclass.
    open override var figures: [FigureGroup] {
        [FigureGroup(.cache, "inodes", [.init("entries", UInt64(nodes.count))])]
    }

    open override func statistics() throws(Pause) -> FileSystemStatistics {
        try store.statistics()
    }

    open override func sync(_ point: inout SyncPoint) throws(Pause) {
        try store.sync(nil, dataOnly: false, &point)
    }

    open override func close() throws(Pause) {
        var point = SyncPoint()
        try store.sync(nil, dataOnly: false, &point)
        try store.close()
        rootNode = nil
        nodes.removeAll()
    }

    // MARK: Nodes

    /// The node with this number. ESTALE, or what the store says, if there is none.
    public final func node(_ number: UInt64) throws(Pause) -> TreeNode {
        while true {
            let epoch: UInt64
            switch nodes.find(number) {
            case .resident(let node): return node
            case .absent(let seen): epoch = seen
            }
            let loaded = try store.load(number)
            var evicted: [TreeNode] = []
            let kept = nodes.insert(loaded, ifEpochIs: epoch, evicting: &evicted)
            for node in evicted {
                store.evicted(node)
            }
            if let kept { return kept }
        }
    }

    /// The node that an entry leads to. The caller holds the directory's lock, so the entry, and
    /// with it the node, stays.
    @inline(__always)
    final func node(_ target: consuming EntryTarget) throws(Pause) -> TreeNode {
        if let resident = target.resident { return resident }
        return try node(target.number)
    }

    /// The store learned that the node was changed by somebody else: what is decoded of it is
    /// read again before it is next used. Called with no node's lock held.
    public final func forget(node number: UInt64) {
        guard store.canReload, let node = nodes.forget(number) else { return }
        node.lock.withLock { _ = node.condition.insert(.stale) }
    }

    /// Gives memory back: lets go of nodes that nobody uses until at most `count` are left, or all
    /// that are left are in use. Gives the number that is left.
    @discardableResult
    public final func shrink(to count: Int) -> Int {
        guard store.canReload else { return nodes.count }
        var evicted: [TreeNode] = []
        let left = nodes.shrink(to: count, evicting: &evicted)
        for node in evicted {
            store.evicted(node)
        }
        return left
    }

    /// How many nodes are in memory.
    public final var residentNodeCount: Int { nodes.count }
}
