// RAMNode: the nodes of a filesystem in memory. They are the storage.
//
// Threading: everything here is guarded by the node's `lock`, and nobody else's once the node
// was freed.

import CairnBase
import CairnTree
import CairnVFS

/// What every node can have. Devices, FIFOs and sockets have no more than this.
class RAMNode: TreeNode, @unchecked Sendable {
    /// Not counted, as all threads would contend for the count: the store has it, the tree the
    /// store, and this node the tree.
    private final let borrowedSpace: Unmanaged<RAMSpace>
    /// Nil where there are none.
    final var extendedAttributes: AttributeTable?
    /// Counted in `space.nodes`, from `.create` to `.free`. Further names of a file count there too,
    /// from when they come to when they go.
    final var isCounted = false

    init(_ attributes: Attributes, parent: UInt64 = 0, in tree: TreeFileSystem, _ space: RAMSpace) {
        borrowedSpace = .passUnretained(space)
        super.init(attributes, parent: parent, hasNoLists: true, in: tree)
    }

    deinit { releaseCommonStorage() }

    @inline(__always)
    final func withSpace(_ body: (RAMSpace) -> Void) {
        borrowedSpace._withUnsafeGuaranteedRef(body)
    }

    /// Gives back what the node holds. May be called more than once.
    func releaseStorage() { releaseCommonStorage() }

    private func releaseCommonStorage() {
        if let attributes = extendedAttributes {
            withSpace { $0.bytes.give(attributes.size) }
            extendedAttributes = nil
        }
        if isCounted {
            isCounted = false
            withSpace { $0.nodes.give(1) }
        }
    }
}

/// A regular file, or a symbolic link with its target as data.
final class RAMFile: RAMNode, @unchecked Sendable {
    var data = FileData()

    /// st_blocks.
    var blocks: UInt64 { UInt64(data.held + 511) / 512 }

    override func releaseStorage() {
        removeData()
        super.releaseStorage()
    }

    deinit { removeData() }

    @inline(__always)
    private func removeData() {
        if !data.isEmpty { withSpace { data.removeAll(in: $0) } }
    }
}

final class RAMDirectory: RAMNode, @unchecked Sendable {
    var entries = DirectoryIndex()

    /// st_size, as tmpfs has it: 20 for each entry.
    var directorySize: UInt64 { UInt64(entries.count) * 20 }

    override func releaseStorage() {
        withSpace { entries.removeAll(in: $0.arena) }
        super.releaseStorage()
    }

    deinit { withSpace { entries.removeAll(in: $0.arena) } }
}

/// Extended attributes of one node, in the order in which they were first set.
final class AttributeTable {
    private(set) var items: [(name: [UInt8], value: [UInt8])] = []
    /// Bytes of names and values.
    private(set) var size = 0

    static func size(_ name: Name, _ value: UnsafeRawBufferPointer) -> Int {
        name.count + value.count
    }

    func index(of name: Name) -> Int? {
        items.firstIndex { item in
            item.name.withUnsafeBytes { equalBytes($0, name.bytes) }
        }
    }

    func value(of name: Name) -> [UInt8]? {
        index(of: name).map { items[$0].value }
    }

    func set(_ name: Name, to value: UnsafeRawBufferPointer) {
        remove(name)
        items.append((Array(name.bytes), Array(value)))
        size += AttributeTable.size(name, value)
    }

    func remove(_ name: Name) {
        guard let index = index(of: name) else { return }
        size -= items[index].name.count + items[index].value.count
        items.remove(at: index)
    }
}
