// Watch and InodeWatches: who watches one inode.
//
// `InodeWatches.lock` guards the list; it is a leaf, taken also under NotificationQueue.lock. An
// event is told after it is released, so a watch may be gone by then: the queue looks.

import CairnBase
import Synchronization

/// One queue watches one inode.
final class Watch: @unchecked Sendable {
    // Sendable: immutable, atomic, or guarded by the queue's lock.
    let descriptor: WatchDescriptor
    /// Keeps the inode in memory. The inode's list keeps the watch: removing the watch ends that.
    let inode: Inode
    private(set) weak var queue: NotificationQueue?
    private let eventBits: Atomic<UInt32>
    private let list: InodeWatches

    init(
        _ descriptor: WatchDescriptor, inode: Inode, queue: NotificationQueue, events: WatchEvents
    ) {
        self.descriptor = descriptor
        self.inode = inode
        self.queue = queue
        self.eventBits = Atomic(events.rawValue)
        self.list = inode.attachmentMadeIfNeeded.watches
    }

    var events: WatchEvents {
        get { WatchEvents(rawValue: eventBits.load(ordering: .relaxed)) }
        set { eventBits.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// Once, under the queue's lock.
    func attach() {
        list.insert(self)
        inode.fileSystem.attachments.watchCount.add(1, ordering: .sequentiallyConsistent)
    }

    /// Once, after `attach`.
    func detach() {
        inode.fileSystem.attachments.watchCount.subtract(1, ordering: .relaxed)
        list.remove(self)
    }
}

final class InodeWatches: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var watches: [Watch] = []
    private var isUnlinked = false

    fileprivate func insert(_ watch: Watch) {
        lock.withLock { watches.append(watch) }
    }

    fileprivate func remove(_ watch: Watch) {
        // Whoever removes has a reference: none goes under the lock.
        lock.withLock { watches.removeAll { $0 === watch } }
    }

    /// Tells every watch that asked for the event.
    func tell(_ events: WatchEvents, cookie: UInt32 = 0, name: Name? = nil) {
        let asking = lock.withLock { watches.filter { !$0.events.isDisjoint(with: events) } }
        guard !asking.isEmpty else { return }
        let ownedName = name?.owned
        for watch in asking {
            watch.queue?.tell(watch, events, cookie: cookie, name: ownedName)
        }
    }

    /// Tells every watch its last event.
    func end(with event: WatchEvents) {
        for watch in lock.withLock({ watches }) {
            watch.queue?.end(watch, with: event)
        }
    }

    /// The last name is gone: the watches end when the last hold is.
    func noteUnlinked() {
        lock.withLock { isUnlinked = true }
    }

    var endWithLastHold: Bool { lock.withLock { isUnlinked && !watches.isEmpty } }
}
