// chmod, chown, truncate, utimensat and chattr: one change of attributes as one step.

import CairnBase
import CairnVFS

extension TreeNode {
    final func changeAttributes(
        _ change: AttributeChange, by credentials: Credentials
    ) throws(Pause) -> Attributes {
        try lockExclusivelyUnlessFreed()
        defer { lock.unlock() }
        guard change.saysSomething else { return stored }
        try checkFlags(against: change, by: credentials)
        let now = self.now()
        var after = stored
        if let size = change.size {
            try checkSize(size)
            after.size = size
            after.modificationTime = now
        }
        if let user = change.user { after.user = user }
        if let group = change.group { after.group = group }
        if change.clearsPrivileges { after.clearPrivileges() }
        if let permissions = change.permissions {
            after.permissions = permissions.intersection(.all)
            // Linux's setattr_prepare: only members may keep the set-group-id bit.
            if !credentials.isMember(of: after.group), !credentials.has(.keepSetID) {
                after.permissions.remove(.setGroupID)
            }
        }
        if let flags = change.flags { after.flags = flags.intersection(.settable) }
        after.accessTime.change(change.accessTime, now: now)
        after.modificationTime.change(change.modificationTime, now: now)
        after.changeTime = change.changeTime ?? now

        if change.permissions != nil, let list = try knownLists()?.access {
            let synced = list.changed(to: after.permissions)
            try applyLists(.access, synced, hadList: true, with: after)
            lists = AccessLists.of(access: synced, default: lists?.default)
        } else {
            var edits = Change()
            edits.append(.attributes(self.edited, after))
            try apply(edits)
        }
        keep(after)
        return stored
    }

    private func checkSize(_ size: UInt64) throws(Pause) {
        guard kind == .regular else { throw .failed(isDirectory ? .EISDIR : .EINVAL) }
        guard size <= tree.maximumFileSize else { throw .failed(.EFBIG) }
    }

    /// Immutable and append-only files (Linux's notify_change and fileattr_set_prepare).
    private func checkFlags(
        against change: AttributeChange, by credentials: Credentials
    ) throws(Pause) {
        let fixed: FileFlags = [.immutable, .appendOnly]
        if let flags = change.flags,
            flags.intersection(fixed) != stored.flags.intersection(fixed),
            !credentials.has(.changeImmutable)
        {
            throw .failed(.EPERM)
        }
        guard !stored.flags.isDisjoint(with: fixed) else { return }
        if change.permissions != nil || change.user != nil || change.group != nil
            || change.size != nil || change.accessTime.isExplicit
            || change.modificationTime.isExplicit
        {
            throw .failed(.EPERM)
        }
        let touches = change.accessTime == .now || change.modificationTime == .now
        if touches, stored.flags.contains(.immutable) { throw .failed(.EPERM) }
    }

    // MARK: Access time

    final func noteRead(_ policy: AccessTimePolicy) {
        guard policy != .never else { return }
        let now = self.now()
        lock.lockShared()
        let isWanted =
            !stored.flags.contains(.noAccessTime) && !condition.contains(.freed)
            && policy.wantsUpdate(stored, now: now)
        lock.unlockShared()
        if isWanted { setAccessTime(now) }
    }

    /// Gives up where the store has to wait or fails: a read succeeds without its time.
    private func setAccessTime(_ now: Timestamp) {
        guard !tree.store.isReadOnly else { return }
        lock.lock()
        defer { lock.unlock() }
        guard condition.isDisjoint(with: [.freed, .stale]) else { return }
        var after = stored
        after.accessTime = now
        do throws(Pause) {
            try tree.noteAccess(after, of: self)
        } catch {
            return
        }
        keep(after)
    }
}

extension AttributeChange {
    fileprivate var saysSomething: Bool {
        permissions != nil || user != nil || group != nil || size != nil || accessTime != .keep
            || modificationTime != .keep || changeTime != nil || flags != nil || clearsPrivileges
    }
}

extension TimeChange {
    /// A moment was given: Linux's ATTR_ATIME_SET and ATTR_MTIME_SET.
    fileprivate var isExplicit: Bool {
        if case .set = self { return true }
        return false
    }
}

extension Timestamp {
    fileprivate mutating func change(_ change: TimeChange, now: Timestamp) {
        switch change {
        case .keep: break
        case .now: self = now
        case .set(let time): self = time
        }
    }
}

extension Attributes {
    /// Set-user-id goes, and set-group-id where the group may execute; directories keep both.
    mutating func clearPrivileges() {
        guard kind != .directory else { return }
        permissions.remove(.setUserID)
        if permissions.contains(.groupExecute) { permissions.remove(.setGroupID) }
    }
}
