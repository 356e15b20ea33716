// DescriptorTable: small numbers for open files.
//
// A lookup takes no lock: it reads one word in an epoch section. Changes (open, close, dup)
// take `lock`. Slots are an array of words that is replaced when it grows; the lowest free number
// is found from a bitmap.

import CairnBase
import Glibc
import Synchronization

/// A file descriptor of a `Process`.
public struct Descriptor: RawRepresentable, Hashable, Sendable {
    public let rawValue: Int32

    @inlinable
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// AT_FDCWD: paths start at the working directory.
    @inlinable public static var workingDirectory: Descriptor { Descriptor(rawValue: -100) }
}

final class DescriptorTable: @unchecked Sendable {
    // Sendable: the slots are atomic words; what else changes is guarded by `lock`.
    private typealias Slot = Atomic<UInt>

    private let lock = Lock()
    private let slots: Atomic<UInt>
    private let capacity: Atomic<Int>
    private var used: [UInt64] = []  // guarded by lock: a bit for each number
    private var closesOnExec: [UInt64] = []  // guarded by lock
    /// The process has ended; guarded by lock.
    private var isClosed = false
    /// RLIMIT_NOFILE.
    let limit: Int
    /// Never used again in this program, unlike a process's number: the owner of POSIX locks.
    let identity: UInt64
    private static let lastIdentity = Atomic<UInt64>(0)

    init(limit: Int) {
        self.limit = limit
        identity = DescriptorTable.lastIdentity.add(1, ordering: .relaxed).newValue
        slots = Atomic(0)
        capacity = Atomic(0)
        grow(to: 64)
    }

    deinit {
        free(UnsafeMutableRawPointer(bitPattern: slots.load(ordering: .relaxed)))
    }

    private func slot(_ index: Int) -> UnsafeMutablePointer<Slot>? {
        guard
            let base = UnsafeMutablePointer<Slot>(
                bitPattern: slots.load(ordering: .sequentiallyConsistent))
        else { return nil }
        return base + index
    }

    /// Under the lock, or before anybody else sees the table.
    private func grow(to count: Int) {
        guard let memory = calloc(count, MemoryLayout<UInt>.stride) else {
            preconditionFailure("no memory for \(count) descriptors")
        }
        let old = UnsafeMutableRawPointer(bitPattern: slots.load(ordering: .relaxed))
        let oldCount = capacity.load(ordering: .relaxed)
        if let old { memcpy(memory, old, oldCount * MemoryLayout<UInt>.stride) }
        // Slots first: a reader that sees the new capacity must see the new slots.
        slots.store(UInt(bitPattern: memory), ordering: .sequentiallyConsistent)
        capacity.store(count, ordering: .sequentiallyConsistent)
        used += Array(repeating: 0, count: count / 64 - used.count)
        closesOnExec += Array(repeating: 0, count: count / 64 - closesOnExec.count)
        if let old { Epoch.retire(memory: old) }
    }

    // MARK: Looking up

    /// The open file of a number, borrowed for the epoch section of the call; nil: EBADF.
    @inline(__always)
    func borrow(_ descriptor: Descriptor) -> Unmanaged<OpenFile>? {
        let index = Int(descriptor.rawValue)
        guard index >= 0, index < capacity.load(ordering: .sequentiallyConsistent),
            let bits = slot(index)?.pointee.load(ordering: .sequentiallyConsistent),
            let pointer = UnsafeRawPointer(bitPattern: bits)
        else { return nil }
        return Unmanaged.fromOpaque(pointer)
    }

    /// A reference of one's own. EBADF.
    func get(_ descriptor: Descriptor) throws(Errno) -> OpenFile {
        try Epoch.section { () throws(Errno) in
            guard let file = borrow(descriptor) else { throw .EBADF }
            return file.takeUnretainedValue()
        }
    }

    // MARK: Changing

    /// Takes the lowest free number for a file that is being opened, so that nothing can fail once
    /// the file was made or cut. `fill` or `giveBack` follows. EMFILE.
    func reserve() throws(Errno) -> Descriptor {
        try lock.withLock { () throws(Errno) in
            guard !isClosed else { throw .EBADF }
            guard let index = lowestFree(from: 0), index < limit else { throw .EMFILE }
            makeRoom(for: index)
            used[index / 64] |= 1 << UInt64(index % 64)
            return Descriptor(rawValue: Int32(index))
        }
    }

    /// Enters the file at a reserved number. EBADF if the process has ended.
    func fill(
        _ descriptor: Descriptor, with file: OpenFile, closeOnExec: Bool
    ) throws(Errno) {
        try lock.withLock { () throws(Errno) in
            guard !isClosed else { throw .EBADF }
            set(Int(descriptor.rawValue), to: file, closeOnExec: closeOnExec)
        }
    }

    func giveBack(_ descriptor: Descriptor) {
        let index = Int(descriptor.rawValue)
        lock.withLock { used[index / 64] &= ~(1 << UInt64(index % 64)) }
    }

    /// Enters the file at the lowest free number that is not below `minimum`. EMFILE when the limit
    /// is reached, EINVAL for a minimum beyond it.
    func insert(
        _ file: OpenFile, from minimum: Int = 0, closeOnExec: Bool
    ) throws(Errno) -> Descriptor {
        guard minimum >= 0, minimum < limit else { throw .EINVAL }
        return try lock.withLock { () throws(Errno) in
            guard !isClosed else { throw .EBADF }
            guard let index = lowestFree(from: minimum), index < limit else { throw .EMFILE }
            makeRoom(for: index)
            set(index, to: file, closeOnExec: closeOnExec)
            return Descriptor(rawValue: Int32(index))
        }
    }

    /// Enters the file at a number, and gives what stood there.
    func replace(
        _ descriptor: Descriptor, with file: OpenFile, closeOnExec: Bool
    ) throws(Errno) -> OpenFile? {
        let index = Int(descriptor.rawValue)
        guard index >= 0, index < limit else { throw .EBADF }
        return try withTable { () throws(Errno) in
            guard !isClosed else { throw .EBADF }
            makeRoom(for: index)
            // A number that a call of open is about to use (as dup2(2) says).
            if isReserved(index) { throw .EBUSY }
            let old = take(index)
            set(index, to: file, closeOnExec: closeOnExec)
            return old
        }
    }

    /// Takes a file out. EBADF.
    func remove(_ descriptor: Descriptor) throws(Errno) -> OpenFile {
        let index = Int(descriptor.rawValue)
        return try withTable { () throws(Errno) in
            guard index >= 0, index < capacity.load(ordering: .relaxed), let file = take(index)
            else { throw .EBADF }
            return file
        }
    }

    /// FD_CLOEXEC.
    func closesOnExec(_ descriptor: Descriptor) throws(Errno) -> Bool {
        let index = Int(descriptor.rawValue)
        return try lock.withLock { () throws(Errno) in
            guard isUsed(index) else { throw .EBADF }
            return closesOnExec[index / 64] >> UInt64(index % 64) & 1 == 1
        }
    }

    func setClosesOnExec(_ descriptor: Descriptor, _ value: Bool) throws(Errno) {
        let index = Int(descriptor.rawValue)
        try lock.withLock { () throws(Errno) in
            guard isUsed(index) else { throw .EBADF }
            setCloseOnExec(index, value)
        }
    }

    /// What is open, in order of numbers.
    var entries: [(descriptor: Descriptor, file: OpenFile)] {
        lock.withLock { usedNumbers.compactMap { index in file(at: index).map { (index, $0) } } }
            .map { (Descriptor(rawValue: Int32($0.0)), $0.1) }
    }

    /// `fork`: a table of its own with the same open files.
    func copy() -> DescriptorTable {
        let result = DescriptorTable(limit: limit)
        lock.withLock {
            for index in usedNumbers {
                // A description that is being closed is not there any more.
                guard let file = file(at: index), (try? file.retain()) != nil else { continue }
                result.makeRoom(for: index)
                result.set(
                    index, to: file,
                    closeOnExec: closesOnExec[index / 64] >> UInt64(index % 64) & 1 == 1)
            }
        }
        return result
    }

    /// Takes out everything, or what `exec` closes.
    /// With everything, nothing can be entered any more.
    func removeAll(onlyCloseOnExec: Bool) -> [OpenFile] {
        withTable {
            if !onlyCloseOnExec { isClosed = true }
            return usedNumbers.compactMap { index in
                let closes = closesOnExec[index / 64] >> UInt64(index % 64) & 1 == 1
                return onlyCloseOnExec && !closes ? nil : take(index)
            }
        }
    }

    /// For what takes files out: in a section, so that nothing is released under the lock.
    private func withTable<Value>(
        _ body: () throws(Errno) -> Value
    ) throws(Errno) -> Value {
        try Epoch.section { () throws(Errno) in try lock.withLock(body) }
    }

    private func withTable<Value>(_ body: () -> Value) -> Value {
        Epoch.section { lock.withLock(body) }
    }

    // MARK: Under the lock

    private func isReserved(_ index: Int) -> Bool {
        used[index / 64] >> UInt64(index % 64) & 1 == 1 && file(at: index) == nil
    }

    private var usedNumbers: [Int] {
        used.indices.flatMap { word in
            (0..<64).filter { used[word] >> UInt64($0) & 1 == 1 }.map { word * 64 + $0 }
        }
    }

    private func isUsed(_ index: Int) -> Bool {
        index >= 0 && index / 64 < used.count && file(at: index) != nil
    }

    private func file(at index: Int) -> OpenFile? {
        guard let bits = slot(index)?.pointee.load(ordering: .relaxed),
            let pointer = UnsafeRawPointer(bitPattern: bits)
        else { return nil }
        return Unmanaged<OpenFile>.fromOpaque(pointer).takeUnretainedValue()
    }

    private func lowestFree(from minimum: Int) -> Int? {
        var word = minimum / 64
        guard word < used.count else { return minimum }
        var free = ~used[word] & (UInt64.max << UInt64(minimum % 64))
        while free == 0 {
            word += 1
            guard word < used.count else { return word * 64 }
            free = ~used[word]
        }
        return word * 64 + free.trailingZeroBitCount
    }

    private func makeRoom(for index: Int) {
        var count = capacity.load(ordering: .relaxed)
        guard index >= count else { return }
        while count <= index { count *= 2 }
        grow(to: count)
    }

    private func set(_ index: Int, to file: OpenFile, closeOnExec: Bool) {
        slot(index)?.pointee.store(
            UInt(bitPattern: Unmanaged.passRetained(file).toOpaque()),
            ordering: .sequentiallyConsistent)
        used[index / 64] |= 1 << UInt64(index % 64)
        setCloseOnExec(index, closeOnExec)
    }

    private func setCloseOnExec(_ index: Int, _ value: Bool) {
        if value {
            closesOnExec[index / 64] |= 1 << UInt64(index % 64)
        } else {
            closesOnExec[index / 64] &= ~(1 << UInt64(index % 64))
        }
    }

    /// Takes the file out; a reader may still see it until its section ends.
    private func take(_ index: Int) -> OpenFile? {
        guard let bits = slot(index)?.pointee.exchange(0, ordering: .sequentiallyConsistent),
            let pointer = UnsafeRawPointer(bitPattern: bits)
        else { return nil }
        used[index / 64] &= ~(1 << UInt64(index % 64))
        setCloseOnExec(index, false)
        // A reference of one's own first: with no section open, retiring releases at once.
        let file = Unmanaged<OpenFile>.fromOpaque(pointer).takeUnretainedValue()
        Epoch.retire(Unmanaged<AnyObject>.fromOpaque(pointer))
        return file
    }
}
