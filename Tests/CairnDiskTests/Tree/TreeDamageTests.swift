import CairnBase
import CairnIO
import CairnTestPace
import CairnTestSupport
import Testing

@testable import CairnDisk

/// Damaged and hostile trees (T4), and reads that fail (T3).
struct TreeDamageTests {
    /// A tree of three levels, durable on its device.
    private func plantedGround(size: UInt64 = 4 << 20, items: Int = 400) throws -> TreeGround {
        let ground = try TreeGround(maximumItems: 8, size: size)
        for start in stride(from: 0, to: items, by: 40) {
            try ground.change(
                (start..<start + 40).map { number in
                    .put(
                        Self.key(number),
                        [UInt8](repeating: UInt8(number & 255), count: number % 50))
                })
        }
        try ground.commitAll()
        return ground
    }

    private static func key(_ number: Int) -> OwnedKey {
        OwnedKey(
            object: UInt64(number / 100), number: UInt64(number / 3),
            tail: Array("name \(number % 1000)".utf8))
    }

    /// The addresses of all nodes.
    private func addresses(_ ground: TreeGround) throws -> [UInt64] {
        let tree = try #require(ground.openFresh(cacheNodes: 10_000))
        _ = try TreeGround.scan(tree)
        return tree.cache.clean.map { $0.record.pointee.address }.sorted()
    }

    @Test func everyFlippedBitOfANodeIsNoticed() throws {
        let ground = try plantedGround(items: 40)
        let geometry = ground.geometry
        for address in try addresses(ground).prefix(2) {
            let offset = Int(geometry.offset(of: BlockNumber(rawValue: address)))
            let bytes = UnsafeMutableRawBufferPointer(
                rebasing: ground.memory.contents[offset..<offset + geometry.nodeSize])
            let node = NodeView(
                UnsafeRawPointer(try #require(bytes.baseAddress)), size: bytes.count)
            let wanted = NodeExpectation(
                tree: .main,
                pointer: NodePointer(
                    address: NodeAddress(rawValue: address), birth: node.group,
                    checksum: node.checksum),
                level: node.level, isRoot: true)
            #expect(
                NodeCheck.fault(in: UnsafeRawBufferPointer(bytes), expecting: wanted, geometry)
                    == nil)
            var missed = 0
            for bit in 0..<bytes.count * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8)
                if NodeCheck.fault(in: UnsafeRawBufferPointer(bytes), expecting: wanted, geometry)
                    == nil
                {
                    missed += 1
                }
                bytes[bit / 8] ^= 1 << (bit % 8)
            }
            #expect(missed == 0)
        }
    }

    @Test func aFlippedBitInAnyNodeIsEIOAndReported() throws {
        let ground = try plantedGround()
        var random = SeededRandom(seed: 5)
        for address in try addresses(ground) {
            let offset = Int(ground.geometry.offset(of: BlockNumber(rawValue: address)))
            let place = offset + random.number(below: ground.geometry.nodeSize)
            let bit = UInt8(1) << random.number(below: 8)
            ground.memory.contents[place] ^= bit
            let tree = try #require(ground.openFresh())
            #expect(throws: Errno.EIO) { try TreeGround.scan(tree) }
            let reports = ground.reports.takeAll()
            // Twice, if a scan fetched it ahead first.
            #expect((1...2).contains(reports.count))
            #expect(reports.allSatisfy { $0.expectation.pointer.address.rawValue == address })
            #expect(reports.first?.description.contains("node at block \(address)") == true)
            ground.memory.contents[place] ^= bit
        }
        try ground.compareDevice()
    }

    @Test func aStaleNodeWithAGoodChecksumIsNoticed() throws {
        let ground = try plantedGround(items: 40)
        let old = try ground.memory.copy()
        let before = Set(try addresses(ground))
        // Two commits later the places of the first one are used again.
        for round in 0..<2 {
            try ground.change([.put(Self.key(1), [UInt8(round)]), .put(Self.key(39), [7])])
            try ground.commitAll()
        }
        let again = try addresses(ground).filter { before.contains($0) }
        var noticed = 0
        for address in again {
            let offset = Int(ground.geometry.offset(of: BlockNumber(rawValue: address)))
            let range = offset..<offset + ground.geometry.nodeSize
            let now = Array(ground.memory.contents[range])
            guard now != Array(old.contents[range]) else { continue }
            for index in range { ground.memory.contents[index] = old.contents[index] }
            let tree = try #require(ground.openFresh())
            #expect(throws: Errno.EIO) { try TreeGround.scan(tree) }
            for (index, byte) in zip(range, now) { ground.memory.contents[index] = byte }
            noticed += 1
        }
        #expect(noticed > 0)
    }

    @Test func mutatedNodesWithRightChecksumsNeverCrash() throws {
        let ground = try plantedGround(size: 2 << 20)
        let all = try addresses(ground)
        let root = try #require(ground.durableRoot)
        var refused = 0
        let count = rounds(200)
        for seed in 0..<UInt64(count) {
            var mutant = try TreeMutant(
                ground.memory.copy(), ground.geometry, root, seed: seed, nodes: all)
            mutant.mutate()
            if try mutant.isRefused() { refused += 1 }
        }
        #expect(refused > count / 2, "mutants were hardly ever refused: \(refused)")
    }

    @Test func aReadThatFailsFailsTheOperationAndChangesNothing() throws {
        let ground = try plantedGround()
        let faulty = FaultyDevice(ground.memory, random: SeededRandom(seed: 1))
        for number in 1... {
            faulty.plan = FaultPlan(
                failing: FaultPlan.Failure(
                    operation: .read, number: number, isAtSubmission: number % 2 == 0))
            let cache = NodeCache(
                device: faulty, geometry: ground.geometry, limitBytes: 40 * 4096,
                report: { _ in })
            let tree = ItemTree(
                .main, root: try #require(ground.durableRoot), nodeCount: ground.durableNodes,
                openGroup: TransactionGroup(rawValue: 9), in: cache, options: ground.options)
            let changes: [TreeGround.Change] = (0..<30).map { .remove(Self.key($0 * 7)) }
            do {
                try TreeGround.apply(changes + [.put(Self.key(999), [1])], to: tree)
                #expect(number > 5)
                break
            } catch {
                #expect(error as? Errno == .EIO)
                #expect(cache.dirtyBytes == 0 && tree.openNodeCount == 0)
                // Nothing is left behind: the next attempt, with a good device, sees all items.
                faulty.plan = FaultPlan()
                #expect(try TreeGround.scan(tree).count == ground.model.count)
            }
        }
    }
}

/// A copy of a tree with a mutation, and checksums that agree with it.
private struct TreeMutant {
    let device: MemoryDevice
    let geometry: NodeGeometry
    var root: TreeRoot
    var random: SeededRandom
    let nodes: [UInt64]

    init(
        _ device: MemoryDevice, _ geometry: NodeGeometry, _ root: TreeRoot, seed: UInt64,
        nodes: [UInt64]
    ) {
        self.device = device
        self.geometry = geometry
        self.root = root
        self.nodes = nodes
        random = SeededRandom(seed: seed)
    }

    private func base(_ address: UInt64) -> UnsafeMutableRawPointer? {
        let offset = Int(geometry.offset(of: BlockNumber(rawValue: address)))
        return device.contents.baseAddress.map { $0 + offset }
    }

    mutating func mutate() {
        for _ in 0...random.number(below: 3) {
            guard let base = base(nodes[random.number(below: nodes.count)]) else { return }
            let count = max(NodeView(base, size: geometry.nodeSize).count, 1)
            let item = base + 32 + 24 * random.number(below: min(count, 100))
            switch random.number(below: 8) {
            case 0:
                storeU16(UInt16(random.number(below: 4200)), item, 16 + 2 * random.number(below: 4))
            case 1:
                storeU16(UInt16(random.number(below: 40)), base, 24 + 2 * random.number(below: 4))
            case 2:
                storeU64(
                    random.next() >> UInt64(random.number(below: 64)), item,
                    8 * random.number(below: 2))
            case 3:
                (base + random.number(below: 4096)).storeBytes(
                    of: UInt8(truncatingIfNeeded: random.next()), as: UInt8.self)
            case 4: pointElsewhere(base)
            case 5: storeU16(loadU16(item, 18) &+ 1, item, 18)
            case 6: item.copyMemory(from: base + 32, byteCount: 24)
            default: storeU64(nodes[random.number(below: nodes.count)], base, 8)
            }
        }
        var left = 2000
        root.node.checksum = seal(root.node.address.rawValue, depth: 0, &left)
    }

    /// Lets a pointer lead to another node, with that one's birth.
    private mutating func pointElsewhere(_ base: UnsafeMutableRawPointer) {
        let view = NodeView(base, size: geometry.nodeSize)
        guard view.level > 0, NodeCheck.layoutFault(in: view, isRoot: false) == nil,
            let other = self.base(nodes[random.number(below: nodes.count)])
        else { return }
        let target = NodeView(other, size: geometry.nodeSize)
        NodeEditor(base, size: geometry.nodeSize).setPointer(
            at: random.number(below: view.count),
            NodePointer(
                address: NodeAddress(rawValue: target.address), birth: target.group, checksum: 0))
    }

    /// Gives all nodes below a right checksum, as far as they can be made out.
    private func seal(_ address: UInt64, depth: Int, _ left: inout Int) -> UInt32 {
        guard geometry.canHoldNode(at: NodeAddress(rawValue: address)), let base = base(address)
        else { return 0 }
        let editor = NodeEditor(base, size: geometry.nodeSize)
        let view = editor.view
        left -= 1
        if view.level > 0, depth < 4, left > 0,
            NodeCheck.layoutFault(in: view, isRoot: false) == nil
        {
            for index in 0..<view.count where view.valueCount(index) == 24 {
                var pointer = view.pointer(index)
                pointer.checksum = seal(pointer.address.rawValue, depth: depth + 1, &left)
                storeU32(pointer.checksum, base, view.place(index) + view.tailCount(index) + 16)
            }
        }
        let checksum = view.computedChecksum(seed: geometry.seed)
        storeU32(checksum, base, 4)
        return checksum
    }

    /// Uses the tree in every way. Whether some of it was refused; it must be with EIO.
    mutating func isRefused() throws -> Bool {
        let cache = NodeCache(
            device: device, geometry: geometry, limitBytes: (4 + random.number(below: 60)) * 4096,
            report: { _ in })
        let tree = ItemTree(
            .main, root: root, nodeCount: UInt64(random.number(below: 100)),
            openGroup: TransactionGroup(rawValue: 7), in: cache,
            options: TreeOptions(maximumItems: 8))
        var isRefused = false
        func trying(_ body: () throws -> Void) throws {
            do {
                try body()
            } catch {
                #expect(error as? Errno == .EIO)
                isRefused = true
            }
        }
        try trying { _ = try TreeGround.scan(tree) }
        try trying {
            _ = try TreeGround.scan(
                tree, from: OwnedKey(object: .max, number: .max), backward: true)
        }
        var place: UInt64 = 1 << 30
        for round in 0..<6 {
            for _ in 0..<12 {
                let changes: [TreeGround.Change] = (0..<4).map { _ in
                    let number = random.number(below: 420)
                    let key = OwnedKey(
                        object: UInt64(number / 100), number: UInt64(number / 3),
                        tail: Array("name \(number)".utf8))
                    return random.oneIn(3)
                        ? .put(key, [UInt8](repeating: 1, count: random.number(below: 99)))
                        : .remove(key)
                }
                try trying { try TreeGround.apply(changes, to: tree) }
            }
            let commit = tree.close()
            commit.place { _ in
                place += 1
                return BlockNumber(rawValue: place)
            }
            _ = commit.seal()
            // Nothing is written: what is evicted cannot be read again, which is one more fault.
            if round % 2 == 0 { commit.written() } else { break }
        }
        return isRefused
    }
}
