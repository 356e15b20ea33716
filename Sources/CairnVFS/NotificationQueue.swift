// NotificationQueue: watches of one watcher, and the events that it has not read yet.
//
// Invariants: at most `capacity` events wait, and one more, which says that others were lost; of
// two equal events in a row the second is dropped; nothing comes from a watch after its
// `ignored`. A watch keeps its inode in memory (but not its file from being deleted) until it is
// removed, by the watcher, with the file, or with the filesystem.
//
// Threading: `lock` guards everything; under it InodeWatches.lock may be taken. Waits finish when
// the thread holds nothing: a reader's callback may run on it.

public import CairnBase
import Synchronization

/// inotify(7), as an object. Letting go of it ends its watches.
public final class NotificationQueue: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    public let capacity: Int

    private let lock = Lock()
    private var events: [Notification] = []
    /// Events before this index have been read.
    private var readIndex = 0
    private var hasOverflowed = false
    private var isClosed = false
    private var watches: [WatchDescriptor: Watch] = [:]
    private var watchOfInode: [UInt64: Watch] = [:]
    private var lastDescriptor: Int32 = 0
    private var readers: [NotificationWait] = []

    /// The capacity is Linux's fs.inotify.max_queued_events.
    public init(capacity: Int = 16_384) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    deinit {
        for watch in watches.values {
            watch.detach()
        }
    }

    // MARK: Watches

    /// inotify_add_watch(2): watches the inode for `events`, from now on. If this queue watches it
    /// already, the kinds are replaced (or added to), and the descriptor stays.
    ///
    /// EINVAL without any kind, ENOTDIR and EEXIST as the flags say, ENOSPC when descriptors have
    /// run out, EBADF after `close`.
    @discardableResult
    public func watch(_ inode: Inode, for events: WatchEvents) throws(Errno) -> WatchDescriptor {
        guard !events.isDisjoint(with: .all) else { throw .EINVAL }
        if events.contains(.mustBeNew), events.contains(.addToExisting) { throw .EINVAL }
        if events.contains(.onlyDirectory), !inode.isDirectory { throw .ENOTDIR }
        let kept = events.intersection([.all, .once])
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed else { throw .EBADF }
        if let watch = watchOfInode[inode.identity] {
            if events.contains(.mustBeNew) { throw .EEXIST }
            watch.events = events.contains(.addToExisting) ? watch.events.union(kept) : kept
            return watch.descriptor
        }
        guard lastDescriptor < .max else { throw .ENOSPC }
        lastDescriptor += 1
        let descriptor = WatchDescriptor(rawValue: lastDescriptor)
        let watch = Watch(descriptor, inode: inode, queue: self, events: kept)
        watches[descriptor] = watch
        watchOfInode[inode.identity] = watch
        watch.attach()
        return descriptor
    }

    /// inotify_rm_watch(2). `ignored` follows. EINVAL if there is no such watch.
    public func removeWatch(_ descriptor: WatchDescriptor) throws(Errno) {
        lock.lock()
        guard let watch = watches[descriptor] else {
            lock.unlock()
            throw .EINVAL
        }
        remove(watch)
        // The last reference to the inode must not go under the lock.
        withExtendedLifetime(watch) { unlockAndWake() }
    }

    /// Ends every watch. Who waits, and who reads from now on, gets EBADF.
    public func close() {
        lock.lock()
        isClosed = true
        let ended = watches.values
        watches = [:]
        watchOfInode = [:]
        events = []
        readIndex = 0
        for watch in ended {
            watch.detach()
        }
        unlockAndWake(always: true)
        // `ended` goes here, outside the lock: it may hold the last references to inodes.
    }

    public var watchCount: Int { lock.withLock { watches.count } }

    // MARK: Reading

    /// The next events, at least one and at most `count`. An attempt: waits while there is none.
    public func read(upTo count: Int = .max) throws(Pause) -> [Notification] {
        precondition(count > 0)
        lock.lock()
        defer { lock.unlock() }
        try waitUnlessReadable()
        let end = min(events.count, readIndex + min(count, events.count))
        let result = Array(events[readIndex..<end])
        consume(to: end)
        return result
    }

    /// As many whole struct inotify_event as fit; the number of bytes. EINVAL if not even one
    /// fits. An attempt: waits while there is none.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(Pause) -> Int {
        lock.lock()
        defer { lock.unlock() }
        try waitUnlessReadable()
        var filled = 0
        var end = readIndex
        while end < events.count, filled + events[end].encodedSize <= buffer.count {
            let size = events[end].encodedSize
            events[end].encode(into: .init(rebasing: buffer[filled..<(filled + size)]))
            filled += size
            end += 1
        }
        guard filled > 0 else { throw .failed(.EINVAL) }
        consume(to: end)
        return filled
    }

    /// Events that wait to be read.
    public var count: Int { lock.withLock { events.count - readIndex } }

    private func waitUnlessReadable() throws(Pause) {
        guard !isClosed else { throw .failed(.EBADF) }
        guard readIndex == events.count else { return }
        let wait = NotificationWait(self)
        readers.append(wait)
        throw .wait(wait)
    }

    private func consume(to end: Int) {
        if hasOverflowed, events[readIndex..<end].contains(where: { $0.events == .overflow }) {
            hasOverflowed = false
        }
        readIndex = end
        if readIndex == events.count {
            events.removeAll(keepingCapacity: events.count <= 64)
            readIndex = 0
        } else if readIndex >= 64, readIndex * 2 >= events.count {
            events.removeFirst(readIndex)
            readIndex = 0
        }
    }

    fileprivate func forget(_ wait: NotificationWait) {
        lock.withLock { readers.removeAll { $0 === wait } }
    }

    // MARK: Writing

    /// Tells an event of a watch, if the watch is still there.
    func tell(_ watch: Watch, _ events: WatchEvents, cookie: UInt32, name: FileName?) {
        lock.lock()
        guard watches[watch.descriptor] === watch else {
            lock.unlock()
            return
        }
        append(
            Notification(
                watch: watch.descriptor, events: events, cookie: cookie, name: name))
        if watch.events.contains(.once) {
            remove(watch)
        }
        unlockAndWake()
    }

    /// Tells the last event of a watch, if it was asked for or is always told, and ends it.
    func end(_ watch: Watch, with event: WatchEvents) {
        lock.lock()
        guard watches[watch.descriptor] === watch else {
            lock.unlock()
            return
        }
        if event == .unmount || watch.events.contains(event) {
            append(Notification(watch: watch.descriptor, events: event))
        }
        remove(watch)
        unlockAndWake()
    }

    private func remove(_ watch: Watch) {
        watches[watch.descriptor] = nil
        watchOfInode[watch.inode.identity] = nil
        watch.detach()
        append(Notification(watch: watch.descriptor, events: .ignored))
    }

    private func append(_ event: Notification) {
        if readIndex < events.count, let last = events.last, last.watch == event.watch,
            last.events == event.events, last.name == event.name, event.events != .ignored
        {
            return
        }
        if events.count - readIndex < capacity {
            events.append(event)
        } else if !hasOverflowed {
            hasOverflowed = true
            events.append(Notification(watch: .queue, events: .overflow))
        }
    }

    private func unlockAndWake(always: Bool = false) {
        var woken: [NotificationWait] = []
        if !readers.isEmpty, always || readIndex < events.count {
            swap(&woken, &readers)
        }
        lock.unlock()
        guard !woken.isEmpty else { return }
        Epoch.afterSection {
            for wait in woken {
                wait.finish()
            }
        }
    }
}

/// A reader that found the queue empty.
private final class NotificationWait: Wait, @unchecked Sendable {
    // Sendable: the weak reference is only read.
    private weak var queue: NotificationQueue?

    init(_ queue: NotificationQueue) {
        self.queue = queue
    }

    override func abandoned() {
        queue?.forget(self)
    }
}
