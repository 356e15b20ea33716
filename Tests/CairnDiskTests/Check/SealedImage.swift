// SealedImage: a filesystem whose structures a test changes with all checksums above them made right
// again: node, parent's pointer, and so on up, superblock. Only so does damage get past the checksums,
// as that of a program with a fault does.
//
// Threading: one thread at a time.

import CairnBase
import CairnIO

@testable import CairnDisk

final class SealedImage {
    let device: MemoryDevice
    let superblock: Superblock
    /// Both trees, a parent before its children.
    private(set) var nodes: [Node] = []

    struct Node {
        let tree: TreeIdentity
        let address: NodeAddress
        let level: UInt8
        /// Which node points to it, and where that pointer's 24 bytes stand there.
        let parent: Int?
        let pointerOffset: Int
    }

    init(_ device: MemoryDevice) throws {
        self.device = device
        superblock = try CheckedSuperblocks(on: device).chosen
        add(superblock.mainRoot.treeRoot, .main)
        add(superblock.spaceRoot.treeRoot, .space)
    }

    private func add(_ root: TreeRoot, _ tree: TreeIdentity) {
        nodes.append(
            Node(
                tree: tree, address: root.node.address, level: root.level, parent: nil,
                pointerOffset: 0))
        addChildren(of: nodes.count - 1)
    }

    private func addChildren(of parent: Int) {
        guard nodes[parent].level > 0 else { return }
        let view = view(of: parent)
        for index in 0..<view.count {
            nodes.append(
                Node(
                    tree: nodes[parent].tree, address: view.pointer(index).address,
                    level: nodes[parent].level - 1, parent: parent,
                    pointerOffset: view.place(index) + view.tailCount(index)))
            addChildren(of: nodes.count - 1)
        }
    }

    // MARK: Looking

    var nodeSize: Int { Int(superblock.geometry.nodeSize) }

    /// The bytes of a node; valid as long as this.
    func bytes(of node: Int) -> UnsafeMutableRawBufferPointer {
        let start = Int(nodes[node].address.rawValue) * Int(superblock.geometry.blockSize)
        return UnsafeMutableRawBufferPointer(rebasing: device.contents[start..<start + nodeSize])
    }

    func view(of node: Int) -> NodeView {
        guard let base = bytes(of: node).baseAddress else { preconditionFailure("a node") }
        return NodeView(base, size: nodeSize)
    }

    func editor(of node: Int) -> NodeEditor {
        guard let base = bytes(of: node).baseAddress else { preconditionFailure("a node") }
        return NodeEditor(base, size: nodeSize)
    }

    func nodes(of tree: TreeIdentity, atLevel level: (UInt8) -> Bool) -> [Int] {
        nodes.indices.filter { nodes[$0].tree == tree && level(nodes[$0].level) }
    }

    /// The leaf of the main tree that has a key, and where.
    func find(_ key: OwnedKey) -> (node: Int, index: Int)? {
        for node in nodes(of: .main, atLevel: { $0 == 0 }) {
            let view = view(of: node)
            for index in 0..<view.count where key.isEqual(to: view.key(index)) {
                return (node, index)
            }
        }
        return nil
    }

    // MARK: Sealing

    /// Makes the checksums of a node and of all above it right.
    func seal(_ node: Int) {
        var node = node
        while true {
            let checksum = view(of: node).computedChecksum(seed: superblock.uuid.seed)
            bytes(of: node).put(checksum, at: 4)
            guard let parent = nodes[node].parent else {
                let tree = nodes[node].tree
                return sealSuperblock {
                    $0.put(checksum, at: (tree == .main ? 160 : 192) + 16)
                }
            }
            bytes(of: parent).put(checksum, at: nodes[node].pointerOffset + 16)
            node = parent
        }
    }

    /// Changes the superblock that counts, in all slots where it stands.
    func sealSuperblock(_ change: (UnsafeMutableRawBufferPointer) -> Void) {
        let slots = SuperblockSlot.slots(of: superblock.group, isUnmounting: true)
        for slot in slots {
            let offset = Int(SuperblockSlot.offset(of: slot, end: superblock.geometry.size))
            let bytes = UnsafeMutableRawBufferPointer(
                rebasing: device.contents[offset..<offset + Superblock.length])
            guard bytes.load(fromByteOffset: 16, as: UInt64.self) == superblock.group.rawValue
            else { continue }
            change(bytes)
            bytes.put(UInt32(0), at: 4)
            bytes.put(CRC32C.checksum(UnsafeRawBufferPointer(bytes)), at: 4)
        }
    }

    /// Offsets of the log's entries that a mount would carry out, in bytes of the device.
    func logEntries() throws -> [(offset: Int, header: LogEntryHeader)] {
        var found: [(offset: Int, header: LogEntryHeader)] = []
        var edits = RecordEdits()
        let geometry = superblock.geometry
        _ = try LogCheck(of: superblock, on: device, into: &edits) { header, _ in
            let block = BlockNumber(rawValue: geometry.logStart.rawValue + header.position)
            found.append((Int(geometry.offset(of: block)), header))
        }
        return found
    }

    /// Makes the checksum of an entry of the log right; what follows it is not.
    func sealLogEntry(at offset: Int, recordBytes: UInt32) {
        let length = LogEntryHeader.length + Int(recordBytes)
        let bytes = UnsafeMutableRawBufferPointer(
            rebasing: device.contents[offset..<offset + length])
        bytes.put(
            LogEntryHeader.checksum(
                of: UnsafeRawBufferPointer(bytes), recordBytes: recordBytes,
                seed: superblock.uuid.seed), at: 4)
    }
}
