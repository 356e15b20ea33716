// NodeStore: the small transactional store of nodes that a tree filesystem stands on.
//
// CairnTree holds the rules of POSIX once; a store only keeps nodes, names, attributes and data,
// in memory, on a disk or in a database. The split:
//
//  - The tree decides. It reads through the store (attributes stand decoded in each `TreeNode`),
//    under the locks of the nodes concerned, and puts what shall change into one `Change`.
//  - The store applies a `Change` whole or not at all (`apply`). It may throw `Pause.wait` when
//    it must fetch or make room first, and ENOSPC, EDQUOT, EFBIG, EIO: nothing has changed then.
//    The tree updates the decoded attributes only after `apply` returned.
//  - What a node occupies is the store's to know: it tells by `TreeNode.noteOccupancy`, under the
//    node's exclusive lock (within `apply` it is held already). `blocks`, and the size of a
//    directory, in attributes that the tree hands down are without meaning.
//
// Locks. The tree holds `node.lock` of every node that it passes: shared for reads, exclusive for
// all nodes that a change names. So a store needs no lock of its own for what belongs to one
// node; for what nodes share (free space, caches) it has its own, short ones. It never blocks.
//
// Another writer. Nothing here says that this process is the only writer. A store that learns
// that a node was changed elsewhere calls `TreeFileSystem.forget(node:)`, and `apply` may throw
// `wait` on a conflict: the tree then reads afresh and decides again.

public import CairnBase
public import CairnVFS

public protocol NodeStore: AnyObject, Sendable {
    /// The tree that stands on this store; set once, before any other call.
    func attach(to tree: TreeFileSystem)

    /// The number of the root directory, which always exists.
    var rootNumber: UInt64 { get }

    /// The largest size of a file, in bytes.
    var maximumFileSize: UInt64 { get }

    /// st_blksize of its files.
    var blockSize: UInt32 { get }

    /// How many names a file, or how many subdirectories and 2 a directory, may have.
    var maximumLinkCount: UInt32 { get }

    // MARK: Reading

    /// Brings a node into memory: a new `TreeNode` (or the store's subclass) with its attributes
    /// decoded and, for a directory, the number of the directory above it. Called when the tree has no such node in its cache; may be called twice for one
    /// number, and then one of the two is dropped. EIO or ESTALE if there is none.
    func load(_ number: UInt64) throws(Pause) -> TreeNode

    /// What a name in a directory leads to.
    func find(_ name: Name, in directory: TreeNode) throws(Pause) -> EntryTarget?

    /// As Inode.readDirectory.
    func readDirectory(
        _ directory: TreeNode, after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause)

    /// Whether a directory has no entries.
    func isEmpty(_ directory: TreeNode) throws(Pause) -> Bool

    /// The target of a symbolic link.
    func target(of link: TreeNode) throws(Pause) -> [UInt8]

    /// As Inode.extendedAttribute, with the full name ("user.x").
    func extendedAttribute(
        _ name: Name, of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int

    /// As Inode.extendedAttributeNames.
    func extendedAttributeNames(
        of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int

    /// Reads data; `offset` + the buffer's size lie within the node's size. All or a wait: a store
    /// gives fewer bytes only if it has some of them now and must fetch the others.
    func read(
        _ node: TreeNode, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int

    /// The first offset not before `offset`, and before the node's size, that is data or hole;
    /// nil if there is none before the size.
    func seek(
        _ target: SeekTarget, in node: TreeNode, from offset: UInt64
    ) throws(Pause) -> UInt64?

    /// As Inode.map, for a node that is locked shared. By default ENODEV.
    func map(
        _ node: TreeNode, _ request: MappingRequest, _ mapping: inout (any MappedMemory)?
    ) throws(Pause)

    // MARK: Changing

    /// A node to be made, not yet in the store: with a number that no other node has, and a
    /// birth. It comes to be when a change with `.create` is applied, and is dropped otherwise.
    func prepareNode(_ attributes: Attributes) throws(Pause) -> TreeNode

    /// Applies all edits, in their order, as one step, or throws and changes nothing.
    func apply(_ change: borrowing Change) throws(Pause)

    /// The node, locked exclusively, was read: its attributes shall become these, which differ in the
    /// time of last access. A store may let it be lost in a crash. By default a change like others.
    func noteAccess(_ attributes: Attributes, of node: TreeNode) throws(Pause)

    /// Writes data and the attributes after it (size, times, mode) as one step, for a node that is
    /// locked exclusively and bytes that are not empty. Gives the number of bytes written, at least 1: fewer than asked for only where the rest must be waited for or
    /// has no room; then attributes.size is lowered accordingly. `attributes.blocks` is set.
    func write(
        _ bytes: UnsafeRawBufferPointer, to node: TreeNode, at offset: UInt64,
        attributes: inout Attributes
    ) throws(Pause) -> Int

    /// The node was freed by a change, or dropped from the tree's cache: nothing of it is asked for
    /// any more, and its memory may go. Only now may the number of a freed node be given out again.
    /// May be called under locks of other nodes: takes no node's lock and does not call the tree.
    func evicted(_ node: TreeNode)

    // MARK: The whole

    func statistics() throws(Pause) -> FileSystemStatistics
    /// Waits until the node (nil: everything) is durable. `point` is the call's own.
    func sync(_ node: TreeNode?, dataOnly: Bool, _ point: inout SyncPoint) throws(Pause)
    func close() throws(Pause)

    /// Nodes may leave the tree's cache because `load` can bring them back. False for a store in
    /// memory, whose nodes *are* the storage.
    var canReload: Bool { get }

    var isReadOnly: Bool { get }
    var optionsDescription: String { get }

    /// As `FileSystem.acceptsLateWrites`. By default false.
    var acceptsLateWrites: Bool { get }
}

extension NodeStore {
    public var acceptsLateWrites: Bool { false }

    public func noteAccess(_ attributes: Attributes, of node: TreeNode) throws(Pause) {
        var change = Change()
        change.append(.attributes(node.edited, attributes))
        try apply(change)
    }

    public func map(
        _ node: TreeNode, _ request: MappingRequest, _ mapping: inout (any MappedMemory)?
    ) throws(Pause) { throw .failed(.ENODEV) }
}

/// Where a directory entry leads.
public struct EntryTarget: Sendable {
    public var number: UInt64
    public var kind: FileKind
    /// The node itself where the store has it at hand (a store in memory): spares the tree a look
    /// into its cache.
    public var resident: TreeNode?

    @inlinable
    public init(number: UInt64, kind: FileKind, resident: TreeNode? = nil) {
        self.number = number
        self.kind = kind
        self.resident = resident
    }
}

/// One step of a change. Nodes are locked exclusively by the tree. Nothing in it owns anything:
/// nodes, names and bytes are the tree's, and stay as long as the change is being applied.
public enum Edit {
    /// The prepared node comes to be, with these attributes and, for a symbolic link, a target.
    case create(EditedNode, Attributes, target: UnsafeRawBufferPointer)
    /// The node's attributes become these. A smaller size cuts the data, a larger one adds a
    /// hole. `blocks` is the store's to keep and ignored here.
    case attributes(EditedNode, Attributes)
    /// A new name for a node. The tree made sure that it is free. When it leads to a directory, it
    /// also says which directory is above that one.
    case insert(Name, in: EditedNode, to: EditedNode)
    /// An existing name leads elsewhere; otherwise as `insert`.
    case replace(Name, in: EditedNode, to: EditedNode)
    /// An existing name goes.
    case remove(Name, in: EditedNode)
    /// A value for an extended attribute; nil removes an existing one.
    case extendedAttribute(Name, of: EditedNode, UnsafeRawBufferPointer?)
    /// Space for the range is reserved.
    case reserve(EditedNode, offset: UInt64, length: UInt64)
    /// The range becomes a hole.
    case punch(EditedNode, offset: UInt64, length: UInt64)
    /// The node has no names left but is still held: after a crash it must be freed.
    case orphan(EditedNode)
    /// An orphan gets a name again (linkat of an O_TMPFILE).
    case adopt(EditedNode)
    /// The node, without names and holds, ceases to be, with its data and attributes.
    case free(EditedNode)
}

/// A node that an edit names. Not counted: making and dropping edits must cost nothing.
public struct EditedNode {
    public unowned(unsafe) let node: TreeNode

    @inlinable
    public init(_ node: TreeNode) {
        self.node = node
    }
}

/// A few edits that are applied together.
public struct Change {
    public private(set) var edits: [Edit] = []

    public init() {
        edits.reserveCapacity(8)
    }

    public mutating func append(_ edit: Edit) {
        edits.append(edit)
    }
}

extension TreeNode {
    /// This node, as an edit names it.
    @inline(__always)
    final var edited: EditedNode { EditedNode(self) }
}
