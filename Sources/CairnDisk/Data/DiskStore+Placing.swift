// Placing what is dirty: for commits and syncs, and when too much is dirty.

import CairnBase

extension DiskStore: DirtyDataOwner {
    /// Pages of a batch, and of one file in it.
    private static var batchPages: Int { 4096 }
    private static var batchFiles: Int { 512 }

    func placeDirtyData(isLast: Bool) async {
        await turn.acquire()
        defer { turn.release() }
        // What fails stays dirty, and is listed again.
        let nodes = dirtyNodes.takeAll()
        var batch = PlacementBatch(self)
        for node in nodes {
            var left = node.file?.pagesIfMade?.dirtyCount ?? 0
            repeat {
                let placement: FilePlacement?
                do throws(Errno) {
                    placement = try await suspending { () throws(Pause) in
                        try FilePlacement.begin(node, pages: DiskStore.batchPages)
                    }
                } catch {
                    relist(node)
                    break
                }
                guard let placement else { break }
                batch.add(placement)
                let pages = placement.snapshot?.pageCount ?? 0
                left -= pages
                // A second part of the same file waits for the first.
                if left > 0 || batch.pageCount >= DiskStore.batchPages
                    || batch.placements.count >= DiskStore.batchFiles
                {
                    await batch.carryOut()
                    batch = PlacementBatch(self)
                }
                if pages == 0 || placement.failure != nil { break }
            } while left > 0
        }
        await batch.carryOut()
    }

    /// Its placement could not even begin: another one of it has failed.
    private func relist(_ node: DiskNode) {
        node.lock.lock()
        defer { node.lock.unlock() }
        guard let file = node.file, !file.isDropped else { return }
        dirtyNodes.list(node, file)
    }

    /// Places one file's data now; the wait for that.
    func placeSoon(_ node: DiskNode) -> Wait {
        let done = Wait()
        Task(executorPreference: environment.executor) { [self] in
            await turn.acquire()
            defer { turn.release() }
            do throws(Errno) {
                let placement = try await suspending { () throws(Pause) in
                    try FilePlacement.begin(node, pages: DiskStore.batchPages)
                }
                guard let placement else { return _ = done.finish() }
                let batch = PlacementBatch(self)
                batch.add(placement)
                await batch.carryOut()
                done.finish(placement.failure)
            } catch {
                relist(node)
                done.finish(error)
            }
        }
        return done
    }

    /// There is much to place: it is begun before the next commit would do it.
    func placeUnderPressure() {
        // What the log of a read-only mount holds stays in memory.
        guard !volume.isReadOnly else { return }
        guard !isPressed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        Task(executorPreference: environment.executor) { [self] in
            await placeDirtyData(isLast: false)
            isPressed.store(false, ordering: .releasing)
        }
    }

    /// Promises room to a placement. It may not wait for a commit, which may be waiting for it.
    func promiseForPlacing(_ promise: SpacePromise) throws(Pause) {
        guard case .granted = volume.space.reserve(promise, mayUseReserve: true) else {
            throw .failed(.ENOSPC)
        }
    }
}
