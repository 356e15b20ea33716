// File locks that other doors shall see too.
//
// As a rule the kernel keeps locks itself: right among all who use the mount, and without a
// request. Only where locks are shared with other doors (`sharesLocks`) does it send them here.
// Then every open file has a handle, for the kernel says when locks end in three ways:
//
//  - POSIX locks: FLUSH, sent at each close, names the process that closes.
//  - flock: RELEASE, at the last close, names the owner and says that it unlocks.
//  - Locks of open file descriptions: nothing names them but the handle that they were taken
//    through, so whoever locked through a handle loses what is left when it is released.

import CairnBase
import CairnVFS
import Synchronization

extension Session {
    /// F_UNLCK; 0 and 1 are F_RDLCK and F_WRLCK.
    private static let unlocked: UInt32 = 2
    /// The kernel's OFFSET_MAX, "to the end".
    private static let lastByte = UInt64(Int64.max)

    private func owner(_ identity: UInt64) -> LockOwner {
        .remote(door: door, identity)
    }

    func lock(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        guard options.sharesLocks else { return .notImplemented }
        let inode = try place(request.nodeID).inode
        let arguments = request.arguments
        let owner = owner(arguments.u64(8))
        let process = Int32(truncatingIfNeeded: arguments.u32(36))
        let kind = arguments.u32(32)
        guard kind <= Self.unlocked else { throw .failed(.EINVAL) }
        let waits = request.opcode == .setLockWaiting
        if arguments.u32(40) & WireFlag.lockWholeFile != 0, request.opcode != .getLock {
            let operation: FlockOperation =
                kind == Self.unlocked ? .unlock : kind == 0 ? .shared : .exclusive
            try inode.setFlock(operation, owner: owner, processID: process, wait: waits)
            return .done
        }
        let end = arguments.u64(24)
        guard
            let range = LockRange(
                start: arguments.u64(16), end: end >= Self.lastByte ? LockRange.whole.end : end)
        else { throw .failed(.EINVAL) }
        if kind == Self.unlocked, request.opcode != .getLock {
            try inode.unlock(range, owner: owner)
            return .done
        }
        let lock = FileLock(kind == 0 ? .read : .write, range, processID: process)
        if request.opcode == .getLock {
            put(inode.testLock(lock, owner: owner), reply)
            return .reply(Wire.lockSize)
        }
        try inode.setLock(lock, owner: owner, wait: waits)
        openings.note(arguments.u64(8), lockedThrough: arguments.u64(0))
        return .done
    }

    /// struct fuse_lk_out.
    private func put(_ lock: FileLock?, _ reply: ReplyBuffer) {
        reply.zero(0, Wire.lockSize)
        guard let lock else { return reply.put(Self.unlocked, at: 16) }
        reply.put(lock.range.start, at: 0)
        reply.put(min(lock.range.end, Self.lastByte), at: 8)
        reply.put(UInt32(lock.kind == .read ? 0 : 1), at: 16)
        reply.put(UInt32(bitPattern: max(lock.processID, 0)), at: 20)
    }

    /// A process closes a descriptor of the file.
    func releaseRecordLocks(_ request: Request) throws(Pause) {
        try place(request.nodeID).inode.releaseLocks(of: owner(request.arguments.u64(16)))
    }

    /// The last descriptor of an open file is closed.
    func releaseLocks(_ request: Request, of file: OpeningTable.OpenFile) {
        guard let inode = nodes.place(request.nodeID)?.inode else { return }
        if request.arguments.u32(12) & WireFlag.releaseUnlocks != 0 {
            inode.releaseLocks(of: owner(request.arguments.u64(16)))
        }
        for identity in file.lockOwners {
            inode.releaseLocks(of: owner(identity))
        }
    }

    /// The connection is gone: so are its locks.
    func releaseAllLocks() {
        guard options.sharesLocks else { return }
        for inode in nodes.inodes {
            for listed in inode.fileLocks where listed.owner.door == door {
                inode.releaseLocks(of: listed.owner)
            }
        }
    }
}
