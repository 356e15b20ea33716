// WrappingStore: a store that hands every call on to another, with a gate before each.
//
// Subclasses say in `pass` what happens before a call: it may throw, and then the store behind has
// not been asked.

import CairnBase
import CairnTree
import CairnVFS

open class WrappingStore: NodeStore, @unchecked Sendable {
    // Sendable: immutable; subclasses say theirs.
    public let inner: any NodeStore

    public init(_ inner: any NodeStore) {
        self.inner = inner
    }

    /// What a call is about.
    public enum Subject: Hashable, Sendable {
        case node(UInt64)
        case names(UInt64, UInt64)
        case listing(UInt64)
        case data(UInt64)
        case attributes(UInt64)
        case allocation
        case change(UInt64)
    }

    open func pass(_ subject: Subject) throws(Pause) {}

    public func attach(to tree: TreeFileSystem) { inner.attach(to: tree) }
    public var rootNumber: UInt64 { inner.rootNumber }
    public var maximumFileSize: UInt64 { inner.maximumFileSize }
    public var blockSize: UInt32 { inner.blockSize }
    public var maximumLinkCount: UInt32 { inner.maximumLinkCount }
    public var canReload: Bool { inner.canReload }
    public var isReadOnly: Bool { inner.isReadOnly }
    public var optionsDescription: String { inner.optionsDescription }

    public func load(_ number: UInt64) throws(Pause) -> TreeNode {
        try pass(.node(number))
        return try inner.load(number)
    }

    public func find(_ name: Name, in directory: TreeNode) throws(Pause) -> EntryTarget? {
        try pass(.names(directory.number, name.hash))
        return try inner.find(name, in: directory)
    }

    public func readDirectory(
        _ directory: TreeNode, after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        try pass(.listing(directory.number))
        try inner.readDirectory(directory, after: cookie, body)
    }

    public func map(
        _ node: TreeNode, _ request: MappingRequest, _ mapping: inout (any MappedMemory)?
    ) throws(Pause) {
        try pass(.data(node.number))
        try inner.map(node, request, &mapping)
    }

    public func isEmpty(_ directory: TreeNode) throws(Pause) -> Bool {
        try pass(.listing(directory.number))
        return try inner.isEmpty(directory)
    }

    public func target(of link: TreeNode) throws(Pause) -> [UInt8] {
        try pass(.data(link.number))
        return try inner.target(of: link)
    }

    public func extendedAttribute(
        _ name: Name, of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        try pass(.attributes(node.number))
        return try inner.extendedAttribute(name, of: node, into: buffer)
    }

    public func extendedAttributeNames(
        of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        try pass(.attributes(node.number))
        return try inner.extendedAttributeNames(of: node, into: buffer)
    }

    public func read(
        _ node: TreeNode, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        try pass(.data(node.number))
        return try inner.read(node, into: buffer, at: offset)
    }

    public func seek(
        _ target: SeekTarget, in node: TreeNode, from offset: UInt64
    ) throws(Pause) -> UInt64? {
        try pass(.data(node.number))
        return try inner.seek(target, in: node, from: offset)
    }

    public func prepareNode(_ attributes: Attributes) throws(Pause) -> TreeNode {
        try pass(.allocation)
        return try inner.prepareNode(attributes)
    }

    public func apply(_ change: borrowing Change) throws(Pause) {
        // A node that is being made has another number in each attempt.
        var made: UInt64?
        for edit in change.edits {
            if case .create(let node, _, _) = edit { made = node.node.number }
            try pass(edit.firstNode == made ? .allocation : .change(edit.firstNode))
        }
        try inner.apply(change)
    }

    public func noteAccess(_ attributes: Attributes, of node: TreeNode) throws(Pause) {
        try pass(.change(node.number))
        try inner.noteAccess(attributes, of: node)
    }

    public func write(
        _ bytes: UnsafeRawBufferPointer, to node: TreeNode, at offset: UInt64,
        attributes: inout Attributes
    ) throws(Pause) -> Int {
        try pass(.data(node.number))
        return try inner.write(bytes, to: node, at: offset, attributes: &attributes)
    }

    public func evicted(_ node: TreeNode) { inner.evicted(node) }

    public func statistics() throws(Pause) -> FileSystemStatistics { try inner.statistics() }

    open func sync(
        _ node: TreeNode?, dataOnly: Bool, _ point: inout SyncPoint
    ) throws(Pause) {
        try inner.sync(node, dataOnly: dataOnly, &point)
    }

    public func close() throws(Pause) { try inner.close() }
}
