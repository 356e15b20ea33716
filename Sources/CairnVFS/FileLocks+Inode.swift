// Locking a file: what `Process` and doors call. Attempts (Wait.swift).

public import CairnBase

extension Inode {
    /// F_GETLK, F_OFD_GETLK: a lock that keeps the owner from taking this one; nil if it could.
    public func testLock(_ lock: FileLock, owner: LockOwner) -> FileLock? {
        attachment?.rangeLocks.conflict(lock, owner: owner)
    }

    /// F_SETLK and F_SETLKW and their OFD forms: takes the lock, in place of whatever the owner
    /// had on these bytes.
    ///
    /// Fails with EAGAIN, or waits if `wait`: then EINTR if cancelled, and EDEADLK if the wait
    /// would never end. ENOLCK beyond the filesystem's `lockLimitPerFile`.
    public func setLock(_ lock: FileLock, owner: LockOwner, wait: Bool) throws(Pause) {
        try attachmentMadeIfNeeded.rangeLocks.set(
            lock, owner: owner, wait: wait, limit: fileSystem.lockLimitPerFile)
    }

    /// F_UNLCK. ENOLCK if splitting a range went beyond the limit.
    public func unlock(_ range: LockRange, owner: LockOwner) throws(Pause) {
        try attachment?.rangeLocks.unset(
            range, owner: owner, limit: fileSystem.lockLimitPerFile)
    }

    /// flock(2). EAGAIN (EWOULDBLOCK), or waits if `wait`. A shared lock that could not be made
    /// exclusive is lost, as flock(2) says. Does not meet the locks of `setLock`.
    public func setFlock(
        _ operation: FlockOperation, owner: LockOwner, processID: Int32 = -1, wait: Bool
    ) throws(Pause) {
        let kind: FileLock.Kind
        switch operation {
        case .unlock:
            attachment?.flocks.release(owner)
            return
        case .shared: kind = .read
        case .exclusive: kind = .write
        }
        try attachmentMadeIfNeeded.flocks.setWhole(
            kind, processID: processID, owner: owner, wait: wait,
            limit: fileSystem.lockLimitPerFile)
    }

    /// A descriptor was closed: for `.process` owners at the close of any descriptor of the file,
    /// for `.description` owners at the last one of the description. Costs a load where no file of
    /// the filesystem was ever locked.
    public func releaseLocks(of owner: LockOwner) {
        guard let attachment else { return }
        attachment.rangeLocks.release(owner)
        attachment.flocks.release(owner)
    }

    /// Locks of this file, held and waited for, in the order in which they came.
    public var fileLocks: [ListedLock] {
        attachment?.listedLocks(in: fileSystem) ?? []
    }
}

extension FileSystem {
    /// Ranges that may be locked in one file, by all owners together: ENOLCK beyond.
    public final var lockLimitPerFile: Int {
        get { attachments.lockLimit.load(ordering: .relaxed) }
        set { attachments.lockLimit.store(newValue, ordering: .relaxed) }
    }

    /// Every lock on files of this filesystem. Waits for no I/O.
    public final var fileLocks: [ListedLock] {
        attachments.all.flatMap { $0.listedLocks(in: self) }
    }
}

extension InodeAttachment {
    func listedLocks(in fileSystem: FileSystem) -> [ListedLock] {
        var result: [ListedLock] = []
        for (table, isFlock) in [(rangeLocks, false), (flocks, true)] {
            let (held, waiting) = table.list()
            for (locks, isWaiting) in [(held, false), (waiting, true)] {
                for (lock, owner) in locks {
                    result.append(
                        ListedLock(
                            lock: lock, owner: owner, isFlock: isFlock, isWaiting: isWaiting,
                            fileSystem: fileSystem.identity, inodeNumber: inodeNumber))
                }
            }
        }
        return result
    }
}
