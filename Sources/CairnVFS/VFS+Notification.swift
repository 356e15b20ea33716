// From an operation to those who watch.
//
// Called after the operation, on the thread that did it; readers wake when its epoch section ends.
// Where no inode of the filesystem is watched, it costs one atomic load.

import CairnBase
import Synchronization

/// What happened to an inode.
enum FileEvent {
    case create
    case delete
    case attributes
    /// Another link was made: an attribute, but those who watch a directory are not told.
    case linked
    case modify
    case access
    case open
    case closeWrite
    case closeNoWrite

    fileprivate var watchEvents: WatchEvents {
        switch self {
        case .create: return .create
        case .delete: return .delete
        case .attributes, .linked: return .attributes
        case .modify: return .modify
        case .access: return .access
        case .open: return .open
        case .closeWrite: return .closeWrite
        case .closeNoWrite: return .closeNoWrite
        }
    }
}

extension FileSystem {
    /// Somebody watches an inode of this filesystem.
    @inline(__always)
    final var isWatched: Bool { attachments.watchCount.load(ordering: .relaxed) != 0 }

    /// The filesystem is being closed: each watch is told `unmount`, and ends.
    final func endWatches() {
        guard isWatched else { return }
        for attachment in attachments.all {
            attachment.watches.end(with: .unmount)
        }
    }
}

extension VFS {
    /// Tells those who watch the inode, or the directory that it is in. The name is the one that
    /// was used; without it, the one under which the inode was last found.
    @inline(__always)
    func notify(
        _ event: FileEvent, _ inode: Inode, in directory: Inode? = nil, as name: Name? = nil
    ) {
        inode.tellWatchers(event, in: directory, as: name)
    }

    /// Tells of a renameat2(2).
    @inline(__always)
    func notifyMove(
        _ moved: Inode, from source: Inode, _ name: Name, to target: Inode, _ newName: Name,
        replaced: Inode?, flags: RenameFlags
    ) {
        guard source.isWatched else { return }
        tellWatchersOfMove(
            moved, from: source, name, to: target, newName, replaced: replaced, flags: flags)
    }

    @inline(never)
    private func tellWatchersOfMove(
        _ moved: Inode, from source: Inode, _ name: Name, to target: Inode, _ newName: Name,
        replaced: Inode?, flags: RenameFlags
    ) {
        // Two names of one file: nothing was renamed.
        if moved === replaced { return }
        tellMove(of: moved, from: source, name, to: target, newName)
        if flags.contains(.exchange), let replaced {
            moved.attachment?.watches.tell(.moveSelf)
            tellMove(of: replaced, from: target, newName, to: source, name)
            replaced.attachment?.watches.tell(.moveSelf)
            return
        }
        moved.attachment?.watches.tell(.moveSelf)
        replaced?.tellWatchersOfLostName()
    }

    private func tellMove(
        of inode: Inode, from source: Inode, _ name: Name, to target: Inode, _ newName: Name
    ) {
        let flag: WatchEvents = inode.isDirectory ? .isDirectory : []
        let cookie = MoveCookie.next()
        source.attachment?.watches.tell(flag.union(.movedFrom), cookie: cookie, name: name)
        target.attachment?.watches.tell(flag.union(.movedTo), cookie: cookie, name: newName)
    }
}

/// What pairs the two halves of a move.
private enum MoveCookie {
    private static let last = Atomic<UInt32>(0)

    static func next() -> UInt32 {
        let cookie = last.wrappingAdd(1, ordering: .relaxed).newValue
        return cookie != 0 ? cookie : last.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

extension Inode {
    /// See `VFS.notify`.
    @inline(__always)
    final func tellWatchers(
        _ event: FileEvent, in directory: Inode? = nil, as name: Name? = nil
    ) {
        guard isWatched else { return }
        tellWatchersSlowly(event, in: directory, as: name)
    }

    @inline(never)
    private func tellWatchersSlowly(_ event: FileEvent, in directory: Inode?, as name: Name?) {
        let flag: WatchEvents = isDirectory ? .isDirectory : []
        let told = event.watchEvents.union(flag)
        switch event {
        case .create:
            directory?.attachment?.watches.tell(told, name: name)
        case .linked:
            attachment?.watches.tell(told)
        case .delete:
            tellWatchersOfLostName()
            if let directory, let name { forgetPlace(in: directory, as: name) }
            directory?.attachment?.watches.tell(told, name: name)
        case .attributes, .modify, .access, .open, .closeWrite, .closeNoWrite:
            if let directory, let name {
                directory.attachment?.watches.tell(told, name: name)
            } else if let place = place {
                place.name.withName { place.parent.attachment?.watches.tell(told, name: $0) }
            }
            attachment?.watches.tell(told)
        }
    }

    /// A name of this inode was removed, or given to another.
    fileprivate func tellWatchersOfLostName() {
        guard let watches = attachment?.watches else { return }
        if !isDirectory {
            watches.tell(.attributes)
        }
        // A directory has one name. A file that cannot say how many it has keeps its watches.
        let isGone = isDirectory || isReleased || (try? attributes())?.linkCount == 0
        guard isGone else { return }
        watches.noteUnlinked()
        if !isHeld {
            watches.end(with: .deleteSelf)
        }
    }

    /// The last hold went: what watches a file without a name hears of its end.
    @inline(__always)
    final func endWatchesIfUnlinked() {
        guard isWatched else { return }
        if let watches = attachment?.watches, watches.endWithLastHold {
            watches.end(with: .deleteSelf)
        }
    }
}
