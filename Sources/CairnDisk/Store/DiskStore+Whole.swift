// What concerns the whole filesystem: statfs, sync, closing.

import CairnBase
import CairnTree
import CairnVFS

extension DiskStore {
    func statistics() throws(Pause) -> FileSystemStatistics {
        let space = volume.spaceFigures
        return FileSystemStatistics(
            blockSize: blockSize, totalBlocks: space.total, freeBlocks: space.free,
            availableBlocks: space.available, totalNodes: 0, freeNodes: 0)
    }

    // MARK: Syncing

    /// A file is synced with all that was acknowledged before the call: after a crash the state is
    /// that at some moment not earlier than the last sync that returned, of whatever file.
    func sync(
        _ node: TreeNode?, dataOnly: Bool, _ point: inout SyncPoint
    ) throws(Pause) {
        // Closing makes all durable by itself, and tells what could not be.
        if node == nil, isClosing.load(ordering: .acquiring) { return }
        if point.target == nil { try recordAccessTimes(of: node, dataOnly: dataOnly, &point) }
        let target = point.target.map { SyncTarget(operations: $0) } ?? volume.syncTarget()
        point.target = target.operations
        try volume.sync(target)
    }

    /// Times of access that are in memory only become changes that the sync makes durable.
    private func recordAccessTimes(
        of node: TreeNode?, dataOnly: Bool, _ point: inout SyncPoint
    ) throws(Pause) {
        guard !dataOnly, !volume.isReadOnly else { return }
        if let node {
            do throws(Pause) {
                try recordAccessTime(of: DiskStore.node(node), .operation, mayUseReserve: true)
            } catch {
                // On a full filesystem the sync is no failure.
                guard case .failed(.ENOSPC) = error else { throw error }
            }
        } else if accessTimes.makeDue() {
            point.target = volume.syncTarget().operations
            throw .wait(volume.commitWait())
        }
    }

    // MARK: Closing

    /// How far closing is.
    enum Closing {
        case open
        case underWay(Wait)
        case over(Errno?)
    }

    /// Commits everything, and lets go of the device. Does not fail: `closingError` says what became
    /// of it.
    func close() throws(Pause) {
        isClosing.store(true, ordering: .releasing)
        if let wait = emptier.untilIdle { throw .wait(wait) }
        let (wait, isFirst): (Wait?, Bool) = closingLock.withLock {
            switch closing {
            case .over: return (nil, false)
            case .underWay(let wait): return (wait, false)
            case .open:
                let wait = Wait()
                closing = .underWay(wait)
                return (wait, true)
            }
        }
        guard let wait else { return }
        if isFirst {
            Task(executorPreference: environment.executor) { [self] in
                await end()
                wait.finish()
            }
        }
        throw .wait(OperationWait(wait))
    }

    private func end() async {
        var failure: Errno?
        do throws(VolumeFailure) {
            try await volume.unmount()
        } catch {
            report("\(error)")
            failure = error.errno
        }
        environment.account.onPressure(nil)
        dropAccessTimes()
        // What could not be placed is lost.
        let isLost = dirtyNodes.takeAll().contains { $0.file?.hasUnplacedData == true }
        // What the log of a read-only mount holds was never placed, and is not lost.
        if isLost, !volume.isReadOnly || failure != nil {
            failure = failure ?? .EIO
        }
        environment.closed()
        closingLock.withLock { closing = .over(failure) }
    }

    var closingError: Errno? {
        closingLock.withLock {
            if case .over(let error) = closing { return error }
            return nil
        }
    }
}
