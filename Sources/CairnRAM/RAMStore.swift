// RAMStore: a NodeStore in memory. Its nodes are the storage; nothing ever waits.
//
// A change is applied in two passes: the first takes all the space that the edits need and fails
// with ENOSPC if there is not enough; the second cannot fail.

import CairnBase
import CairnTree
import CairnVFS
import Glibc
import Synchronization

public final class RAMStore: NodeStore, @unchecked Sendable {
    // Sendable: immutable, atomic, or with locks of its own. `tree` is written once, by `attach`,
    // before any other call.

    let space: RAMSpace
    // What `space` has, one step from here: what is two steps away would be counted.
    private let arena: ChunkArena
    private let bytes: SpaceAccount
    private let nodes: SpaceAccount
    private unowned(unsafe) var tree: TreeFileSystem?
    private let rootAttributes: Attributes
    private let options: String
    public let acceptsLateWrites: Bool
    private let numbers = NumberSource(above: RAMStore.rootNumber)

    /// `byteLimit` and `nodeLimit`: how many bytes of data and how many nodes there may be.
    /// `root`: owner, mode and times of the root directory.
    public init(
        byteLimit: Int, nodeLimit: Int, root: Attributes, options: String = "",
        acceptsLateWrites: Bool = false
    ) {
        self.acceptsLateWrites = acceptsLateWrites
        space = RAMSpace(byteLimit: byteLimit, nodeLimit: nodeLimit)
        arena = space.arena
        bytes = space.bytes
        nodes = space.nodes
        var attributes = root
        attributes.number = RAMStore.rootNumber
        attributes.kind = .directory
        attributes.linkCount = 2
        attributes.blockSize = RAMStore.blockSize
        rootAttributes = attributes
        self.options = options
    }

    static var rootNumber: UInt64 { 1 }
    static var blockSize: UInt32 { 4096 }

    public func attach(to tree: TreeFileSystem) { self.tree = tree }

    public var rootNumber: UInt64 { RAMStore.rootNumber }
    public var maximumFileSize: UInt64 { UInt64(Int64.max) }
    public var blockSize: UInt32 { RAMStore.blockSize }
    public var maximumLinkCount: UInt32 { .max - 1 }
    public var canReload: Bool { false }
    public var isReadOnly: Bool { false }
    public var optionsDescription: String { options }

    // MARK: Reading

    /// Only the root is ever asked for, and once: all other nodes stay with the tree.
    public func load(_ number: UInt64) throws(Pause) -> TreeNode {
        guard number == rootNumber, let tree else { throw .failed(.ESTALE) }
        guard nodes.take(1) else { throw .failed(.ENOSPC) }
        let root = RAMDirectory(rootAttributes, parent: number, in: tree, space)
        root.isCounted = true
        return root
    }

    public func find(_ name: Name, in directory: TreeNode) throws(Pause) -> EntryTarget? {
        guard let record = RAMStore.directory(directory).entries.find(name) else { return nil }
        return EntryTarget(number: record.number, kind: record.kind, resident: record.node)
    }

    public func readDirectory(
        _ directory: TreeNode, after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        RAMStore.directory(directory).entries.list(after: cookie) { record in
            body(
                DirectoryEntry(
                    name: Name(record.name), number: record.number, kind: record.kind,
                    cookie: record.cookie))
        }
    }

    public func isEmpty(_ directory: TreeNode) throws(Pause) -> Bool {
        RAMStore.directory(directory).entries.count == 0
    }

    public func target(of link: TreeNode) throws(Pause) -> [UInt8] {
        let data = RAMStore.file(link).data
        return [UInt8](unsafeUninitializedCapacity: Int(link.stored.size)) { buffer, count in
            count = buffer.count
            data.read(into: UnsafeMutableRawBufferPointer(buffer), at: 0)
        }
    }

    public func read(
        _ node: TreeNode, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        RAMStore.file(node).data.read(into: buffer, at: offset)
        return buffer.count
    }

    public func seek(
        _ target: SeekTarget, in node: TreeNode, from offset: UInt64
    ) throws(Pause) -> UInt64? {
        let data = RAMStore.file(node).data
        let size = node.stored.size
        return target == .data
            ? data.firstData(from: offset, size: size) : data.firstHole(from: offset, size: size)
    }

    // MARK: Extended attributes

    public func extendedAttribute(
        _ name: Name, of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        guard let value = RAMStore.node(node).extendedAttributes?.value(of: name) else {
            throw .failed(.ENODATA)
        }
        guard buffer.count > 0 else { return value.count }
        guard value.count <= buffer.count else { throw .failed(.ERANGE) }
        buffer.copyBytes(from: value)
        return value.count
    }

    public func extendedAttributeNames(
        of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        guard let table = RAMStore.node(node).extendedAttributes else { return 0 }
        let size = table.items.reduce(0) { $0 + $1.name.count + 1 }
        guard buffer.count > 0 else { return size }
        guard size <= buffer.count else { throw .failed(.ERANGE) }
        var offset = 0
        for item in table.items {
            UnsafeMutableRawBufferPointer(rebasing: buffer[offset...]).copyBytes(from: item.name)
            buffer[offset + item.name.count] = 0
            offset += item.name.count + 1
        }
        return size
    }

    // MARK: Changing

    public func prepareNode(_ attributes: Attributes) throws(Pause) -> TreeNode {
        guard let tree else { preconditionFailure("a store without its tree") }
        var attributes = attributes
        attributes.number = numbers.next()
        switch attributes.kind {
        case .directory: return RAMDirectory(attributes, in: tree, space)
        case .regular, .symbolicLink: return RAMFile(attributes, in: tree, space)
        case .fifo, .socket, .blockDevice, .characterDevice:
            return RAMNode(attributes, in: tree, space)
        }
    }

    public func write(
        _ bytes: UnsafeRawBufferPointer, to node: TreeNode, at offset: UInt64,
        attributes: inout Attributes
    ) throws(Pause) -> Int {
        let file = RAMStore.file(node)
        let size = node.stored.size
        let written = file.data.write(bytes, at: offset, size: size, in: space)
        if written < bytes.count {
            guard written > 0 else { throw .failed(.ENOSPC) }
            attributes.size = max(size, offset + UInt64(written))
        }
        attributes.blocks = file.blocks
        return written
    }

    public func apply(_ change: borrowing Change) throws(Pause) {
        let edits = change.edits
        let cost = try cost(of: edits)
        guard cost.nodes == 0 || nodes.take(cost.nodes) else { throw .failed(.ENOSPC) }
        guard cost.bytes == 0 || bytes.take(cost.bytes) else {
            nodes.give(cost.nodes)
            throw .failed(.ENOSPC)
        }
        guard makeRoom(for: edits) else {
            nodes.give(cost.nodes)
            bytes.give(cost.bytes)
            throw .failed(.ENOSPC)
        }
        for edit in edits {
            apply(edit, of: edits)
        }
    }

    /// Takes the memory that directories will need for a new name, of which a change has one at most.
    @inline(__always)
    private func makeRoom(for edits: [Edit]) -> Bool {
        for edit in edits {
            guard case .insert(let name, let edited, _) = edit else { continue }
            let directory = RAMStore.directory(edited.node)
            if !directory.entries.makeRoom(for: name, in: arena) { return false }
        }
        return true
    }

    /// How many nodes a file counts for: one, and one more for each further name, which takes memory
    /// too (as in tmpfs).
    @inline(__always)
    private static func weight(_ linkCount: UInt32) -> Int { max(1, Int(linkCount)) }

    @inline(__always)
    private func weightGained(_ node: TreeNode, _ attributes: Attributes) -> Int {
        node.isDirectory
            ? 0 : RAMStore.weight(attributes.linkCount) - RAMStore.weight(node.stored.linkCount)
    }

    private struct Cost {
        var nodes = 0
        var bytes = 0
    }

    /// What the edits need at most. What they give back is given as they are applied.
    @inline(__always)
    private func cost(of edits: [Edit]) throws(Pause) -> Cost {
        var cost = Cost()
        for edit in edits {
            switch edit {
            case .create(_, _, let target):
                cost.nodes += 1
                cost.bytes += target.isEmpty ? 0 : RAMStore.chunkSize(forTarget: target)
            case .attributes(let node, let attributes):
                cost.nodes += max(0, weightGained(node.node, attributes))
            case .extendedAttribute(let name, _, let value?):
                cost.bytes += AttributeTable.size(name, value)
            case .reserve(let node, let offset, let length):
                let data = RAMStore.file(node.node).data
                // Without this, counting what no machine has would take for ever.
                guard length <= UInt64(data.held) + UInt64(min(bytes.left, machineMemory))
                else { throw .failed(.ENOSPC) }
                cost.bytes += data.cost(of: offset..<offset + length)
            default:
                break
            }
        }
        return cost
    }

    private static func chunkSize(forTarget target: UnsafeRawBufferPointer) -> Int {
        Chunk.smallestSize << Chunk.sizeClass(for: target.count)
    }

    @inline(__always)
    private func apply(_ edit: Edit, of edits: [Edit]) {
        switch edit {
        case .create(let node, _, let target):
            RAMStore.node(node.node).isCounted = true
            if !target.isEmpty { createTarget(target, of: RAMStore.file(node.node)) }
        case .attributes(let node, let attributes):
            let gained = weightGained(node.node, attributes)
            if gained < 0 { nodes.give(-gained) }
            guard node.node.kind == .regular, attributes.size < node.node.stored.size else {
                return
            }
            let file = RAMStore.file(node.node)
            file.data.cut(to: attributes.size, in: space)
            file.noteOccupancy(blocks: file.blocks)
        case .insert(let name, let directory, let node):
            let directory = RAMStore.directory(directory.node)
            directory.entries.insert(name, to: node.node, in: arena)
            directory.noteOccupancy(blocks: 0, directorySize: directory.directorySize)
        case .replace(let name, let directory, let node):
            guard let record = RAMStore.directory(directory.node).entries.find(name) else {
                preconditionFailure("no such name to replace")
            }
            record.lead(to: node.node)
        case .remove(let name, let directory):
            let directory = RAMStore.directory(directory.node)
            directory.entries.remove(name, in: arena)
            directory.noteOccupancy(blocks: 0, directorySize: directory.directorySize)
        case .extendedAttribute(let name, let node, let value):
            setAttribute(name, of: RAMStore.node(node.node), to: value)
        case .reserve(let node, let offset, let length):
            reserve(offset..<offset + length, of: RAMStore.file(node.node))
        case .punch(let node, let offset, let length):
            let file = RAMStore.file(node.node)
            if isReserved(node.node, offset..<offset + length, by: edits) {
                // The reservation was priced with the places that are there, so they stay.
                file.data.zero(offset..<offset + length)
            } else {
                file.data.punch(offset..<offset + length, in: space)
            }
            file.noteOccupancy(blocks: file.blocks)
        case .orphan, .adopt, .free:
            // Nothing survives a crash here, and `evicted` gives the storage back.
            break
        }
    }

    /// Whether the range of a file that is punched gets its place in the same change.
    private func isReserved(
        _ punched: TreeNode, _ range: Range<UInt64>, by edits: [Edit]
    ) -> Bool {
        edits.contains { edit in
            guard case .reserve(let node, let offset, let length) = edit else { return false }
            return node.node === punched && range.overlaps(offset..<offset + length)
        }
    }

    private func createTarget(_ target: UnsafeRawBufferPointer, of link: RAMFile) {
        let chunk = link.data.grow(
            .none, at: 0, to: target.count, leaving: 0..<target.count, isPaid: true, in: space)
        guard let address = chunk?.address, let source = target.baseAddress else {
            preconditionFailure("no memory for the target of a symbolic link")
        }
        memcpy(address, source, target.count)
        link.noteOccupancy(blocks: link.blocks)
    }

    private func setAttribute(_ name: Name, of node: RAMNode, to value: UnsafeRawBufferPointer?) {
        let table = node.extendedAttributes ?? AttributeTable()
        let before = table.size
        if let value {
            table.set(name, to: value)
            bytes.give(before + AttributeTable.size(name, value) - table.size)
        } else {
            table.remove(name)
            bytes.give(before - table.size)
        }
        node.extendedAttributes = table.items.isEmpty ? nil : table
    }

    /// Reservation was paid for; if the machine has no memory for it after all, what was added
    /// stays, unseen, and the rest is given back.
    private func reserve(_ range: Range<UInt64>, of file: RAMFile) {
        if !file.data.reserve(range, in: space) {
            bytes.give(file.data.cost(of: range))
        }
        file.noteOccupancy(blocks: file.blocks)
    }

    public func evicted(_ node: TreeNode) {
        let node = RAMStore.node(node)
        let size = RAMStore.nodeOverhead + Int(min(node.stored.blocks * 512, 4096))
        node.releaseStorage()
        space.noteFreed(size, by: node.number)
    }

    /// About what a node and its entry take from malloc, in bytes.
    private static var nodeOverhead: Int { 450 }

    // MARK: The whole

    public func statistics() throws(Pause) -> FileSystemStatistics {
        let size = UInt64(RAMStore.blockSize)
        let free = UInt64(bytes.left) / size
        return FileSystemStatistics(
            blockSize: RAMStore.blockSize,
            totalBlocks: UInt64(bytes.limit) / size, freeBlocks: free, availableBlocks: free,
            totalNodes: UInt64(nodes.limit), freeNodes: UInt64(nodes.left))
    }

    public func sync(
        _ node: TreeNode?, dataOnly: Bool, _ point: inout SyncPoint
    ) throws(Pause) {}

    public func close() throws(Pause) {}

    // MARK: Kinds of nodes: all nodes of this tree were made here

    @inline(__always)
    private static func node(_ node: TreeNode) -> RAMNode {
        unsafeDowncast(node, to: RAMNode.self)
    }

    @inline(__always)
    private static func file(_ node: TreeNode) -> RAMFile {
        unsafeDowncast(node, to: RAMFile.self)
    }

    @inline(__always)
    private static func directory(_ node: TreeNode) -> RAMDirectory {
        unsafeDowncast(node, to: RAMDirectory.self)
    }
}

/// Bytes of memory that the machine has.
let machineMemory =
    max(sysconf(Int32(_SC_PHYS_PAGES)), 2) * max(sysconf(Int32(_SC_PAGESIZE)), 4096)
