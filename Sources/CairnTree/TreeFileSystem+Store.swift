// How nodes reach the store on hot paths: without counting references.
//
// The store, the clock and the tree are shared by all threads, so one retain of them for each read
// would make every core wait for one cache line. Swift needs none where it comes straight from
// `self` to a constant field of it. Therefore what a node asks the store goes through these
// functions, which must not be inlined: then node to tree is one step, and tree to store another. The
// first is `TreeNode.withTree`; `TreeNode.tree` counts.

import CairnBase
import CairnVFS

extension TreeFileSystem {
    @inline(never)
    final func now() -> Timestamp { time.now() }

    @inline(never)
    final func find(_ name: Name, in directory: TreeNode) throws(Pause) -> EntryTarget? {
        try store.find(name, in: directory)
    }

    @inline(never)
    final func read(
        _ node: TreeNode, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        try store.read(node, into: buffer, at: offset)
    }

    @inline(never)
    final func write(
        _ bytes: UnsafeRawBufferPointer, to node: TreeNode, at offset: UInt64,
        attributes: inout Attributes
    ) throws(Pause) -> Int {
        try store.write(bytes, to: node, at: offset, attributes: &attributes)
    }

    @inline(never)
    final func prepareNode(_ attributes: Attributes) throws(Pause) -> TreeNode {
        try store.prepareNode(attributes)
    }

    @inline(never)
    final func apply(_ change: borrowing Change) throws(Pause) {
        try store.apply(change)
    }

    @inline(never)
    final func noteAccess(_ attributes: Attributes, of node: TreeNode) throws(Pause) {
        try store.noteAccess(attributes, of: node)
    }

    @inline(never)
    final func evicted(_ node: TreeNode) { store.evicted(node) }

    @inline(never)
    final func removeFromTable(_ number: UInt64) { nodes.remove(number) }
}

// From a node, in two steps.
extension TreeNode {
    @inline(__always)
    final func now() -> Timestamp { withTree { $0.now() } }

    @inline(__always)
    final func findEntry(_ name: Name) throws(Pause) -> EntryTarget? {
        try withTree { (tree) throws(Pause) in try tree.find(name, in: self) }
    }

    @inline(__always)
    final func readStored(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        try withTree { (tree) throws(Pause) in try tree.read(self, into: buffer, at: offset) }
    }

    @inline(__always)
    final func writeStored(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, attributes: inout Attributes
    ) throws(Pause) -> Int {
        try withTree { (tree) throws(Pause) in
            try tree.write(bytes, to: self, at: offset, attributes: &attributes)
        }
    }

    @inline(__always)
    final func apply(_ change: borrowing Change) throws(Pause) {
        try withTree { (tree) throws(Pause) in try tree.apply(change) }
    }
}
