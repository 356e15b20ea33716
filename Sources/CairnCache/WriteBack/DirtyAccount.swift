// DirtyAccount: the dirty pages of one filesystem: which files have some, since when, and how many
// there may be (requirement C6).
//
// Files tell it of every change; writers ask it before they dirty pages (`admit`), and are let
// through, told to wait for a moment, or told to wait until pages were written. Pacing keeps one
// moment for all writers, `nextWrite`, that each page moves on: so it needs to know nothing of who
// waits, and an attempt that is run again is simply let through when its time has come.
//
// Who writes pages back is told by `onPressure` when there are many; a `Flusher` sets that, or a
// store that has its own commits.
//
// Threading: any thread. `lock` comes under the lock of a file's pages. Writers that may go on and
// `onPressure` are called through the pool's `perform`: whoever changes a file holds its lock, which
// they will want.

import CairnBase
public import CairnIO

public final class DirtyAccount: @unchecked Sendable {
    // Sendable: immutable, or guarded by `lock`.
    public let cache: PageCache
    let timers: any TimerSource
    private let share: Double

    private let lock = Lock()
    // Guarded by `lock`.
    /// Files with dirty pages, and since when they have some, by the clock of `timers`.
    private var files: [ObjectIdentifier: (pages: FilePages, since: UInt64)] = [:]
    private var dirty = 0
    private var rate = WriteBackRate()
    private var nextWrite: UInt64 = 0
    /// Writers at the limit wait for it.
    private var room: Wait?
    private var pressure: (@Sendable () -> Void)?
    private var isUnderPressure = false

    /// How long a writer pauses at most, and what it may run ahead of its pace without a pause.
    private static var longestPause: UInt64 { 50_000_000 }
    private static var slack: UInt64 { 5_000_000 }

    /// `share`: how much of the cache may be dirty pages of this filesystem.
    public init(in cache: PageCache, timers: any TimerSource, share: Double = 0.10) {
        self.cache = cache
        self.timers = timers
        self.share = share
    }

    func now() -> UInt64 { timers.monotonicNanoseconds() }

    /// How many pages are dirty or being written.
    public var dirtyPages: Int { lock.withLock { dirty } }

    /// How many may be.
    public var dirtyLimit: Int { max(4, Int(Double(cache.budgetPages) * share)) }

    /// The most pages that a writer dirties at once.
    var largestWrite: Int { max(1, min(cache.largestRun, dirtyLimit / 4)) }

    /// Pages a second that write-back gets rid of, as measured.
    public var writeBackRate: Double { lock.withLock { rate.pagesPerSecond } }

    /// Called through the pool's `perform` each time dirty pages come to be half of the limit, and
    /// when a writer has to wait: pages should be written back now.
    public func onPressure(_ body: (@Sendable () -> Void)?) {
        lock.withLock { pressure = body }
    }

    // MARK: Files

    /// What has to be called after a change.
    struct Events {
        var room: Wait?
        var pressure: (@Sendable () -> Void)?
    }

    func handle(_ events: Events) {
        if let room = events.room { cache.pool.perform { room.finish() } }
        if let pressure = events.pressure { cache.pool.perform(pressure) }
    }

    /// A file has so many dirty pages more. Called under its lock.
    func changed(_ pages: FilePages, by change: Int, isDirty: Bool) -> Events {
        lock.withLock {
            let wasClean = change > 0 && files[ObjectIdentifier(pages)] == nil
            if !isDirty {
                files[ObjectIdentifier(pages)] = nil
            } else if wasClean {
                files[ObjectIdentifier(pages)] = (pages, now())
            }
            dirty += change
            var events = Events()
            if change < 0 {
                rate.written(-change, at: now(), wasBusy: dirty > 0)
                if isRoom(for: 1) {
                    events.room = room
                    room = nil
                }
            }
            let isOver = isOverBackground
            if isOver, !isUnderPressure { events.pressure = pressure }
            isUnderPressure = isOver
            return events
        }
    }

    /// Everything of the file is being written from now on: what is dirty when that has ended was
    /// dirtied later.
    func restartAge(of pages: FilePages) {
        lock.withLock {
            guard files[ObjectIdentifier(pages)] != nil else { return }
            files[ObjectIdentifier(pages)] = (pages, now())
        }
    }

    /// Files that have dirty pages, those first that have had some for longest.
    public var dirtyFiles: [FilePages] {
        lock.withLock { files.values.sorted { $0.since < $1.since }.map(\.pages) }
    }

    /// Those that have had dirty pages since before a moment.
    func files(dirtySinceBefore moment: UInt64) -> [FilePages] {
        lock.withLock {
            files.values.filter { $0.since <= moment }.sorted { $0.since < $1.since }
                .map(\.pages)
        }
    }

    /// Since when the file has had dirty pages that has had some for longest.
    var oldest: UInt64? { lock.withLock { files.values.map(\.since).min() } }

    // MARK: Limits

    private var limits: DirtyLimits { DirtyLimits(limit: dirtyLimit) }
    private var limitsOfAll: DirtyLimits { DirtyLimits(limit: cache.dirtyLimit) }

    /// Whether write-back should be at work whatever the age of pages. Under `lock`.
    private var isOverBackground: Bool {
        dirty > limits.background
            || cache.pool.dirtyCount > limitsOfAll.background && dirty > 0
    }

    public var isOverBackgroundLimit: Bool { lock.withLock { isOverBackground } }

    private func isRoom(for pages: Int) -> Bool {
        (dirty + pages <= limits.limit || dirty == 0)
            && (cache.pool.dirtyCount + pages <= limitsOfAll.limit || dirty == 0)
    }

    /// Lets a writer dirty so many pages more, or gives what it waits for: a moment, or room.
    func admit(pages: Int) throws(Pause) {
        // The usual case takes the lock once and reads no clock.
        lock.lock()
        if !isRoom(for: pages) {
            let wait = room ?? Wait()
            room = wait
            let pressure = pressure
            lock.unlock()
            cache.count(.stoppedWrites)
            // It may be that room came between; whoever makes it looks at `room` under the lock.
            if let pressure { cache.pool.perform(pressure) }
            throw .wait(OperationWait(wait))
        }
        let mine = limits
        let all = limitsOfAll
        let dirtyOfAll = cache.pool.dirtyCount
        if dirty <= mine.free, dirtyOfAll <= all.free {
            lock.unlock()
            return
        }
        let now = now()
        if nextWrite > now &+ Self.slack {
            let moment = nextWrite
            lock.unlock()
            cache.count(.slowedWrites)
            let wait = PauseWait(timers)
            wait.start(until: moment)
            throw .wait(wait)
        }
        let pause = max(
            mine.pause(
                pages: pages, dirty: dirty, rate: rate.pagesPerSecond, longest: Self.longestPause),
            all.pause(
                pages: pages, dirty: dirtyOfAll, rate: rate.pagesPerSecond,
                longest: Self.longestPause))
        nextWrite = max(now, nextWrite) &+ pause
        lock.unlock()
    }
}

/// A writer that waits for its moment.
private final class PauseWait: Wait, @unchecked Sendable {
    // Sendable: `ticket` is guarded by `lock`.
    private let timers: any TimerSource
    private let lock = Lock()
    private var ticket: TimerTicket?

    init(_ timers: any TimerSource) {
        self.timers = timers
        super.init()
    }

    func start(until moment: UInt64) {
        let started = timers.schedule(atNanoseconds: moment) { [weak self] in
            _ = self?.finish()
        }
        lock.withLock { ticket = started }
    }

    override func abandoned() {
        if let ticket = lock.withLock({ ticket }) { timers.cancel(ticket) }
    }
}
