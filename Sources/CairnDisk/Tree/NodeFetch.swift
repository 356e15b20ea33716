// NodeFetch and NodeWait: bringing nodes into memory (design rule 2: fetch, then act).
//
// A tree that misses nodes throws `Pause.wait` with a NodeWait for them. It is *not started*: the tree
// lock is held at that moment, and a submission is a call out of the room. Whoever held the lock
// releases it, calls `NodeWait.start`, and passes the pause on.
//
// One read serves all who want the node at a time. It can be joined once it was submitted; two
// operations that miss a node in the same moment may both read it, and the second finds it there. So
// a device that completes inside `submit` calls nobody else's callbacks on the submitter's stack.
//
// A fetch keeps its node pinned, a wait keeps its fetches, and the driver keeps the waits of an
// operation until it is done: so each attempt gets further.
//
// Threading: the cache's lock guards a fetch; a wait has a lock of its own.

import CairnBase
import CairnIO

final class NodeFetch: @unchecked Sendable {
    // Sendable: `cache.lock` guards what changes.
    private let cache: NodeCache
    let expectation: NodeExpectation
    // Guarded by `cache.lock`.
    private var isStarted = false
    private var isDone = false
    private var error: Errno?
    private var node: ResidentNode?
    private var waits: [NodeWait] = []

    /// Takes room for the node. Under `cache.lock`.
    init(_ expectation: NodeExpectation, in cache: NodeCache) {
        self.expectation = expectation
        self.cache = cache
        cache.nodeTotal += 1
    }

    deinit {
        if let node { cache.unpin(node) }
        if !isStarted { cache.lock.withLock { cache.nodeTotal -= 1 } }
    }

    /// Submits the read. Does nothing if that was done.
    func start() {
        let isFirst = cache.lock.withLock {
            defer { isStarted = true }
            return !isStarted
        }
        guard isFirst else { return }
        cache.counters.add(to: NodeCache.Counter.fetches.rawValue)
        let data = cache.arena.take()
        nonisolated(unsafe) let memory = UnsafeMutableRawBufferPointer(
            start: data, count: cache.geometry.nodeSize)  // the device's until `arrived`
        let offset = cache.geometry.offset(
            of: BlockNumber(rawValue: expectation.pointer.address.rawValue))
        do throws(Errno) {
            _ = try BlockTransfer(.read(into: memory, at: offset), on: cache.device) { error in
                self.arrived(memory, error)
            }
        } catch {
            arrived(memory, error)
        }
        cache.lock.withLock {
            let address = expectation.pointer.address.rawValue
            if !isDone, cache.fetches[address] == nil { cache.fetches[address] = self }
        }
    }

    private func arrived(_ memory: UnsafeMutableRawBufferPointer, _ failure: Errno?) {
        let bytes = UnsafeRawBufferPointer(memory)
        let fault =
            failure.map { NodeFault.unreadable($0) }
            ?? NodeCheck.fault(in: bytes, expecting: expectation, cache.geometry)
        let errno = fault.map { cache.damaged(expectation, $0, bytes) }
        let (waiting, gone) = cache.lock.withLock {
            let address = expectation.pointer.address.rawValue
            if cache.fetches[address] === self { cache.fetches[address] = nil }
            if errno != nil {
                cache.nodeTotal -= 1
                if let data = memory.baseAddress { cache.arena.giveBack(data) }
            } else if let data = memory.baseAddress {
                node = cache.admit(data, expectation)
            }
            isDone = true
            error = errno
            let waiting = waits
            waits = []
            return (waiting, cache.evictions())
        }
        cache.retire(gone)
        for wait in waiting { wait.oneDone(errno) }
    }

    /// Tells the wait when this is done; now, if it is.
    func tell(_ wait: NodeWait) {
        let (isDone, error) = cache.lock.withLock {
            if !self.isDone { waits.append(wait) }
            return (self.isDone, self.error)
        }
        if isDone { wait.oneDone(error) }
    }
}

extension NodeCache {
    /// A fetch of a node: the one that is under way, or a new one, which is not started.
    func fetch(_ expectation: NodeExpectation) -> NodeFetch {
        let (fetch, joined, gone) = lock.withLock {
            let address = expectation.pointer.address.rawValue
            if let fetch = fetches[address], fetch.expectation.pointer == expectation.pointer {
                return (fetch, true, [ResidentNode]())
            }
            let fetch = NodeFetch(expectation, in: self)
            return (fetch, false, evictions())
        }
        if joined { counters.add(to: Counter.joins.rawValue) }
        retire(gone)
        return fetch
    }
}

/// What an operation waits for: nodes to come. Finishes when all have, or with the first error.
package final class NodeWait: Wait, @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    private let needed: [NodeFetch]
    /// Fetched with them, since they will be wanted next; not waited for.
    private let ahead: [NodeFetch]
    private let lock = Lock()
    private var left: Int
    private var error: Errno?
    private var isStarted = false

    init(_ needed: [NodeFetch], ahead: [NodeFetch] = []) {
        self.needed = needed
        self.ahead = ahead
        left = needed.count
        super.init()
    }

    /// Starts the fetches of a pause that a tree has thrown; any other pause is left alone. To be
    /// called once the tree lock is released, by whoever took it.
    package static func start(_ pause: Pause) {
        guard case .wait(let wait) = pause, let wait = wait as? NodeWait else { return }
        let isFirst = wait.lock.withLock {
            defer { wait.isStarted = true }
            return !wait.isStarted
        }
        guard isFirst else { return }
        for fetch in wait.needed + wait.ahead { fetch.start() }
        for fetch in wait.needed { fetch.tell(wait) }
    }

    func oneDone(_ failure: Errno?) {
        let isLast = lock.withLock {
            left -= 1
            error = error ?? failure
            return left == 0
        }
        if isLast { finish(lock.withLock { error }) }
    }
}
