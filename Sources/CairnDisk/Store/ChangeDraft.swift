// ChangeDraft: a `Change` of the tree as it becomes a batch of edits of records.
//
// Edits are taken in their order. What they say of one node is gathered, so that each node's record
// is written once. Nothing is changed until `Volume.change` has taken the batch; then `keep` brings
// the nodes in memory up to date, and cannot fail.
//
// Used by one thread, under the locks of all nodes that the change names.

import CairnBase
import CairnTree
import CairnVFS

struct ChangeDraft: ~Copyable {
    let store: DiskStore
    let group: TransactionGroup
    var batch = EditBatch()
    var nodes: [NodeDraft] = []
    /// Ranges of files that become zeros or go, once the batch is taken.
    var cuts: [FileCut] = []
    /// Space that was allocated for reservations of this change.
    var allocated: [BlockRun] = []

    /// What a node becomes.
    struct NodeDraft {
        unowned(unsafe) let node: DiskNode
        var attributes: Attributes
        var state: NodeState
        var parent: UInt64
        /// Its records go with this change.
        var isFreed = false
        /// Its records go later; it is gone for everybody.
        var isEmptiedLater = false
        /// What of its data lies behind its size goes later.
        var isCutLater = false
    }

    init(_ store: DiskStore, group: TransactionGroup) {
        self.store = store
        self.group = group
    }

    /// Where the node's draft stands in `nodes`.
    mutating func draft(_ node: TreeNode) -> Int {
        for index in nodes.indices where nodes[index].node === node { return index }
        let node = DiskStore.node(node)
        nodes.append(
            NodeDraft(
                node: node, attributes: node.stored, state: node.state,
                parent: node.directoryAbove))
        return nodes.count - 1
    }

    mutating func withState(of index: Int, _ body: (inout NodeState) -> Void) {
        body(&nodes[index].state)
    }

    // MARK: Records

    mutating func put(
        _ kind: RecordKind, of inode: UInt64, _ number: UInt64, _ tail: UnsafeRawBufferPointer,
        _ value: UnsafeRawBufferPointer
    ) {
        batch.put(object: kind.object(of: inode), number: number, tail: tail, value: value)
    }

    mutating func put(
        _ kind: RecordKind, of inode: UInt64, _ number: UInt64, _ value: [UInt8]
    ) {
        value.withUnsafeBytes { put(kind, of: inode, number, .empty, $0) }
    }

    mutating func remove(
        _ kind: RecordKind, of inode: UInt64, _ number: UInt64 = 0,
        _ tail: UnsafeRawBufferPointer = .empty
    ) {
        batch.remove(object: kind.object(of: inode), number: number, tail: tail)
    }

    /// After the last edit: the records of the nodes themselves.
    mutating func finish() {
        for index in nodes.indices {
            let draft = nodes[index]
            let number = draft.node.number
            if draft.state.isOrphan != draft.node.state.isOrphan {
                if draft.state.isOrphan {
                    put(.orphan, of: 0, number, .empty, .empty)
                } else {
                    remove(.orphan, of: 0, number)
                }
            }
            guard !draft.isFreed else { continue }
            let record = draft.node.record(draft.attributes, draft.state, parent: draft.parent)
            withUnsafeTemporaryAllocation(byteCount: InodeRecord.length, alignment: 8) { bytes in
                record.encode(into: bytes)
                put(.inode, of: number, 0, .empty, UnsafeRawBufferPointer(bytes))
            }
        }
    }

    /// The batch was taken: what the nodes keep beside their attributes follows.
    consuming func keep() {
        for draft in nodes {
            // The record has it, or is gone.
            draft.node.hasNewAccessTime = false
            if !draft.isFreed { draft.node.state = draft.state }
        }
        for cut in cuts { cut.carryOut() }
        for draft in nodes where !draft.isFreed { store.noteOccupancy(draft.node) }
        for draft in nodes {
            if draft.isEmptiedLater {
                store.emptier.add(Emptier.Job(inode: draft.node.number, cut: nil))
            } else if draft.isCutLater, let file = draft.node.file {
                let done = Wait()
                file.emptying = done
                let end = store.layout.roundedUp(draft.attributes.size)
                store.emptier.add(
                    Emptier.Job(
                        inode: draft.node.number,
                        cut: Emptier.Cut(node: draft.node, end: end, done: done)))
            }
        }
    }

    // MARK: Edits of names and nodes

    mutating func create(
        _ node: TreeNode, _ attributes: Attributes, target: UnsafeRawBufferPointer
    ) {
        let index = draft(node)
        nodes[index].attributes = attributes
        nodes[index].state.birth = group
        nodes[index].state.isInPlace =
            attributes.kind == .regular && !store.options.copiesOnWrite
        if attributes.flags.contains(.compress) {
            nodes[index].state.compression = store.options.compression.choiceForFlag
        }
        if attributes.kind == .symbolicLink {
            nodes[index].state.recordedSize = UInt64(target.count)
        }
        batch.giveOut(inodesBelow: node.number + 1)
        var offset = 0
        while offset < target.count {
            let end = min(offset + store.layout.targetPiece, target.count)
            put(
                .extent, of: node.number, UInt64(offset),
                ExtentRecord.encodedInline(UnsafeRawBufferPointer(rebasing: target[offset..<end])))
            offset = end
        }
    }

    mutating func insert(
        _ name: Name, in directory: TreeNode, to node: TreeNode
    ) throws(Pause) {
        let number = store.nameKey.number(of: name.bytes)
        let distinction = try store.freeDistinction(for: number, in: directory)
        let index = draft(directory)
        withState(of: index) { $0.entryCount += 1 }
        lead(name, number, distinction, in: directory, to: node)
    }

    mutating func replace(
        _ name: Name, in directory: TreeNode, to node: TreeNode
    ) throws(Pause) {
        guard let entry = try store.entry(name, in: directory) else {
            throw store.damaged(directory.number, "an entry that was there is gone")
        }
        _ = draft(directory)
        let number = store.nameKey.number(of: name.bytes)
        lead(name, number, entry.distinction, in: directory, to: node)
    }

    private mutating func lead(
        _ name: Name, _ number: UInt64, _ distinction: UInt16, in directory: TreeNode,
        to node: TreeNode
    ) {
        let entry = EntryRecord(inode: node.number, distinction: distinction, kind: node.kind)
        withUnsafeTemporaryAllocation(byteCount: EntryRecord.length, alignment: 8) { bytes in
            entry.encode(into: bytes)
            put(
                .entry, of: directory.number, number, name.bytes, UnsafeRawBufferPointer(bytes))
        }
        if node.isDirectory {
            let index = draft(node)
            nodes[index].parent = directory.number
        }
    }

    mutating func remove(_ name: Name, in directory: TreeNode) {
        let index = draft(directory)
        // The tree has looked it up, so there is one; a count that the device had wrong must not
        // become a huge one.
        withState(of: index) { $0.entryCount -= min($0.entryCount, 1) }
        remove(
            .entry, of: directory.number, store.nameKey.number(of: name.bytes), name.bytes)
    }

    mutating func setAttributes(of node: TreeNode, to attributes: Attributes) throws(Pause) {
        let index = draft(node)
        let before = nodes[index].attributes
        nodes[index].attributes = attributes
        if attributes.flags != before.flags {
            try chooseCompression(index, before.flags, attributes.flags)
        }
        guard node.kind == .regular, attributes.size != before.size else { return }
        try resize(index, from: before.size, to: attributes.size)
    }

    /// chattr(1): what the flags of a file mean for its data.
    private mutating func chooseCompression(
        _ index: Int, _ before: FileFlags, _ after: FileFlags
    ) throws(Pause) {
        let isEmpty = nodes[index].attributes.size == 0 && nodes[index].state.extentBlocks == 0
        if nodes[index].node.kind == .regular,
            before.contains(.noCopyOnWrite) != after.contains(.noCopyOnWrite)
        {
            // What stands on the device has the old form.
            guard isEmpty else { throw .failed(.EINVAL) }
        }
        guard !after.isSuperset(of: [.noCopyOnWrite, .compress]) else { throw .failed(.EINVAL) }
        let choice = store.options.compression.choiceForFlag
        withState(of: index) { state in
            if !after.contains(.compress) {
                state.compression = .asMounted
            } else if state.compression.rawValue <= 1 {
                state.compression = choice
            }
        }
    }

    mutating func setOrphan(_ node: TreeNode, _ isOrphan: Bool) {
        let index = draft(node)
        withState(of: index) { $0.isOrphan = isOrphan }
    }

    // MARK: Extended attributes

    mutating func setExtendedAttribute(
        _ name: Name, of node: TreeNode, to value: UnsafeRawBufferPointer?
    ) throws(Pause) {
        let index = draft(node)
        let number = store.nameKey.number(of: name.bytes)
        let pieces = try store.attributePieces(name, of: node)
        var newPieces = -1
        if let value {
            withState(of: index) { $0.attributesMayExist = true }
            newPieces = putAttribute(name, number, of: node.number, value)
        }
        guard let pieces else { return }
        if value == nil { remove(.attribute, of: node.number, number, name.bytes) }
        for piece in max(newPieces, 0)..<max(pieces, newPieces, 0) {
            withPieceTail(name, piece + 1) { tail, draft in
                draft.remove(.attribute, of: node.number, number, tail)
            }
        }
    }

    /// Gives the number of pieces beside the first record.
    private mutating func putAttribute(
        _ name: Name, _ number: UInt64, of inode: UInt64, _ value: UnsafeRawBufferPointer
    ) -> Int {
        let cut = AttributeRecord.cut(nameLength: name.count, room: store.layout.itemRoom)
        let first = min(cut.first, value.count)
        let head = [UInt8](recordOf: AttributeRecord.headLength + first) { bytes in
            bytes.put(UInt32(value.count), at: 0)
            UnsafeMutableRawBufferPointer(rebasing: bytes[AttributeRecord.headLength...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: value[..<first]))
        }
        head.withUnsafeBytes { put(.attribute, of: inode, number, name.bytes, $0) }
        var offset = first
        var piece = 0
        while offset < value.count {
            let end = min(offset + cut.piece, value.count)
            piece += 1
            withPieceTail(name, piece) { tail, draft in
                draft.put(
                    .attribute, of: inode, number, tail,
                    UnsafeRawBufferPointer(rebasing: value[offset..<end]))
            }
            offset = end
        }
        return piece
    }

    private mutating func withPieceTail(
        _ name: Name, _ piece: Int,
        _ body: (UnsafeRawBufferPointer, inout ChangeDraft) -> Void
    ) {
        let tail = Array(name.bytes) + [0, UInt8(piece)]
        tail.withUnsafeBytes { body($0, &self) }
    }
}
