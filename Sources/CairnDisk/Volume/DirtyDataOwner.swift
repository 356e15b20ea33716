// DirtyDataOwner: who holds what was written and is not placed yet: the store.
//
// Placing a file: its dirty pages and attributes are taken as they are under its node's lock,
// checksummed and compressed, blocks are allocated, the data is written, and then one
// `Volume.change` (a placing pass) enters the extents and the inode. So the disk has a file's old
// content with its old size, or the new with the new.
//
// Why everything that is dirty goes: after a crash the state is a prefix of the operations. A
// rename must not get ahead of the data of what it renames.
//
// All of it is called on the volume's executor, with no lock held.

import CairnBase

protocol DirtyDataOwner: AnyObject, Sendable {
    /// Places what is dirty. With `isLast` the gate is closed: nothing becomes dirty meanwhile, and
    /// afterwards nothing may be dirty, nor be on its way to being placed by someone else. What
    /// cannot be written because of an error is the owner's to keep, and its next fsync's to report.
    func placeDirtyData(isLast: Bool) async

    /// The gate is closed. Appends to `batch` what is dirty and was not in the log before: its
    /// bytes (`EditBatch.write`) after the inode's record, all of it, if that needs no more than
    /// `limit` bytes; gives false if it needs more, and appends nothing. It stays dirty. Until it is
    /// placed, batches that edit extents of such a file say so (`EditBatch.editsLoggedData`), also
    /// the one that places it.
    func logDirtyData(to batch: inout EditBatch, limit: Int) -> Bool

    /// Recovery: writes these bytes to the file's data and places them, before it returns. Called
    /// between changes of the same file's items, in the order in which they were logged, before
    /// anything else is asked of the volume; so nothing of the file may be kept in memory after it.
    func replayWrite(
        inode: UInt64, offset: UInt64, bytes: UnsafeRawBufferPointer
    ) async throws(Errno)

    /// Recovery: all of the log was carried out. Inodes that were logged with or after writes count
    /// their blocks as if these were not placed: mends that for those that `replayWrite` was called
    /// for.
    func endReplay() async throws(Errno)
}
