import CairnBase
import CairnDisk
import CairnIO
import CairnTestPace
import CairnTestSupport
import Glibc
import Testing

/// The tree against a sorted array (D1, D4, C8): random operations, nodes that are missing, commits in
/// between, and reading all back from the device. CAIRN_TREE_OPERATIONS and CAIRN_SEED lengthen and vary it.
struct TreePropertyTests {
    struct World: CustomStringConvertible, Sendable {
        var nodeSize = 4096
        var blockSize = 4096
        var maximumItems: Int?
        var cacheNodes = 1000
        var keys = 3000
        var valueSizes = 0...60
        var operations = 4000
        var isLate = false

        var description: String {
            "nodes of \(nodeSize), \(maximumItems.map { "\($0) items" } ?? "by bytes"), "
                + "cache of \(cacheNodes), \(keys) keys, values of \(valueSizes)"
        }
    }

    static let worlds = [
        World(maximumItems: 4, keys: 400, operations: 5000),
        World(maximumItems: 6, cacheNodes: 6),
        World(maximumItems: 12, cacheNodes: 40, keys: 20_000, operations: 6000),
        World(cacheNodes: 4, keys: 2000, valueSizes: 0...900),
        World(valueSizes: 0...300),
        World(nodeSize: 16384, cacheNodes: 8, keys: 20_000, operations: 6000),
        World(nodeSize: 8192, blockSize: 8192, valueSizes: 100...1900),
        World(nodeSize: 32768, keys: 20_000),
        World(maximumItems: 5, cacheNodes: 5, keys: 1000, operations: 1500, isLate: true),
    ]

    private var factor: Int {
        getenv("CAIRN_TREE_OPERATIONS").flatMap { Int(String(cString: $0)) } ?? 1
    }

    private var seed: UInt64 {
        getenv("CAIRN_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1
    }

    @Test(arguments: worlds) func agreesWithSortedArray(_ world: World) throws {
        let ground = try TreeGround(
            nodeSize: world.nodeSize, blockSize: world.blockSize, maximumItems: world.maximumItems,
            cacheNodes: world.cacheNodes,
            wrapping: { world.isLate ? LateDevice($0) as any BlockDevice : $0 })
        var play = TreePlay(ground, world, seed: seed)
        for number in 0..<rounds(world.operations * factor) {
            do {
                try play.step(number)
            } catch {
                Issue.record("operation \(number), seed \(seed): \(error)")
                return
            }
        }
        try play.end()
        #expect(ground.reports.takeAll().isEmpty)
    }
}

/// Random operations on a ground.
private struct TreePlay {
    let ground: TreeGround
    let world: TreePropertyTests.World
    var random: SeededRandom

    init(_ ground: TreeGround, _ world: TreePropertyTests.World, seed: UInt64) {
        self.ground = ground
        self.world = world
        random = SeededRandom(seed: seed)
    }

    /// Keys that collide in object, in number, and are prefixes of one another.
    private mutating func key() -> OwnedKey {
        let number = random.number(below: world.keys)
        let object = UInt64(number % 7)
        switch number % 3 {
        case 0: return OwnedKey(object: object, number: UInt64(number))
        case 1:
            return OwnedKey(
                object: object, number: UInt64(number / 40), tail: Array("name-\(number)".utf8))
        default:
            return OwnedKey(
                object: object, number: 5, tail: [UInt8](repeating: 7, count: number % 90))
        }
    }

    private mutating func value() -> [UInt8] {
        let sizes = world.valueSizes
        let length = sizes.lowerBound + random.number(below: sizes.count)
        return [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: length)
    }

    /// Phases in which the tree grows, and others in which it shrinks.
    private func isGrowing(_ number: Int) -> Bool { number / 800 % 3 != 2 }

    mutating func step(_ number: Int) throws {
        switch random.number(below: 100) {
        case 0..<55: try change(number)
        case 55..<80: try find()
        case 80..<92: try scan()
        default: try advanceCommit()
        }
        if number % 499 == 0 { #expect(ground.tree.checkInvariants() == []) }
        if number % 1500 == 1499 { try restart() }
    }

    private mutating func change(_ number: Int) throws {
        var changes: [TreeGround.Change] = []
        let count = random.oneIn(20) ? 1 + random.number(below: 60) : 1 + random.number(below: 3)
        let base = ground.model.isEmpty ? 0 : random.number(below: ground.model.count)
        let isRun = random.oneIn(4)
        for index in 0..<count {
            let removes = random.number(below: 10) < (isGrowing(number) ? 3 : 8)
            if removes, isRun, base + index < ground.model.count {
                // Neighbours, so that leaves become empty.
                changes.append(.remove(ground.model[base + index].key))
            } else if removes {
                changes.append(.remove(key()))
            } else {
                changes.append(.put(key(), value()))
            }
        }
        if random.oneIn(2) { changes.sort { $0.key < $1.key } }
        try ground.change(changes)
    }

    private mutating func find() throws {
        let key = key()
        let index = ground.modelIndex(key)
        let isThere = index < ground.model.count && ground.model[index].key == key
        #expect(try ground.find(key) == (isThere ? ground.model[index].value : nil))
    }

    private mutating func scan() throws {
        let key = key()
        let count = 1 + random.number(below: 30)
        let backward = random.oneIn(2)
        let items = try ground.scan(from: key, count: count, backward: backward)
        var index = ground.modelIndex(key)
        let wanted: [ModelItem]
        if backward {
            if index < ground.model.count, ground.model[index].key == key { index += 1 }
            wanted = ground.model[max(index - count, 0)..<index].reversed()
        } else {
            wanted = Array(ground.model[index..<min(index + count, ground.model.count)])
        }
        #expect(items.count == wanted.count)
        #expect(zip(items, wanted).allSatisfy { $0.key == $1.key && $0.value == $1.value })
    }

    /// One step of a commit, so that operations come between all of them.
    private mutating func advanceCommit() throws {
        guard random.oneIn(3) else { return }
        if !ground.isCommitting {
            ground.close()
        } else if !ground.isSealed {
            ground.seal()
            try ground.write()
        } else {
            ground.finish()
            if random.oneIn(8) { try ground.compareDevice(places: false) }
        }
    }

    private mutating func settle() throws {
        if ground.isCommitting {
            if !ground.isSealed {
                ground.seal()
                try ground.write()
            }
            ground.finish()
        }
        try ground.commitAll()
    }

    private mutating func restart() throws {
        try settle()
        try ground.compareDevice()
        ground.reopen(cacheNodes: world.cacheNodes)
    }

    mutating func end() throws {
        try settle()
        try ground.compareAll()
        try ground.compareDevice()
        // Empty it: the tree is a leaf again, and all other places are free.
        while !ground.model.isEmpty {
            try ground.change(ground.model.prefix(50).map { .remove($0.key) })
        }
        try ground.commitAll()
        try ground.commitAll()
        try ground.compareDevice()
        #expect(ground.tree.root.level == 0 && ground.tree.nodeCount == 1)
    }
}
