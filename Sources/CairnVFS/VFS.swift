// VFS: the core that filesystems stand under and doors stand on.
//
// The functions here are what Linux calls vfs_create, vfs_unlink and so on: one operation on
// inodes, without path walk and without permission checks (`Process` and the kernel do those).
// They keep the dentry cache exact, tell watchers and observers, and count. Each is an attempt
// (Wait.swift). `origin` is the observer that needs not be told, because it asked.

public import CairnBase

public final class VFS: @unchecked Sendable {
    // Sendable: immutable, safe by themselves, or guarded by `lock`.
    public let time: any TimeSource
    public let dentries: DentryCache
    public let statistics: OperationStatistics

    private let lock = Lock()
    private var types: [String: any FileSystemType] = [:]
    private var namespaceTable: [ObjectIdentifier: Namespace] = [:]
    private var processTable: [Int32: Process] = [:]
    private var lastProcess: Int32 = 0

    /// `dentryLimit`: how many names, found or known to be absent, are kept at most.
    public init(time: any TimeSource = SystemTime(), dentryLimit: Int = 1 << 17) {
        self.time = time
        self.dentries = DentryCache(limit: dentryLimit)
        self.statistics = OperationStatistics(time: time)
    }

    // MARK: Types of filesystems

    /// Makes a type known by its name; a second one of that name replaces the first.
    public func register(_ type: any FileSystemType) {
        lock.withLock { types[type.name] = type }
    }

    public func type(named name: String) -> (any FileSystemType)? {
        lock.withLock { types[name] }
    }

    /// Names of the types, sorted.
    public var typeNames: [String] { lock.withLock { types.keys.sorted() } }

    // MARK: What lives in it

    public var namespaces: [Namespace] { lock.withLock { Array(namespaceTable.values) } }

    func add(_ namespace: Namespace) {
        lock.withLock { namespaceTable[ObjectIdentifier(namespace)] = namespace }
    }

    func remove(_ namespace: Namespace) {
        lock.withLock { namespaceTable[ObjectIdentifier(namespace)] = nil }
    }

    /// Processes by number.
    public var processes: [Process] {
        lock.withLock { processTable.values.sorted { $0.identifier < $1.identifier } }
    }

    public func process(_ identifier: Int32) -> Process? {
        lock.withLock { processTable[identifier] }
    }

    /// Gives the process a number that no other has, before anybody can see it.
    func add(_ process: Process, number: (Int32) -> Void) {
        lock.withLock {
            repeat {
                lastProcess = lastProcess == .max ? 1 : lastProcess + 1
            } while processTable[lastProcess] != nil
            number(lastProcess)
            processTable[lastProcess] = process
        }
    }

    func remove(_ process: Process) {
        lock.withLock { processTable[process.identifier] = nil }
    }
}
