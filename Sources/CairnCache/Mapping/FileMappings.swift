// FileMappings: what is mapped of one file, and what its pages were when that was last looked at.
//
// Nobody tells when a program writes to mapped memory. So each page that is mapped has a digest of the
// bytes that the filesystem knows of, and whoever asks for changes compares.
//
// Why no change is lost. The digest is that of the bytes as they were read into memory, or of the copy
// that a snapshot took: just what is, or will be, stored. Bytes that differ from what is stored have
// another digest, until a later snapshot copies them; a page that is dirty needs no look, because a
// snapshot that copies it is still to come.
//
// Threading: guarded by the lock of the file's pages.

struct FileMappings {
    struct Page {
        var uses: Int
        /// Nil: nobody knows.
        var digest: PageDigest?
    }

    private(set) var regions: [MappedRegion] = []
    /// By index.
    private(set) var pages: [UInt64: Page] = [:]
    /// The file's size in bytes, known while anything is mapped.
    var fileEnd: UInt64 = 0

    var isEmpty: Bool { regions.isEmpty }

    func has(_ index: UInt64) -> Bool { pages[index] != nil }

    mutating func add(_ region: MappedRegion) { regions.append(region) }

    /// A page stands in a region now.
    mutating func enter(_ index: UInt64, _ page: PinnedPage, in region: MappedRegion) {
        region.enter(index, page)
        if pages[index] != nil {
            pages[index]?.uses += 1
        } else {
            pages[index] = Page(
                uses: 1, digest: PageDigest(of: UnsafeRawBufferPointer(page.bytes)))
        }
    }

    /// The bytes of a page that will be stored.
    mutating func noteStored(_ index: UInt64, _ bytes: UnsafeRawBufferPointer) {
        pages[index]?.digest = PageDigest(of: bytes)
    }

    /// What is stored of pages may be something else by now.
    mutating func forgetStored(_ range: Range<UInt64>) {
        for index in range where pages[index] != nil { pages[index]?.digest = nil }
    }

    func differs(_ index: UInt64, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let page = pages[index] else { return false }
        return page.digest != PageDigest(of: bytes)
    }

    /// Pages are in a region no more.
    mutating func left(_ range: Range<UInt64>, _ wasThere: (UInt64) -> Bool) {
        for index in range where wasThere(index) {
            guard let page = pages[index] else { continue }
            if page.uses > 1 {
                pages[index]?.uses -= 1
            } else {
                pages[index] = nil
            }
        }
    }

    mutating func remove(_ region: MappedRegion) {
        left(region.first..<region.end) { region.page($0) != nil }
        regions.removeAll { $0 === region }
    }

    /// The file ends there: pages behind it are shown no more.
    mutating func cut(_ range: Range<UInt64>) {
        for region in regions {
            let part = range.clamped(to: region.first..<region.end)
            let before = part.filter { region.page($0) != nil }
            region.withdraw(part)
            for index in before where region.page(index) == nil {
                left(index..<index + 1) { _ in true }
            }
        }
    }

    /// Whether the bytes are the memory that shows just this place of the file.
    func isOwn(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, pageShift: UInt64) -> Bool {
        guard let start = bytes.baseAddress else { return false }
        return regions.contains { region in
            guard region.isShared, let base = region.memory.baseAddress else { return false }
            let distance = start - UnsafeRawPointer(base)
            guard distance >= 0, distance + bytes.count <= region.memory.count else { return false }
            let regionOffset = Int(region.first << pageShift) - region.start(of: region.first)
            return regionOffset + distance == Int(offset)
        }
    }
}
