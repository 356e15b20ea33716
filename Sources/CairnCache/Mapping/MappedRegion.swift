// MappedRegion: a range of addresses that shows pages of a file.
//
//     addresses   │ page │ page │ page │ beyond the end │ unmapped │
//                    │      └──┐   └──── nothing: SIGBUS     └──── reserved: SIGSEGV
//     arena       ───▼────────▼───────
//
// The pages are the pool's own memory, mapped a second time, neighbours in the arena by one call. They
// are pinned as long as they are mapped, so that neither eviction nor a removal gives their memory to
// anybody else. Where the file has no page, behind its end, a place behind the arena's end is
// mapped: whoever touches it gets SIGBUS, as with mmap(2). What is unmapped stays reserved until the
// whole goes, so that it cannot be unmapped twice.
//
// Threading: guarded by the lock of the file's pages. mmap(2) and mprotect(2) are called under it: they
// change tables in memory, and wait for no device.

import CSystem
import CairnBase

final class MappedRegion: @unchecked Sendable {
    // Sendable: immutable, or guarded as said above.
    let first: UInt64
    let count: Int
    let isShared: Bool
    private let mayWrite: Bool
    private let pool: PagePool
    /// Of the first page.
    private let base: UnsafeMutableRawPointer
    /// Of the first byte that was asked for.
    let memory: UnsafeMutableRawBufferPointer

    private struct Place {
        var page: PinnedPage?
        /// The addresses show the page.
        var isShown = false
    }
    private var places: [Place]
    /// What may be done with each page of the system; nil: it is unmapped.
    private var protections: [MemoryProtection?]

    private static var unit: Int { MappingRequest.granularity }

    /// Reserves the addresses. `request` is checked. Throws ENOMEM.
    init(_ request: MappingRequest, of pool: PagePool) throws(Errno) {
        self.pool = pool
        let size = UInt64(pool.pageSize)
        first = request.offset / size
        let inner = Int(request.offset % size)
        let whole = (inner + request.length + pool.pageSize - 1) / pool.pageSize
        count = whole
        guard let base = cairn_memory_reserve(whole << pool.pageShift) else { throw .ENOMEM }
        self.base = base
        memory = UnsafeMutableRawBufferPointer(start: base + inner, count: request.length)
        isShared = request.isShared
        mayWrite = request.mayWrite
        places = Array(repeating: Place(), count: whole)
        protections = Array(
            repeating: request.protection, count: whole << pool.pageShift / Self.unit)
    }

    deinit {
        cairn_unmap(base, count << pool.pageShift)
        for place in places { place.page?.unpin() }
    }

    var end: UInt64 { first + UInt64(count) }

    func contains(_ index: UInt64) -> Bool { index >= first && index < end }

    /// The page of the pool that has the byte, counted from the start of the memory.
    func page(of byte: Int) -> UInt64 {
        first + UInt64((memory.baseAddress.map { $0 - base } ?? 0) + byte) >> UInt64(pool.pageShift)
    }

    /// Where a page begins, counted from the start of the memory; negative for the first if the memory
    /// begins inside.
    func start(of index: UInt64) -> Int {
        Int(index - first) << pool.pageShift - (memory.baseAddress.map { $0 - base } ?? 0)
    }

    /// Whether what is written there may have to become the file's.
    func mayHaveChanges(_ index: UInt64) -> Bool {
        isShared && mayWrite && places[Int(index - first)].isShown
    }

    // MARK: Pages

    /// The first page from `index` on, before `end`, that is not here.
    func nextAbsent(from index: UInt64, before end: UInt64) -> UInt64? {
        var next = max(index, first)
        while next < min(end, self.end) {
            if places[Int(next - first)].page == nil { return next }
            next += 1
        }
        return nil
    }

    func isShown(_ index: UInt64) -> Bool { places[Int(index - first)].isShown }

    func page(_ index: UInt64) -> PinnedPage? { places[Int(index - first)].page }

    /// The pin passes over to this.
    func enter(_ index: UInt64, _ page: PinnedPage) {
        places[Int(index - first)] = Place(page: page)
    }

    /// Shows all pages that have come. ENOMEM if the system has no more mappings to give: then some are
    /// not shown.
    func showEntered() throws(Errno) {
        var next = 0
        while next < count {
            guard let page = places[next].page, !places[next].isShown else {
                next += 1
                continue
            }
            var end = next + 1
            while end < count, !places[end].isShown, let other = places[end].page,
                other.arenaOffset == page.arenaOffset + (end - next) << pool.pageShift
            {
                end += 1
            }
            try show(next..<end, at: page.arenaOffset)
            for place in next..<end { places[place].isShown = true }
            next = end
        }
    }

    /// Pages that are neighbours in the arena, with the protection that each has.
    private func show(_ range: Range<Int>, at arenaOffset: Int) throws(Errno) {
        let start = range.lowerBound << pool.pageShift
        let end = range.upperBound << pool.pageShift
        var from = start
        while from < end {
            let protection = protections[from / Self.unit]
            var to = from + Self.unit
            while to < end, protections[to / Self.unit] == protection { to += Self.unit }
            if let protection {
                let error = cairn_map_at(
                    base + from, to - from, pool.descriptor, UInt64(arenaOffset + from - start),
                    protection.flags, isShared ? 1 : 0)
                if error != 0 { throw Errno(rawValue: -error) }
            }
            from = to
        }
    }

    /// The file has no pages in the range any more: whoever touches them gets SIGBUS.
    func withdraw(_ range: Range<UInt64>) {
        let range = range.clamped(to: first..<end)
        for index in range {
            let place = Int(index - first)
            guard let page = places[place].page else { continue }
            // If the system refuses, the old bytes stay to be seen; they are nobody else's.
            guard hide(place) else { continue }
            page.unpin()
            places[place] = Place()
        }
    }

    private func hide(_ place: Int) -> Bool {
        guard places[place].isShown else { return true }
        let units = pool.pageSize / Self.unit
        for unit in place * units..<(place + 1) * units where protections[unit] != nil {
            let error = cairn_map_at(
                base + unit * Self.unit, Self.unit, pool.descriptor, UInt64(pool.capacity),
                protections[unit]?.flags ?? 0, 1)
            if error != 0 { return false }
        }
        return true
    }

    // MARK: What a program asks

    /// The units of the system that the bytes are. EINVAL if they are no whole ones. The end may be the
    /// memory's.
    private func units(_ range: Range<Int>) throws(Errno) -> Range<Int> {
        guard range.lowerBound >= 0, range.upperBound <= memory.count,
            range.lowerBound % Self.unit == 0,
            range.upperBound % Self.unit == 0 || range.upperBound == memory.count
        else { throw .EINVAL }
        let inner = memory.baseAddress.map { $0 - base } ?? 0
        return (inner + range.lowerBound) / Self.unit..<(inner + range.upperBound + Self.unit - 1)
            / Self.unit
    }

    func protect(_ range: Range<Int>, _ protection: MemoryProtection) throws(Errno) {
        if protection.contains(.write), !mayWrite { throw .EACCES }
        let units = try units(range)
        guard !units.isEmpty else { return }
        guard protections[units].allSatisfy({ $0 != nil }) else { throw .ENOMEM }
        let error = cairn_memory_protect(
            base + units.lowerBound * Self.unit, units.count * Self.unit, protection.flags)
        if error != 0 { throw Errno(rawValue: -error) }
        for unit in units { protections[unit] = protection }
    }

    /// Gives pages of which nothing is mapped any more.
    func unmap(_ range: Range<Int>) throws(Errno) -> Range<UInt64> {
        let units = try units(range)
        guard !units.isEmpty else { return first..<first }
        let error = cairn_memory_unmap_reserved(
            base + units.lowerBound * Self.unit, units.count * Self.unit)
        if error != 0 { throw Errno(rawValue: -error) }
        for unit in units { protections[unit] = nil }
        let perPage = pool.pageSize / Self.unit
        let low = units.lowerBound / perPage
        let high = (units.upperBound + perPage - 1) / perPage
        var gone = first + UInt64(low)..<first + UInt64(low)
        for place in low..<high {
            let own = place * perPage..<(place + 1) * perPage
            guard protections[own].allSatisfy({ $0 == nil }) else { continue }
            places[place].page?.unpin()
            places[place] = Place()
            let index = first + UInt64(place)
            gone = gone.isEmpty ? index..<index + 1 : gone.lowerBound..<index + 1
        }
        return gone
    }
}

extension MemoryProtection {
    /// PROT_…: the same bits.
    fileprivate var flags: Int32 { Int32(rawValue) }
}
