// DirtyLimits: how much may be dirty, and how fast writers may add to it (requirement C6).
//
//     dirty pages   0 ──── background ──── free ═══════ set point ═══════ limit
//     writers          at full speed         │  twice as fast … as fast … not at all
//     write-back       by age  │  at once, until below `background`
//                                            └ as the device: pace = rate × position
//
// Between `free` and `limit` writers are paced: each page costs time, 1 / (rate × position), where
// `rate` is what write-back gets rid of and `position` falls from 2 over 1 at the set point, half
// way, to 0 at the limit, as the cube of the distance (balance_dirty_pages of Linux). So writers come to
// rest at the speed of the device near the set point, and only who outruns even that is stopped.
//
// Values: pure arithmetic.

struct DirtyLimits: Equatable {
    /// Pages: no more may be dirty.
    var limit: Int

    /// From here on write-back begins.
    var background: Int { limit / 2 }
    /// Up to here writers are left alone.
    var free: Int { limit * 3 / 4 }

    /// How fast writers may be, in units of write-back's rate: 2 at `free`, 1 at the set point, 0 at
    /// the limit.
    func position(_ dirty: Int) -> Double {
        guard dirty > free else { return 2 }
        guard dirty < limit else { return 0 }
        let setPoint = Double(free + limit) / 2
        let distance = (setPoint - Double(dirty)) / (Double(limit) - setPoint)
        return 1 + distance * distance * distance
    }

    /// How long a writer shall take for so many pages, in nanoseconds; never longer than
    /// `longest`. `rate`: pages a second.
    func pause(pages: Int, dirty: Int, rate: Double, longest: UInt64) -> UInt64 {
        guard dirty > free else { return 0 }
        let speed = max(rate * position(dirty), 1)
        return UInt64(min(Double(pages) / speed * 1e9, Double(longest)))
    }
}

/// How fast write-back gets rid of pages: a mean that follows over about a second.
struct WriteBackRate {
    /// Pages a second.
    private(set) var pagesPerSecond: Double = 25_600
    private var windowStart: UInt64 = 0
    private var windowPages = 0
    private static var window: UInt64 { 100_000_000 }

    /// So many pages are written. `wasBusy`: there was more to write all the time since the last.
    mutating func written(_ pages: Int, at now: UInt64, wasBusy: Bool) {
        if !wasBusy || windowStart == 0 {
            windowStart = now
            windowPages = 0
            return
        }
        windowPages += pages
        let time = now &- windowStart
        guard time >= Self.window else { return }
        let seen = Double(windowPages) * 1e9 / Double(time)
        let weight = min(Double(time) / 500_000_000, 0.5)
        pagesPerSecond = max(pagesPerSecond * (1 - weight) + seen * weight, 16)
        windowStart = now
        windowPages = 0
    }
}
