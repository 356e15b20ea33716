// RecordStore: a store that keeps plain records and can load nodes again, as a store on a disk can.
//
// It shares nothing with RAMStore, so that what holds over both holds because of the tree. Simple,
// and slow: one lock, value types, copies.

import CairnBase
import CairnTree
import CairnVFS

public final class RecordStore: NodeStore, @unchecked Sendable {
    // Sendable: `lock` guards `records` and `lastNumber`; `tree` is written once, by `attach`.

    struct Entry {
        var cookie: UInt64
        var name: [UInt8]
        var number: UInt64
        var kind: FileKind
    }

    struct Record {
        var attributes: Attributes
        var parent: UInt64 = 0
        var entries: [Entry] = []
        var nextCookie: UInt64 = 1
        /// Data by pages of 4096 bytes; for a symbolic link its target is page 0.
        var pages: [UInt64: [UInt8]] = [:]
        var extended: [(name: [UInt8], value: [UInt8])] = []
        var isOrphan = false

        var blocks: UInt64 { UInt64(pages.count) * 8 }
    }

    private let lock = Lock()
    private var records: [UInt64: Record] = [:]
    private var lastNumber: UInt64 = 2
    private unowned(unsafe) var tree: TreeFileSystem?
    public let maximumLinkCount: UInt32
    private static var pageSize: UInt64 { 4096 }

    public init(time: any TimeSource, maximumLinkCount: UInt32 = 32000) {
        self.maximumLinkCount = maximumLinkCount
        let root = Attributes(
            number: 2, kind: .directory, permissions: Permissions(rawValue: 0o755), linkCount: 2,
            time: time.now())
        records[2] = Record(attributes: root, parent: 2)
    }

    public func attach(to tree: TreeFileSystem) { self.tree = tree }
    public var rootNumber: UInt64 { 2 }
    public var maximumFileSize: UInt64 { UInt64(Int64.max) }
    public var blockSize: UInt32 { 4096 }
    public var canReload: Bool { true }
    public var isReadOnly: Bool { false }
    public var optionsDescription: String { "" }

    /// What another machine would do: changes a node behind the tree's back.
    public func changeBehindTheTree(
        _ number: UInt64, _ body: (inout Attributes) -> Void
    ) {
        lock.withLock {
            guard var record = records[number] else { return }
            body(&record.attributes)
            records[number] = record
        }
    }

    /// Numbers of nodes that a crash would leave to be freed.
    public var orphans: [UInt64] {
        lock.withLock { records.filter { $0.value.isOrphan }.map(\.key).sorted() }
    }

    public var recordCount: Int { lock.withLock { records.count } }

    private func record(_ number: UInt64) throws(Pause) -> Record {
        let found = lock.withLock { records[number] }
        guard let found else { throw .failed(.ESTALE) }
        return found
    }

    // MARK: Reading

    public func load(_ number: UInt64) throws(Pause) -> TreeNode {
        guard let tree else { preconditionFailure("a store without its tree") }
        let record = try record(number)
        return TreeNode(record.attributes, parent: record.parent, in: tree)
    }

    public func find(_ name: Name, in directory: TreeNode) throws(Pause) -> EntryTarget? {
        let bytes = Array(name.bytes)
        let entry = try record(directory.number).entries.first { $0.name == bytes }
        return entry.map { EntryTarget(number: $0.number, kind: $0.kind) }
    }

    public func readDirectory(
        _ directory: TreeNode, after cookie: UInt64, _ body: (DirectoryEntry) -> Bool
    ) throws(Pause) {
        for entry in try record(directory.number).entries where entry.cookie > cookie {
            let goesOn = entry.name.withUnsafeBytes { bytes in
                body(
                    DirectoryEntry(
                        name: Name(bytes), number: entry.number, kind: entry.kind,
                        cookie: entry.cookie))
            }
            if !goesOn { return }
        }
    }

    public func isEmpty(_ directory: TreeNode) throws(Pause) -> Bool {
        try record(directory.number).entries.isEmpty
    }

    public func target(of link: TreeNode) throws(Pause) -> [UInt8] {
        try record(link.number).pages[0] ?? []
    }

    public func extendedAttribute(
        _ name: Name, of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        let bytes = Array(name.bytes)
        guard let item = try record(node.number).extended.first(where: { $0.name == bytes }) else {
            throw .failed(.ENODATA)
        }
        return try copy(item.value, into: buffer)
    }

    public func extendedAttributeNames(
        of node: TreeNode, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        try copy(
            Array(try record(node.number).extended.map { $0.name + [0] }.joined()), into: buffer)
    }

    private func copy(
        _ bytes: [UInt8], into buffer: UnsafeMutableRawBufferPointer
    ) throws(Pause) -> Int {
        guard buffer.count > 0 else { return bytes.count }
        guard bytes.count <= buffer.count else { throw .failed(.ERANGE) }
        buffer.copyBytes(from: bytes)
        return bytes.count
    }

    public func read(
        _ node: TreeNode, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        let pages = try record(node.number).pages
        for index in 0..<buffer.count {
            let position = offset + UInt64(index)
            buffer[index] =
                pages[position / RecordStore.pageSize]?[Int(position % RecordStore.pageSize)] ?? 0
        }
        return buffer.count
    }

    public func seek(
        _ target: SeekTarget, in node: TreeNode, from offset: UInt64
    ) throws(Pause) -> UInt64? {
        let pages = try record(node.number).pages
        let size = node.stored.size
        if target == .data {
            let first = pages.keys.filter { ($0 + 1) * RecordStore.pageSize > offset }.min()
            guard let first, first * RecordStore.pageSize < size else { return nil }
            return max(offset, first * RecordStore.pageSize)
        }
        var position = offset
        while pages[position / RecordStore.pageSize] != nil {
            position = (position / RecordStore.pageSize + 1) * RecordStore.pageSize
        }
        return position < size ? position : nil
    }

    // MARK: Changing

    public func prepareNode(_ attributes: Attributes) throws(Pause) -> TreeNode {
        guard let tree else { preconditionFailure("a store without its tree") }
        var attributes = attributes
        attributes.number = lock.withLock {
            lastNumber += 1
            return lastNumber
        }
        return TreeNode(attributes, hasNoLists: true, in: tree)
    }

    public func write(
        _ bytes: UnsafeRawBufferPointer, to node: TreeNode, at offset: UInt64,
        attributes: inout Attributes
    ) throws(Pause) -> Int {
        var record = try record(node.number)
        for index in 0..<bytes.count {
            let position = offset + UInt64(index)
            record.pages[
                position / RecordStore.pageSize, default: [UInt8](repeating: 0, count: 4096)
            ][Int(position % RecordStore.pageSize)] = bytes[index]
        }
        attributes.blocks = record.blocks
        record.attributes = attributes
        lock.withLock { records[node.number] = record }
        return bytes.count
    }

    public func apply(_ change: borrowing Change) throws(Pause) {
        lock.lock()
        var changed = records
        lock.unlock()
        var touched: Set<UInt64> = []
        var freed: Set<UInt64> = []
        for edit in change.edits {
            touched.insert(edit.firstNode)
            RecordStore.apply(edit, to: &changed, &touched, &freed)
        }
        lock.lock()
        for number in touched { records[number] = changed[number] }
        for number in freed { records[number] = nil }
        lock.unlock()
        for edit in change.edits {
            let node = edit.firstTreeNode
            guard let record = changed[node.number] else { continue }
            node.noteOccupancy(
                blocks: record.blocks, directorySize: UInt64(record.entries.count) * 32)
        }
    }

    public func evicted(_ node: TreeNode) {}

    public func statistics() throws(Pause) -> FileSystemStatistics { FileSystemStatistics() }
    public func sync(
        _ node: TreeNode?, dataOnly: Bool, _ point: inout SyncPoint
    ) throws(Pause) {}
    public func close() throws(Pause) {}
}
