// NotificationWriter: writes notifications to the kernel, and counts them.
//
// Threading: any thread, once the descriptor is set.

import CSystem
import Synchronization

final class NotificationWriter: @unchecked Sendable {
    // Sendable: `descriptor` is set before anything is written.
    var descriptor: Int32 = -1
    private let sent = Atomic<UInt64>(0)

    var sentCount: UInt64 { sent.load(ordering: .relaxed) }

    /// Gives what the kernel answered: negative errors. ENOENT where it does not know the node or
    /// name.
    @discardableResult
    func write(_ code: NotificationCode, size: Int, _ fill: (ReplyBuffer) -> Void) -> Int64 {
        let total = Wire.replyHeaderSize + size
        sent.add(1, ordering: .relaxed)
        return withUnsafeTemporaryAllocation(byteCount: total, alignment: 8) { bytes in
            let message = ReplyBuffer(bytes: bytes)
            message.put(UInt32(total), at: 0)
            message.put(code.rawValue, at: 4)
            message.put(UInt64(0), at: 8)
            fill(ReplyBuffer(bytes: message.part(Wire.replyHeaderSize, size)))
            return Int64(cairn_write(descriptor, bytes.baseAddress, total))
        }
    }

    /// Attributes go in any case; and the pages of a range (length 0: to the end), if `offset` is not
    /// negative.
    @discardableResult
    func invalidateInode(_ node: UInt64, offset: Int64, length: Int64) -> Int64 {
        write(.invalidateInode, size: 24) { body in
            body.put(node, at: 0)
            body.put(offset, at: 8)
            body.put(length, at: 16)
        }
    }
}
