// CheckedTree: a tree of the image, read for checking. What is damaged is told once, and left out.
//
// Reads nodes straight from the device, each checked against the pointer that leads to it and the
// bounds that its parent gives. The nodes above the leaves, and leaves as far as there is room, are
// kept, since a check goes through a tree several times.
//
// Threading: one thread at a time.

import CairnBase
import CairnIO

final class CheckedTree {
    let number: TreeNumber
    private let device: any BlockDevice
    private let geometry: VolumeGeometry
    private let seed: UInt32
    private let root: RootPointer

    /// Is told of each node that is in order. False: another pointer led there before, so this one
    /// is damage.
    typealias Visitor = (BlockNumber) -> Bool

    /// Told of a node that is left out: its address, what is wrong, and what it should have held.
    var hearDamage: ((BlockNumber, RecordDamage, KeyBounds) -> Void)?
    /// Told of each node that is gone into, before its items.
    var hearNode: ((NodePlace, CheckedNode) -> Void)?
    /// Nodes that are left out.
    private(set) var damaged: Set<BlockNumber> = []

    private var cache: [BlockNumber: CheckedNode] = [:]
    private var cachedBytes = 0
    private static let cacheBytes = 64 << 20
    private static let leafCacheBytes = 48 << 20

    init(
        _ number: TreeNumber, on device: any BlockDevice, _ geometry: VolumeGeometry, seed: UInt32,
        root: RootPointer
    ) {
        self.number = number
        self.device = device
        self.geometry = geometry
        self.seed = seed
        self.root = root
    }

    /// Whether the root itself can be read.
    func checkRoot() throws(RecordDamage) {
        _ = try read(pointerToRoot, KeyBounds())
    }

    private var pointerToRoot: NodePlace {
        NodePlace(
            address: root.address, birth: root.birth, checksum: root.checksum, level: root.level,
            isRoot: true)
    }

    /// Calls `body` with each item from `start` on, until it gives false.
    func forEach(
        from start: OwnedKey?, visiting visit: Visitor? = nil,
        _ body: (ItemKey, UnsafeRawBufferPointer) throws(CheckFailure) -> Bool
    ) throws(CheckFailure) {
        _ = try walk(pointerToRoot, KeyBounds(), from: start, visit, body)
    }

    func find(_ key: OwnedKey) throws(CheckFailure) -> [UInt8]? {
        var found: [UInt8]?
        try forEach(from: key) { (item, value) throws(CheckFailure) in
            if OwnedKey(item) == key { found = Array(value) }
            return false
        }
        return found
    }

    private func walk(
        _ place: NodePlace, _ bounds: KeyBounds, from start: OwnedKey?, _ visit: Visitor?,
        _ body: (ItemKey, UnsafeRawBufferPointer) throws(CheckFailure) -> Bool
    ) throws(CheckFailure) -> Bool {
        if damaged.contains(place.address) { return true }
        let node: CheckedNode
        do throws(RecordDamage) {
            node = try read(place, bounds)
            if let visit, !visit(place.address) {
                throw RecordDamage("two pointers lead to it, or blocks of it are used otherwise")
            }
        } catch {
            damaged.insert(place.address)
            hearDamage?(place.address, error, bounds)
            return true
        }
        hearNode?(place, node)
        let first = start.map { node.firstIndex(notBelow: $0) } ?? 0
        if node.level == 0 {
            for index in first..<node.count {
                guard try body(node.key(index), node.value(index)) else { return false }
            }
            return true
        }
        // The child before the first key that is not below may hold it too.
        for index in max(first - 1, 0)..<node.count {
            let child = node.bounds(ofChild: index, within: bounds)
            guard try walk(node.child(index), child, from: start, visit, body) else {
                return false
            }
        }
        return true
    }

    private func read(
        _ place: NodePlace, _ bounds: KeyBounds
    ) throws(RecordDamage) -> CheckedNode {
        if let node = cache[place.address] {
            try node.check(place, bounds, of: number)
            return node
        }
        guard geometry.canHoldNode(at: place.address) else {
            throw RecordDamage("a pointer to where no node can be")
        }
        let node: CheckedNode
        do throws(Errno) {
            let buffer = try AlignedBuffer(count: Int(geometry.nodeSize))
            try device.read(into: buffer.memory, at: geometry.offset(of: place.address))
            node = CheckedNode(buffer)
        } catch {
            throw RecordDamage("it cannot be read: \(error)")
        }
        try node.checkContent(seed: seed)
        try node.check(place, bounds, of: number)
        let limit = node.level == 0 ? CheckedTree.leafCacheBytes : CheckedTree.cacheBytes
        if cachedBytes < limit {
            cachedBytes += Int(geometry.nodeSize)
            cache[place.address] = node
        }
        return node
    }
}

/// The main tree with edits laid over it: what a check takes for the truth.
final class CheckedItems {
    let tree: CheckedTree
    var edits = RecordEdits()

    init(_ tree: CheckedTree) {
        self.tree = tree
    }

    /// Calls `body` with each item from `start` on, until it gives false. Edits that it makes are
    /// seen by the next call.
    func forEach(
        from start: OwnedKey?, visiting visit: CheckedTree.Visitor? = nil,
        _ body: (ItemKey, UnsafeRawBufferPointer) throws(CheckFailure) -> Bool
    ) throws(CheckFailure) {
        guard !edits.isEmpty else {
            return try tree.forEach(from: start, visiting: visit, body)
        }
        let sorted = edits.sorted
        var index = 0
        if let start {
            index = sorted.firstIndex { !($0.key < start) } ?? sorted.count
        }
        var goesOn = true
        try tree.forEach(from: start, visiting: visit) { (key, value) throws(CheckFailure) in
            while index < sorted.count, sorted[index].key.isBelow(key) {
                goesOn = try CheckedItems.give(sorted[index], to: body)
                index += 1
                guard goesOn else { return false }
            }
            if index < sorted.count, sorted[index].key.isEqual(to: key) {
                goesOn = try CheckedItems.give(sorted[index], to: body)
                index += 1
            } else {
                goesOn = try body(key, value)
            }
            return goesOn
        }
        while goesOn, index < sorted.count {
            goesOn = try CheckedItems.give(sorted[index], to: body)
            index += 1
        }
    }

    private static func give(
        _ edit: (key: OwnedKey, value: [UInt8]?),
        to body: (ItemKey, UnsafeRawBufferPointer) throws(CheckFailure) -> Bool
    ) throws(CheckFailure) -> Bool {
        guard let value = edit.value else { return true }
        return try edit.key.withKey { (key) throws(CheckFailure) in
            try value.lend { (bytes) throws(CheckFailure) in try body(key, bytes) }
        }
    }

    func find(_ key: OwnedKey) throws(CheckFailure) -> [UInt8]? {
        if let edited = edits.value(of: key) { return edited }
        return try tree.find(key)
    }
}
