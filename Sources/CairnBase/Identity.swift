// Identities: numbers that are never given out twice in this process, for whatever must be told from
// everything else that ever was.
//
// A thread draws them from a batch of its own, so that threads do not meet in one counter. A batch
// belongs to the thread's slot; the next thread with that slot goes on in it.

import CSystem
import Synchronization

public enum Identity {
    private static let lastBatchEnd = Atomic<UInt64>(0)
    private static var batch: UInt64 { 1024 }

    /// Greater than 0.
    @inline(__always)
    public static func next() -> UInt64 {
        let slot = ThreadSlot.current.base
        if slot.pointee.next_identity == slot.pointee.identity_end { takeBatch(for: slot) }
        slot.pointee.next_identity &+= 1
        return slot.pointee.next_identity
    }

    @inline(never)
    private static func takeBatch(for slot: UnsafeMutablePointer<cairn_thread_slot>) {
        let end = lastBatchEnd.add(batch, ordering: .relaxed).newValue
        slot.pointee.next_identity = end - batch
        slot.pointee.identity_end = end
    }
}
