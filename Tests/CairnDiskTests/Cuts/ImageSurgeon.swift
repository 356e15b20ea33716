// ImageSurgeon: changes an image and makes all checksums right again, up to the superblock: what a
// hostile hand would make, and no accident does.
//
// Used by one thread, on an image that nobody has open.

import CairnBase
import CairnIO
import CairnTestSupport

@testable import CairnDisk

final class ImageSurgeon {
    let device: MemoryDevice
    var random: SeededRandom
    private(set) var superblock: Superblock
    private var nodes: [NodePlace] = []
    /// What a mount carries out again (ImageSurgeon+Log.swift).
    private(set) var log: [EntryPlace] = []

    private struct NodePlace {
        var tree: TreeIdentity
        var offset: Int
        var level: UInt8
        /// The node above, and where in it the pointer to this one stands; nil: the root.
        var parent: (index: Int, pointer: Int)?
        /// Where items' values stand in it.
        var values: [Range<Int>]
    }

    init(_ device: MemoryDevice, seed: UInt64) throws {
        self.device = device
        random = SeededRandom(seed: seed)
        var found: [Superblock.Found?] = []
        for slot in 0..<16 {
            let offset = Int(SuperblockSlot.offset(of: slot, end: device.size))
            let bytes = UnsafeRawBufferPointer(
                rebasing: device.contents[offset..<offset + SuperblockSlot.length])
            found.append(Superblock.find(in: bytes, slot: slot))
        }
        guard let newest = SuperblockSlot.choose(found).candidates.first else { throw Errno.EINVAL }
        superblock = newest.superblock
        collect(.main, superblock.mainRoot)
        collect(.space, superblock.spaceRoot)
        log = entries()
    }

    private var nodeSize: Int { Int(superblock.geometry.nodeSize) }

    private func bytes(of node: NodePlace) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            rebasing: device.contents[node.offset..<node.offset + nodeSize])
    }

    private func collect(_ tree: TreeIdentity, _ root: RootPointer) {
        var pending: [(offset: Int, level: UInt8, parent: (index: Int, pointer: Int)?)] = [
            (Int(superblock.geometry.offset(of: root.address)), root.level, nil)
        ]
        while let (offset, level, parent) = pending.popLast() {
            var node = NodePlace(
                tree: tree, offset: offset, level: level, parent: parent, values: [])
            let bytes = UnsafeRawBufferPointer(self.bytes(of: node))
            let index = nodes.count
            for item in 0..<Int(bytes.number(UInt16.self, at: 26)) {
                let head = 32 + 24 * item
                let start =
                    Int(bytes.number(UInt16.self, at: head + 16))
                    + Int(bytes.number(UInt16.self, at: head + 18))
                let value = start..<start + Int(bytes.number(UInt16.self, at: head + 20))
                node.values.append(value)
                if level > 0 {
                    let address = BlockNumber(rawValue: bytes.number(UInt64.self, at: start))
                    pending.append(
                        (Int(superblock.geometry.offset(of: address)), level - 1, (index, start)))
                }
            }
            nodes.append(node)
        }
    }

    // MARK: Changing

    /// Makes some changes, and all checksums right.
    func operate() {
        for _ in 0...random.number(below: 3) {
            if random.oneIn(12) {
                changeSuperblock()
            } else if !log.isEmpty, random.oneIn(4) {
                changeLog()
            } else {
                let index = random.number(below: nodes.count)
                change(nodes[index])
                reseal(index)
            }
        }
    }

    private func interesting() -> UInt64 {
        switch random.number(below: 8) {
        case 0: 0
        case 1: 1
        case 2: .max
        case 3: 1 << UInt64(random.number(below: 64))
        case 4: (1 << UInt64(random.number(below: 64))) &- 1
        case 5: UInt64(random.number(below: 5000))
        case 6: superblock.geometry.totalBlocks &- UInt64(random.number(below: 40))
        default: random.next()
        }
    }

    private func change(_ node: NodePlace) {
        let bytes = bytes(of: node)
        // Mostly what records say; now and then what a node is made of.
        guard !random.oneIn(5), let value = pick(node.values.filter { !$0.isEmpty }) else {
            return put(in: bytes, 16..<nodeSize)
        }
        switch random.number(below: 4) {
        case 0:
            // What another record says, of the same node or not.
            let other = nodes[random.number(below: nodes.count)]
            guard let source = pick(other.values.filter { $0.count >= value.count }) else { return }
            let copied = Array(self.bytes(of: other)[source].prefix(value.count))
            bytes[value].copyBytes(from: copied)
        default:
            put(in: bytes, value)
        }
    }

    func pick<Value>(_ values: [Value]) -> Value? {
        values.isEmpty ? nil : values[random.number(below: values.count)]
    }

    func put(in bytes: UnsafeMutableRawBufferPointer, _ range: Range<Int>) {
        let width = min([1, 2, 4, 8][random.number(below: 4)], range.count)
        let steps = range.count / width
        let place = range.lowerBound + random.number(below: steps) * width
        withUnsafeBytes(of: interesting().littleEndian) { number in
            UnsafeMutableRawBufferPointer(rebasing: bytes[place..<place + width])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: number[..<width]))
        }
    }

    private func changeSuperblock() {
        switch random.number(below: 12) {
        case 0: superblock.freeBlocks = interesting()
        case 1: superblock.mainNodes = interesting()
        case 2: superblock.spaceNodes = interesting()
        case 3: superblock.dataBlocks = interesting()
        case 4: superblock.logPosition = interesting()
        case 5: superblock.logSequence = interesting()
        case 6: superblock.nextInode = interesting()
        case 7: superblock.group = TransactionGroup(rawValue: interesting())
        case 8: superblock.mainRoot.level = UInt8(truncatingIfNeeded: interesting())
        case 9: superblock.spaceRoot.address = BlockNumber(rawValue: interesting())
        case 10: superblock.mounts = UInt32(truncatingIfNeeded: interesting())
        default: superblock.mainRoot = superblock.spaceRoot
        }
        writeSuperblock()
    }

    /// As if no number had been given out yet.
    func forgetNumbers() {
        superblock.nextInode = Superblock.firstInode
        writeSuperblock()
    }

    // MARK: Making it right

    private func reseal(_ index: Int) {
        var index = index
        while true {
            let node = nodes[index]
            let bytes = bytes(of: node)
            bytes.put(UInt32(0), at: 4)
            let checksum = CRC32C.checksum(
                UnsafeRawBufferPointer(bytes), continuing: superblock.uuid.seed)
            bytes.put(checksum, at: 4)
            guard let parent = node.parent else {
                if node.tree == .main {
                    superblock.mainRoot.checksum = checksum
                } else {
                    superblock.spaceRoot.checksum = checksum
                }
                return writeSuperblock()
            }
            self.bytes(of: nodes[parent.index]).put(checksum, at: parent.pointer + 16)
            index = parent.index
        }
    }

    /// To every slot, so that there is no older one to fall back to.
    private func writeSuperblock() {
        for slot in 0..<16 {
            let offset = Int(SuperblockSlot.offset(of: slot, end: device.size))
            superblock.encode(
                into: UnsafeMutableRawBufferPointer(
                    rebasing: device.contents[offset..<offset + SuperblockSlot.length]),
                slot: slot)
        }
    }
}
