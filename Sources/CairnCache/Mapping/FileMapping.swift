// FileMapping: pages of a file, mapped into this process (requirement C7).
//
// The memory is the cache's own: what is written to the file is seen through the mapping at once, and
// the other way round. A mapping keeps its pages in memory, and all mappings of a pool together may
// keep half of it; ENOMEM beyond.
//
// What a program writes through a shared mapping becomes known to the store when somebody asks for
// `changes` and writes these to the file. Pages that are mapped change at any moment, so snapshots
// copy them.
//
// Threading: any thread.

public import CairnBase

public final class FileMapping: MappedMemory {
    let pages: FilePages
    let region: MappedRegion

    fileprivate init(_ pages: FilePages, _ region: MappedRegion) {
        self.pages = pages
        self.region = region
    }

    deinit {
        pages.lock.withLock { pages.mappings.remove(region) }
    }

    public var memory: UnsafeMutableRawBufferPointer { region.memory }

    /// Where in the file it begins, in bytes.
    public var offset: UInt64 {
        region.first << pages.pageShift &- UInt64(bitPattern: Int64(region.start(of: region.first)))
    }

    /// Whether the file has pages there: whoever touches others gets SIGBUS.
    public func isShown(_ range: Range<Int>) -> Bool {
        guard !range.isEmpty else { return true }
        return pages.lock.withLock {
            (region.page(of: range.lowerBound)...region.page(of: range.upperBound - 1))
                .allSatisfy { region.isShown($0) }
        }
    }

    public func protect(_ range: Range<Int>, _ protection: MemoryProtection) throws(Errno) {
        try pages.lock.withLock { () throws(Errno) in try region.protect(range, protection) }
    }

    public func unmap(_ range: Range<Int>) throws(Errno) {
        try pages.lock.withLock { () throws(Errno) in
            let there = Set((region.first..<region.end).filter { region.page($0) != nil })
            let gone = try region.unmap(range)
            pages.mappings.left(gone) { there.contains($0) && region.page($0) == nil }
        }
    }

    public func changes(in range: Range<Int>) -> [Range<Int>] {
        let range = range.clamped(to: 0..<memory.count)
        guard !range.isEmpty else { return [] }
        var result: [Range<Int>] = []
        for index in region.page(of: range.lowerBound)...region.page(of: range.upperBound - 1) {
            guard pages.lock.withLock({ isChanged(index) }) else { continue }
            let start = region.start(of: index)
            let bytes = (start..<start + pages.pageSize).clamped(to: 0..<memory.count)
            if let last = result.last, last.upperBound == bytes.lowerBound {
                result[result.count - 1] = last.lowerBound..<bytes.upperBound
            } else {
                result.append(bytes)
            }
        }
        return result
    }

    private func isChanged(_ index: UInt64) -> Bool {
        guard region.mayHaveChanges(index), let page = region.page(index), !page.isRemoved,
            !page.needsWriting
        else { return false }
        return pages.mappings.differs(index, UnsafeRawBufferPointer(page.bytes))
    }
}

extension FilePages {
    /// A mapping without pages yet: `bring` them. EINVAL for what cannot be mapped, ENOMEM.
    public func makeMapping(_ request: MappingRequest) throws(Errno) -> FileMapping {
        let unit = UInt64(MappingRequest.granularity)
        guard request.length > 0, request.offset % unit == 0,
            request.offset <= UInt64(Int64.max) - UInt64(request.length)
        else { throw .EINVAL }
        let region = try MappedRegion(request, of: cache.pool)
        lock.withLock { mappings.add(region) }
        return FileMapping(self, region)
    }

    /// Brings the pages of a mapping that lie within the file, whose size is given, as far as they are
    /// not there, and shows them. Under the file's lock, shared or exclusively. What has come stays
    /// with the mapping, so each attempt gets further.
    public func bring(_ mapping: FileMapping, size: UInt64) throws(Pause) {
        let region = mapping.region
        let end = pages(covering: size)
        lock.withLock { noteFileEnd(size) }
        var next = region.first
        while let index = lock.withLock({ region.nextAbsent(from: next, before: end) }) {
            guard cache.pool.mayHoldMore else { throw .failed(.ENOMEM) }
            let page = try pageToMap(PageIndex(rawValue: index), wanted: end - index)
            let writing = lock.withLock { () -> Wait? in
                if let snapshot = snapshot(with: page.index) { return snapshot.end }
                // Another frame may have taken its place since.
                if page.isRemoved || region.page(index) != nil { return nil }
                mappings.enter(index, page.pinAgain(), in: region)
                return nil
            }
            page.unpin()
            if let writing { throw .wait(OperationWait(writing)) }
            next = index
        }
        do throws(Errno) {
            try lock.withLock { () throws(Errno) in try region.showEntered() }
        } catch {
            throw .failed(error)
        }
    }

    private func pageToMap(_ index: PageIndex, wanted: UInt64) throws(Pause) -> PinnedPage {
        while true {
            if let page = pageSet.tryGet(index, touch: false) { return page.take() }
            if index.rawValue < backedEnd.load(ordering: .acquiring) {
                return try fetch(index, wanted: wanted).take()
            }
            // New: zeros, that nobody has written.
            guard let fill = try pageSet.beginFill(index) else { continue }
            fill.bytes(of: 0).initializeMemory(as: UInt8.self, repeating: 0)
            fill.complete()
        }
    }

    // MARK: What else happens to the file. Under `lock`.

    /// The file ends there, or further on than was known: then what a program has written behind the
    /// old end, in its last page, is zeros.
    func noteFileEnd(_ size: UInt64) {
        guard !mappings.isEmpty else { return }
        if size > mappings.fileEnd { zeroBehindEnd() }
        mappings.fileEnd = size
    }

    /// Zeros in the copy of the file's last page what lies behind the end.
    func zeroBehindEnd(of index: UInt64, in copy: UnsafeMutableRawBufferPointer) {
        guard index == mappings.fileEnd >> pageShift else { return }
        let inner = Int(truncatingIfNeeded: mappings.fileEnd & pageMask)
        UnsafeMutableRawBufferPointer(rebasing: copy[inner...])
            .initializeMemory(as: UInt8.self, repeating: 0)
    }

    private func zeroBehindEnd() {
        let inner = Int(truncatingIfNeeded: mappings.fileEnd & pageMask)
        let index = mappings.fileEnd >> pageShift
        guard inner != 0, mappings.has(index),
            let page = pageSet.tryGet(PageIndex(rawValue: index), touch: false)?.take()
        else { return }
        page.withContentLock { bytes in
            _ = UnsafeMutableRawBufferPointer(rebasing: bytes[inner...])
                .initializeMemory(as: UInt8.self, repeating: 0)
        }
        page.unpin()
    }

    /// A page that was not there is: mappings that reach to it show it.
    func showNew(_ index: PageIndex) {
        for region in mappings.regions where region.contains(index.rawValue) {
            guard region.page(index.rawValue) == nil,
                let page = pageSet.tryGet(index, touch: false)
            else { continue }
            mappings.enter(index.rawValue, page.take(), in: region)
            // Where the system refuses, it is shown by the next `bring`.
            try? region.showEntered()
        }
    }

    /// Takes whole pages out. Those that are mapped and stay in the file become zeros where they are,
    /// and clean: that is what the backing gives for them.
    func removeWhole(_ range: Range<UInt64>, isEnd: Bool) {
        if isEnd {
            mappings.cut(range)
            pageSet.remove(
                PageIndex(rawValue: range.lowerBound)..<PageIndex(rawValue: range.upperBound))
            return
        }
        var next = range.lowerBound
        for index in mappings.pages.keys.filter({ range.contains($0) }).sorted() {
            if next < index {
                pageSet.remove(PageIndex(rawValue: next)..<PageIndex(rawValue: index))
            }
            clear(PageIndex(rawValue: index))
            next = index + 1
        }
        if next < range.upperBound {
            pageSet.remove(PageIndex(rawValue: next)..<PageIndex(rawValue: range.upperBound))
        }
    }

    private func clear(_ index: PageIndex) {
        guard let page = pageSet.tryGet(index, touch: false)?.take() else { return }
        page.withContentLock { bytes in
            _ = bytes.initializeMemory(as: UInt8.self, repeating: 0)
            mappings.noteStored(index.rawValue, UnsafeRawBufferPointer(bytes))
        }
        cache.pool.forgetChanges(page.frame)
        page.unpin()
    }

    /// The bytes of a write are the mapping's own: nothing is copied, and the page is dirty.
    func noteMappedWrite(_ index: PageIndex) {
        lock.withLock {
            guard mappings.has(index.rawValue) else { return }
            lastChanged = max(lastChanged, index.rawValue)
            pageSet.markNeedsFlush(index)
        }
    }
}
