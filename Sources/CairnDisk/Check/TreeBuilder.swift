// TreeBuilder: a tree written from its items in their order, from the leaves up.
//
// Nodes are filled to a part of their room, so that what is entered later need not split them at once.
// Of each level two nodes' worth of items is held back, and shared out in the end, so that no node but
// the root is left nearly empty.
//
// Threading: one thread at a time.

import CairnBase
import CairnIO

final class TreeBuilder {
    /// Where the nodes go.
    struct Target {
        /// Gives the place of the next node.
        var place: () throws(CheckFailure) -> BlockNumber
        /// Writes a node; the memory is the builder's.
        var write: (UnsafeRawBufferPointer, BlockNumber) throws(CheckFailure) -> Void
    }

    private struct Item {
        let key: OwnedKey
        let value: [UInt8]
        var size: Int { NodeView.itemSize + key.tail.count + value.count }
    }

    private struct Level {
        var items: [Item] = []
        var size = 0
        /// Nodes of this level that were written.
        var nodes = 0
    }

    private let tree: TreeIdentity
    private let seed: UInt32
    private let group: TransactionGroup
    private let room: Int
    private let wanted: Int
    private let target: Target
    private let buffer: AlignedBuffer
    private var levels: [Level] = [Level()]
    /// How many nodes were written.
    private(set) var nodes: UInt64 = 0

    /// `fill`: how much of a node's room is used, in percent.
    init(
        _ tree: TreeIdentity, _ geometry: VolumeGeometry, seed: UInt32, group: TransactionGroup,
        fill: Int, to target: Target
    ) throws(CheckFailure) {
        self.tree = tree
        self.seed = seed
        self.group = group
        self.target = target
        room = Int(geometry.nodeSize) - NodeView.headerSize
        wanted = room * fill / 100
        do throws(Errno) {
            buffer = try AlignedBuffer(count: Int(geometry.nodeSize))
        } catch {
            throw CheckFailure(reading: "memory for a node", error)
        }
    }

    /// In ascending order of keys.
    func add(_ key: OwnedKey, _ value: [UInt8]) throws(CheckFailure) {
        try add(Item(key: key, value: value), at: 0)
    }

    private func add(_ item: Item, at level: Int) throws(CheckFailure) {
        if level == levels.count { levels.append(Level()) }
        levels[level].items.append(item)
        levels[level].size += item.size
        if levels[level].size > 2 * room {
            try writeNode(countOfItems(upTo: wanted, at: level), at: level)
        }
    }

    /// How many of the first items take so many bytes; at least 1.
    private func countOfItems(upTo size: Int, at level: Int) -> Int {
        var sum = 0
        for (index, item) in levels[level].items.enumerated() {
            sum += item.size
            if sum > size { return max(index, 1) }
        }
        return levels[level].items.count
    }

    /// Writes what is held back, and gives the root.
    func finish() throws(CheckFailure) -> RootPointer {
        var level = 0
        while true {
            while levels[level].size > room {
                let part = levels[level].size > 2 * wanted ? wanted : levels[level].size / 2
                try writeNode(countOfItems(upTo: part, at: level), at: level)
            }
            let isRoot = levels[level].nodes == 0
            if !levels[level].items.isEmpty || isRoot {
                let (address, checksum) = try writeLast(level, isRoot: isRoot)
                if isRoot {
                    return RootPointer(
                        address: address, birth: group, checksum: checksum, level: UInt8(level))
                }
            }
            level += 1
        }
    }

    private func writeLast(
        _ level: Int, isRoot: Bool
    ) throws(CheckFailure) -> (BlockNumber, UInt32) {
        let count = levels[level].items.count
        guard isRoot else {
            try writeNode(count, at: level)
            return (BlockNumber(rawValue: 0), 0)
        }
        return try encode(count, at: level)
    }

    /// Writes the first items of a level as a node, and enters it one level up.
    private func writeNode(_ count: Int, at level: Int) throws(CheckFailure) {
        let key = levels[level].items[0].key
        let (address, checksum) = try encode(count, at: level)
        let pointer = [UInt8](recordOf: NodePointer.byteCount) { bytes in
            guard let base = bytes.baseAddress else { return }
            NodePointer(address: NodeAddress(address), birth: group, checksum: checksum)
                .store(at: base)
        }
        try add(Item(key: key, value: pointer), at: level + 1)
    }

    private func encode(_ count: Int, at level: Int) throws(CheckFailure) -> (BlockNumber, UInt32) {
        let address = try target.place()
        let items = levels[level].items[..<count]
        guard let base = buffer.memory.baseAddress else {
            throw CheckFailure("a node", "no memory")
        }
        let node = NodeEditor(base, size: buffer.memory.count)
        node.reset(level: UInt8(level), tree: tree, group: group)
        for item in items {
            item.key.withKey { key in item.value.lend { node.append(key, $0) } }
        }
        let checksum = node.finish(address: address, seed: seed)
        try target.write(buffer.bytes, address)
        levels[level].size -= items.reduce(0) { $0 + $1.size }
        levels[level].items.removeFirst(count)
        levels[level].nodes += 1
        nodes += 1
        return (address, checksum)
    }
}
