// Removing names, and what becomes of a node that has none left.
//
// A node without names that nobody holds is freed in the very change that takes its last name. One
// that is held becomes an orphan: the store remembers it across a crash, and the last `drop`
// frees it.
//
// Deciding which of the two is a race with `hold`. So the node is released first: from then on
// `hold` fails. If the change then cannot be applied, the release is taken back, all under the
// node's lock.

import CairnBase
import CairnVFS

extension TreeNode {
    final func removeName(
        _ name: Name, directory wantsDirectory: Bool, expecting expected: Inode
    ) throws(Pause) {
        let victim = try sibling(expected)
        let isFreed: Bool
        do {
            let locked = try LockedNodes(self, victim)
            defer { withExtendedLifetime(locked) {} }
            isFreed = try removeLocked(name, directory: wantsDirectory, victim)
        }
        if isFreed { tree.evicted(victim) }
    }

    private func removeLocked(
        _ name: Name, directory wantsDirectory: Bool, _ victim: TreeNode
    ) throws(Pause) -> Bool {
        let tree = self.tree
        try requireDirectory()
        guard let target = try findEntry(name) else { throw .failed(.ENOENT) }
        guard target.number == victim.number, !victim.condition.contains(.freed) else {
            throw .failed(.ESTALE)
        }
        guard victim.isDirectory == wantsDirectory else {
            throw .failed(wantsDirectory ? .ENOTDIR : .EISDIR)
        }
        try requireRemovable(victim)
        if wantsDirectory, try !tree.store.isEmpty(victim) { throw .failed(.ENOTEMPTY) }

        let now = self.now()
        var above = stored
        above.modificationTime = now
        above.changeTime = now
        // A count from a damaged image may be too small.
        if wantsDirectory { above.linkCount -= min(above.linkCount, 1) }
        var change = Change()
        change.append(.remove(name, in: self.edited))
        change.append(.attributes(self.edited, above))
        let isFreed = try victim.applyLosingName(&change, at: now)
        keep(above)
        return isFreed
    }

    /// Applies a change that takes a name of this node, with what that means for the node itself.
    /// The caller holds this node's lock. True if the node was freed: once the lock is free, the
    /// caller tells the store by `evicted`.
    final func applyLosingName(
        _ change: inout Change, at now: Timestamp
    ) throws(Pause) -> Bool {
        var left = stored
        left.linkCount = isDirectory ? 0 : left.linkCount - min(left.linkCount, 1)
        left.changeTime = now
        if left.linkCount > 0 {
            change.append(.attributes(self.edited, left))
            try apply(change)
            keep(left)
            return false
        }
        if release() {
            change.append(.free(self.edited))
            do throws(Pause) {
                try apply(change)
            } catch {
                takeBackRelease()
                throw error
            }
            keep(left)
            condition.insert(.freed)
            tree.removeFromTable(number)
            return true
        }
        // Held. Whoever drops it last waits for our lock in `unused`, and then sees an orphan.
        change.append(.attributes(self.edited, left))
        change.append(.orphan(self.edited))
        try apply(change)
        keep(left)
        return false
    }

    // MARK: Orphans

    /// The last hold went: frees the node if it has no names, waiting in the background if the
    /// store has to.
    final func freeLater() {
        lock.lockShared()
        let isOrphan = stored.linkCount == 0 && !condition.contains(.freed)
        lock.unlockShared()
        guard isOrphan else { return }
        callingBack(
            { [self] () throws(Pause) in try freeOrphan() },
            completion: { [self] result in
                if case .failure = result { stayOrphan() }
            })
    }

    /// A store that failed to free the node has it recorded as an orphan and frees it when it is
    /// next opened. Until then it is a node that can be held, and freed when it is dropped again.
    private func stayOrphan() {
        lock.lock()
        defer { lock.unlock() }
        if isReleased, !condition.contains(.freed) { takeBackRelease() }
    }

    private func freeOrphan() throws(Pause) {
        do {
            try lockExclusively()
            defer { lock.unlock() }
            guard stored.linkCount == 0, !condition.contains(.freed) else { return }
            // Released already: by an earlier attempt of this, which had to wait.
            guard isReleased || release() else { return }
            var change = Change()
            change.append(.free(self.edited))
            try apply(change)
            condition.insert(.freed)
            tree.removeFromTable(number)
        }
        tree.evicted(self)
    }
}
