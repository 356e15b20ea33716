// A tree on a device in memory, beside a model: a sorted array. Space is given out by counting up, and a
// place is used again once the commit that freed it is durable.

import CairnBase
import CairnIO
import CairnTestSupport
import Testing

@testable import CairnDisk

typealias ModelItem = (key: OwnedKey, value: [UInt8])

final class TreeGround {
    let geometry: NodeGeometry
    let device: any BlockDevice
    let memory: MemoryDevice
    let options: TreeOptions
    private(set) var cache: NodeCache
    private(set) var tree: ItemTree
    let reports = DamageList()

    private(set) var model: [ModelItem] = []
    /// Of the group that is being written.
    private var closedModel: [ModelItem] = []
    private var commit: TreeCommit?
    private var images: [NodeImage] = []
    private(set) var durableRoot: TreeRoot?
    private(set) var durableNodes: UInt64 = 0

    private var nextPlace: UInt64
    private var freePlaces: [UInt64] = []
    private var pendingFree: [UInt64] = []
    private var usedPlaces: Set<UInt64> = []

    init(
        nodeSize: Int = 4096, blockSize: Int = 4096, maximumItems: Int? = nil,
        cacheNodes: Int = 1000,
        size: UInt64 = 256 << 20, wrapping wrap: (MemoryDevice) -> any BlockDevice = { $0 }
    ) throws {
        memory = try MemoryDevice(size: size)
        device = wrap(memory)
        let blocks = size / UInt64(blockSize)
        geometry = NodeGeometry(
            blockSize: blockSize, nodeSize: nodeSize, seed: 0x1234_5678, places: 64..<blocks - 32)
        options = TreeOptions(maximumItems: maximumItems)
        cache = Self.makeCache(device, geometry, cacheNodes, reports)
        tree = ItemTree(
            emptyWith: .main, openGroup: TransactionGroup(rawValue: 1), in: cache, options: options)
        nextPlace = 64
    }

    private static func makeCache(
        _ device: any BlockDevice, _ geometry: NodeGeometry, _ nodes: Int, _ reports: DamageList
    ) -> NodeCache {
        NodeCache(device: device, geometry: geometry, limitBytes: nodes * geometry.nodeSize) {
            reports.append($0)
        }
    }

    // MARK: Attempts

    /// As the volume does it: fetches start when the lock is released.
    static func run<Value>(_ attempt: () throws(Pause) -> Value) throws(Errno) -> Value {
        try blocking { () throws(Pause) -> Value in
            do throws(Pause) {
                return try attempt()
            } catch {
                NodeWait.start(error)
                throw error
            }
        }
    }

    func find(_ key: OwnedKey) throws -> [UInt8]? {
        try Self.run { () throws(Pause) in
            try key.withKey { (key) throws(Pause) in try tree.find(key) { Array($0) } }
        }
    }

    /// Up to `count` items.
    func scan(from key: OwnedKey, count: Int = .max, backward: Bool = false) throws -> [ModelItem] {
        try Self.scan(tree, from: key, count: count, backward: backward)
    }

    static func scan(
        _ tree: ItemTree, from key: OwnedKey = OwnedKey(object: 0, number: 0), count: Int = .max,
        backward: Bool = false
    ) throws -> [ModelItem] {
        try run { () throws(Pause) in
            var items: [ModelItem] = []
            try key.withKey { (key) throws(Pause) in
                let body = { (key: ItemKey, value: UnsafeRawBufferPointer) throws(Pause) -> Bool in
                    items.append((OwnedKey(key), Array(value)))
                    return items.count < count
                }
                if backward {
                    try tree.scanBackward(from: key, body)
                } else {
                    try tree.scan(from: key, body)
                }
            }
            return items
        }
    }

    // MARK: Changes

    enum Change {
        case put(OwnedKey, [UInt8])
        case remove(OwnedKey)

        var key: OwnedKey {
            switch self {
            case .put(let key, _), .remove(let key): key
            }
        }
    }

    /// One operation. Checks that it costs no more nodes than preparation said.
    func change(_ changes: [Change]) throws {
        try Self.apply(changes, to: tree)
        for change in changes { applyToModel(change) }
    }

    /// `lock`: the tree lock, where there are other threads.
    static func apply(
        _ changes: [Change], to tree: ItemTree,
        under lock: borrowing ReadWriteLock = ReadWriteLock()
    ) throws {
        // Edits borrow: all bytes stand in one buffer.
        var bytes: [UInt8] = []
        for change in changes {
            bytes += change.key.tail
            if case .put(_, let value) = change { bytes += value }
        }
        try run { () throws(Pause) in
            lock.lock()
            defer { lock.unlock() }
            try bytes.withUnsafeBufferPointer { (buffer) throws(Pause) in
                let edits = edits(changes, UnsafeRawBufferPointer(buffer))
                let prepared = try tree.prepare(edits)
                let demand = prepared.nodeDemand
                let before = (tree.openNodeCount, tree.nodeCount)
                tree.apply(edits, prepared)
                let cost = tree.openNodeCount - before.0
                #expect(cost <= demand, "costs \(cost) nodes, not \(demand)")
            }
        }
    }

    private static func edits(
        _ changes: [Change], _ buffer: UnsafeRawBufferPointer
    ) -> [ItemEdit] {
        var offset = 0
        func take(_ count: Int) -> UnsafeRawBufferPointer {
            defer { offset += count }
            return UnsafeRawBufferPointer(rebasing: buffer[offset..<offset + count])
        }
        return changes.map { change in
            let key = change.key
            let itemKey = ItemKey(
                object: key.object, number: key.number, tail: take(key.tail.count))
            switch change {
            case .put(_, let value): return .put(itemKey, take(value.count))
            case .remove: return .remove(itemKey)
            }
        }
    }

    /// The first item of the model that is not before the key.
    func modelIndex(_ key: OwnedKey) -> Int {
        var low = 0
        var high = model.count
        while low < high {
            let middle = (low + high) / 2
            if model[middle].key < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func applyToModel(_ change: Change) {
        let index = modelIndex(change.key)
        let isThere = index < model.count && model[index].key == change.key
        switch change {
        case .put(let key, let value):
            if isThere {
                model[index].value = value
            } else {
                model.insert((key, value), at: index)
            }
        case .remove:
            if isThere { model.remove(at: index) }
        }
    }

    // MARK: Commit

    var isCommitting: Bool { commit != nil }
    private(set) var isSealed = false

    func close() {
        closedModel = model
        let closed = tree.close()
        commit = closed
        take(closed.freed)
    }

    func takePlace() -> BlockNumber {
        let place: UInt64
        if let free = freePlaces.popLast() {
            place = free
        } else {
            place = nextPlace
            nextPlace += geometry.blocksPerNode
        }
        #expect(usedPlaces.insert(place).inserted, "place \(place) was given out twice")
        return BlockNumber(rawValue: place)
    }

    func take(_ freed: FreedNodes) {
        for place in freed.freed + freed.returned {
            #expect(usedPlaces.remove(place.rawValue) != nil, "a free place was freed")
            pendingFree.append(place.rawValue)
        }
    }

    func seal() {
        guard let commit else { return }
        commit.place { _ in takePlace() }
        let sealed = commit.seal()
        isSealed = true
        images = sealed.images
        durableRoot = sealed.root
        durableNodes = commit.nodeCount
    }

    func write() throws(Errno) {
        for image in images {
            try device.write(image.bytes, at: geometry.offset(of: image.address))
        }
    }

    func finish() {
        commit?.written()
        commit = nil
        images = []
        isSealed = false
        freePlaces += pendingFree
        pendingFree = []
    }

    func commitAll() throws {
        close()
        seal()
        try write()
        finish()
    }

    // MARK: Comparing

    func openFresh(cacheNodes: Int = 100) -> ItemTree? {
        guard let durableRoot else { return nil }
        return ItemTree(
            .main, root: durableRoot, nodeCount: durableNodes,
            openGroup: TransactionGroup(rawValue: 1 << 40),
            in: Self.makeCache(device, geometry, cacheNodes, reports), options: options)
    }

    /// Reads the last commit from the device with nothing in memory: its items, and that it occupies exactly
    /// the places that are in use. To be called when nothing has been freed since it was closed.
    func compareDevice(places: Bool = true) throws {
        guard let fresh = openFresh(cacheNodes: 1 << 16) else { return }
        let items = try Self.scan(fresh)
        #expect(items.count == closedModel.count)
        let same = zip(items, closedModel).allSatisfy { $0.key == $1.key && $0.value == $1.value }
        #expect(same, "the device has other items")
        #expect(fresh.checkInvariants() == [])
        if places {
            #expect(Set(fresh.cache.clean.map { $0.record.pointee.address }) == usedPlaces)
        }
    }

    func compareAll() throws {
        for backward in [false, true] {
            let start =
                backward
                ? OwnedKey(object: .max, number: .max, tail: [255])
                : OwnedKey(object: 0, number: 0)
            let items = try scan(from: start, backward: backward)
            let wanted = backward ? model.reversed() : model
            #expect(items.count == wanted.count)
            #expect(
                zip(items, wanted).allSatisfy { $0.key == $1.key && $0.value == $1.value },
                "other items")
        }
        #expect(tree.checkInvariants() == [])
    }

    /// Forgets what is in memory and begins again with what the last commit left.
    func reopen(cacheNodes: Int) {
        guard let durableRoot else { return }
        cache = Self.makeCache(device, geometry, cacheNodes, reports)
        tree = ItemTree(
            .main, root: durableRoot, nodeCount: durableNodes, openGroup: tree.openGroup,
            in: cache, options: options)
    }
}

extension OwnedKey {
    static func < (one: OwnedKey, other: OwnedKey) -> Bool {
        if one.object != other.object { return one.object < other.object }
        if one.number != other.number { return one.number < other.number }
        return one.tail.lexicographicallyPrecedes(other.tail)
    }
}

/// What was reported.
final class DamageList: @unchecked Sendable {
    private let lock = Lock()
    private var list: [NodeDamage] = []

    func append(_ damage: NodeDamage) { lock.withLock { list.append(damage) } }
    func takeAll() -> [NodeDamage] {
        lock.withLock {
            defer { list = [] }
            return list
        }
    }
}
