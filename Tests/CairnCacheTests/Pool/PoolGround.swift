// What tests of the pool stand on: a pool whose late calls run when the test says so, and pages whose
// content says which page they are.

import CairnBase
import CairnCache
import Synchronization

/// Bodies that a pool wants to have run soon.
final class Later: @unchecked Sendable {
    // Sendable: `lock` guards `bodies`.
    private let lock = Lock()
    private var bodies: [@Sendable () -> Void] = []

    func add(_ body: @escaping @Sendable () -> Void) {
        lock.withLock { bodies.append(body) }
    }

    /// Runs them, and what they bring, until there are none.
    func run() {
        while true {
            let taken = lock.withLock {
                defer { bodies = [] }
                return bodies
            }
            if taken.isEmpty { return }
            for body in taken { body() }
        }
    }
}

/// A pool, and what it needs.
struct PoolGround {
    let later = Later()
    let pool: PagePool

    init(
        pages: Int, capacity: Int? = nil, pageSize: Int = 4096,
        mayAllocate: (@Sendable () -> Bool)? = nil
    ) throws {
        let later = later
        var settings = PagePool.Settings(
            budget: pages * pageSize, capacity: capacity.map { $0 * pageSize }, pageSize: pageSize,
            perform: { later.add($0) })
        settings.mayAllocate = mayAllocate
        pool = try PagePool(settings)
    }

    /// The set of a file.
    func file(_ number: UInt64 = 1) -> PageSet {
        pool.pages(of: .inode(fileSystem: 1, number: number))
    }
}

func page(_ index: UInt64) -> PageIndex { PageIndex(rawValue: index) }

func pages(_ range: Range<UInt64>) -> Range<PageIndex> {
    page(range.lowerBound)..<page(range.upperBound)
}

/// Writes a number all over a page.
func stamp(_ number: UInt64, on bytes: UnsafeMutableRawBufferPointer) {
    bytes.bindMemory(to: UInt64.self).update(repeating: number)
}

/// The number that is all over a page; nil if there is more than one.
func stamp(of bytes: UnsafeRawBufferPointer) -> UInt64? {
    let words = bytes.bindMemory(to: UInt64.self)
    guard let first = words.first, words.allSatisfy({ $0 == first }) else { return nil }
    return first
}

extension PageFill {
    /// Gives each page the number of its index, plus `base`, and completes.
    func completeWithStamps(base: UInt64 = 0) {
        for position in 0..<count {
            stamp(base + first.rawValue + UInt64(position), on: bytes(of: position))
        }
        complete()
    }
}

extension PageSet {
    /// The page, filled at once with its index if it was not here.
    func fetch(_ index: UInt64, fetching count: Int = 1) throws(Errno) -> PageHandle {
        try blocking { () throws(Pause) in
            try acquire(page(index), fetching: count) { $0.completeWithStamps() }
        }
    }

    func write(_ index: UInt64, _ number: UInt64) throws(Errno) {
        try blocking { () throws(Pause) in
            try insertDirty(page(index)) { stamp(number, on: $0) }
        }
    }

    /// The page's number, if it is here.
    func peek(_ index: UInt64) -> UInt64? {
        guard let handle = tryGet(page(index)) else { return nil }
        return stamp(of: handle.bytes)
    }

    /// Writes all that is dirty nowhere: it is clean then.
    func flushAll() {
        while let run = beginWriting(in: PageSet.everything, limit: 256) {
            run.finish(nil)
        }
    }
}

/// What an attempt came to.
enum Came: Equatable {
    case value
    case failed(Errno)
    case waits
}

/// Makes the attempt once. `keep` gets the wait.
func once(
    keep: ((Wait) -> Void)? = nil, _ attempt: () throws(Pause) -> Void
) -> Came {
    do throws(Pause) {
        try attempt()
        return .value
    } catch {
        switch error {
        case .failed(let errno): return .failed(errno)
        case .wait(let wait):
            keep?(wait)
            return .waits
        }
    }
}
