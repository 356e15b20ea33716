// An operation as a system call that waits: what a worker thread does with it.

import CSystem

extension IOOperation {
    /// Bytes or a negative errno.
    func callOnce() -> Int {
        let descriptor = file.descriptor
        switch action {
        case .read, .write:
            var segment = BlockSegment(address: address, count: count)
            return withUnsafePointer(to: &segment) { transfer(descriptor, $0, 1) }
        case .readSegments, .writeSegments:
            guard let segments else { return 0 }
            return transfer(descriptor, segments, Int32(truncatingIfNeeded: count))
        case .syncData:
            return Int(cairn_device_sync(descriptor))
        case .punchHole:
            return Int(cairn_device_punch_hole(descriptor, offset, UInt64(count)))
        case .discardBlocks:
            return Int(cairn_device_discard(descriptor, offset, UInt64(count)))
        }
    }

    private func transfer(
        _ descriptor: Int32, _ segments: UnsafePointer<BlockSegment>, _ count: Int32
    ) -> Int {
        let isRead = action == .read || action == .readSegments
        return isRead
            ? Int(cairn_device_read(descriptor, segments, count, offset))
            : Int(cairn_device_write(descriptor, segments, count, offset))
    }
}
