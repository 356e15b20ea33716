// Getting ready to cut: for a store that changes its records first, and then has to cut the pages
// without waiting.

public import CairnBase

extension FilePages {
    /// Brings what `truncate` or `punch` of these bytes will need: waits for snapshots of such pages
    /// to end, fetches the pages that are cut within, and pins them. As long as the file's lock is
    /// held and the pins are kept, the cut does not wait. The caller unpins them.
    public func prepareCut(_ range: Range<UInt64>) throws(Pause) -> [PinnedPage] {
        guard !range.isEmpty else { return [] }
        let first = range.lowerBound >> pageShift
        let end = pages(covering: range.upperBound)
        let writing = lock.withLock { snapshots.first { $0.touches(first..<end) }?.end }
        if let writing { throw .wait(OperationWait(writing)) }
        var held: [PinnedPage] = []
        do throws(Pause) {
            if range.lowerBound & pageMask != 0 { try hold(first, in: &held) }
            if range.upperBound & pageMask != 0, end - 1 != first || held.isEmpty {
                try hold(end - 1, in: &held)
            }
        } catch {
            for page in held { page.unpin() }
            throw error
        }
        return held
    }

    /// Pins a page that may have bytes other than zero.
    private func hold(_ number: UInt64, in held: inout [PinnedPage]) throws(Pause) {
        let index = PageIndex(rawValue: number)
        if let page = pageSet.tryGet(index, touch: false) {
            held.append(page.take())
        } else if number < backedEnd.load(ordering: .acquiring) {
            held.append(try fetch(index, wanted: 1).take())
        }
    }
}
