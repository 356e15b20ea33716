// Changing bytes: writing, cutting off, making holes. Under the file's lock, exclusively.

public import CairnBase
import Glibc

extension FilePages {
    /// Writes bytes into pages, which are dirty then. Gives how many, at least 1: fewer than asked for
    /// only where the rest has to be waited for (memory, the limits of dirty pages, a page of which
    /// a part is kept). Pages that are written whole, or are new, are not asked for.
    public func write(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return 0 }
        var done = 0
        var isOwn = false
        if isMapped.load(ordering: .relaxed) {
            isOwn = lock.withLock {
                noteFileEnd(max(mappings.fileEnd, offset &+ UInt64(bytes.count)))
                return mappings.isOwn(bytes, at: offset, pageShift: pageShift)
            }
        }
        defer { tellAccount() }
        while done < bytes.count {
            do throws(Pause) {
                let position = offset &+ UInt64(done)
                let inner = Int(truncatingIfNeeded: position & pageMask)
                let step = min(bytes.count - done, account.largestWrite * pageSize - inner)
                try account.admit(pages: Int(pages(covering: UInt64(inner + step))))
                try write(source + done, step, at: position, isOwn: isOwn, done: &done)
                tellAccount()
            } catch {
                if done > 0 { return done }
                throw error
            }
        }
        return done
    }

    private func write(
        _ source: UnsafeRawPointer, _ count: Int, at offset: UInt64, isOwn: Bool,
        done: inout Int
    ) throws(Pause) {
        var from = source
        var position = offset
        var left = count
        var pages = 0
        defer { cache.count(.writtenPages, pages) }
        while left > 0 {
            let inner = Int(truncatingIfNeeded: position & pageMask)
            let part = min(left, pageSize - inner)
            let index = PageIndex(rawValue: position >> pageShift)
            if isOwn {
                noteMappedWrite(index)
            } else {
                try change(index, inner..<inner + part) { bytes in
                    if let target = bytes.baseAddress { memcpy(target + inner, from, part) }
                }
            }
            from += part
            position &+= UInt64(part)
            left -= part
            done += part
            pages += 1
        }
    }

    /// Changes bytes of one page; the rest of it stays. `body` gets the whole page and must set all
    /// bytes of `part`. It waits for the page if it must be fetched.
    func change(
        _ index: PageIndex, _ part: Range<Int>,
        _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(Pause) {
        lock.lock()
        defer { lock.unlock() }
        lastChanged = max(lastChanged, index.rawValue)
        if let snapshot = snapshot(with: index), !mappings.has(index.rawValue) {
            return try changeCopy(in: snapshot, index, isWhole: part.count == pageSize, body)
        }
        if pageSet.modifyDirtyInPlace(index, body) { return }
        defer { if !mappings.isEmpty { showNew(index) } }
        if part.count == pageSize {
            return try pageSet.insertDirty(index, body)
        }
        if index.rawValue >= backedEnd.load(ordering: .acquiring) {
            return try pageSet.insertDirty(index) { bytes in
                if let start = bytes.baseAddress { memset(start, 0, bytes.count) }
                body(bytes)
            }
        }
        let page = try fetchToChange(index)
        _ = pageSet.modifyDirtyInPlace(page.index, body)
    }

    /// The page, or the wait for it. Called, and returns, with `lock` held; nothing that it starts is
    /// started under it.
    private func fetchToChange(_ index: PageIndex) throws(Pause) -> PageHandle {
        lock.unlock()
        defer { lock.lock() }
        return try fetch(index, wanted: 1)
    }

    /// Changes a page that is in a snapshot: a copy takes its place. A copy that has taken it already
    /// changes as it is.
    private func changeCopy(
        in snapshot: DirtySnapshot, _ index: PageIndex, isWhole: Bool,
        _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(Pause) {
        if snapshot.replaced.contains(index), pageSet.modifyDirtyInPlace(index, body) { return }
        if isWhole {
            try pageSet.replaceDirty(index, body)
        } else {
            guard let old = pageSet.tryGet(index, touch: false) else {
                preconditionFailure("a page that is being written is not resident")
            }
            let source = old.bytes
            try pageSet.replaceDirty(index) { bytes in
                bytes.copyMemory(from: source)
                body(bytes)
            }
        }
        snapshot.replaced.insert(index)
        cache.count(.copiedPages)
    }

    // MARK: Cutting off

    /// No file is longer, in bytes.
    private static var longestFile: UInt64 { 1 << 63 }

    /// The file ends at `size` now, and was not shorter before: pages behind it go, and the last keeps
    /// zeros behind it. Throws a wait while such pages are being written, or while the last must be
    /// fetched.
    public func truncate(to size: UInt64) throws(Pause) {
        try cut(size..<max(size, Self.longestFile))
        tellAccount()
    }

    /// Makes the bytes zeros: whole pages go, and what is left of others is kept. The backing must
    /// give zeros for the pages that went. Waits as `truncate`.
    public func punch(_ range: Range<UInt64>) throws(Pause) {
        guard !range.isEmpty else { return }
        try cut(range)
        tellAccount()
    }

    private func cut(_ range: Range<UInt64>) throws(Pause) {
        let first = range.lowerBound >> pageShift
        let end = pages(covering: range.upperBound)
        let head = Int(truncatingIfNeeded: range.lowerBound & pageMask)
        let tail = Int(truncatingIfNeeded: range.upperBound & pageMask)
        // Both are there before anything changes.
        let headPage = head != 0 ? try kept(first) : nil
        let tailPage = tail != 0 && (end - 1 != first || head == 0) ? try kept(end - 1) : nil
        lock.lock()
        defer { lock.unlock() }
        for snapshot in snapshots where snapshot.touches(first..<end) {
            throw .wait(OperationWait(snapshot.end))
        }
        if range.upperBound >= Self.longestFile { noteFileEnd(range.lowerBound) }
        if headPage != nil {
            zero(first, head..<(end - 1 == first && tail != 0 ? tail : pageSize))
        }
        if tailPage != nil { zero(end - 1, 0..<tail) }
        let wholeStart = pages(covering: range.lowerBound)
        let wholeEnd = range.upperBound >> pageShift
        if wholeStart < wholeEnd {
            removeWhole(wholeStart..<wholeEnd, isEnd: range.upperBound >= Self.longestFile)
        }
        if range.upperBound >= Self.longestFile {
            let backed = backedEnd.load(ordering: .relaxed)
            backedEnd.store(min(backed, wholeStart), ordering: .releasing)
        }
    }

    /// A page of which a part stays. Nil if it is zeros already.
    private func kept(_ index: UInt64) throws(Pause) -> PageHandle? {
        let page = PageIndex(rawValue: index)
        if let page = pageSet.tryGet(page, touch: false) { return page }
        if index >= backedEnd.load(ordering: .acquiring) { return nil }
        return try fetch(page, wanted: 1)
    }

    /// Zeros in a part of a page that is resident, which is dirty then, unless it has them already.
    private func zero(_ index: UInt64, _ part: Range<Int>) {
        let index = PageIndex(rawValue: index)
        if let page = pageSet.tryGet(index, touch: false),
            page.bytes[part].allSatisfy({ $0 == 0 })
        {
            return
        }
        _ = pageSet.modifyDirtyInPlace(index) { bytes in
            if let start = bytes.baseAddress { memset(start + part.lowerBound, 0, part.count) }
        }
    }

    /// Forgets every page, dirty ones too: the file is gone, or its filesystem is. Nothing may be
    /// asked of it afterwards.
    public func drop() {
        pageSet.remove(PageSet.everything)
        backedEnd.store(0, ordering: .releasing)
        tellAccount()
    }

    // MARK: What the account knows

    /// Tells the account how many dirty pages there are. What follows from it (writers that may go
    /// on, a committer that should begin) is called later, by the pool's `perform`.
    func tellAccount() {
        let events = lock.withLock {
            let count = pageSet.dirtyCount
            let change = count - countedDirty
            guard change != 0 else { return DirtyAccount.Events() }
            countedDirty = count
            return account.changed(self, by: change, isDirty: count > 0)
        }
        account.handle(events)
    }
}
