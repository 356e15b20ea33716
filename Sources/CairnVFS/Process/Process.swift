// Process: who makes calls: credentials, a working directory, a root, descriptors, a namespace.
//
// Every call of requirement V7 is here in three forms. `stat(path)` waits on the thread if it has
// to, `await stat(path)` suspends the task, and `submitStat(path) { … }` returns at once and calls
// back exactly once. Behind all three stands one attempt (`attemptStat`), which changes nothing
// when it has to wait (Wait.swift).
//
// Safe to call from any thread. Two calls on one descriptor are each atomic, as in POSIX.

public import CairnBase
import Synchronization

public final class Process: @unchecked Sendable {
    // Sendable: immutable, or read through cells and atomics; `lock` guards changes of several.
    public let vfs: VFS
    public let namespace: Namespace
    /// Differs from that of every living process of this VFS.
    public private(set) var identifier: Int32 = 0
    public let parentIdentifier: Int32
    /// For procfs: what runs here.
    public let name: String
    /// What went through its standard streams, as far as whoever runs it captures them.
    public let streams = CapturedStreams()

    /// Kept by `vfs`; borrowed by each call, which would else count references on what all share.
    let statistics: Unmanaged<OperationStatistics>

    private let credentialsCell: EpochCell<Credentials>
    private let rootCell: EpochCell<HeldLocation>
    private let workingCell: EpochCell<HeldLocation>
    private let ground: WalkGround
    // The cells again, to be read without counting references.
    private let credentialsReader: EpochCell<Credentials>.Reader
    private let rootReader: EpochCell<HeldLocation>.Reader
    private let workingReader: EpochCell<HeldLocation>.Reader
    private let umaskBits: Atomic<UInt32>
    private let fileSizeLimitBytes: Atomic<UInt64>
    let descriptors: DescriptorTable
    private let hasExited = Atomic<Bool>(false)
    /// Changes of root and working directory, and forks, one at a time.
    private let placeLock = Lock()

    /// A process at the root of a namespace, with no descriptors. ESRCH cannot happen; ENOENT if
    /// the namespace is closed.
    public init(
        in namespace: Namespace, credentials: Credentials = .root, umask: Permissions = .usual,
        name: String = "", descriptorLimit: Int = 1 << 20
    ) throws(Errno) {
        let root = try HeldLocation(namespace.crossed(namespace.root))
        self.vfs = namespace.vfs
        self.statistics = .passUnretained(namespace.vfs.statistics)
        self.namespace = namespace
        self.parentIdentifier = 0
        self.name = name
        self.credentialsCell = EpochCell(credentials)
        self.rootCell = EpochCell(root)
        self.workingCell = EpochCell(root.share())
        self.ground = WalkGround(namespace)
        self.credentialsReader = credentialsCell.reader
        self.rootReader = rootCell.reader
        self.workingReader = workingCell.reader
        self.umaskBits = Atomic(umask.rawValue)
        self.fileSizeLimitBytes = Atomic(.max)
        self.descriptors = DescriptorTable(limit: descriptorLimit)
        vfs.add(self) { identifier = $0 }
    }

    private init(forkOf parent: Process, name: String) {
        vfs = parent.vfs
        statistics = parent.statistics
        namespace = parent.namespace
        parentIdentifier = parent.identifier
        self.name = name
        credentialsCell = EpochCell(parent.credentials)
        rootCell = EpochCell(parent.rootCell.value.share())
        workingCell = EpochCell(parent.workingCell.value.share())
        ground = parent.ground
        credentialsReader = credentialsCell.reader
        rootReader = rootCell.reader
        workingReader = workingCell.reader
        umaskBits = Atomic(parent.umaskBits.load(ordering: .relaxed))
        fileSizeLimitBytes = Atomic(parent.fileSizeLimit)
        descriptors = parent.descriptors.copy()
        vfs.add(self) { identifier = $0 }
    }

    // MARK: Life

    /// fork(2): shares the open descriptions, copies the table and everything else. ESRCH if the
    /// process has ended.
    public func fork(name: String? = nil) throws(Errno) -> Process {
        let child = placeLock.withLock {
            hasExited.load(ordering: .acquiring)
                ? nil : Process(forkOf: self, name: name ?? self.name)
        }
        guard let child else { throw .ESRCH }
        return child
    }

    /// What exec(2) does here: closes what is close-on-exec.
    public func exec() {
        for file in descriptors.removeAll(onlyCloseOnExec: true) {
            closed(file)
        }
    }

    /// Ends the process: closes all descriptors and lets go of its directories. A second call does
    /// nothing. Calls after it that need a descriptor give EBADF.
    public func exit() {
        let isFirst = placeLock.withLock {
            !hasExited.exchange(true, ordering: .acquiringAndReleasing)
        }
        guard isFirst else { return }
        for file in descriptors.removeAll(onlyCloseOnExec: false) {
            closed(file)
        }
        rootCell.value.letGo()
        workingCell.value.letGo()
        vfs.remove(self)
    }

    /// A descriptor of this process is closed: its POSIX locks on the file go, and the
    /// description, if it was the last.
    func closed(_ file: OpenFile) {
        if !file.isPathOnly { file.inode.releaseLocks(of: .process(descriptors.identity)) }
        file.release()
    }

    // MARK: Who and where

    public var credentials: Credentials {
        get { credentialsCell.value }
        set { credentialsCell.exchange(newValue) }
    }

    /// Sets the mask for new files, and gives the old one.
    @discardableResult
    public func umask(_ mask: Permissions) -> Permissions {
        Permissions(
            rawValue: umaskBits.exchange(mask.rawValue & 0o777, ordering: .relaxed))
    }

    public var currentUmask: Permissions {
        Permissions(rawValue: umaskBits.load(ordering: .relaxed))
    }

    /// RLIMIT_FSIZE, in bytes: no file gets larger by this process and those it forks. What is
    /// beyond is not written, and EFBIG says that nothing could be; there is no SIGXFSZ here.
    /// UInt64.max, the default: no limit.
    public var fileSizeLimit: UInt64 {
        get { fileSizeLimitBytes.load(ordering: .relaxed) }
        set { fileSizeLimitBytes.store(newValue, ordering: .relaxed) }
    }

    public var rootLocation: Location { rootCell.value.location }
    public var workingLocation: Location { workingCell.value.location }

    var caller: Caller { Caller(credentials) }

    func setWorkingDirectory(_ place: Location) throws(Errno) {
        try replace(workingCell, with: place)
    }

    func setRoot(_ place: Location) throws(Errno) {
        try replace(rootCell, with: place)
    }

    /// ESRCH after `exit`, which has let go of what stood there.
    private func replace(
        _ cell: EpochCell<HeldLocation>, with place: Location
    ) throws(Errno) {
        let held = try HeldLocation(place)
        let old = placeLock.withLock {
            hasExited.load(ordering: .acquiring) ? nil : cell.exchange(held)
        }
        guard let old else {
            held.letGo()
            throw .ESRCH
        }
        old.letGo()
    }

    // MARK: Walking

    /// Walks a path and gives the result to `body`, all in one epoch section. ESTALE from `body`
    /// (something changed since the walk) walks again.
    func walk<Value>(
        _ path: UnsafeRawBufferPointer, at descriptor: Descriptor, _ options: WalkOptions,
        _ body: (borrowing PathWalk) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        var attemptsLeft = 16
        while true {
            do throws(Pause) {
                return try walkOnce(path, at: descriptor, options, body)
            } catch {
                attemptsLeft -= 1
                guard case .failed(.ESTALE) = error, attemptsLeft > 0 else { throw error }
            }
        }
    }

    @inline(__always)
    private func walkOnce<Value>(
        _ path: UnsafeRawBufferPointer, at descriptor: Descriptor, _ options: WalkOptions,
        _ body: (borrowing PathWalk) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        try Epoch.section { () throws(Pause) in
            var options = options
            if descriptor == .workingDirectory { options.remove(.emptyIsBase) }
            let root = rootReader.borrowed._withUnsafeGuaranteedRef { $0.borrowed }
            var walk = PathWalk(
                ground, credentials: credentialsReader, root: root,
                base: try base(for: path, at: descriptor, options), options: options)
            do throws(Pause) {
                try walk.run(path)
                if walk.place.mount._withUnsafeGuaranteedRef({ $0.hasFailed }) {
                    throw .failed(.EIO)
                }
                walk.noteNameIfWatched()
                return try body(walk)
            } catch {
                guard case .wait(let wait) = error else { throw error }
                throw .wait(walk.place.mount.takeUnretainedValue().registered(wait))
            }
        }
    }

    private func base(
        for path: UnsafeRawBufferPointer, at descriptor: Descriptor, _ options: WalkOptions
    ) throws(Pause) -> BorrowedLocation {
        if path.first == UInt8(ascii: "/") {
            return rootReader.borrowed._withUnsafeGuaranteedRef { $0.borrowed }
        }
        if descriptor == .workingDirectory {
            return workingReader.borrowed._withUnsafeGuaranteedRef { $0.borrowed }
        }
        guard let file = descriptors.borrow(descriptor)?.takeUnretainedValue() else {
            throw .failed(.EBADF)
        }
        if !path.isEmpty {
            guard file.inode.isDirectory else { throw .failed(.ENOTDIR) }
            guard file.rights.contains(.lookup) else { throw .failed(.EACCES) }
            if !options.isDisjoint(with: [.parent, .mayBeMissing]),
                !file.rights.contains(.changeNames)
            {
                throw .failed(.EACCES)
            }
        }
        return BorrowedLocation(
            mount: Unmanaged.passUnretained(file.location.mount),
            inode: Unmanaged.passUnretained(file.inode))
    }

    private func keep(_ file: OpenFile) throws(Pause) -> KeptFile {
        do throws(Errno) {
            return try KeptFile(file)
        } catch {
            throw .failed(error)
        }
    }

    /// What a path that starts at the descriptor may be used for.
    func rights(of path: UnsafeRawBufferPointer, at descriptor: Descriptor) -> Rights {
        if path.first == UInt8(ascii: "/") || descriptor == .workingDirectory { return .all }
        return Epoch.section {
            descriptors.borrow(descriptor)?._withUnsafeGuaranteedRef { $0.rights } ?? .all
        }
    }

    /// Calls `body` with the open file of a descriptor, without retaining it. If `body` has to
    /// wait, the file is kept in `file` for the attempts that follow, so that they use the same
    /// one even if the number is closed and used again.
    @inline(__always)
    func withFile<Value>(
        _ descriptor: Descriptor, keptIn file: inout KeptFile?,
        _ body: (OpenFile) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        try Epoch.section { () throws(Pause) in
            let kept = file.map { Unmanaged.passUnretained($0.file) }
            guard let borrowed = kept ?? descriptors.borrow(descriptor) else {
                throw .failed(.EBADF)
            }
            let open = borrowed.takeUnretainedValue()
            do throws(Pause) {
                if open.mount._withUnsafeGuaranteedRef({ $0.hasFailed }) { throw .failed(.EIO) }
                return try body(open)
            } catch {
                guard case .wait(let wait) = error else { throw error }
                if file == nil { file = try keep(open) }
                throw .wait(open.location.mount.registered(wait))
            }
        }
    }
}

extension Permissions {
    /// The usual umask, 022.
    public static var usual: Permissions { Permissions(rawValue: 0o022) }
}

/// A place that is held: its mount cannot be unmounted, its inode not freed, until `letGo`.
final class HeldLocation: @unchecked Sendable {
    // Sendable: immutable but for one atomic.
    let location: Location
    /// The same, without counting references.
    let borrowed: BorrowedLocation
    private let shares = Atomic<Int>(1)

    /// ENOENT if it is gone.
    init(_ location: Location) throws(Errno) {
        guard location.mount.hold() else { throw .ENOENT }
        guard location.inode.hold() else {
            location.mount.drop()
            throw .ENOENT
        }
        self.location = location
        self.borrowed = BorrowedLocation(
            mount: Unmanaged.passUnretained(location.mount),
            inode: Unmanaged.passUnretained(location.inode))
    }

    func share() -> HeldLocation {
        shares.add(1, ordering: .relaxed)
        return self
    }

    func letGo() {
        guard shares.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        location.inode.drop()
        location.mount.drop()
    }
}
