// Extended attributes: one record, or a first record and pieces (AttributeRecord.swift).

import CairnBase
import CairnTree
import CairnVFS

extension DiskStore {
    func extendedAttribute(
        _ name: Name, of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        guard DiskStore.node(node).state.attributesMayExist else { throw .failed(.ENODATA) }
        let number = nameKey.number(of: name.bytes)
        var length: Int?
        var filled = 0
        var next: UInt8 = 0
        try scan(.attribute, of: node.number, from: number, name.bytes) {
            key, value throws(RecordDamage) in
            guard key.number == number, key.tail.starts(with: name.bytes) else { return false }
            let part: UnsafeRawBufferPointer
            switch try AttributeRecord.tail(key.tail) {
            case .first:
                // Another name that begins with this one.
                guard key.tail.count == name.count else { return false }
                let (whole, start) = try AttributeRecord.first(value)
                length = whole
                guard buffer.count > 0, whole <= buffer.count else { return false }
                part = start
            case .piece(let index, let nameLength):
                guard nameLength == name.count, let length, index == next,
                    value.count <= length - filled
                else { return false }
                part = value
            }
            UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<(filled + part.count)])
                .copyMemory(from: part)
            filled += part.count
            next += 1
            return length.map { filled < $0 } ?? false
        }
        guard let length else { throw .failed(.ENODATA) }
        guard buffer.count > 0 else { return length }
        guard length <= buffer.count else { throw .failed(.ERANGE) }
        guard filled == length else {
            throw damaged(node.number, "an extended attribute whose pieces are not all there")
        }
        return length
    }

    func extendedAttributeNames(
        of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        guard DiskStore.node(node).state.attributesMayExist else { return 0 }
        var size = 0
        try scan(.attribute, of: node.number) { key, _ throws(RecordDamage) in
            guard try AttributeRecord.tail(key.tail) == .first else { return true }
            let end = size + key.tail.count + 1
            if end <= buffer.count {
                UnsafeMutableRawBufferPointer(rebasing: buffer[size...]).copyBytes(from: key.tail)
                buffer[end - 1] = 0
            }
            size = end
            return true
        }
        guard buffer.count == 0 || size <= buffer.count else { throw .failed(.ERANGE) }
        return size
    }

    /// The key of a record of an attribute.
    struct AttributeKey {
        var number: UInt64
        var tail: [UInt8]
    }

    /// Keys of whole attributes from the first on: fewer than so many if these are all, at least so many
    /// if there may be more.
    func attributeKeys(of inode: UInt64, atLeast limit: Int) throws(Pause) -> [AttributeKey] {
        var keys: [AttributeKey] = []
        try scan(.attribute, of: inode) { key, _ throws(RecordDamage) in
            if keys.count >= limit, try AttributeRecord.tail(key.tail) == .first { return false }
            keys.append(AttributeKey(number: key.number, tail: Array(key.tail)))
            return true
        }
        return keys
    }

    /// How many pieces an attribute has beside its first record; nil: there is no such attribute.
    func attributePieces(_ name: Name, of node: TreeNode) throws(Pause) -> Int? {
        guard DiskStore.node(node).state.attributesMayExist else { return nil }
        var count: Int?
        let number = nameKey.number(of: name.bytes)
        try scan(.attribute, of: node.number, from: number, name.bytes) {
            key, _ throws(RecordDamage) in
            guard key.number == number, key.tail.starts(with: name.bytes) else { return false }
            switch try AttributeRecord.tail(key.tail) {
            case .first:
                guard key.tail.count == name.count else { return false }
                count = 0
            case .piece(let index, let nameLength):
                guard nameLength == name.count, count != nil else { return false }
                count = Int(index)
            }
            return true
        }
        return count
    }
}
