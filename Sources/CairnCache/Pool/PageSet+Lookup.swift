// Finding pages that are here, and changing their state. No locks but a page's own, for changes of
// its bytes in place.

import CSystem
import CairnBase
import Synchronization

extension PageSet {
    /// The page at the index, pinned, if it is here, and its word before that.
    @inline(__always)
    private func pinned(_ index: PageIndex) -> (Frame, FrameWord)? {
        Epoch.section {
            guard let number = find(index.rawValue) else { return nil }
            let frame = pool.frames[number]
            let word = FrameWord(
                frame.atomicWord.pointee.add(1, ordering: .acquiringAndReleasing).oldValue)
            if word.isUsable, frame.owner == address, frame.index == index.rawValue {
                return (frame, word)
            }
            // It was evicted or removed since we found it.
            pool.unpin(frame)
            return nil
        }
    }

    /// The page at the index, pinned, if it is here and filled.
    @inline(__always)
    func pinnedPage(_ index: PageIndex) -> (Frame, FrameWord)? {
        guard let (frame, word) = pinned(index) else { return nil }
        if word.has(.filling) {
            pool.unpin(frame)
            return nil
        }
        return (frame, word)
    }

    /// The page, if it is here and filled. `touch`: it counts as used, for eviction; a caller that
    /// reads a page in small pieces says it once.
    @inline(__always)
    public func tryGet(_ index: PageIndex, touch: Bool = true) -> PageHandle? {
        guard let (frame, word) = pinnedPage(index) else {
            pool.count(.misses)
            return nil
        }
        return pool.hit(frame, word, touch: touch)
    }

    /// Copies bytes of the page, if it is here and filled, and was used before. No pin is taken, so
    /// nothing is written that other threads read: only their own caches are at work. That the page
    /// stayed what it was shows after the copy: a frame that got another page counts on. False: ask
    /// `tryGet`; what was copied is without meaning.
    @inline(__always)
    func tryRead(
        _ index: PageIndex, from offset: Int, to target: UnsafeMutableRawPointer, _ count: Int
    ) -> Bool {
        Epoch.section {
            guard let number = find(index.rawValue) else { return false }
            return uncountedPool._withUnsafeGuaranteedRef { pool in
                let frame = pool.frames[number]
                let before = FrameWord(frame.atomicWord.pointee.load(ordering: .acquiring))
                guard before.isUsable, !before.has([.filling, .ahead, .fresh]),
                    frame.owner == address, frame.index == index.rawValue
                else { return false }
                cairn_copy_racing(target, pool.address(of: number) + offset, count)
                atomicMemoryFence(ordering: .acquiring)
                let after = FrameWord(frame.atomicWord.pointee.load(ordering: .relaxed))
                guard after.isUsable, after.generation == before.generation else { return false }
                frame.touch()
                pool.count(.hits)
                return true
            }
        }
    }

    // MARK: Dirty pages

    /// Whether the page is here and not written: dirty, or being written.
    @inline(__always)
    public func hasDirty(_ index: PageIndex) -> Bool {
        Epoch.section {
            guard let number = find(index.rawValue) else { return false }
            let frame = pool.frames[number]
            guard frame.word.has(.unflushed), frame.owner == address else { return false }
            // A dirty page is not evicted. So if it stands there still, the word was its own.
            return frame.index == index.rawValue && find(index.rawValue) == number
        }
    }

    /// The dirty page, to be written: it is being written from now on. Nil if it is not here, not
    /// dirty, or somebody writes it already.
    public func getDirty(_ index: PageIndex) -> PageWrite? {
        guard let (frame, _) = pinnedPage(index) else { return nil }
        return pool.beginWrite(frame)
    }

    /// The page differs from what is stored: it has to be written. False if it is not here.
    @discardableResult
    public func markNeedsFlush(_ index: PageIndex) -> Bool {
        guard let (frame, _) = pinnedPage(index) else { return false }
        pool.markDirty(frame)
        pool.unpin(frame)
        return true
    }

    /// Changes a page that is here, and makes it dirty. False if it is not here. Takes one lock, the
    /// page's own, around `body`.
    public func modifyDirtyInPlace(
        _ index: PageIndex, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) -> Bool {
        guard let (frame, word) = pinnedPage(index) else { return false }
        pool.modify(frame, word, body)
        return true
    }
}

// What follows a look-up, of a set or by key: the frame is pinned, `word` is what it was before.
extension PagePool {
    @inline(__always)
    func hit(_ frame: Frame, _ word: FrameWord, touch: Bool = true) -> PageHandle {
        count(.hits)
        if touch { used(frame, word) }
        return PageHandle(PinnedPage(frame, self))
    }

    @inline(__always)
    func used(_ frame: Frame, _ word: FrameWord) {
        frame.touch()
        if word.has([.ahead, .fresh]) { firstUse(frame) }
    }

    @inline(never)
    private func firstUse(_ frame: Frame) {
        let (before, isFirst) = frame.update { word in
            word.has([.ahead, .fresh]) ? word.removing([.ahead, .fresh]) : nil
        }
        guard isFirst else { return }
        if before.has(.ahead) { count(.aheadUsed) }
        if before.has(.fresh) { count(.hits, -1) }
    }

    /// Changes the page's bytes, and lets the pin go.
    func modify(
        _ frame: Frame, _ word: FrameWord, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        used(frame, word)
        PinnedPage(frame, self).withContentLock(body)
        markDirty(frame)
        unpin(frame)
    }

    /// Hands the pin on to the handle, or lets it go.
    func beginWrite(_ frame: Frame) -> PageWrite? {
        if beginWriting(frame) { return PageWrite(PinnedPage(frame, self)) }
        unpin(frame)
        return nil
    }
}
