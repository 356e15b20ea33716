// SpareBlocks: room for what has to be placed beside the dirty pages of a file, because a compressed
// extent holds both.
//
// Such an extent cannot be left in two parts: what overwrites its middle takes the rest of it along
// (FilePlacement+Pieces). So that this finds room when it is placed, the write promises it
// (requirement D6). Compressed extents do not reach beyond a *window* of the file, which is
// `ExtentRecord.maximumWhole` bytes long and begins at a multiple of that. (Other software may make some that do;
// for those placing asks for room, and may find none.) So a window with a compressed extent has room
// for all of its pages as soon as one of them is dirty.
//
// Invariant, whenever the node's lock is free and nothing of the file is being placed: `blocks` is the
// number of pages in `windows` that are not dirty.
//
// Threading: a part of FileState or of a placement, and used as that is.

import CairnBase
import CairnCache

struct SpareBlocks {
    /// How many pages of each window, from its start, have room.
    private(set) var windows: [UInt64: Int] = [:]
    /// Blocks that are promised for those of them that are clean.
    var blocks = 0

    /// Pages of a window.
    private let length: UInt64

    init(blockSize: UInt32) {
        length = max(1, UInt64(ExtentRecord.maximumWhole / blockSize))
    }

    /// The windows that these pages lie in.
    func windows(of pages: Range<UInt64>) -> ClosedRange<UInt64> {
        pages.lowerBound / length...(pages.upperBound - 1) / length
    }

    /// The pages of a window that lie before `end`.
    func pages(of window: UInt64, before end: UInt64) -> Range<UInt64> {
        let start = window * length
        return start..<max(start, min(start + length, end))
    }

    /// The pages of a window that have room; nil: it has none.
    func pages(of window: UInt64) -> Range<UInt64>? {
        windows[window].map { window * length..<window * length + UInt64($0) }
    }

    mutating func enter(_ window: UInt64, pages: Int) {
        windows[window] = pages
    }

    /// Windows in which nothing is dirty go. Gives how many pages of the others are clean.
    mutating func settle(_ pages: FilePages) -> Int {
        var clean = 0
        for window in Array(windows.keys) {
            guard let all = self.pages(of: window) else { continue }
            let dirty = all.lazy.filter { pages.isDirty(PageIndex(rawValue: $0)) }.count
            if dirty == 0 {
                windows[window] = nil
            } else {
                clean += all.count - dirty
            }
        }
        return clean
    }

    mutating func removeAll() {
        windows = [:]
        blocks = 0
    }

    // MARK: Placements

    /// Takes out what belongs to these dirty pages, which divide no window with others.
    mutating func take(_ runs: [DirtyRun]) -> SpareBlocks {
        var taken = self
        taken.removeAll()
        guard !windows.isEmpty else { return taken }
        for run in runs {
            let range = run.first.rawValue..<run.first.rawValue + UInt64(run.count)
            for window in windows(of: range) {
                if let pages = windows.removeValue(forKey: window) {
                    taken.windows[window] = pages
                    taken.blocks += pages
                }
                guard let all = taken.pages(of: window) else { continue }
                taken.blocks -= range.clamped(to: all).count
            }
        }
        taken.blocks = min(taken.blocks, blocks)
        blocks -= taken.blocks
        return taken
    }

    /// A placement failed: its pages are dirty again.
    mutating func takeBack(_ taken: SpareBlocks) {
        windows.merge(taken.windows) { max($0, $1) }
    }

    /// As many of the dirty pages, from the first on, as are at most `limit` and divide no window.
    func wholeWindows(atMost limit: Int, _ pages: FilePages) -> Int {
        var count = 0
        var countBefore = 0
        var current = UInt64.max
        var next: UInt64 = 0
        while let run = pages.nextDirtyRun(from: PageIndex(rawValue: next)) {
            for window in windows(of: run.lowerBound.rawValue..<run.upperBound.rawValue) {
                if window != current { countBefore = count }
                current = window
                let part = (run.lowerBound.rawValue..<run.upperBound.rawValue).clamped(
                    to: window * length..<(window + 1) * length)
                count += part.count
                if count > limit { return countBefore > 0 ? countBefore : limit }
            }
            next = run.upperBound.rawValue
        }
        return limit
    }
}
