// Flusher: writes dirty pages back for a store that has no commits of its own (requirement C6).
//
// It begins when pages come to be old, when there are too many, and when somebody syncs. It writes
// file by file, those first that have been dirty for longest, each from its start to its end:
// adjacent pages in one request, a few requests at once. A page that cannot be written stays dirty,
// and is tried again when the next reason comes; each open description of the file hears of it.
//
// Threading: any thread. It has none of its own: it works on the thread of a timer, of a
// completion, or of whoever syncs. `lock` is held around its fields only.

public import CairnBase
import CairnIO

public struct FlusherSettings: Sendable {
    /// How long a page may be dirty, in nanoseconds.
    public var oldestNanoseconds: UInt64 = 30_000_000_000
    /// How often it looks, in nanoseconds. It takes what would become too old before the look after.
    public var intervalNanoseconds: UInt64 = 5_000_000_000
    /// How many files are written at once, and how many parts of each.
    public var files = 4
    public var partsOfFile = 8

    public init() {}
}

public final class Flusher: @unchecked Sendable {
    // Sendable: immutable, or guarded by `lock`.
    public let account: DirtyAccount
    let settings: FlusherSettings

    private let lock = Lock()
    // Guarded by `lock`.
    private var isRunning = false
    private var timer: TimerTicket?
    /// What is still to be written in this round, the next one last.
    private var waiting: [FilePages] = []
    private var underWay = 0
    private var isAdvancing = false

    public init(_ account: DirtyAccount, settings: FlusherSettings = FlusherSettings()) {
        self.account = account
        self.settings = settings
    }

    // MARK: By itself

    /// Begins to look after the account.
    public func start() {
        lock.withLock { isRunning = true }
        account.onPressure { [weak self] in self?.beginRound(all: true) }
        schedule()
    }

    /// Looks after nothing any more. What is under way goes on to its end.
    public func stop() {
        account.onPressure(nil)
        let timer = lock.withLock {
            isRunning = false
            waiting = []
            return self.timer
        }
        if let timer { account.timers.cancel(timer) }
    }

    private func schedule() {
        let ticket = account.timers.schedule(
            afterNanoseconds: settings.intervalNanoseconds
        ) { [weak self] in self?.look() }
        let isRunning = lock.withLock {
            timer = ticket
            return self.isRunning
        }
        if !isRunning { account.timers.cancel(ticket) }
    }

    private func look() {
        guard lock.withLock({ isRunning }) else { return }
        beginRound(all: account.isOverBackgroundLimit)
        schedule()
    }

    /// A round over the files whose pages are old, or over all as long as there are too many.
    private func beginRound(all: Bool) {
        let files: [FilePages]
        if all {
            files = account.dirtyFiles
        } else {
            // Old by the look after the next: then there is time to write it.
            let margin = min(2 * settings.intervalNanoseconds, settings.oldestNanoseconds)
            let now = account.now()
            let age = settings.oldestNanoseconds - margin
            guard now >= age else { return }
            files = account.files(dirtySinceBefore: now - age)
        }
        let isNew = lock.withLock {
            guard isRunning, waiting.isEmpty else { return false }
            waiting = files.reversed()
            return true
        }
        if isNew { advance(isForAge: !all) }
    }

    /// Starts as many files as may be under way. Never recursive: a file that ends while this runs
    /// is noticed by the loop.
    private func advance(isForAge: Bool) {
        guard
            lock.withLock({
                guard !isAdvancing else { return false }
                isAdvancing = true
                return true
            })
        else { return }
        while true {
            let isEnough = !isForAge && !account.isOverBackgroundLimit
            let next: FilePages? = lock.withLock {
                if isEnough { waiting = [] }
                guard underWay < settings.files, let next = waiting.popLast() else {
                    isAdvancing = false
                    return nil
                }
                underWay += 1
                return next
            }
            guard let next else { return }
            let flush = FileFlush(next, parts: settings.partsOfFile)
            flush.whenFinished { [self] _ in
                lock.withLock { underWay -= 1 }
                advance(isForAge: isForAge)
            }
            flush.begin()
        }
    }

    // MARK: When asked

    /// fsync: writes what is dirty in the file now, and makes it durable. The wait finishes when that
    /// is done, without an error: what could not be written, `FilePages.errors` knows.
    public func sync(_ pages: FilePages) -> Wait {
        sync([pages])
    }

    /// sync: the same for all files of the account.
    public func syncAll() -> Wait {
        sync(account.dirtyFiles)
    }

    private func sync(_ files: [FilePages]) -> Wait {
        let done = Wait()
        let all = WaitGroup { [backing = files.first?.backing] in
            guard let backing else { return _ = done.finish() }
            backing.makeDurable { error in
                if let error {
                    for file in files { file.errors.record(error) }
                }
                done.finish()
            }
        }
        for file in files {
            let flush = FileFlush(file, parts: settings.partsOfFile)
            all.enter()
            flush.whenFinished { _ in all.leave() }
            flush.begin()
        }
        all.leave()
        return done
    }
}

/// Calls something when as many have left as have entered; whoever makes it is the first.
final class WaitGroup: @unchecked Sendable {
    // Sendable: `lock` guards `count`.
    private let lock = Lock()
    private var count = 1
    private let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
    }

    func enter() {
        lock.withLock { count += 1 }
    }

    func leave() {
        let isLast = lock.withLock {
            count -= 1
            return count == 0
        }
        if isLast { body() }
    }
}
