// ReadAhead: how many pages to fetch beyond those that are asked for (requirement C5).
//
// A file keeps a few streams: places where somebody reads forward. A miss at the place that a stream
// expects next is sequential: its window doubles, from `initialPages` to `maximumPages`. A miss
// anywhere else starts a stream of its own, in place of the one that was used least lately, with
// nothing ahead unless it is at the start of the file. So random access fetches what it asks for
// and nothing else, and several readers of one file do not spoil each other's windows. (Linux keeps
// a window for each description; here, whoever asks does not know who reads.)
//
// The first page of each window is marked. Who uses it starts the next window, while the pages
// of this one are still to be read: a sequential reader waits only where the device is slower.
//
// Threading: guarded by the file's lock, which is taken on misses and at marks only.

/// How read-ahead is tuned.
public struct ReadAheadSettings: Sendable {
    /// Pages that a sequential reader gets ahead at first; 0: none ever.
    public var initialPages: Int
    /// The most, to which it doubles. So many keep a device busy while the kernel's own read-ahead, of a
    /// megabyte in one request, waits for an answer (docs/benchmarks.md).
    public var maximumPages: Int

    public init(initialPages: Int = 2, maximumPages: Int = 512) {
        self.initialPages = max(initialPages, 0)
        self.maximumPages = max(maximumPages, self.initialPages)
    }
}

struct ReadAhead {
    private struct Stream {
        /// The page after the last that was asked for; .max: nothing was yet.
        var asked: UInt64 = .max
        /// The page after the last that was fetched ahead.
        var end: UInt64 = .max
        /// How many pages the last window had.
        var window = 0
        var lastUse: UInt64 = 0
    }

    static var streamCount: Int { 4 }
    private var streams = [Stream](repeating: Stream(), count: ReadAhead.streamCount)
    private var uses: UInt64 = 0

    /// Pages from `first` on are asked for, and `first` is missing. Gives which to fetch beyond them,
    /// and the stream whose mark they bear.
    mutating func missed(
        _ first: UInt64, count: Int, _ settings: ReadAheadSettings
    ) -> (stream: Int, window: Range<UInt64>) {
        var chosen = 0
        var window = first == 0 ? settings.initialPages : 0
        for (number, stream) in streams.enumerated() {
            // What was fetched ahead may be gone again, so anything up to its end goes on here; so
            // does the last page, which may have been read in part.
            if stream.asked != .max, first >= stream.asked &- 1, first <= stream.end {
                chosen = number
                window = ReadAhead.grown(stream.window, settings)
                break
            }
            if stream.lastUse < streams[chosen].lastUse { chosen = number }
        }
        let asked = first &+ UInt64(count)
        return (chosen, advance(chosen, asked: asked, from: asked, window))
    }

    /// A stream's mark was reached by who reads up to page `last`. Gives what to fetch next.
    mutating func reached(
        _ last: UInt64, _ stream: Int, _ settings: ReadAheadSettings
    ) -> Range<UInt64> {
        let window = ReadAhead.grown(streams[stream].window, settings)
        let start = max(streams[stream].end, last &+ 1)
        return advance(stream, asked: last &+ 1, from: start, window)
    }

    private mutating func advance(
        _ stream: Int, asked: UInt64, from start: UInt64, _ window: Int
    ) -> Range<UInt64> {
        uses += 1
        let end = start &+ UInt64(window)
        streams[stream] = Stream(asked: asked, end: end, window: window, lastUse: uses)
        return start..<end
    }

    private static func grown(_ window: Int, _ settings: ReadAheadSettings) -> Int {
        window == 0 ? settings.initialPages : min(window * 2, settings.maximumPages)
    }
}
