// Volume: a filesystem's device as the store sees it: two trees, free space, groups and the log.
//
//      store ── changing { change(batch) } ──▶ gate ──▶ main tree, in memory ──▶ pending records
//                                                                │                    │ sync
//        placing ◀── commit: closes the gate, ends the group ────┤                    ▼
//                                                                ▼                 log, flush
//                     nodes get places, space tree, nodes written, flush, superblock, flush
//
// Invariants
//  - What the last durable group uses is not overwritten before the next one is durable.
//  - An operation is one `change`, so it is in one group and in one log entry, whole.
//  - After a failed write of metadata nothing more is written: what is in memory stays readable, and
//    changes fail with EROFS.
//
// Locks, from the outermost in: nodes of the store → gate (shared) → `treeLock` → locks of space, of
// pending records, `stateLock`: leaves. None is held over an await or a request.
//
// Group/ has commits and syncs, Log/ the log, Space/ free space, Volume+Opening.swift recovery.

import CairnBase
import CairnIO
import Synchronization

final class Volume: @unchecked Sendable {
    // Sendable: locks guard what changes, as said at each.
    let environment: VolumeEnvironment
    let options: VolumeOptions
    let geometry: VolumeGeometry
    /// The superblock that this was opened with.
    let opened: Superblock
    /// Checksums of nodes, log and data continue it.
    let seed: UInt32

    let cache: NodeCache
    /// Guards both trees: shared to look up, alone to change.
    let treeLock = ReadWriteLock()
    let mainTree: ItemTree
    /// Changed by the committer only.
    let spaceTree: ItemTree
    let space: Space

    let gate: ChangeGate
    let pending: PendingRecords
    /// Held while the gate is closed, and by whoever needs the pending records as they are.
    let phase = TaskLock()
    /// Held by the one commit that is under way.
    let commitTurn = TaskLock()
    let counters = VolumeCounters()

    private let nextInode: Atomic<UInt64>
    private let canWrite: Bool

    let stateLock = Lock()
    // Guarded by `stateLock`.
    var failure: Errno?
    weak var owner: (any DirtyDataOwner)?
    /// All operations up to this one are durable.
    var durableOperations: UInt64 = 0
    var syncWaits: [SyncWait] = []
    var commitWaits: [Wait] = []
    var isCommitWanted = false
    var isCommitting = false
    var isSyncing = false
    var isClosed = false
    /// The log is still being carried out: a commit would cut it off.
    var isStarting = true
    var timer: TimerTicket?

    /// A commit shall be started as soon as the pass that wanted it is given back.
    let isCommitDue = Atomic<Bool>(false)
    /// Whether a commit will come by itself.
    let isArmed = Atomic<Bool>(false)

    /// The last superblock that is durable. Under `commitTurn`.
    var current: Superblock
    /// Under `phase`.
    var ring: LogRing
    /// The group being written has operations that are not in the log: until it is durable, nothing
    /// that follows them can be put there. Under `phase`.
    var logWaitsForCommit = false
    /// Data was written since the last flush began.
    let hasUnflushedData = Atomic<Bool>(false)

    /// Of what Volume+Opening.swift has read and checked.
    init(
        _ environment: VolumeEnvironment, _ options: VolumeOptions, _ superblock: Superblock,
        openGroup: TransactionGroup, canWrite: Bool, cache: NodeCache, mainTree: ItemTree,
        spaceTree: ItemTree, space: Space
    ) {
        self.environment = environment
        self.options = options
        geometry = superblock.geometry
        opened = superblock
        current = superblock
        seed = superblock.uuid.seed
        self.cache = cache
        self.mainTree = mainTree
        self.spaceTree = spaceTree
        self.space = space
        self.canWrite = canWrite
        gate = ChangeGate(group: openGroup)
        nextInode = Atomic(superblock.nextInode)
        let logBytes = Int(geometry.logBlocks) * Int(geometry.blockSize)
        pending = PendingRecords(limit: min(logBytes / 4, 1 << 20))
        ring = LogRing(
            blocks: geometry.logBlocks, position: superblock.logPosition,
            sequence: superblock.logSequence)
    }

    var device: any BlockDevice { environment.device }

    /// Nothing can be changed: opened so, or after an error.
    var isReadOnly: Bool { !canWrite || stateLock.withLock { failure != nil } }

    var dirtyDataOwner: (any DirtyDataOwner)? {
        stateLock.lock()
        defer { stateLock.unlock() }
        return owner
    }

    // MARK: Reading

    /// Looks things up in the main tree. What it throws to wait for is under way.
    func read<Value>(_ body: (ItemTree) throws(Pause) -> Value) throws(Pause) -> Value {
        do throws(Pause) {
            treeLock.lockShared()
            defer { treeLock.unlockShared() }
            return try body(mainTree)
        } catch {
            NodeWait.start(error)
            throw error
        }
    }

    // MARK: Changing

    /// Runs an attempt that changes something: the tree, or what is in memory of a node. Outermost,
    /// below the locks of nodes. Throws a wait while a group ends, EROFS where nothing can be
    /// changed.
    func changing<Value>(
        _ kind: ChangePass.Kind = .operation,
        _ body: (borrowing ChangePass) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        guard !isReadOnly else { throw .failed(.EROFS) }
        defer { startDueCommit() }
        return try gate.pass(kind, body)
    }

    /// Applies a batch, whole, or throws and changes nothing. ENOSPC comes before anything is
    /// changed; what is placed, and what was promised, finds its room.
    func change(_ batch: borrowing EditBatch, _ pass: borrowing ChangePass) throws(Pause) {
        do throws(Pause) {
            treeLock.lock()
            defer { treeLock.unlock() }
            let prepared = try mainTree.prepare(batch.edits)
            try admit(batch, nodes: prepared.nodeDemand, pass.kind)
            mainTree.apply(batch.edits, prepared)
            space.note(batch, dirtyNodes: mainTree.unplacedCount)
            if batch.editsLoggedData { pending.overflow() } else { pending.append(batch) }
        } catch {
            NodeWait.start(error)
            throw error
        }
        noteOperation(pass)
        if space.lock.withLock({ space.openNodes }) * Int(geometry.nodeSize) > options.groupBytes {
            isCommitDue.store(true, ordering: .releasing)
        }
    }

    private func admit(
        _ batch: borrowing EditBatch, nodes: Int, _ kind: ChangePass.Kind
    ) throws(Pause) {
        if kind == .placing { return }
        let runs = batch.records - batch.itemEdits
        switch space.admit(nodes: nodes, runs: runs, mayUseReserve: batch.mayUseReserve) {
        case .granted: return
        case .afterCommit where kind == .operation: throw .wait(commitWaitAfterPass())
        case .afterCommit, .never: throw .failed(.ENOSPC)
        }
    }

    /// Something was changed, be it in memory only (a write into pages): it will be committed in time,
    /// and a sync that begins later covers it.
    func noteOperation(_ pass: borrowing ChangePass) {
        if pass.kind != .placing { gate.countOperation() }
        if pass.kind == .operation { space.hasDirtyData.store(true, ordering: .releasing) }
        armTimer()
    }

    /// A number that no inode ever had. Goes with `EditBatch.giveOut`.
    func nextInodeNumber() throws(Pause) -> UInt64 {
        let number = nextInode.add(1, ordering: .relaxed).oldValue
        guard number < Superblock.endOfInodes else { throw .failed(.ENOSPC) }
        return number
    }

    /// The smallest number that was never given out.
    var nextInodeToGive: UInt64 { min(nextInode.load(ordering: .relaxed), Superblock.endOfInodes) }

    /// Recovery: numbers below were given out.
    func noteInodes(below number: UInt64) {
        if number > nextInode.load(ordering: .relaxed) {
            nextInode.store(number, ordering: .relaxed)
        }
    }

    // MARK: Figures

    var spaceFigures: SpaceFigures { space.figures }

    var statistics: VolumeStatistics { counters.statistics }
}
