// MissingStore: a store in which nothing is in memory until it was fetched, and what was fetched
// is lost again at random. Proves "fetch, then act" (design rule 2).
//
// Threading: `lock` guards the state. Fetches end on other threads, at once or later, by chance.

import CairnBase
import CairnTree
import CairnVFS
import Dispatch

public final class MissingStore: WrappingStore, @unchecked Sendable {
    private let lock = Lock()
    // Guarded by lock:
    private var random: SeededRandom
    private var present: Set<Subject> = []
    private var pins: [Subject: Int] = [:]
    private var isCalm = false
    private var fetchTotal = 0

    public init(_ inner: any NodeStore, seed: UInt64) {
        random = SeededRandom(seed: seed)
        super.init(inner)
    }

    /// How often something had to be waited for.
    public var fetchCount: Int { lock.withLock { fetchTotal } }

    public override func pass(_ subject: Subject) throws(Pause) {
        lock.lock()
        if isCalm || pins[subject] != nil || (present.contains(subject) && !random.oneIn(4)) {
            lock.unlock()
            return
        }
        present.remove(subject)
        fetchTotal += 1
        let isLate = random.oneIn(3)
        lock.unlock()
        let fetch = Fetch(subject, of: self)
        if isLate {
            DispatchQueue.global().async { fetch.arrive() }
        } else {
            fetch.arrive()
        }
        throw .wait(fetch)
    }

    /// What was waited for stays while the operation runs.
    private final class Fetch: Wait, @unchecked Sendable {
        private let subject: Subject
        private let store: MissingStore

        init(_ subject: Subject, of store: MissingStore) {
            self.subject = subject
            self.store = store
            super.init()
            store.lock.withLock { store.pins[subject, default: 0] += 1 }
        }

        func arrive() {
            store.lock.withLock { _ = store.present.insert(subject) }
            finish()
        }

        deinit {
            store.lock.withLock {
                let count = store.pins[subject, default: 1] - 1
                store.pins[subject] = count == 0 ? nil : count
            }
        }
    }
}
