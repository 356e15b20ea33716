// InodeAttachment: what callers hang on an inode and few inodes have: locks and watches.
//
// Made when first needed, and then kept for as long as the inode object lives. Each filesystem
// knows the attachments of its inodes, so that they can be listed, and how many watches there
// are, so that an event that nobody watches costs one load.
//
// Lock order: Inode.stateLock, then FileAttachments.lock. The locks inside an attachment are
// taken under neither.

import CairnBase
import Synchronization

final class InodeAttachment: Sendable {
    let inodeNumber: UInt64
    private let inodeIdentity: UInt64
    private let owner: FileAttachments

    /// POSIX and OFD locks.
    let rangeLocks = FileLockTable()
    let flocks = FileLockTable()
    let watches = InodeWatches()

    init(inode: Inode) {
        inodeNumber = inode.number
        inodeIdentity = inode.identity
        owner = inode.fileSystem.attachments
        owner.insert(self, inodeIdentity)
    }

    deinit {
        owner.remove(inodeIdentity)
    }
}

/// The attachments of one filesystem.
final class FileAttachments: @unchecked Sendable {
    // Sendable: atomic, or guarded by `lock`.

    /// Attachments there are.
    private let count = Atomic<Int>(0)
    /// Watches there are on all inodes.
    let watchCount = Atomic<Int>(0)
    /// Ranges that may be locked in one file, by all owners together.
    let lockLimit = Atomic<Int>(1 << 16)

    private let lock = Lock()
    private var known: [UInt64: Known] = [:]

    private struct Known {
        weak var attachment: InodeAttachment?
    }

    var isEmpty: Bool { count.load(ordering: .acquiring) == 0 }

    fileprivate func insert(_ attachment: InodeAttachment, _ identity: UInt64) {
        lock.withLock {
            known[identity] = Known(attachment: attachment)
            count.store(known.count, ordering: .releasing)
        }
    }

    fileprivate func remove(_ identity: UInt64) {
        lock.withLock {
            known[identity] = nil
            count.store(known.count, ordering: .releasing)
        }
    }

    /// In the order in which their inodes came into memory.
    var all: [InodeAttachment] {
        let found = lock.withLock { known }
        return found.sorted { $0.key < $1.key }.compactMap { $0.value.attachment }
    }
}

extension Inode {
    /// What hangs on this inode, if anything ever did.
    var attachment: InodeAttachment? {
        if withFileSystem({ $0.attachments.isEmpty }) { return nil }
        return stateLock.withLock { attachmentStorage }
    }

    var attachmentMadeIfNeeded: InodeAttachment {
        stateLock.withLock {
            if let attachment = attachmentStorage { return attachment }
            let attachment = InodeAttachment(inode: self)
            attachmentStorage = attachment
            return attachment
        }
    }
}
