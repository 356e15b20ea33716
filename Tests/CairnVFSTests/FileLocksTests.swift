// Locks of one file and between files (requirement V7: flock, POSIX and OFD locks).

import CairnBase
import Synchronization
import Testing

@testable import CairnVFS

/// Tests run side by side, and deadlocks are looked for among all files: no owner is used twice.
private let lastOwner = Atomic<UInt64>(1000)

private func newProcess() -> LockOwner {
    .process(lastOwner.add(1, ordering: .relaxed).newValue)
}

private func range(_ start: UInt64, _ end: UInt64) -> LockRange {
    LockRange(start: start, end: end) ?? .whole
}

private func write(_ start: UInt64, _ end: UInt64) -> FileLock {
    FileLock(.write, range(start, end), processID: 7)
}

private func read(_ start: UInt64, _ end: UInt64) -> FileLock {
    FileLock(.read, range(start, end), processID: 7)
}

/// What an attempt came to.
private enum Outcome: Equatable {
    case done
    case failed(Errno)
    case waits
}

private func outcome(_ attempt: () throws(Pause) -> Void) -> (Outcome, Wait?) {
    do throws(Pause) {
        try attempt()
        return (.done, nil)
    } catch {
        switch error {
        case .failed(let errno): return (.failed(errno), nil)
        case .wait(let wait): return (.waits, wait)
        }
    }
}

@Suite("File locks", .timeLimit(.minutes(1)))
struct FileLocksTests {
    private let processA = newProcess()
    private let processB = newProcess()
    private let processC = newProcess()
    private let fileSystem = PlainFileSystem()
    private var file: Inode { fileSystem.root }

    private func newFile() -> Inode {
        PlainInode(number: 99, kind: .regular, in: fileSystem)
    }

    private func lock(
        _ file: Inode, _ lock: FileLock, _ owner: LockOwner, wait: Bool = false
    ) -> Outcome {
        outcome { () throws(Pause) in try file.setLock(lock, owner: owner, wait: wait) }.0
    }

    // MARK: Ranges

    @Test("Locking, splitting and merging agree with a model of single bytes")  // V7
    func rangesAgreeWithModel() {
        for round in 0..<200 {
            let seed = runSeed &+ UInt64(round)
            var random = SeededGenerator(seed: seed)
            var model = ByteLockModel()
            let file = newFile()
            let owners = [newProcess(), newProcess(), newProcess()]
            for step in 0..<60 {
                let owner = Int.random(in: 0..<3, using: &random)
                let start = Int.random(in: 0..<ByteLockModel.size, using: &random)
                let end = Int.random(in: start..<ByteLockModel.size, using: &random)
                let kind: FileLock.Kind? =
                    [.read, .read, .write, nil].randomElement(using: &random) ?? nil
                let bytes = ByteLockModel.range(start...end)
                let expected = model.set(start...end, kind, owner: owner)
                let got = outcome { () throws(Pause) in
                    if let kind {
                        try file.setLock(
                            FileLock(kind, bytes, processID: Int32(owner)),
                            owner: owners[owner], wait: false)
                    } else {
                        try file.unlock(bytes, owner: owners[owner])
                    }
                }.0
                let place = Comment(rawValue: "CAIRN_SEED=\(seed), step \(step)")
                #expect(got == (expected ? .done : .failed(.EAGAIN)), place)
                #expect(model.matches(file.fileLocks), place)
            }
        }
    }

    @Test("A change in the middle splits a range in three, the same kind again joins them")  // V7
    func splitsAndMerges() {
        #expect(lock(file, write(10, 99), processA) == .done)
        #expect(lock(file, read(40, 59), processA) == .done)
        #expect(
            file.fileLocks.map(\.lock) == [write(10, 39), read(40, 59), write(60, 99)])
        #expect(lock(file, write(40, 59), processA) == .done)
        #expect(file.fileLocks.map(\.lock) == [write(10, 99)])
        // Neighbours that only touch join too.
        #expect(lock(file, write(100, .max), processA) == .done)
        #expect(lock(file, write(0, 9), processA) == .done)
        #expect(file.fileLocks.map(\.lock) == [write(0, .max)])
    }

    @Test("l_start and l_len become the bytes that fcntl(2) means")
    func rangesFromOffsets() {
        #expect(LockRange(offset: 10, length: 5) == range(10, 14))
        #expect(LockRange(offset: 10, length: 0) == range(10, .max))
        #expect(LockRange(offset: 10, length: -3) == range(7, 9))
        #expect(LockRange(offset: 10, length: -11) == nil)
        #expect(LockRange(offset: -1, length: 5) == nil)
        #expect(LockRange(offset: .max, length: 2) == nil)
        #expect(LockRange(offset: .max, length: 1)?.length == 0)
        #expect(range(3, 5).length == 3)
    }

    @Test("The limit is ENOLCK, also for an unlock that would split, and changes nothing")
    func limitIsKept() {
        fileSystem.lockLimitPerFile = 3
        #expect(lock(file, write(0, 9), processA) == .done)
        #expect(lock(file, write(20, 29), processA) == .done)
        #expect(lock(file, write(40, 49), processB) == .done)
        #expect(lock(file, write(60, 69), processB) == .failed(.ENOLCK))
        let split = outcome { () throws(Pause) in
            try file.unlock(range(3, 4), owner: processA)
        }
        #expect(split.0 == .failed(.ENOLCK))
        // Joining needs less room.
        #expect(lock(file, write(10, 19), processA) == .done)
        #expect(file.fileLocks.map(\.lock) == [write(0, 29), write(40, 49)])
    }

    // MARK: Owners

    @Test("Readers share, a writer is alone, and F_GETLK names who stands in the way")
    func conflicts() {
        #expect(lock(file, read(0, 9), processA) == .done)
        #expect(lock(file, read(5, 15), processB) == .done)
        #expect(lock(file, write(12, 20), processA) == .failed(.EAGAIN))
        #expect(file.testLock(write(12, 20), owner: processA) == read(5, 15))
        #expect(file.testLock(write(16, 20), owner: processA) == nil)
        let description = LockOwner.description(5)
        #expect(lock(file, write(100, 100), description) == .done)
        #expect(file.testLock(read(100, 100), owner: processA)?.processID == -1)
        // Owners of two doors are not one another.
        #expect(lock(file, write(200, 200), .remote(door: 1, 5)) == .done)
        #expect(lock(file, write(200, 200), .remote(door: 2, 5)) == .failed(.EAGAIN))
    }

    @Test("Closing gives back what the owner had, and nothing else")
    func releaseGivesBack() {
        #expect(lock(file, write(0, 9), processA) == .done)
        #expect(lock(file, write(10, 19), .description(1)) == .done)
        file.releaseLocks(of: processA)
        #expect(file.fileLocks.map(\.owner) == [.description(1)])
        file.releaseLocks(of: .description(1))
        #expect(file.fileLocks.isEmpty)
    }

    // MARK: Waiting

    @Test("Who waits is served in order, and no newcomer slips in between")
    func firstComeFirstServed() {
        let served = Recorder<LockOwner>()
        let file = newFile()
        #expect(lock(file, write(0, 9), processA) == .done)
        let owners = (0..<4).map { _ in newProcess() }
        for owner in owners {
            callingBack { () throws(Pause) in
                try file.setLock(write(0, 9), owner: owner, wait: true)
            } completion: { _ in
                served.append(owner)
            }
        }
        file.releaseLocks(of: processA)
        for (index, owner) in owners.enumerated() {
            #expect(served.items == Array(owners[...index]))
            #expect(lock(file, write(0, 9), processB) == .failed(.EAGAIN))
            file.releaseLocks(of: owner)
        }
        #expect(lock(file, write(0, 9), processB) == .done)
    }

    @Test("What is freed is kept for the waiter until it comes, and let go if it does not")
    func reservationBelongsToTheWait() {
        let file = newFile()
        #expect(lock(file, write(0, 9), processA) == .done)
        var first = outcome { () throws(Pause) in
            try file.setLock(write(0, 9), owner: processB, wait: true)
        }.1
        let second = outcome { () throws(Pause) in
            try file.setLock(write(5, 5), owner: processC, wait: true)
        }.1
        file.releaseLocks(of: processA)
        #expect(first?.hasFinished == true)
        #expect(second?.hasFinished == false)
        #expect(lock(file, read(0, 0), processA) == .failed(.EAGAIN))
        // Cancelled too late: it has been granted.
        first?.cancel()
        #expect(lock(file, read(0, 0), processA) == .failed(.EAGAIN))
        first = nil
        #expect(second?.hasFinished == true)
        #expect(lock(file, read(0, 0), processA) == .done)
        #expect(lock(file, write(5, 5), processC, wait: true) == .done)
    }

    @Test("A cancelled wait is EINTR, leaves the queue, and holds nobody up")
    func cancellation() {
        let file = newFile()
        let results = Recorder<String>()
        #expect(lock(file, write(0, 9), processA) == .done)
        let operation = callingBack { () throws(Pause) in
            try file.setLock(write(0, 9), owner: processB, wait: true)
        } completion: {
            if case .failure(.EINTR) = $0 { results.append("interrupted") }
        }
        callingBack { () throws(Pause) in
            try file.setLock(read(0, 9), owner: processC, wait: true)
        } completion: {
            if case .success = $0 { results.append("granted") }
        }
        #expect(file.fileLocks.filter(\.isWaiting).count == 2)
        operation.cancel()
        operation.cancel()
        #expect(results.items == ["interrupted"])
        #expect(file.fileLocks.filter(\.isWaiting).count == 1)
        file.releaseLocks(of: processA)
        #expect(results.items == ["interrupted", "granted"])
    }

    @Test("A cancelled task gives up its wait")
    func taskCancellation() async {
        let file = newFile()
        #expect(lock(file, write(0, 9), processA) == .done)
        let task = Task { () -> Errno? in
            do throws(Errno) {
                try await suspending { () throws(Pause) in
                    try file.setLock(write(0, 9), owner: processB, wait: true)
                }
                return nil
            } catch {
                return error
            }
        }
        while !file.fileLocks.contains(where: \.isWaiting) { await Task.yield() }
        task.cancel()
        #expect(await task.value == .EINTR)
        #expect(!file.fileLocks.contains { $0.isWaiting })
    }

    @Test("A downgrade lets waiting readers in")
    func downgradeWakes() {
        let file = newFile()
        #expect(lock(file, write(0, 99), processA) == .done)
        let waiting = outcome { () throws(Pause) in
            try file.setLock(read(10, 19), owner: processB, wait: true)
        }.1
        #expect(lock(file, read(0, 4), processA) == .done)
        #expect(waiting?.hasFinished == false)
        #expect(lock(file, read(0, 99), processA) == .done)
        #expect(waiting?.hasFinished == true)
    }

    @Test("A lock that is granted after its descriptor was closed does not stay")
    func closedWhileWaiting() throws {
        let namespace = try Namespace(vfs: VFS(time: ManualTime()), root: fileSystem)
        let holder = try Process(in: namespace)
        let waiter = try Process(in: namespace)
        let held = try holder.open("/f", [.create, .readWrite])
        let descriptor = try waiter.open("/f", .readWrite)
        let inode = try #require(holder.openFile(held)).inode
        try holder.setLock(held, .write, range: .whole, wait: false)
        let results = Recorder<Errno?>()
        let pending = try waiter.submitSetLock(
            descriptor, .write, range: .whole, wait: true
        ) { result in
            if case .failure(let errno) = result { results.append(errno) }
        }
        try waiter.close(descriptor)
        #expect(results.items.isEmpty)
        try holder.close(held)
        #expect(results.items == [.EBADF])
        #expect(inode.fileLocks.isEmpty)
        withExtendedLifetime(pending) {}
        holder.exit()
        waiter.exit()
        try namespace.close()
    }

    // MARK: Deadlocks

    @Test("A circle of waits over several files is EDEADLK for who would close it")
    func deadlock() {
        let files = [newFile(), newFile(), newFile()]
        let owners = [processA, processB, processC]
        for (file, owner) in zip(files, owners) {
            #expect(lock(file, write(0, 0), owner) == .done)
        }
        var waits: [Wait?] = []
        for index in 0..<2 {
            let (result, wait) = outcome { () throws(Pause) in
                try files[index + 1].setLock(write(0, 0), owner: owners[index], wait: true)
            }
            #expect(result == .waits)
            waits.append(wait)
        }
        #expect(lock(files[0], write(0, 0), processC, wait: true) == .failed(.EDEADLK))
        #expect(lock(files[0], write(0, 0), processC) == .failed(.EAGAIN))
        // Where somebody gives up, there is no circle.
        waits[1]?.cancel()
        let (result, last) = outcome { () throws(Pause) in
            try files[0].setLock(write(0, 0), owner: processC, wait: true)
        }
        #expect(result == .waits)
        last?.cancel()
    }

    @Test("Who comes to hold a lock later counts in the search for circles")
    func deadlockWithLaterHolder() {
        let first = newFile()
        let second = newFile()
        #expect(lock(first, read(0, 0), processA) == .done)
        #expect(lock(second, write(0, 0), processB) == .done)
        let (result, wait) = outcome { () throws(Pause) in
            try first.setLock(write(0, 0), owner: processB, wait: true)
        }
        #expect(result == .waits)
        #expect(lock(first, read(0, 0), processC) == .done)
        #expect(lock(second, read(0, 0), processC, wait: true) == .failed(.EDEADLK))
        wait?.cancel()
    }

    @Test("Open file descriptions are not searched for circles, as on Linux")
    func noDeadlockForDescriptions() {
        let first = newFile()
        let second = newFile()
        let owners: [LockOwner] = [.description(1), .description(2)]
        #expect(lock(first, write(0, 0), owners[0]) == .done)
        #expect(lock(second, write(0, 0), owners[1]) == .done)
        let waits = [(second, owners[0]), (first, owners[1])].map { file, owner in
            outcome { () throws(Pause) in
                try file.setLock(write(0, 0), owner: owner, wait: true)
            }.1
        }
        #expect(waits.allSatisfy { $0?.hasFinished == false })
        waits.forEach { $0?.cancel() }
    }

    // MARK: flock

    private func flock(
        _ file: Inode, _ operation: FlockOperation, _ owner: LockOwner
    ) -> Outcome {
        outcome { () throws(Pause) in
            try file.setFlock(operation, owner: owner, wait: false)
        }.0
    }

    @Test("A failed upgrade loses the shared lock, as flock(2) says")
    func failedUpgradeLoses() {
        let (first, second) = (LockOwner.description(1), LockOwner.description(2))
        #expect(flock(file, .shared, first) == .done)
        #expect(flock(file, .shared, second) == .done)
        #expect(flock(file, .exclusive, first) == .failed(.EAGAIN))
        #expect(file.fileLocks.map(\.owner) == [second])
        #expect(flock(file, .exclusive, second) == .done)
        #expect(flock(file, .shared, first) == .failed(.EAGAIN))
        #expect(flock(file, .shared, second) == .done)
        #expect(flock(file, .shared, first) == .done)
        #expect(flock(file, .unlock, second) == .done)
        #expect(flock(file, .exclusive, first) == .done)
    }

    @Test("Two that upgrade at once get through one after the other")
    func twoUpgrades() {
        let file = newFile()
        let served = Recorder<UInt64>()
        for identity: UInt64 in [1, 2] {
            #expect(flock(file, .shared, .description(identity)) == .done)
        }
        for identity: UInt64 in [1, 2] {
            callingBack { () throws(Pause) in
                try file.setFlock(.exclusive, owner: .description(identity), wait: true)
            } completion: { _ in
                served.append(identity)
            }
        }
        // The first gave up its share when it went to wait: the second needs not wait for anybody.
        #expect(served.items == [2])
        file.releaseLocks(of: .description(2))
        #expect(served.items == [2, 1])
    }

    @Test("flock and byte ranges do not meet")
    func kindsDoNotMeet() {
        #expect(flock(file, .exclusive, .description(1)) == .done)
        #expect(lock(file, write(0, .max), processA) == .done)
        #expect(lock(file, write(0, .max), .description(1)) == .failed(.EAGAIN))
        #expect(file.fileLocks.map(\.isFlock) == [false, true])
        #expect(fileSystem.fileLocks.count == 2)
    }

    // MARK: Threads

    @Test("Threads that wait for one another's ranges all get through, and never two at once")
    func threads() {
        let file = newFile()
        let inside = Recorder<String>()
        // One word for each slot, guarded by the locks under test.
        nonisolated(unsafe) let users = UnsafeMutablePointer<Int>.allocate(capacity: 4)
        users.initialize(repeating: 0, count: 4)
        defer { users.deallocate() }
        onThreads(6) { thread in
            var random = SeededGenerator(seed: runSeed &+ UInt64(thread))
            let owner = LockOwner.description(UInt64(thread))
            for _ in 0..<400 {
                let first = Int.random(in: 0..<4, using: &random)
                let last = Int.random(in: first..<4, using: &random)
                do throws(Errno) {
                    try blocking { () throws(Pause) in
                        try file.setLock(
                            write(UInt64(first), UInt64(last)), owner: owner, wait: true)
                    }
                    for slot in first...last {
                        users[slot] += 1
                        if users[slot] != 1 { inside.append("two in slot \(slot)") }
                    }
                    for slot in first...last { users[slot] -= 1 }
                    try blocking { () throws(Pause) in
                        try file.unlock(.whole, owner: owner)
                    }
                } catch {
                    inside.append("\(error)")
                }
            }
        }
        #expect(inside.items == [], "CAIRN_SEED=\(runSeed)")
        #expect(file.attachment?.rangeLocks.isIdle == true)
    }
}

extension Wait {
    /// Whether it has finished, asked without waiting.
    fileprivate var hasFinished: Bool {
        let answers = Recorder<Bool>()
        whenFinished { _ in answers.append(true) }
        return !answers.items.isEmpty
    }
}
