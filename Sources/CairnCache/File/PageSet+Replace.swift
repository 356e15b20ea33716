// Copy on write: another frame takes the place of one whose bytes must not change.

import CairnBase
import Synchronization

extension PageSet {
    /// Puts a new page, whose bytes `body` writes, all of them, in the place of the one that is here; it
    /// is dirty. Who holds the old one keeps its bytes, and what is written of it is written, but
    /// says nothing any more of the page. Throws as `acquire` does, and has changed nothing then.
    func replaceDirty(
        _ index: PageIndex, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(Pause) {
        var number: FrameNumber = 0
        _ = try withUnsafeMutablePointer(to: &number) { (place) throws(Pause) in
            try pool.takeFrames(
                for: self, from: index.rawValue,
                into: UnsafeMutableBufferPointer(start: place, count: 1))
        }
        // Nobody finds it yet.
        body(UnsafeMutableRawBufferPointer(start: pool.address(of: number), count: pool.pageSize))
        let frame = pool.frames[number]
        let hasMemory = Epoch.section {
            pool.lock.lock()
            lock.lock()
            defer {
                lock.unlock()
                pool.lock.unlock()
            }
            if let old = swapSlot(index.rawValue, number) {
                if pool.discard(old).has(.unflushed) { pool.countUnflushed(-1, of: self) }
            } else if insertSlot(index.rawValue, number) {
                countPage()
            } else {
                _ = pool.discard(number)
                return false
            }
            frame.update { $0.removing(.filling) }
            pool.markDirty(frame)
            return true
        }
        pool.fillingCount.subtract(1, ordering: .relaxed)
        pool.unpin(frame)
        guard hasMemory else { throw .failed(.ENOMEM) }
    }

    /// Enters a frame in the place of another, and gives that; nil if there is none. Under `lock`.
    private func swapSlot(_ index: UInt64, _ number: FrameNumber) -> FrameNumber? {
        guard let old = find(index) else { return nil }
        let seen = root.load(ordering: .relaxed)
        guard var node = PageNode(bits: seen), seen & 63 != 0 else {
            root.store((UInt(number) + 1) << 6, ordering: .sequentiallyConsistent)
            return old
        }
        while node.shift > 0 {
            guard let next = PageNode(bits: node.value(node.slotNumber(index))) else { return nil }
            node = next
        }
        node.slot(node.slotNumber(index)).pointee.store(
            UInt(number) + 1, ordering: .sequentiallyConsistent)
        return old
    }
}
