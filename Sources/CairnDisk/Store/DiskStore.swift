// DiskStore: the NodeStore of mfs_disk. Nodes are records of the main tree (docs/format.md §5); data
// goes through the page cache (Data/).
//
// Every call is an attempt: it looks into the tree under the volume's lock, which is held for memory
// work only, and throws a wait for what is not in memory. What a record says is checked where it is
// decoded; damage is EIO and a line of report that says where.
//
// Threading: any thread. What belongs to one node is guarded by the node's lock, which the tree
// holds around each call; what nodes share has locks of its own, taken after it:
//
//     TreeNode.lock ─▶ DirtyNodes.lock, AccessTimes.lock, FilePages, Volume
//
// The room's files: reading nodes here, names in +Names, extended attributes in +Attributes, changes
// in +Change and ChangeDraft, data in ../Data, what concerns the whole in +Whole.

import CairnBase
import CairnTree
import CairnVFS
import Synchronization

final class DiskStore: NodeStore, @unchecked Sendable {
    // Sendable: immutable, atomic, or with locks of its own; `attachedTree` and `emptier` are written
    // once, before any other call.
    let volume: Volume
    let options: DiskOptions
    let environment: StoreEnvironment
    let layout: DataLayout
    let nameKey: NameKey
    let dirtyNodes = DirtyNodes()
    let accessTimes: AccessTimes
    let counters = DataCounters()
    /// One placing at a time.
    let turn = TaskLock()
    /// Of whoever has the turn.
    let scratch = PlacementScratch()
    private(set) var emptier: Emptier!
    private unowned(unsafe) var attachedTree: TreeFileSystem?
    /// Behind where data was placed last.
    private let lastBlock = Atomic<UInt64>(0)
    let isClosing = Atomic<Bool>(false)
    /// Data is being placed because there was much.
    let isPressed = Atomic<Bool>(false)

    let closingLock = Lock()
    // Guarded by `closingLock`.
    var closing = Closing.open

    /// `hashBits`: bits of names' hashes that count; fewer only in tests.
    init(
        _ volume: Volume, _ options: DiskOptions, _ environment: StoreEnvironment,
        hashBits: UInt64 = NameKey.hashBits
    ) {
        self.volume = volume
        self.options = options
        self.environment = environment
        layout = DataLayout(volume.geometry)
        let key = volume.opened.nameKey
        nameKey = NameKey(first: key.first, second: key.second, hashBits: hashBits)
        accessTimes = AccessTimes(limit: options.accessTimeLimit)
        emptier = Emptier(self)
        environment.account.onPressure { [weak self] in self?.placeUnderPressure() }
    }

    func attach(to tree: TreeFileSystem) { attachedTree = tree }

    var tree: TreeFileSystem {
        guard let attachedTree else { preconditionFailure("a store without its tree") }
        return attachedTree
    }

    var rootNumber: UInt64 { InodeNumbers.root }
    var maximumFileSize: UInt64 { UInt64(Int64.max) }
    var blockSize: UInt32 { layout.blockSize }
    var maximumLinkCount: UInt32 { .max }
    var canReload: Bool { true }
    var isReadOnly: Bool { volume.isReadOnly }
    var optionsDescription: String { options.description }

    var lastPlaced: BlockNumber? {
        get {
            let block = lastBlock.load(ordering: .relaxed)
            return block == 0 ? nil : BlockNumber(rawValue: block)
        }
        set { lastBlock.store(newValue?.rawValue ?? 0, ordering: .relaxed) }
    }

    func report(_ line: String) { environment.report(line) }

    /// All nodes of this tree were made here.
    @inline(__always)
    static func node(_ node: TreeNode) -> DiskNode { unsafeDowncast(node, to: DiskNode.self) }

    // MARK: Items of the main tree

    /// Reports damage, and gives what the operation fails with. Called with no lock of the volume
    /// held.
    func damaged(_ inode: UInt64, _ what: String) -> Pause {
        report("inode \(inode): \(what)")
        return .failed(.EIO)
    }

    /// What a record of an inode says; nil if there is none.
    func find<Value>(
        _ kind: RecordKind, of inode: UInt64, _ number: UInt64, _ tail: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) throws(RecordDamage) -> Value
    ) throws(Pause) -> Value? {
        let key = ItemKey(object: kind.object(of: inode), number: number, tail: tail)
        let found: Result<Value, RecordDamage>? = try volume.read { tree throws(Pause) in
            try tree.find(key) { value -> Result<Value, RecordDamage> in
                do throws(RecordDamage) {
                    return .success(try body(value))
                } catch {
                    return .failure(error)
                }
            }
        }
        switch found {
        case nil: return nil
        case .success(let value): return value
        case .failure(let damage): throw damaged(inode, damage.description)
        }
    }

    /// Shows the records of one kind of an inode in order, from a key on, until `body` says false.
    /// `body` begins anew where it is called for the first key again.
    func scan(
        _ kind: RecordKind, of inode: UInt64, from number: UInt64 = 0,
        _ tail: UnsafeRawBufferPointer = .empty,
        _ body: (ItemKey, UnsafeRawBufferPointer) throws(RecordDamage) -> Bool
    ) throws(Pause) {
        let object = kind.object(of: inode)
        var damage: RecordDamage?
        try volume.read { tree throws(Pause) in
            try tree.scan(from: ItemKey(object: object, number: number, tail: tail)) {
                key, value -> Bool in
                guard key.object == object else { return false }
                do throws(RecordDamage) {
                    return try body(key, value)
                } catch {
                    damage = error
                    return false
                }
            }
        }
        if let damage { throw damaged(inode, damage.description) }
    }

    // MARK: Nodes

    func load(_ number: UInt64) throws(Pause) -> TreeNode {
        guard number > 0, number < InodeNumbers.end else { throw .failed(.ESTALE) }
        let found = try find(.inode, of: number, 0, .empty) {
            value throws(RecordDamage) in try InodeRecord(decoding: value)
        }
        // What has no links is gone; it waits for being freed only.
        guard let record = found, record.links > 0 else { throw .failed(.ESTALE) }
        // Were it given out now, it would stand for two.
        guard number < volume.nextInodeToGive else {
            throw damaged(number, "its number was never given out")
        }
        if number == InodeNumbers.root, record.kind != .directory {
            throw damaged(number, "the root is no directory")
        }
        var file: FileState?
        if record.kind == .regular {
            file = FileState(of: number, in: self)
            file?.recordedEnd.store(record.size, ordering: .relaxed)
        }
        let node = DiskNode(number, record, file, blockSize: blockSize, in: tree)
        return node
    }

    func prepareNode(_ attributes: Attributes) throws(Pause) -> TreeNode {
        var attributes = attributes
        attributes.number = try volume.nextInodeNumber()
        attributes.blockSize = blockSize
        let file =
            attributes.kind == .regular ? FileState(of: attributes.number, in: self) : nil
        return DiskNode(new: attributes, file, in: tree)
    }

    func evicted(_ node: TreeNode) {
        DiskStore.node(node).file?.drop()
    }

    // MARK: Symbolic links

    func target(of link: TreeNode) throws(Pause) -> [UInt8] {
        var target: [UInt8] = []
        let size = link.stored.size
        try scan(.extent, of: link.number) { key, value throws(RecordDamage) in
            let extent = try ExtentRecord(decoding: value, at: key.number, layout.limits)
            guard extent.form == .inline, key.number == UInt64(target.count) else {
                throw RecordDamage("a link's target that is not in its inode, or has gaps")
            }
            target.append(contentsOf: value[ExtentRecord.headLength...])
            return UInt64(target.count) < size
        }
        guard UInt64(target.count) >= size else {
            throw damaged(link.number, "a link's target that ends before its size")
        }
        return Array(target.prefix(Int(size)))
    }
}
