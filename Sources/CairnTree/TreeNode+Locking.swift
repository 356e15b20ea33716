// How a node is locked for use, and how its decoded state is kept true.

import CairnBase
import CairnVFS

extension TreeNode {
    /// Takes the lock shared, with `stored` up to date.
    @inline(__always)
    final func lockShared() throws(Pause) {
        lock.lockShared()
        while condition.contains(.stale) {
            lock.unlockShared()
            try lockExclusively()
            lock.unlock()
            lock.lockShared()
        }
    }

    /// As `lockShared`, for what asks the store about the node. ENOENT if it is gone.
    @inline(__always)
    final func lockSharedUnlessFreed() throws(Pause) {
        try lockShared()
        if condition.contains(.freed) {
            lock.unlockShared()
            throw .failed(.ENOENT)
        }
    }

    /// Takes the lock exclusively, with `stored` up to date. Gone nodes are not refused.
    @inline(__always)
    final func lockExclusively() throws(Pause) {
        lock.lock()
        if condition.contains(.stale) {
            do throws(Pause) {
                try refresh()
            } catch {
                lock.unlock()
                throw error
            }
        }
    }

    /// As `lockExclusively`. ENOENT if the node is gone.
    @inline(__always)
    final func lockExclusivelyUnlessFreed() throws(Pause) {
        try lockExclusively()
        if condition.contains(.freed) {
            lock.unlock()
            throw .failed(.ENOENT)
        }
    }

    /// Reads the node again from the store. The caller holds the lock exclusively.
    @inline(never)
    final func refresh() throws(Pause) {
        guard !condition.contains(.freed) else {
            condition.remove(.stale)
            return
        }
        let fresh = try tree.store.load(number)
        guard fresh !== self, fresh.kind == kind else { throw .failed(.ESTALE) }
        stored = fresh.stored
        lists = fresh.lists
        condition.remove([.stale, .listsAreKnown])
        condition.formUnion(fresh.condition.intersection(.listsAreKnown))
        parentNumber.store(fresh.directoryAbove, ordering: .relaxed)
        adopt(fresh)
        updateHints()
    }

    // MARK: Decoded state, under the exclusive lock

    /// The store has these attributes now. What the node occupies stays as the store noted it.
    @inline(__always)
    final func keep(_ attributes: Attributes) {
        let blocks = stored.blocks
        let size = stored.size
        stored = attributes
        stored.blocks = blocks
        if kind == .directory {
            stored.size = size
        }
        updateHints()
    }

    /// What can be asked of the node without its lock.
    @inline(__always)
    final func updateHints() {
        isSynchronous.store(stored.flags.contains(.sync), ordering: .relaxed)
        if kind == .directory { updateSearchability() }
    }

    private func updateSearchability() {
        isSearchableByAll.store(
            stored.permissions.isSuperset(of: .executeAll)
                && condition.contains(.listsAreKnown) && lists?.access == nil,
            ordering: .releasing)
    }

    // MARK: Questions that the rules ask, under the lock

    /// A directory that can still get entries. ENOENT once it was removed.
    @inline(__always)
    final func requireDirectory() throws(Pause) {
        guard kind == .directory else { throw .failed(.ENOTDIR) }
        guard stored.linkCount > 0 else { throw .failed(.ENOENT) }
    }

    /// A directory that names may be added to (Linux's may_create).
    @inline(__always)
    final func requireAddable() throws(Pause) {
        try requireDirectory()
        guard !stored.flags.contains(.immutable) else { throw .failed(.EPERM) }
    }

    /// A directory that names may be taken from, and a node that may lose one (may_delete).
    @inline(__always)
    final func requireRemovable(_ victim: TreeNode) throws(Pause) {
        try requireDirectory()
        let fixed: FileFlags = [.immutable, .appendOnly]
        guard stored.flags.isDisjoint(with: fixed), victim.stored.flags.isDisjoint(with: fixed)
        else { throw .failed(.EPERM) }
    }
}
