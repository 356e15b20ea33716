// TreeNode: one file, directory or other node of a tree, in memory, and its hooks.
//
// There is one object for each node that is in memory. A store subclasses it to keep its own
// things beside. The class body is the list of hooks; what they do stands in the room that each
// call names (Swift lets only a class body override).
//
// Threading. `lock` guards every field that does not say otherwise: shared for reading, exclusive
// for changing. What changes several nodes holds the locks of all (LockedNodes.swift).
//
// Invariants, whenever `lock` is free
//  - `stored` is what the store has, unless `condition` has `.stale`.
//  - `.freed`: the node is gone from the store, and the store is not asked about it again.
//  - Directories: a link count of 0 means removed, otherwise it is 2 and the number of
//    subdirectories. `parentNumber` changes only under `renameLock` and the locks of the
//    directory and of both directories above.

public import CairnBase
public import CairnVFS
import Synchronization

open class TreeNode: Inode, @unchecked Sendable {
    // Sendable: guarded by `lock`, atomic, or immutable.

    /// `fileSystem`, as what it is (see TreeFileSystem+Store.swift). No field of its own, which would
    /// be counted for each node.
    @inline(__always)
    final var tree: TreeFileSystem { unsafeDowncast(fileSystem, to: TreeFileSystem.self) }

    /// Calls the body with the tree, without counting a reference.
    @inline(__always)
    final func withTree<Value, Failure>(
        _ body: (TreeFileSystem) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try withFileSystem { (fileSystem) throws(Failure) -> Value in
            try body(unsafeDowncast(fileSystem, to: TreeFileSystem.self))
        }
    }

    public final let lock = ReadWriteLock()

    /// What is out of the ordinary about the node.
    struct Condition: OptionSet {
        var rawValue: UInt8
        static var stale: Condition { Condition(rawValue: 1) }
        static var freed: Condition { Condition(rawValue: 2) }
        /// Made by O_TMPFILE, and never had a name: linkat may give it one.
        static var mayBeNamed: Condition { Condition(rawValue: 4) }
        /// `lists` says what ACLs there are.
        static var listsAreKnown: Condition { Condition(rawValue: 8) }
    }

    final var condition: Condition
    /// The node's attributes, decoded.
    public internal(set) final var stored: Attributes
    /// The node's ACLs; nil where there are none.
    final var lists: AccessLists?
    /// For a directory, the number of the one above; otherwise 0.
    final let parentNumber: Atomic<UInt64>
    /// Used since the table's clock hand passed last.
    private final let wasUsed = Atomic<Bool>(true)

    /// `parent`: for a directory, the number of the directory above (its own, for the root).
    /// `hasNoLists`: the store knows that the node has no ACL.
    public init(
        _ attributes: Attributes, parent: UInt64 = 0, hasNoLists: Bool = false,
        in tree: TreeFileSystem
    ) {
        stored = attributes
        condition = hasNoLists ? .listsAreKnown : []
        parentNumber = Atomic(parent)
        super.init(number: attributes.number, kind: attributes.kind, fileSystem: tree)
        updateHints()
    }

    // MARK: For stores

    /// The store says how much the node occupies. The caller holds `lock` exclusively. `blocks`
    /// are units of 512 bytes; `directorySize` is st_size of a directory, in bytes.
    public final func noteOccupancy(blocks: UInt64, directorySize: UInt64? = nil) {
        stored.blocks = blocks
        if let directorySize { stored.size = directorySize }
    }

    /// The number of the directory above, for a store that keeps it.
    public final var directoryAbove: UInt64 { parentNumber.load(ordering: .relaxed) }

    /// Hook for stores that reload: the node was changed elsewhere, and `fresh` is what was loaded
    /// now. Takes over what a subclass keeps. The caller holds `lock` exclusively.
    open func adopt(_ fresh: TreeNode) {}

    // MARK: For the node table

    @inline(__always)
    final func noteUse() {
        if !wasUsed.load(ordering: .relaxed) { wasUsed.store(true, ordering: .relaxed) }
    }

    /// Asked under the shard's lock about a node that only the table knows, so nobody else can
    /// be looking at its fields.
    final var isEvictable: Bool {
        if wasUsed.load(ordering: .relaxed) {
            wasUsed.store(false, ordering: .relaxed)
            return false
        }
        return !isHeld && stored.linkCount > 0
    }

    // MARK: Hooks for every kind

    public final override func attributes() throws(Pause) -> Attributes {
        try lockShared()
        defer { lock.unlockShared() }
        return stored
    }

    public final override func setAttributes(
        _ change: AttributeChange, by credentials: Credentials
    ) throws(Pause) -> Attributes {
        try changeAttributes(change, by: credentials)
    }

    public final override func sync(dataOnly: Bool, _ point: inout SyncPoint) throws(Pause) {
        try tree.store.sync(self, dataOnly: dataOnly, &point)
    }

    public final override func noteAccess(_ policy: AccessTimePolicy) { noteRead(policy) }

    public final override func unused() { freeLater() }

    // MARK: Hooks for extended attributes

    public final override func extendedAttribute(
        _ name: Name, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int { try readExtendedAttribute(name, into: buffer) }

    public final override func extendedAttributeNames(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int { try listExtendedAttributes(into: buffer) }

    public final override func setExtendedAttribute(
        _ name: Name, to value: UnsafeRawBufferPointer?, mode: ExtendedAttributeMode,
        by credentials: Credentials
    ) throws(Pause) {
        try changeExtendedAttribute(name, to: value, mode: mode, by: credentials)
    }

    public final override func accessControlList(
        _ kind: AccessControlList.Kind
    ) throws(Pause) -> AccessControlList? { try list(kind) }

    // MARK: Hooks for directories

    public final override func lookup(_ name: Name) throws(Pause) -> Inode? { try find(name) }

    public final override func parentDirectory() throws(Pause) -> Inode? {
        try directoryAboveThis()
    }

    public final override func readDirectory(
        after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) { try listNames(after: cookie, body) }

    public final override func create(
        _ name: Name, _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode { try makeNode(name, node, by: credentials) }

    public final override func createTemporary(
        _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode { try makeTemporary(node, by: credentials) }

    public final override func link(
        _ inode: Inode, as name: Name, by credentials: Credentials
    ) throws(Pause) { try addName(name, for: inode) }

    public final override func remove(
        _ name: Name, directory: Bool, expecting expected: Inode, by credentials: Credentials
    ) throws(Pause) { try removeName(name, directory: directory, expecting: expected) }

    public final override func rename(
        _ name: Name, expecting expected: Inode, to target: Inode, _ newName: Name,
        replacing replaced: Inode?, flags: RenameFlags, by credentials: Credentials
    ) throws(Pause) {
        try moveName(
            name, expecting: expected, to: target, newName, replacing: replaced, flags: flags)
    }

    // MARK: Hook for symbolic links

    public final override func readLink() throws(Pause) -> [UInt8] {
        guard kind == .symbolicLink else { throw .failed(.EINVAL) }
        try lockSharedUnlessFreed()
        defer { lock.unlockShared() }
        return try tree.store.target(of: self)
    }

    // MARK: Hooks for data

    public final override func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int { try readData(into: buffer, at: offset) }

    public final override func map(
        _ request: MappingRequest, _ mapping: inout (any MappedMemory)?
    ) throws(Pause) { try mapData(request, &mapping) }

    public final override func write(
        _ bytes: UnsafeRawBufferPointer, at position: WritePosition, options: WriteOptions
    ) throws(Pause) -> Written { try writeData(bytes, at: position, options: options) }

    public final override func allocate(
        _ mode: AllocateMode, offset: UInt64, length: UInt64, options: WriteOptions
    ) throws(Pause) {
        try changeAllocation(mode, offset: offset, length: length, options: options)
    }

    public final override func seek(
        _ target: SeekTarget, from offset: UInt64
    ) throws(Pause) -> UInt64 { try seekData(target, from: offset) }

    public final override func copyRange(
        from source: Inode, at sourceOffset: UInt64, to offset: UInt64, length: UInt64,
        options: WriteOptions
    ) throws(Pause) -> Int {
        try copyData(
            from: source, at: sourceOffset, to: offset, length: length, options: options)
    }
}
