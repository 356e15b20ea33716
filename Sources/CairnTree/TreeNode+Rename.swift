// renameat2(2): one step, whatever it moves, replaces or exchanges.
//
// The loop check. A directory must not come below itself. The ancestors of a directory change only
// when a directory moves to another directory, and that happens under `renameLock`. So with that
// lock held, walking up from the target sees what will hold when the change is applied. Ancestors
// cannot be removed meanwhile: they are not empty.

import CairnBase
import CairnVFS

extension TreeNode {
    final func moveName(
        _ name: Name, expecting expected: Inode, to target: Inode, _ newName: Name,
        replacing replaced: Inode?, flags: RenameFlags
    ) throws(Pause) {
        guard !flags.isSuperset(of: [.noReplace, .exchange]) else { throw .failed(.EINVAL) }
        let moved = try sibling(expected)
        let victim = try replaced.map { inode throws(Pause) in try sibling(inode) }
        let move = Move(
            source: self, name: name, moved: moved, target: try sibling(target),
            newName: newName, victim: victim, isExchange: flags.contains(.exchange))
        if victim != nil {
            if flags.contains(.noReplace) { throw .failed(.EEXIST) }
        } else if move.isExchange {
            throw .failed(.ENOENT)
        }
        let freesVictim: Bool
        if move.movesDirectoryAcross {
            tree.renameLock.lock()
            defer { tree.renameLock.unlock() }
            try move.checkLoops()
            freesVictim = try move.run()
        } else {
            freesVictim = try move.run()
        }
        if freesVictim, let victim { tree.evicted(victim) }
    }
}

/// One rename that is under way.
private struct Move {
    let source: TreeNode
    let name: Name
    let moved: TreeNode
    let target: TreeNode
    let newName: Name
    let victim: TreeNode?
    let isExchange: Bool

    var isAcross: Bool { source !== target }

    /// Whether ancestors matter: a directory goes or comes from one directory to another.
    var movesDirectoryAcross: Bool {
        isAcross && (moved.isDirectory || victim?.isDirectory == true)
    }

    // MARK: Ancestors, under renameLock

    func checkLoops() throws(Pause) {
        if moved.isDirectory, try isAtOrAbove(moved, target) { throw .failed(.EINVAL) }
        if let victim, victim.isDirectory, try isAtOrAbove(victim, source) {
            throw .failed(isExchange ? .EINVAL : .ENOTEMPTY)
        }
    }

    private func isAtOrAbove(_ ancestor: TreeNode, _ directory: TreeNode) throws(Pause) -> Bool {
        var current = directory
        while current !== ancestor {
            let above = current.parentNumber.load(ordering: .relaxed)
            if above == current.number || above == 0 { return false }
            current = try current.tree.node(above)
        }
        return true
    }

    // MARK: The change

    /// True if what was replaced is freed.
    func run() throws(Pause) -> Bool {
        let locked = try LockedNodes(source, target, moved, victim)
        defer { withExtendedLifetime(locked) {} }
        try checkNames()
        // Two names of one file: nothing to do, says POSIX.
        if moved === victim { return false }
        try checkKinds()
        let now = source.now()
        if isExchange, let victim {
            try exchange(with: victim, at: now)
            return false
        }
        return try move(at: now)
    }

    /// The names still lead to what the caller had checked.
    private func checkNames() throws(Pause) {
        try source.requireDirectory()
        try target.requireDirectory()
        guard let found = try source.findEntry(name) else { throw .failed(.ENOENT) }
        guard found.number == moved.number else { throw .failed(.ESTALE) }
        guard try target.findEntry(newName)?.number == victim?.number else {
            throw .failed(.ESTALE)
        }
        guard !moved.condition.contains(.freed), victim?.condition.contains(.freed) != true else {
            throw .failed(.ESTALE)
        }
    }

    private func checkKinds() throws(Pause) {
        try source.requireRemovable(moved)
        if let victim {
            try target.requireRemovable(victim)
        } else {
            try target.requireAddable()
        }
        let targetGains = moved.isDirectory ? 1 : 0
        let targetLoses = victim?.isDirectory == true ? 1 : 0
        if isAcross {
            let limit = source.tree.maximumLinkCount
            if targetGains > targetLoses, target.stored.linkCount >= limit {
                throw .failed(.EMLINK)
            }
            if isExchange, targetLoses > targetGains, source.stored.linkCount >= limit {
                throw .failed(.EMLINK)
            }
        }
        guard let victim, !isExchange else { return }
        if moved.isDirectory {
            guard victim.isDirectory else { throw .failed(.ENOTDIR) }
            guard try source.tree.store.isEmpty(victim) else { throw .failed(.ENOTEMPTY) }
        } else if victim.isDirectory {
            throw .failed(.EISDIR)
        }
    }

    private func move(at now: Timestamp) throws(Pause) -> Bool {
        var change = Change()
        change.append(.remove(name, in: source.edited))
        if victim != nil {
            change.append(.replace(newName, in: target.edited, to: moved.edited))
        } else {
            change.append(.insert(newName, in: target.edited, to: moved.edited))
        }
        let losesDirectory = moved.isDirectory ? 1 : 0
        let replacesDirectory = victim?.isDirectory == true ? 1 : 0
        let above = directoriesAfter(
            at: now, sourceGains: -losesDirectory, targetGains: losesDirectory - replacesDirectory)
        above.append(to: &change)
        var movedAfter = moved.stored
        movedAfter.changeTime = now
        change.append(.attributes(moved.edited, movedAfter))
        var freesVictim = false
        if let victim {
            freesVictim = try victim.applyLosingName(&change, at: now)
        } else {
            try source.apply(change)
        }
        above.keep()
        moved.keep(movedAfter)
        if isAcross, moved.isDirectory {
            moved.parentNumber.store(target.number, ordering: .relaxed)
        }
        return freesVictim
    }

    private func exchange(with other: TreeNode, at now: Timestamp) throws(Pause) {
        var change = Change()
        change.append(.replace(newName, in: target.edited, to: moved.edited))
        change.append(.replace(name, in: source.edited, to: other.edited))
        let difference = (moved.isDirectory ? 1 : 0) - (other.isDirectory ? 1 : 0)
        let above = directoriesAfter(at: now, sourceGains: -difference, targetGains: difference)
        above.append(to: &change)
        var movedAfter = moved.stored
        movedAfter.changeTime = now
        change.append(.attributes(moved.edited, movedAfter))
        var otherAfter = other.stored
        otherAfter.changeTime = now
        change.append(.attributes(other.edited, otherAfter))
        try source.apply(change)
        above.keep()
        moved.keep(movedAfter)
        other.keep(otherAfter)
        if isAcross {
            if moved.isDirectory {
                moved.parentNumber.store(target.number, ordering: .relaxed)
            }
            if other.isDirectory {
                other.parentNumber.store(source.number, ordering: .relaxed)
            }
        }
    }

    // MARK: The two directories

    /// What the directories' attributes will be: one pair, or one where both are the same.
    private struct Directories {
        let source: TreeNode
        let target: TreeNode
        var sourceAfter: Attributes
        var targetAfter: Attributes

        func append(to change: inout Change) {
            change.append(.attributes(source.edited, sourceAfter))
            if source !== target { change.append(.attributes(target.edited, targetAfter)) }
        }

        func keep() {
            source.keep(sourceAfter)
            if source !== target { target.keep(targetAfter) }
        }
    }

    private func directoriesAfter(
        at now: Timestamp, sourceGains: Int, targetGains: Int
    ) -> Directories {
        var result = Directories(
            source: source, target: target, sourceAfter: source.stored, targetAfter: target.stored)
        func change(_ attributes: inout Attributes, by gain: Int) {
            attributes.linkCount = UInt32(clamping: Int(attributes.linkCount) + gain)
            attributes.modificationTime = now
            attributes.changeTime = now
        }
        if isAcross {
            change(&result.sourceAfter, by: sourceGains)
            change(&result.targetAfter, by: targetGains)
        } else {
            change(&result.sourceAfter, by: sourceGains + targetGains)
        }
        return result
    }
}
