// ToyStore: files in one directory, kept by a volume with nothing but batches: what is tried of it here
// is the volume. Small files are written in memory first, as a page cache has it, and placed or logged
// when the volume asks for it; large ones are placed at once.
//
// Used by one thread, but for what the volume calls on its executor, which is the same thread.

import CairnBase
import CairnIO
import CairnVFS

@testable import CairnDisk

final class ToyStore: DirtyDataOwner, @unchecked Sendable {
    // Sendable: one thread, as said above.
    let volume: Volume
    private let key: NameKey
    /// What was written and is not placed, by inode.
    private var dirty: [UInt64: Dirty] = [:]
    private var entries: UInt64 = 0

    private struct Dirty {
        var content: [UInt8]
        var isLogged = false
        var wasLogged = false
    }

    private static var nothing: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: nil, count: 0)
    }

    init(_ volume: Volume) {
        self.volume = volume
        let key = volume.opened.nameKey
        self.key = NameKey(first: key.first, second: key.second)
    }

    // MARK: Operations

    /// A new file, empty.
    func create(_ name: String) throws(Errno) {
        var number: UInt64?
        try blocking { () throws(Pause) in
            try volume.changing { (pass) throws(Pause) in
                if number == nil { number = try volume.nextInodeNumber() }
                guard let number else { return }
                var batch = EditBatch()
                put(ToyStore.record(size: 0, blocks: 0, pass), of: number, &batch)
                enter(name, number, &batch)
                try putRoot(entries: try count() + 1, pass, &batch)
                batch.giveOut(inodesBelow: number + 1)
                try volume.change(batch, pass)
            }
        }
    }

    /// The file has this content, in blocks, from now on.
    func writeLarge(_ name: String, _ content: [UInt8]) throws(Errno) {
        let number = try inode(name)
        let size = Int(volume.geometry.blockSize)
        let blocks = (content.count + size - 1) / size
        let promise = SpacePromise(blocks: blocks, nodes: 2)
        try blocking { () throws(Pause) in
            try volume.changing { (_) throws(Pause) in try volume.reserve(promise) }
        }
        defer { volume.release(SpacePromise(blocks: 0, nodes: 2)) }
        var runs: [BlockRun] = []
        do throws(Errno) {
            try blocking { () throws(Pause) in
                runs = try volume.allocate(blocks, near: nil)
            }
        } catch {
            volume.release(SpacePromise(blocks: blocks))
            throw error
        }
        let buffer = try AlignedBuffer(count: blocks * size)
        buffer.memory.copyBytes(from: content)
        var place = 0
        for run in runs {
            let part = buffer.bytes.part(place..<(place + Int(run.count) * size))
            try volume.device.write(part, at: volume.geometry.offset(of: run.start))
            place += part.count
        }
        volume.hasUnflushedData.store(true, ordering: .releasing)
        do throws(Errno) {
            try blocking { () throws(Pause) in
                try volume.changing { (pass) throws(Pause) in
                    var batch = EditBatch()
                    try removeExtents(of: number, &batch)
                    place = 0
                    for run in runs {
                        let length = Int(run.count) * size
                        let record = ExtentRecord(
                            .stored, length: UInt32(length), at: run.start, birth: pass.group,
                            hasChecksums: true)
                        let sums = stride(from: place, to: place + length, by: size).map {
                            CRC32C.checksum(
                                buffer.bytes.part($0..<($0 + size)), continuing: volume.seed)
                        }
                        put(
                            record.encoded(sums, blockSize: UInt32(size)), .extent, number,
                            UInt64(place), &batch)
                        batch.use(run)
                        place += length
                    }
                    put(
                        ToyStore.record(size: content.count, blocks: blocks, pass), of: number,
                        &batch)
                    batch.editsLoggedData = dirty[number]?.wasLogged ?? false
                    try volume.change(batch, pass)
                }
            }
        } catch {
            volume.giveBack(runs)
            throw error
        }
        dirty[number] = nil
    }

    /// The file has this content, of some hundred bytes, from now on: in memory.
    func writeSmall(_ name: String, _ content: [UInt8]) throws(Errno) {
        let number = try inode(name)
        let isNew = dirty[number] == nil
        try blocking { () throws(Pause) in
            try volume.changing { (pass) throws(Pause) in
                if isNew { try volume.reserve(ToyStore.smallPromise) }
                let wasLogged = dirty[number]?.wasLogged ?? false
                dirty[number] = Dirty(content: content, wasLogged: wasLogged)
                volume.noteOperation(pass)
            }
        }
    }

    private static var smallPromise: SpacePromise { SpacePromise(blocks: 0, nodes: 3) }

    func remove(_ name: String) throws(Errno) {
        let number = try inode(name)
        try blocking { () throws(Pause) in
            try volume.changing { (pass) throws(Pause) in
                var batch = EditBatch()
                batch.mayUseReserve = true
                batch.editsLoggedData = dirty[number]?.wasLogged ?? false
                try removeAll(number, name, &batch)
                try putRoot(entries: try count() - 1, pass, &batch)
                try volume.change(batch, pass)
            }
        }
        forget(number)
    }

    /// `name` becomes `other`, which goes if it is there.
    func rename(_ name: String, _ other: String) throws(Errno) {
        let number = try inode(name)
        var replaced: UInt64?
        try blocking { () throws(Pause) in
            replaced = try find(other)
            try volume.changing { (pass) throws(Pause) in
                var batch = EditBatch()
                if let replaced {
                    batch.editsLoggedData = dirty[replaced]?.wasLogged ?? false
                    try removeAll(replaced, other, &batch)
                }
                removeEntry(name, &batch)
                enter(other, number, &batch)
                try putRoot(entries: try count() - (replaced == nil ? 0 : 1), pass, &batch)
                try volume.change(batch, pass)
            }
        }
        if let replaced { forget(replaced) }
    }

    private func forget(_ number: UInt64) {
        if dirty.removeValue(forKey: number) != nil { volume.release(ToyStore.smallPromise) }
    }

    func sync() throws(Errno) {
        let target = volume.syncTarget()
        try blocking { () throws(Pause) in try volume.sync(target) }
    }

    // MARK: DirtyDataOwner

    func makeLateChanges(isUnmounting: Bool) async {}

    func placeDirtyData(isLast: Bool) async {
        for (number, file) in dirty.sorted(by: { $0.key < $1.key }) {
            do throws(Errno) {
                try await suspending { () throws(Pause) in
                    try volume.changing(.placing) { (pass) throws(Pause) in
                        var batch = EditBatch()
                        try removeExtents(of: number, &batch)
                        put(small: file.content, number, pass, &batch)
                        batch.editsLoggedData = file.wasLogged
                        try volume.change(batch, pass)
                    }
                }
                forget(number)
            } catch {
                return
            }
        }
    }

    func logDirtyData(to batch: inout EditBatch, limit: Int) -> Bool {
        let unlogged = dirty.filter { !$0.value.isLogged }.sorted { $0.key < $1.key }
        guard unlogged.reduce(0, { $0 + $1.value.content.count + 300 }) <= limit else {
            return false
        }
        for (number, file) in unlogged {
            let pass = ChangePass(.placing, group: volume.gate.openGroup)
            put(
                ToyStore.record(size: file.content.count, blocks: 0, pass), of: number, &batch)
            file.content.withUnsafeBytes { batch.write(inode: number, offset: 0, bytes: $0) }
            dirty[number]?.isLogged = true
            dirty[number]?.wasLogged = true
        }
        return true
    }

    func isDirtyDataSmall(limit: Int) -> Bool {
        dirty.values.reduce(0) { $0 + $1.content.count } < limit
    }

    var hasLoggedData: Bool { dirty.values.contains { $0.isLogged } }

    func replay(_ writes: ReplayedWrites) async throws(Errno) {
        for (inode, pieces) in writes.files.sorted(by: { $0.key < $1.key }) {
            // What lies behind the end is zeros: this store reads none of it.
            guard let piece = pieces.first, piece.offset == 0 else { continue }
            let size = try await suspending { () throws(Pause) -> Int in try self.size(of: inode) }
            let content = Array(piece.bytes.prefix(size))
            try await suspending { () throws(Pause) in
                try volume.changing(.placing) { (pass) throws(Pause) in
                    var batch = EditBatch()
                    try removeExtents(of: inode, &batch)
                    put(small: content, inode, pass, &batch)
                    try volume.change(batch, pass)
                }
            }
        }
    }

    // MARK: Reading

    private func size(of number: UInt64) throws(Pause) -> Int {
        let key = ItemKey(object: RecordKind.inode.object(of: number), number: 0)
        let size = try volume.read { (tree) throws(Pause) in
            try tree.find(key) { $0.number(UInt64.self, at: 16) }
        }
        return size.map { Int($0) } ?? 0
    }

    /// All names and what is in their files. Throws EIO for what is not as it must be.
    func contents() throws(Errno) -> [String: [UInt8]] {
        var names: [(String, UInt64)] = []
        try blocking { () throws(Pause) in
            names = []
            try volume.read { (tree) throws(Pause) in
                let object = RecordKind.entry.object(of: 1)
                try tree.scan(from: ItemKey(object: object, number: 0)) {
                    (key, value) throws(Pause) -> Bool in
                    guard key.object == object else { return false }
                    names.append(
                        (
                            String(decoding: key.tail, as: UTF8.self),
                            value.number(UInt64.self, at: 0)
                        ))
                    return true
                }
            }
        }
        var result: [String: [UInt8]] = [:]
        for (name, number) in names { result[name] = try content(number) }
        return result
    }

    private func content(_ number: UInt64) throws(Errno) -> [UInt8] {
        if let file = dirty[number] { return file.content }
        var size = 0
        var found: [(offset: Int, ExtentRecord, bytes: [UInt8])] = []
        try blocking { () throws(Pause) in
            found = []
            try volume.read { (tree) throws(Pause) in
                let key = ItemKey(object: RecordKind.inode.object(of: number), number: 0)
                guard let length = try tree.find(key, { $0.number(UInt64.self, at: 16) }) else {
                    throw .failed(.EIO)
                }
                size = Int(length)
                try extents(of: number, tree) { (offset, value) throws(Pause) in
                    let limits = ExtentRecord.Limits(
                        blockSize: volume.geometry.blockSize,
                        totalBlocks: volume.geometry.totalBlocks)
                    guard
                        let record = try? ExtentRecord(
                            decoding: value, at: offset, limits)
                    else { throw .failed(.EIO) }
                    found.append((Int(offset), record, Array(value)))
                }
            }
        }
        var content = [UInt8](repeating: 0, count: size)
        for (offset, record, bytes) in found {
            let data = try self.data(record, bytes)
            let count = min(data.count, size - offset)
            guard count >= 0 else { throw .EIO }
            content.replaceSubrange(offset..<(offset + count), with: data[..<count])
        }
        return content
    }

    private func data(_ record: ExtentRecord, _ bytes: [UInt8]) throws(Errno) -> [UInt8] {
        if record.form == .inline { return Array(bytes[ExtentRecord.headLength...]) }
        let size = Int(volume.geometry.blockSize)
        let buffer = try AlignedBuffer(count: Int(record.length))
        try volume.device.read(into: buffer.memory, at: volume.geometry.offset(of: record.address))
        let sums = bytes.withUnsafeBytes { bytes in
            (0..<(buffer.bytes.count / size)).map { block in
                bytes.number(UInt32.self, at: ExtentRecord.storedHeadLength + 4 * block)
                    == CRC32C.checksum(
                        buffer.bytes.part((block * size)..<((block + 1) * size)),
                        continuing: volume.seed)
            }
        }
        guard sums.allSatisfy({ $0 }) else { throw .EIO }
        return Array(buffer.bytes)
    }

    // MARK: Records

    private static func record(
        size: Int, blocks: Int, _ pass: borrowing ChangePass
    ) -> InodeRecord {
        var record = InodeRecord(
            kind: .regular, permissions: Permissions(rawValue: 0o644), links: 1, birth: pass.group,
            time: Timestamp(seconds: 1))
        record.size = UInt64(size)
        record.blocks = UInt64(blocks)
        return record
    }

    private func put(_ record: InodeRecord, of number: UInt64, _ batch: inout EditBatch) {
        put(record.encoded, .inode, number, 0, &batch)
    }

    private func put(
        _ value: [UInt8], _ kind: RecordKind, _ inode: UInt64, _ number: UInt64,
        _ batch: inout EditBatch
    ) {
        value.withUnsafeBytes {
            batch.put(
                object: kind.object(of: inode), number: number, tail: ToyStore.nothing, value: $0)
        }
    }

    private func put(
        small content: [UInt8], _ number: UInt64, _ pass: borrowing ChangePass,
        _ batch: inout EditBatch
    ) {
        put(content.withUnsafeBytes { ExtentRecord.encodedInline($0) }, .extent, number, 0, &batch)
        put(ToyStore.record(size: content.count, blocks: 0, pass), of: number, &batch)
    }

    private func enter(_ name: String, _ number: UInt64, _ batch: inout EditBatch) {
        let entry = EntryRecord(inode: number, distinction: 1, kind: .regular).encoded
        Array(name.utf8).withUnsafeBytes { name in
            entry.withUnsafeBytes {
                batch.put(
                    object: RecordKind.entry.object(of: 1), number: key.number(of: name),
                    tail: name,
                    value: $0)
            }
        }
    }

    private func removeEntry(_ name: String, _ batch: inout EditBatch) {
        Array(name.utf8).withUnsafeBytes {
            batch.remove(
                object: RecordKind.entry.object(of: 1), number: key.number(of: $0), tail: $0)
        }
    }

    private func removeAll(
        _ number: UInt64, _ name: String, _ batch: inout EditBatch
    ) throws(Pause) {
        try removeExtents(of: number, &batch)
        batch.remove(
            object: RecordKind.inode.object(of: number), number: 0, tail: ToyStore.nothing)
        removeEntry(name, &batch)
    }

    private func removeExtents(of number: UInt64, _ batch: inout EditBatch) throws(Pause) {
        var offsets: [UInt64] = []
        var runs: [BlockRun] = []
        let size = volume.geometry.blockSize
        try volume.read { (tree) throws(Pause) in
            try extents(of: number, tree) { (offset, value) throws(Pause) in
                offsets.append(offset)
                guard value[0] != 0 else { return }
                runs.append(
                    BlockRun(
                        start: BlockNumber(rawValue: value.number(UInt64.self, at: 8)),
                        count: UInt64(value.number(UInt32.self, at: 24) / size)))
            }
        }
        for offset in offsets {
            batch.remove(
                object: RecordKind.extent.object(of: number), number: offset,
                tail: ToyStore.nothing)
        }
        for run in runs { batch.free(run) }
    }

    private func extents(
        of number: UInt64, _ tree: ItemTree,
        _ body: (UInt64, UnsafeRawBufferPointer) throws(Pause) -> Void
    ) throws(Pause) {
        let object = RecordKind.extent.object(of: number)
        try tree.scan(from: ItemKey(object: object, number: 0)) {
            (key, value) throws(Pause) -> Bool in
            guard key.object == object else { return false }
            try body(key.number, value)
            return true
        }
    }

    private func putRoot(
        entries: UInt64, _ pass: borrowing ChangePass, _ batch: inout EditBatch
    ) throws(Pause) {
        var root = InodeRecord(
            kind: .directory, permissions: Permissions(rawValue: 0o755), links: 2,
            birth: TransactionGroup(rawValue: 1), time: Timestamp(seconds: 1))
        root.size = entries
        root.special = InodeNumbers.root
        put(root, of: InodeNumbers.root, &batch)
    }

    /// Entries of the directory.
    private func count() throws(Pause) -> UInt64 {
        let key = ItemKey(object: RecordKind.inode.object(of: 1), number: 0)
        let count = try volume.read { (tree) throws(Pause) in
            try tree.find(key) { $0.number(UInt64.self, at: 16) }
        }
        guard let count else { throw .failed(.EIO) }
        return count
    }

    private func find(_ name: String) throws(Pause) -> UInt64? {
        let bytes = Array(name.utf8)
        let number = bytes.withUnsafeBytes { key.number(of: $0) }
        return try volume.read { (tree) throws(Pause) -> UInt64? in
            var found: UInt64?
            let object = RecordKind.entry.object(of: 1)
            try tree.scan(from: ItemKey(object: object, number: number)) {
                (key, value) throws(Pause) -> Bool in
                guard key.object == object, key.number == number else { return false }
                if Array(key.tail) == bytes { found = value.number(UInt64.self, at: 0) }
                return found == nil
            }
            return found
        }
    }

    private func inode(_ name: String) throws(Errno) -> UInt64 {
        let found = try blocking { () throws(Pause) in try find(name) }
        guard let found else { throw .ENOENT }
        return found
    }
}
