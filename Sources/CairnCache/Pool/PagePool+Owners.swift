// Owners, and the pool's operations by key (C3).
//
// The table of owners is read without a lock. A set enters it with its first user, and leaves it when
// it has neither users nor pages.

public import CairnBase
import Synchronization

extension PagePool {
    // MARK: Sets

    /// The pages of an owner; made if there are none. Whoever asks is a user of the set, until
    /// `PageSet.close`.
    public func pages(of owner: PageOwner) -> PageSet {
        withTableKey(of: owner) { space, name in
            while true {
                if let set = Epoch.section({ openSet(space, name) }) { return set }
                let made = PageSet(owner, hash: mixHash(name.hash ^ space, tableSeed), in: self)
                var isEntered = false
                owners.insert(owner: space, name, made) {
                    // Under the key's lock: nobody else enters one now.
                    if case .unknown = owners.find(owner: space, name) { isEntered = true }
                    return isEntered
                }
                if isEntered {
                    recordBytes.add(PageSet.recordSize, ordering: .relaxed)
                    return made
                }
            }
        }
    }

    /// The set, with one user more. Nil: it is not there, or dead. In a section.
    private func openSet(_ space: UInt64, _ name: Name) -> PageSet? {
        guard case .object(let found) = owners.find(owner: space, name) else { return nil }
        let set = found.takeUnretainedValue()
        return set.open() ? set : nil
    }

    /// A set that has died.
    func forget(_ set: PageSet) {
        withTableKey(of: set.owner) { space, name in
            _ = owners.remove(owner: space, name)
        }
        recordBytes.subtract(PageSet.recordSize, ordering: .relaxed)
    }

    private var tableSeed: UInt64 { 0xD6E8_FEB8_6659_FD93 }

    @inline(__always)
    private func withTableKey<Value: ~Copyable, Failure>(
        of owner: PageOwner, _ body: (UInt64, Name) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        switch owner {
        case .inode(let fileSystem, let number):
            return try withUnsafeBytes(of: number) { (bytes) throws(Failure) -> Value in
                try body(fileSystem, Name(bytes))
            }
        case .content(let hash):
            return try withUnsafeBytes(of: hash.words) { (bytes) throws(Failure) -> Value in
                try body(0, Name(bytes))
            }
        }
    }

    /// The page, pinned, and its word before, if it is here and filled.
    @inline(__always)
    private func pinnedPage(_ key: PageKey) -> (Frame, FrameWord)? {
        Epoch.section {
            withTableKey(of: key.owner) { (space, name) -> (Frame, FrameWord)? in
                guard case .object(let found) = owners.find(owner: space, name) else { return nil }
                return found._withUnsafeGuaranteedRef { $0.pinnedPage(key.index) }
            }
        }
    }

    /// Runs `body` as a user of the owner's set.
    private func usingSet<Value: ~Copyable>(
        of owner: PageOwner, _ body: (PageSet) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        let set = pages(of: owner)
        defer { set.close() }
        return try body(set)
    }

    // MARK: By key

    /// The page, if it is here and filled.
    public func tryGet(_ key: PageKey) -> PageHandle? {
        guard let (frame, word) = pinnedPage(key) else {
            count(.misses)
            return nil
        }
        return hit(frame, word)
    }

    /// See `PageSet.acquire`.
    public func acquire(
        _ key: PageKey, fetching count: Int = 1, fill: (PageFill) -> Void
    ) throws(Pause) -> PageHandle {
        if let (frame, word) = pinnedPage(key) { return hit(frame, word) }
        return try usingSet(of: key.owner) { (set) throws(Pause) in
            try set.acquire(key.index, fetching: count, fill: fill)
        }
    }

    /// See `PageSet.acquireMutable`.
    public func acquireMutable(
        _ key: PageKey, fetching count: Int = 1, whileWriting: PageSet.WhileWriting = .goesOn,
        fill: (PageFill) -> Void
    ) throws(Pause) -> MutablePageHandle {
        try usingSet(of: key.owner) { (set) throws(Pause) in
            try set.acquireMutable(
                key.index, fetching: count, whileWriting: whileWriting, fill: fill)
        }
    }

    /// See `PageSet.insertDirty`.
    public func insertDirty(
        _ key: PageKey, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(Pause) {
        try usingSet(of: key.owner) { (set) throws(Pause) in
            try set.insertDirty(key.index, body)
        }
    }

    /// Whether the page is here and not written: dirty, or being written.
    public func hasDirty(_ key: PageKey) -> Bool {
        Epoch.section {
            withTableKey(of: key.owner) { (space, name) -> Bool in
                guard case .object(let found) = owners.find(owner: space, name) else {
                    return false
                }
                return found._withUnsafeGuaranteedRef { $0.hasDirty(key.index) }
            }
        }
    }

    /// The dirty page, to be written; its handle's `markFlushed` and `markNeedsFlush` say what came of
    /// it. See `PageSet.getDirty`.
    public func getDirty(_ key: PageKey) -> PageWrite? {
        guard let (frame, _) = pinnedPage(key) else { return nil }
        return beginWrite(frame)
    }

    /// Makes a page that is here dirty. False if it is not here.
    @discardableResult
    public func markNeedsFlush(_ key: PageKey) -> Bool {
        guard let (frame, _) = pinnedPage(key) else { return false }
        markDirty(frame)
        unpin(frame)
        return true
    }

    /// See `PageSet.modifyDirtyInPlace`.
    public func modifyDirtyInPlace(
        _ key: PageKey, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) -> Bool {
        guard let (frame, word) = pinnedPage(key) else { return false }
        modify(frame, word, body)
        return true
    }

    // MARK: Owners as a whole

    /// Takes all pages of the content out, whatever their state. See `PageSet.remove`.
    public func invalidate(_ hash: ContentHash) {
        remove(.content(hash))
    }

    /// Takes all pages of the owner out, whatever their state. See `PageSet.remove`.
    public func remove(_ owner: PageOwner) {
        let set = Epoch.section {
            withTableKey(of: owner) { space, name in openSet(space, name) }
        }
        guard let set else { return }
        set.remove(PageSet.everything)
        set.close()
    }
}
