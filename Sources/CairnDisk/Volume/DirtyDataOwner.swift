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
    /// A commit begins: changes that were put off are made now (passes of the kind `late`), those that
    /// are due, or all if nothing comes after it.
    func makeLateChanges(isUnmounting: Bool) async

    /// Places what is dirty. With `isLast` the gate is closed: nothing becomes dirty meanwhile, and
    /// afterwards nothing may be dirty, nor be on its way to being placed by someone else. What
    /// cannot be written because of an error is the owner's to keep, and its next fsync's to report.
    func placeDirtyData(isLast: Bool) async

    /// Whether placing it with the gate closed takes no longer than a moment.
    func isDirtyDataSmall(limit: Int) -> Bool

    /// The gate is closed. Appends to `batch` what is dirty and was not in the log before: its
    /// bytes (`EditBatch.write`) after the inode's record, all of it, if that needs no more than
    /// `limit` bytes; gives false if it needs more, or some is being placed, and appends nothing. It
    /// stays dirty. Until it is placed, a batch that edits extents of such a file either replaces
    /// all that was logged of it, or says so (`EditBatch.editsLoggedData`).
    func logDirtyData(to batch: inout EditBatch, limit: Int) -> Bool

    /// Something that is in the log is not placed. After `placeDirtyData(isLast: true)` that means
    /// that it could not be, so the log is needed still.
    var hasLoggedData: Bool { get }

    /// Recovery: all of the log was carried out but for these bytes. Makes them dirty data, which the
    /// first commit places; it may place them sooner.
    func replay(_ writes: ReplayedWrites) async throws(Errno)
}
