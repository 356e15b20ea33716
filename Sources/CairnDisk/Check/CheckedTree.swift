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
    private let identity: TreeIdentity
    private let device: any BlockDevice
    private let geometry: NodeGeometry
    private let root: TreeRoot

    /// Is told of each node that is in order. False: another pointer led there before, so this one
    /// is damage.
    typealias Visitor = (BlockNumber) -> Bool

    /// Told of a node that is left out: what the pointer to it says, and what is wrong.
    var hearDamage: ((NodeExpectation, RecordDamage) -> Void)?
    /// Told of each node that is gone into, before its items.
    var hearNode: ((NodeExpectation, NodeView) -> Void)?

    /// Where a pointer to a node stands: in which node, and where there. The superblock's: nowhere.
    private struct PointerPlace: Hashable {
        var node: NodeAddress?
        var index = 0
    }

    /// Pointers that are not followed. (Another pointer to the same node may be right.)
    private var cutOff: Set<PointerPlace> = []

    /// Nodes are kept by where they are, with the pointer that they were checked against.
    private var kept: [NodeAddress: CheckedNode] = [:]
    private var keptBytes = 0
    private static let cacheBytes = 64 << 20
    private static let leafCacheBytes = 48 << 20

    init(_ identity: TreeIdentity, of superblock: Superblock, on device: any BlockDevice) {
        self.identity = identity
        self.device = device
        geometry = NodeGeometry(superblock)
        root = (identity == .main ? superblock.mainRoot : superblock.spaceRoot).treeRoot
    }

    /// Something is left out.
    var isCut: Bool { !cutOff.isEmpty }

    /// Whether the root itself can be read.
    func checkRoot() throws(RecordDamage) {
        _ = try read(pointerToRoot)
    }

    private var pointerToRoot: NodeExpectation {
        NodeExpectation(tree: identity, pointer: root.node, level: root.level, isRoot: true)
    }

    /// Calls `body` with each item from `start` on, until it gives false.
    func forEach(
        from start: OwnedKey?, visiting visit: Visitor? = nil,
        _ body: (ItemKey, UnsafeRawBufferPointer) throws(CheckFailure) -> Bool
    ) throws(CheckFailure) {
        _ = try walk(pointerToRoot, at: PointerPlace(), from: start, visit, body)
    }

    func find(_ key: OwnedKey) throws(CheckFailure) -> [UInt8]? {
        var found: [UInt8]?
        try forEach(from: key) { (item, value) throws(CheckFailure) in
            if key.isEqual(to: item) { found = Array(value) }
            return false
        }
        return found
    }

    private func walk(
        _ wanted: NodeExpectation, at place: PointerPlace, from start: OwnedKey?,
        _ visit: Visitor?, _ body: (ItemKey, UnsafeRawBufferPointer) throws(CheckFailure) -> Bool
    ) throws(CheckFailure) -> Bool {
        if cutOff.contains(place) { return true }
        let node: CheckedNode
        do throws(RecordDamage) {
            node = try read(wanted)
            if let visit, !visit(BlockNumber(rawValue: wanted.pointer.address.rawValue)) {
                throw RecordDamage("two pointers lead to it, or blocks of it are used otherwise")
            }
        } catch {
            cutOff.insert(place)
            hearDamage?(wanted, error)
            return true
        }
        defer { withExtendedLifetime(node) {} }
        let view = node.view
        hearNode?(wanted, view)
        if wanted.level == 0 {
            let first = start.map { $0.withKey { view.firstIndex(notBefore: $0) } } ?? 0
            for index in first..<view.count {
                guard try body(view.key(index), view.value(index)) else { return false }
            }
            return true
        }
        let first = start.map { $0.withKey { view.childIndex(for: $0) } } ?? 0
        for index in first..<view.count {
            let child = NodeExpectation(
                tree: identity, pointer: view.pointer(index), level: wanted.level - 1,
                low: index == 0 ? wanted.low : OwnedKey(view.key(index)),
                high: index + 1 < view.count ? OwnedKey(view.key(index + 1)) : wanted.high)
            let place = PointerPlace(node: wanted.pointer.address, index: index)
            guard try walk(child, at: place, from: start, visit, body) else { return false }
        }
        return true
    }

    private func read(_ wanted: NodeExpectation) throws(RecordDamage) -> CheckedNode {
        if let node = kept[wanted.pointer.address], node.pointer == wanted.pointer,
            node.view.level == wanted.level
        {
            if let fault = NodeCheck.boundsFault(in: node.view, wanted) {
                throw RecordDamage("\(fault)")
            }
            return node
        }
        guard geometry.canHoldNode(at: wanted.pointer.address) else {
            throw RecordDamage("a pointer to where no node can be")
        }
        let node: CheckedNode
        do throws(Errno) {
            node = try CheckedNode(reading: wanted.pointer, device, geometry)
        } catch {
            throw RecordDamage("it cannot be read: \(error)")
        }
        try node.check(wanted, geometry)
        let limit = wanted.level == 0 ? CheckedTree.leafCacheBytes : CheckedTree.cacheBytes
        if keptBytes < limit, kept[wanted.pointer.address] == nil {
            keptBytes += geometry.nodeSize
            kept[wanted.pointer.address] = node
        }
        return node
    }
}

/// A node, with the memory that it lies in.
private final class CheckedNode {
    private let buffer: AlignedBuffer
    let pointer: NodePointer
    /// Lives as long as this.
    let view: NodeView

    init(
        reading pointer: NodePointer, _ device: any BlockDevice, _ geometry: NodeGeometry
    ) throws(Errno) {
        buffer = try AlignedBuffer(count: geometry.nodeSize)
        guard let base = buffer.bytes.baseAddress else { throw .ENOMEM }
        self.pointer = pointer
        view = NodeView(base, size: geometry.nodeSize)
        let block = BlockNumber(rawValue: pointer.address.rawValue)
        try device.read(into: buffer.memory, at: geometry.offset(of: block))
    }

    func check(_ wanted: NodeExpectation, _ geometry: NodeGeometry) throws(RecordDamage) {
        // A pointer to nowhere costs what hangs from it, not the whole node.
        let fault = NodeCheck.fault(
            in: buffer.bytes, expecting: wanted, geometry, checksChildren: false)
        guard let fault else { return }
        let (mine, found) = (view.checksum, view.computedChecksum(seed: geometry.seed))
        throw RecordDamage(
            "\(fault) (checksum in its parent \(String(wanted.pointer.checksum, radix: 16)), "
                + "in its header \(String(mine, radix: 16)), of its bytes "
                + "\(String(found, radix: 16)))")
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
        var cursor = edits.cursor(from: start)
        var goesOn = true
        try tree.forEach(from: start, visiting: visit) { (key, value) throws(CheckFailure) in
            while let edit = cursor.current, edit.key.isBelow(key) {
                cursor.advance()
                goesOn = try CheckedItems.give(edit, to: body)
                guard goesOn else { return false }
            }
            if let edit = cursor.current, edit.key.isEqual(to: key) {
                cursor.advance()
                goesOn = try CheckedItems.give(edit, to: body)
            } else {
                goesOn = try body(key, value)
            }
            return goesOn
        }
        while goesOn, let edit = cursor.current {
            cursor.advance()
            goesOn = try CheckedItems.give(edit, to: body)
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
