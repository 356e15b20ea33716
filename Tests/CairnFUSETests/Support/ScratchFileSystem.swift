// ScratchFileSystem: a small filesystem in memory whose calls a test can hold back.
//
// Invariants: everything is guarded by the filesystem's one lock; a node without names and holds
// is counted as freed. It keeps to the contract of Inode's hooks and to nothing more.

import CairnBase
import CairnVFS

final class ScratchFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: `lock` guards all that changes.
    fileprivate let lock = Lock()
    private var lastNumber: UInt64 = 0
    private var rootNode: ScratchNode?
    /// While set, data of files can be had only once it finishes.
    private var barrier: Wait?
    /// The same for making a node durable.
    private var syncBarrier: Wait?
    private var syncs = 0
    private var freed = 0
    private var closed = false
    private let keepsData: Bool
    private let keepsNames: Bool

    init(cacheable: Bool = true) {
        keepsData = cacheable
        keepsNames = cacheable
        super.init(typeName: "scratch", time: SystemTime())
        rootNode = makeNode(
            .directory, NewNode(kind: .directory, permissions: .init(rawValue: 0o755)))
    }

    override var root: Inode {
        guard let rootNode else { preconditionFailure("the root is made by init") }
        return rootNode
    }

    override var dataIsCacheable: Bool { keepsData }
    override var namesAreCacheable: Bool { keepsNames }

    override func statistics() throws(Pause) -> FileSystemStatistics {
        FileSystemStatistics(
            blockSize: 4096, totalBlocks: 1000, freeBlocks: 600, availableBlocks: 500,
            totalNodes: 100, freeNodes: 50)
    }

    var freedCount: Int { lock.withLock { freed } }

    /// Takes the circle of filesystem and nodes apart.
    override func close() throws(Pause) {
        lock.withLock {
            closed = true
            rootNode = nil
        }
    }

    var isClosed: Bool { lock.withLock { closed } }

    /// Of a file in the root directory.
    func accessTime(of name: String) throws -> Timestamp? {
        try blocking { () throws(Pause) in
            try FileName(name).withName { (name) throws(Pause) in
                try root.lookup(name)?.attributes().accessTime
            }
        }
    }

    /// From now on reads and writes wait, until `letGo`.
    func holdBack() {
        lock.withLock { barrier = Wait() }
    }

    func holdSyncsBack() {
        lock.withLock { syncBarrier = Wait() }
    }

    func letGo() {
        let waits = lock.withLock {
            defer { (barrier, syncBarrier) = (nil, nil) }
            return [barrier, syncBarrier]
        }
        for wait in waits { wait?.finish() }
    }

    /// To be called with the lock held.
    fileprivate func checkBarrier() throws(Pause) { try pass(barrier) }

    /// A wait that was cancelled is replaced.
    private func pass(_ barrier: Wait?) throws(Pause) {
        guard let barrier else { return }
        let own = Wait()
        barrier.whenFinished { own.finish($0) }
        throw .wait(own)
    }

    /// How often a node was made durable.
    var syncCount: Int { lock.withLock { syncs } }

    fileprivate func noteSync() throws(Pause) {
        try lock.withLock { () throws(Pause) in
            try pass(syncBarrier)
            syncs += 1
        }
    }

    fileprivate func makeNode(_ kind: FileKind, _ node: NewNode) -> ScratchNode {
        lastNumber += 1
        var attributes = Attributes(
            number: lastNumber, kind: kind,
            permissions: node.permissions.subtracting(node.umask), linkCount: 0,
            device: node.device, time: time.now())
        if kind == .directory { attributes.linkCount = 2 }
        attributes.size = UInt64(node.target.count)
        return ScratchNode(attributes, target: node.target, in: self)
    }

    fileprivate func free(_ node: ScratchNode) {
        freed += 1
    }
}

final class ScratchNode: Inode, @unchecked Sendable {
    // Sendable: `scratch.lock` guards all that changes.
    private let scratch: ScratchFileSystem
    private var status: Attributes
    private let target: [UInt8]
    private var data: [UInt8] = []
    private var values: [[UInt8]: [UInt8]] = [:]
    private var entries: [[UInt8]: ScratchNode] = [:]
    /// Cookies of entries, in the order in which they came.
    private var order: [(cookie: UInt64, name: [UInt8])] = []
    private var lastCookie: UInt64 = 0
    private weak var parent: ScratchNode?

    init(_ attributes: Attributes, target: [UInt8], in fileSystem: ScratchFileSystem) {
        scratch = fileSystem
        status = attributes
        self.target = target
        super.init(number: attributes.number, kind: attributes.kind, fileSystem: fileSystem)
    }

    private func locked<Value>(_ body: () throws(Pause) -> Value) throws(Pause) -> Value {
        try scratch.lock.withLock(body)
    }

    private func touch() {
        status.modificationTime = scratch.time.now()
        status.changeTime = status.modificationTime
    }

    private func freeIfUnused() {
        if status.linkCount == 0, release() { scratch.free(self) }
    }

    override func unused() {
        scratch.lock.withLock { freeIfUnused() }
    }

    override func noteAccess(_ policy: AccessTimePolicy) {
        scratch.lock.withLock { status.accessTime = scratch.time.now() }
    }

    override func sync(dataOnly: Bool, _ point: inout SyncPoint) throws(Pause) {
        try scratch.noteSync()
    }

    // MARK: Attributes

    override func attributes() throws(Pause) -> Attributes { scratch.lock.withLock { status } }

    override func setAttributes(
        _ change: AttributeChange, by credentials: Credentials
    ) throws(Pause) -> Attributes {
        try locked { () throws(Pause) in
            if let permissions = change.permissions { status.permissions = permissions }
            if let user = change.user { status.user = user }
            if let group = change.group { status.group = group }
            if let flags = change.flags {
                status.flags = flags
                isSynchronous.store(flags.contains(.sync), ordering: .relaxed)
            }
            if let size = change.size {
                try scratch.checkBarrier()
                resize(try end(size, 0))
                status.modificationTime = scratch.time.now()
            }
            if change.clearsPrivileges {
                status.permissions.remove(.setUserID)
                if status.permissions.contains(.groupExecute) {
                    status.permissions.remove(.setGroupID)
                }
            }
            switch change.accessTime {
            case .keep: break
            case .now: status.accessTime = scratch.time.now()
            case .set(let time): status.accessTime = time
            }
            switch change.modificationTime {
            case .keep: break
            case .now: status.modificationTime = scratch.time.now()
            case .set(let time): status.modificationTime = time
            }
            status.changeTime = change.changeTime ?? scratch.time.now()
            return status
        }
    }

    /// Where a range ends. EFBIG beyond what a test needs.
    private func end(_ offset: UInt64, _ length: UInt64) throws(Pause) -> Int {
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard !overflow, end <= 1 << 26 else { throw .failed(.EFBIG) }
        return Int(end)
    }

    private func resize(_ size: Int) {
        if size < data.count {
            data.removeLast(data.count - size)
        } else {
            data.append(contentsOf: [UInt8](repeating: 0, count: size - data.count))
        }
        status.size = UInt64(size)
        status.blocks = UInt64((size + 511) / 512)
    }

    // MARK: Extended attributes

    override func extendedAttribute(
        _ name: Name, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        try locked { () throws(Pause) in
            guard let value = values[Array(name.bytes)] else { throw .failed(.ENODATA) }
            guard !buffer.isEmpty else { return value.count }
            guard value.count <= buffer.count else { throw .failed(.ERANGE) }
            buffer.copyBytes(from: value)
            return value.count
        }
    }

    override func extendedAttributeNames(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        scratch.lock.lock()
        defer { scratch.lock.unlock() }
        var list: [UInt8] = []
        for name in values.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            list += name + [0]
        }
        guard !buffer.isEmpty else { return list.count }
        guard list.count <= buffer.count else { throw .failed(.ERANGE) }
        buffer.copyBytes(from: list)
        return list.count
    }

    override func setExtendedAttribute(
        _ name: Name, to value: UnsafeRawBufferPointer?, mode: ExtendedAttributeMode,
        by credentials: Credentials
    ) throws(Pause) {
        try locked { () throws(Pause) in
            let key = Array(name.bytes)
            if mode == .create, values[key] != nil { throw .failed(.EEXIST) }
            if mode == .replace || value == nil, values[key] == nil { throw .failed(.ENODATA) }
            values[key] = value.map { Array($0) }
            status.changeTime = scratch.time.now()
        }
    }

    // MARK: Directories

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        guard isDirectory else { throw .failed(.ENOTDIR) }
        return scratch.lock.withLock { entries[Array(name.bytes)] }
    }

    override func parentDirectory() throws(Pause) -> Inode? {
        scratch.lock.withLock { parent ?? self }
    }

    override func readDirectory(
        after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        guard isDirectory else { throw .failed(.ENOTDIR) }
        for entry in listed(after: cookie) {
            let goOn = entry.name.withUnsafeBytes {
                body(
                    DirectoryEntry(
                        name: Name($0), number: entry.node.number, kind: entry.node.kind,
                        cookie: entry.cookie))
            }
            if !goOn { return }
        }
    }

    private typealias Listed = (cookie: UInt64, name: [UInt8], node: ScratchNode)

    private func listed(after cookie: UInt64) -> [Listed] {
        scratch.lock.lock()
        defer { scratch.lock.unlock() }
        var result: [Listed] = []
        for entry in order where entry.cookie > cookie {
            if let node = entries[entry.name] { result.append((entry.cookie, entry.name, node)) }
        }
        return result
    }

    private func enter(_ name: [UInt8], _ node: ScratchNode) {
        lastCookie += 1
        entries[name] = node
        order.append((lastCookie, name))
        node.parent = self
        touch()
    }

    private func leave(_ name: [UInt8]) {
        entries[name] = nil
        order.removeAll { $0.name == name }
        touch()
    }

    override func create(
        _ name: Name, _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode {
        try locked { () throws(Pause) in
            guard entries[Array(name.bytes)] == nil else { throw .failed(.EEXIST) }
            let made = scratch.makeNode(node.kind, node)
            made.status.user = credentials.user
            made.status.group = credentials.group
            if node.kind != .directory { made.status.linkCount = 1 }
            if node.kind == .directory { status.linkCount += 1 }
            enter(Array(name.bytes), made)
            return made
        }
    }

    override func createTemporary(
        _ node: NewNode, by credentials: Credentials
    ) throws(Pause) -> Inode {
        let made = scratch.lock.withLock { scratch.makeNode(node.kind, node) }
        _ = made.hold()
        return made
    }

    override func link(
        _ inode: Inode, as name: Name, by credentials: Credentials
    ) throws(Pause) {
        guard let node = inode as? ScratchNode else { throw .failed(.EXDEV) }
        try locked { () throws(Pause) in
            guard entries[Array(name.bytes)] == nil else { throw .failed(.EEXIST) }
            node.status.linkCount += 1
            node.status.changeTime = scratch.time.now()
            enter(Array(name.bytes), node)
        }
    }

    override func remove(
        _ name: Name, directory: Bool, expecting expected: Inode, by credentials: Credentials
    ) throws(Pause) {
        try locked { () throws(Pause) in
            let key = Array(name.bytes)
            guard let node = entries[key] else { throw .failed(.ENOENT) }
            guard node === expected else { throw .failed(.ESTALE) }
            if directory, !node.entries.isEmpty { throw .failed(.ENOTEMPTY) }
            leave(key)
            node.status.linkCount = directory ? 0 : node.status.linkCount - 1
            node.status.changeTime = scratch.time.now()
            if directory { status.linkCount -= 1 }
            node.freeIfUnused()
        }
    }

    override func rename(
        _ name: Name, expecting expected: Inode, to target: Inode, _ newName: Name,
        replacing replaced: Inode?, flags: RenameFlags, by credentials: Credentials
    ) throws(Pause) {
        guard let target = target as? ScratchNode else { throw .failed(.EXDEV) }
        try locked { () throws(Pause) in
            let (key, newKey) = (Array(name.bytes), Array(newName.bytes))
            guard let node = entries[key] else { throw .failed(.ENOENT) }
            let old = target.entries[newKey]
            guard node === expected, old === replaced else { throw .failed(.ESTALE) }
            if old === node { return }
            if flags.contains(.noReplace), old != nil { throw .failed(.EEXIST) }
            if flags.contains(.exchange) {
                guard let old else { throw .failed(.ENOENT) }
                entries[key] = old
                target.entries[newKey] = node
                (old.parent, node.parent) = (self, target)
                touch()
                return
            }
            if let old {
                if old.isDirectory, !old.entries.isEmpty { throw .failed(.ENOTEMPTY) }
                target.leave(newKey)
                old.status.linkCount = old.isDirectory ? 0 : old.status.linkCount - 1
                old.freeIfUnused()
            }
            leave(key)
            target.enter(newKey, node)
            if node.isDirectory {
                status.linkCount -= 1
                target.status.linkCount += 1
            }
        }
    }

    override func readLink() throws(Pause) -> [UInt8] {
        guard kind == .symbolicLink else { throw .failed(.EINVAL) }
        return target
    }

    // MARK: Data

    override func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        try locked { () throws(Pause) in
            try scratch.checkBarrier()
            guard offset < UInt64(data.count) else { return 0 }
            let count = min(buffer.count, data.count - Int(offset))
            buffer.copyBytes(from: data[Int(offset)..<Int(offset) + count])
            return count
        }
    }

    override func write(
        _ bytes: UnsafeRawBufferPointer, at position: WritePosition, options: WriteOptions
    ) throws(Pause) -> Written {
        try locked { () throws(Pause) in
            try scratch.checkBarrier()
            let offset: Int
            switch position {
            case .offset(let place): offset = try end(place, 0)
            case .end, .endBelow: offset = data.count
            }
            if offset + bytes.count > data.count {
                resize(try end(UInt64(offset), UInt64(bytes.count)))
            }
            data.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[offset..<offset + bytes.count])
                    .copyMemory(from: bytes)
            }
            if !options.contains(.keepTimes) { touch() }
            if options.contains(.clearPrivileges) {
                status.permissions.subtract([.setUserID, .setGroupID])
            }
            return Written(offset: UInt64(offset), count: bytes.count)
        }
    }

    override func allocate(
        _ mode: AllocateMode, offset: UInt64, length: UInt64, options: WriteOptions
    ) throws(Pause) {
        try locked { () throws(Pause) in
            let end = try end(offset, length)
            switch mode {
            case .reserve(let keepSize), .zero(let keepSize):
                if !keepSize, end > data.count { resize(end) }
                guard case .zero = mode else { return }
            case .punchHole: break
            default: throw .failed(.EOPNOTSUPP)
            }
            let range = min(Int(offset), data.count)..<min(end, data.count)
            for index in range { data[index] = 0 }
        }
    }

    override func seek(_ target: SeekTarget, from offset: UInt64) throws(Pause) -> UInt64 {
        try locked { () throws(Pause) in
            guard offset < UInt64(data.count) else { throw .failed(.ENXIO) }
            return target == .data ? offset : UInt64(data.count)
        }
    }

    override func copyRange(
        from source: Inode, at sourceOffset: UInt64, to offset: UInt64, length: UInt64,
        options: WriteOptions
    ) throws(Pause) -> Int {
        guard let source = source as? ScratchNode else { throw .failed(.EXDEV) }
        return try locked { () throws(Pause) in
            let start = min(try end(sourceOffset, 0), source.data.count)
            let count = min(source.data.count - start, Int(clamping: length))
            let bytes = Array(source.data[start..<start + count])
            let place = try end(offset, 0)
            if place + count > data.count { resize(try end(offset, UInt64(count))) }
            data.replaceSubrange(place..<place + count, with: bytes)
            touch()
            return bytes.count
        }
    }
}
