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

    /// A node is durable with its last change. For everything the target is taken anew in each attempt,
    /// so it may wait longer than it must while others write.
    func sync(_ node: TreeNode?, dataOnly: Bool) throws(Pause) {
        guard let node else {
            // Closing makes all durable by itself, and tells what could not be.
            if isClosing.load(ordering: .acquiring) { return }
            return try volume.sync(volume.syncTarget())
        }
        let disk = DiskStore.node(node)
        try volume.sync(disk.lock.withLockShared { disk.changed })
        guard let file = disk.file, let pages = file.pagesIfMade else { return }
        disk.lock.lock()
        defer { disk.lock.unlock() }
        if let error = pages.errors.check(since: &file.toldErrors) { throw .failed(error) }
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
        // What could not be placed is lost.
        if dirtyNodes.takeAll().contains(where: { $0.file?.hasUnplacedData == true }) {
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
