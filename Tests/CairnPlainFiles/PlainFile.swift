// PlainFile: a file of one fixed extent on a device, through the page cache: the cache's test bench.
//
// It keeps nothing of itself on the device but its bytes. Which pages are there it knows in memory:
// what was never written, or was cut off since, is zeros and is not asked for.
//
// Threading: any thread. `lock` is what FilePages calls the file's lock; `stored` is a leaf.

public import CairnBase
public import CairnCache
public import CairnIO

public final class PlainFile: PageBacking, @unchecked Sendable {
    // Sendable: immutable, or guarded by the locks.
    private let device: any BlockDevice
    /// Where it stands on the device, in bytes.
    public let start: UInt64
    /// The longest that it may be, in bytes.
    public let capacity: UInt64
    private let pageSize: Int
    private let flusher: Flusher
    nonisolated(unsafe) public private(set) var pages: FilePages!  // set once, by `init`

    public let lock = ReadWriteLock()
    /// In bytes; guarded by `lock`.
    nonisolated(unsafe) private var storedSize: UInt64 = 0
    private let storedLock = Lock()
    /// Which pages the device holds, a bit each; guarded by `storedLock`.
    nonisolated(unsafe) private var stored: [UInt64]

    /// `isWritten`: the device holds all of its bytes already.
    public init(
        number: UInt64, on device: any BlockDevice, at start: UInt64, capacity: UInt64,
        flusher: Flusher, isWritten: Bool = false
    ) {
        let pageSize = flusher.account.cache.pool.pageSize
        let count = Int(capacity) / pageSize
        self.device = device
        self.start = start
        self.capacity = capacity
        self.pageSize = pageSize
        self.flusher = flusher
        stored = Array(repeating: isWritten ? .max : 0, count: (count + 63) / 64)
        storedSize = isWritten ? capacity : 0
        pages = FilePages(
            .inode(fileSystem: 1, number: number), backedPages: isWritten ? UInt64(count) : 0,
            backing: self, account: flusher.account)
    }

    // MARK: As a file

    public var size: UInt64 {
        lock.withLockShared { storedSize }
    }

    /// Fewer bytes than asked for at the end, and where the rest is a step of its own (`inSteps`).
    public func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        lock.lockShared()
        defer { lock.unlockShared() }
        guard offset < storedSize, !buffer.isEmpty else { return 0 }
        let count = Int(min(UInt64(buffer.count), storedSize - offset))
        return try pages.readStep(
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset)
    }

    /// May write less than asked for. ENOSPC beyond the capacity.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Pause) -> Int {
        guard offset < capacity else { throw .failed(.ENOSPC) }
        let count = Int(min(UInt64(bytes.count), capacity - offset))
        lock.lock()
        defer { lock.unlock() }
        let written = try pages.write(
            UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: offset)
        storedSize = max(storedSize, offset + UInt64(written))
        return written
    }

    public func truncate(to size: UInt64) throws(Pause) {
        guard size <= capacity else { throw .failed(.EFBIG) }
        lock.lock()
        defer { lock.unlock() }
        if size < storedSize {
            try pages.truncate(to: size)
            forget(from: size)
        }
        storedSize = size
    }

    public func punch(_ range: Range<UInt64>) throws(Pause) {
        lock.lock()
        defer { lock.unlock() }
        let range = range.clamped(to: 0..<storedSize)
        guard !range.isEmpty else { return }
        try pages.punch(range)
        let size = UInt64(pageSize)
        let first = (range.lowerBound + size - 1) / size
        let end = range.upperBound / size
        if first < end { mark(first..<end, isStored: false) }
    }

    private func forget(from size: UInt64) {
        let first = (size + UInt64(pageSize) - 1) / UInt64(pageSize)
        let end = capacity / UInt64(pageSize)
        if first < end { mark(first..<end, isStored: false) }
    }

    private func mark(_ range: Range<UInt64>, isStored: Bool) {
        storedLock.withLock {
            for page in range {
                let bit = UInt64(1) << (page & 63)
                if isStored {
                    stored[Int(page >> 6)] |= bit
                } else {
                    stored[Int(page >> 6)] &= ~bit
                }
            }
        }
    }

    // MARK: As a backing

    public func fill(_ fill: PageFill, of pages: FilePages) {
        let whole = BlockRequest.read(
            into: fill.segments, at: start + fill.first.rawValue * UInt64(pageSize))
        let failure = FirstFailure()
        let all = Countdown {
            if let error = failure.error { fill.fail(error) } else { fill.complete() }
        }
        var position = 0
        while position < fill.count {
            let isStored = isStored(fill.first.rawValue + UInt64(position))
            var end = position + 1
            while end < fill.count,
                self.isStored(fill.first.rawValue + UInt64(end)) == isStored
            {
                end += 1
            }
            if isStored {
                perform(
                    whole.dropping(first: position * pageSize)
                        .prefix((end - position) * pageSize), failure, all)
            } else {
                for page in position..<end {
                    fill.bytes(of: page).initializeMemory(as: UInt8.self, repeating: 0)
                }
            }
            position = end
        }
        all.leave()
    }

    private func isStored(_ page: UInt64) -> Bool {
        storedLock.withLock { stored[Int(page >> 6)] >> (page & 63) & 1 != 0 }
    }

    private func perform(_ request: BlockRequest, _ failure: FirstFailure, _ all: Countdown) {
        all.enter()
        do throws(Errno) {
            _ = try BlockTransfer(request, on: device) { error in
                if let error { failure.note(error) }
                all.leave()
            }
        } catch {
            failure.note(error)
            all.leave()
        }
    }

    public func writeBack(
        _ run: DirtyRun, of pages: FilePages, completion: @escaping @Sendable (Errno?) -> Void
    ) {
        let range = run.first.rawValue..<run.first.rawValue + UInt64(run.count)
        let request = BlockRequest.write(
            run.segments, at: start + run.first.rawValue * UInt64(pageSize))
        let failure = FirstFailure()
        let all = Countdown { [self] in
            // Before the pages are clean: then this is what is asked for them.
            if failure.error == nil { mark(range, isStored: true) }
            completion(failure.error)
        }
        perform(request, failure, all)
        all.leave()
    }

    public func makeDurable(_ completion: @escaping @Sendable (Errno?) -> Void) {
        do throws(Errno) {
            _ = try BlockTransfer(.flush, on: device, completion: completion)
        } catch {
            completion(error)
        }
    }

    // MARK: Open descriptions

    public func open() -> PlainOpening { PlainOpening(self, flusher) }
}

/// An open description of a plain file: hears once of each error of write-back.
public final class PlainOpening {
    public let file: PlainFile
    private let flusher: Flusher
    private var position: ErrorSequence.Position
    private var pending: Wait?

    fileprivate init(_ file: PlainFile, _ flusher: Flusher) {
        self.file = file
        self.flusher = flusher
        position = file.pages.errors.position()
    }

    /// fsync(2), as an attempt: to be run by one driver at a time.
    public func sync() throws(Pause) {
        guard pending != nil else {
            let wait = flusher.sync(file.pages)
            pending = wait
            throw .wait(OperationWait(wait))
        }
        pending = nil
        if let error = file.pages.errors.check(since: &position) { throw .failed(error) }
    }
}

/// The first error of several requests.
final class FirstFailure: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var first: Errno?

    func note(_ error: Errno) {
        lock.withLock { first = first ?? error }
    }

    var error: Errno? { lock.withLock { first } }
}

/// Calls its body when the last of several requests is done; whoever makes it is one of them.
final class Countdown: @unchecked Sendable {
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
