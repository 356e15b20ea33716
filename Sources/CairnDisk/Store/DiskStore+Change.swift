// Changing: a change of the tree becomes one batch of edits of the volume, whole or not at all.

import CairnBase
import CairnTree
import CairnVFS

extension DiskStore {
    func apply(_ change: borrowing Change) throws(Pause) {
        let edits = change.edits
        try volume.changing(.operation) { (pass) throws(Pause) in
            var draft = ChangeDraft(self, group: pass.group)
            do throws(Pause) {
                for edit in edits { try draft.add(edit) }
                if edits.onlyTakeAway { draft.batch.mayUseReserve = true }
                draft.finish()
                try volume.change(draft.batch, pass)
            } catch {
                volume.giveBack(draft.allocated)
                throw error
            }
            draft.keep()
        }
    }

    /// What a node occupies, as everybody sees it. Under the node's exclusive lock.
    func noteOccupancy(_ node: DiskNode) {
        switch node.kind {
        case .directory:
            node.noteOccupancy(
                blocks: 0, directorySize: node.state.entryCount &* DiskNode.entrySize)
        case .regular:
            node.noteOccupancy(blocks: occupancy(of: node, size: node.stored.size))
        default:
            break
        }
    }

    /// st_blocks of a file. Dirty pages behind what is recorded will take blocks, as far as is known.
    func occupancy(of node: DiskNode, size: UInt64) -> UInt64 {
        let dirty = UInt64(node.file?.pagesIfMade?.dirtyCount ?? 0)
        let recorded = layout.blocks(node.state.recordedSize)
        let grown = max(layout.blocks(size), recorded) - recorded
        var blocks = node.state.extentBlocks + min(dirty, grown)
        if blocks == 0 || (node.state.extentBlocks == 0 && size <= UInt64(layout.inlineLimit)) {
            if size <= UInt64(layout.inlineLimit) { return DiskNode.inlineSectors(size) }
            blocks = dirty
        }
        return blocks * UInt64(blockSize / 512)
    }
}

extension Sequence<Edit> {
    /// A name goes, or an extended attribute, and none comes. On a full filesystem too (requirement D6), also
    /// where the file stays for somebody who holds it.
    fileprivate var onlyTakeAway: Bool {
        var takes = false
        for edit in self {
            switch edit {
            case .remove, .extendedAttribute(_, of: _, nil): takes = true
            case .create, .insert, .replace, .extendedAttribute, .reserve: return false
            case .attributes, .punch, .orphan, .adopt, .free: break
            }
        }
        return takes
    }
}

extension ChangeDraft {
    fileprivate mutating func add(_ edit: Edit) throws(Pause) {
        switch edit {
        case .create(let node, let attributes, let target):
            create(node.node, attributes, target: target)
        case .attributes(let node, let attributes):
            try setAttributes(of: node.node, to: attributes)
        case .insert(let name, let directory, let node):
            try insert(name, in: directory.node, to: node.node)
        case .replace(let name, let directory, let node):
            try replace(name, in: directory.node, to: node.node)
        case .remove(let name, let directory):
            remove(name, in: directory.node)
        case .extendedAttribute(let name, let node, let value):
            try setExtendedAttribute(name, of: node.node, to: value)
        case .reserve(let node, let offset, let length):
            try reserve(node.node, offset..<offset + length)
        case .punch(let node, let offset, let length):
            try punch(node.node, offset..<offset + length)
        case .orphan(let node):
            setOrphan(node.node, true)
        case .adopt(let node):
            setOrphan(node.node, false)
        case .free(let node):
            try free(node.node)
        }
    }
}
