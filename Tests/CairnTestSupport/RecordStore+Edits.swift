// What each edit does to RecordStore's records.

import CairnBase
import CairnTree
import CairnVFS

extension RecordStore {
    static func apply(
        _ edit: Edit, to records: inout [UInt64: Record], _ touched: inout Set<UInt64>,
        _ freed: inout Set<UInt64>
    ) {
        let number = edit.firstNode
        if case .create(_, let attributes, let target) = edit {
            precondition(records[number] == nil, "a node is made twice")
            var record = Record(attributes: attributes)
            if !target.isEmpty { record.pages[0] = Array(target) }
            records[number] = record
            return
        }
        guard var record = records[number] else {
            preconditionFailure("an edit of node \(number), which is not there")
        }
        switch edit {
        case .create:
            break
        case .attributes(let node, let attributes):
            if node.node.kind == .regular, attributes.size < record.attributes.size {
                record.cut(to: attributes.size)
            }
            record.attributes = attributes
        case .insert(let name, _, let node):
            precondition(record.index(of: name) == nil, "a name is inserted twice")
            record.entries.append(
                Entry(
                    cookie: record.nextCookie, name: Array(name.bytes), number: node.node.number,
                    kind: node.node.kind))
            record.nextCookie += 1
            lead(node.node, below: number, &records, &touched)
        case .replace(let name, _, let node):
            guard let index = record.index(of: name) else {
                preconditionFailure("no such name to replace")
            }
            record.entries[index].number = node.node.number
            record.entries[index].kind = node.node.kind
            lead(node.node, below: number, &records, &touched)
        case .remove(let name, _):
            guard let index = record.index(of: name) else {
                preconditionFailure("no such name to remove")
            }
            record.entries.remove(at: index)
        case .extendedAttribute(let name, _, let value):
            let bytes = Array(name.bytes)
            record.extended.removeAll { $0.name == bytes }
            if let value { record.extended.append((bytes, Array(value))) }
        case .reserve(_, let offset, let length):
            for page in offset / 4096...(offset + length - 1) / 4096
            where record.pages[page] == nil {
                record.pages[page] = [UInt8](repeating: 0, count: 4096)
            }
        case .punch(_, let offset, let length):
            record.punch(offset..<offset + length)
        case .orphan:
            record.isOrphan = true
        case .adopt:
            precondition(record.isOrphan, "what is adopted was no orphan")
            record.isOrphan = false
        case .free:
            precondition(record.entries.isEmpty, "a directory with entries is freed")
            freed.insert(number)
        }
        records[number] = record
    }

    /// A directory learns which one is above it.
    private static func lead(
        _ node: TreeNode, below directory: UInt64, _ records: inout [UInt64: Record],
        _ touched: inout Set<UInt64>
    ) {
        guard node.kind == .directory else { return }
        records[node.number]?.parent = directory
        touched.insert(node.number)
    }
}

extension RecordStore.Record {
    func index(of name: Name) -> Int? {
        let bytes = Array(name.bytes)
        return entries.firstIndex { $0.name == bytes }
    }

    mutating func cut(to size: UInt64) {
        let page = size / 4096
        pages = pages.filter { $0.key < page || ($0.key == page && size % 4096 != 0) }
        let rest = Int(size % 4096)
        if rest > 0, pages[page] != nil {
            pages[page]?.replaceSubrange(rest..., with: [UInt8](repeating: 0, count: 4096 - rest))
        }
    }

    mutating func punch(_ range: Range<UInt64>) {
        for (page, _) in pages {
            let start = page * 4096
            let common = range.clamped(to: start..<start + 4096)
            if common.count == 4096 {
                pages[page] = nil
            } else if !common.isEmpty {
                let low = Int(common.lowerBound - start)
                let high = Int(common.upperBound - start)
                pages[page]?.replaceSubrange(
                    low..<high, with: [UInt8](repeating: 0, count: high - low))
            }
        }
    }
}

extension Edit {
    /// The first node that the edit names.
    public var firstTreeNode: TreeNode {
        switch self {
        case .create(let node, _, _), .attributes(let node, _), .insert(_, let node, _),
            .replace(_, let node, _), .remove(_, let node), .extendedAttribute(_, let node, _),
            .reserve(let node, _, _), .punch(let node, _, _), .orphan(let node), .adopt(let node),
            .free(let node):
            return node.node
        }
    }

    public var firstNode: UInt64 { firstTreeNode.number }
}
