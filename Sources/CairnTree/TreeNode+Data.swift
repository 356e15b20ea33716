// File data: reading, writing, allocation, holes and copies.

import CairnBase
import CairnVFS

/// How much copyRange moves under one hold of the two locks, in bytes.
private let copyStep = 64 << 10

extension TreeNode {
    // MARK: Reading

    @inline(__always)
    final func readData(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        try requireRegular()
        try lockSharedUnlessFreed()
        defer { lock.unlockShared() }
        let size = stored.size
        guard offset < size, buffer.count > 0 else { return 0 }
        let count = Int(min(UInt64(buffer.count), size - offset))
        return try readStored(
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset)
    }

    final func mapData(
        _ request: MappingRequest, _ mapping: inout (any MappedMemory)?
    ) throws(Pause) {
        try requireRegular()
        try lockSharedUnlessFreed()
        defer { lock.unlockShared() }
        try tree.store.map(self, request, &mapping)
    }

    final func seekData(_ target: SeekTarget, from offset: UInt64) throws(Pause) -> UInt64 {
        guard kind == .regular else { throw .failed(.EINVAL) }
        try lockSharedUnlessFreed()
        defer { lock.unlockShared() }
        guard offset < stored.size else { throw .failed(.ENXIO) }
        if let found = try tree.store.seek(target, in: self, from: offset) { return found }
        guard target == .hole else { throw .failed(.ENXIO) }
        return stored.size
    }

    // MARK: Writing

    @inline(__always)
    final func writeData(
        _ bytes: UnsafeRawBufferPointer, at position: WritePosition, options: WriteOptions
    ) throws(Pause) -> Written {
        try requireRegular()
        try lockExclusivelyUnlessFreed()
        defer { lock.unlock() }
        switch position {
        case .offset(let offset): return try writeLocked(bytes, at: offset, options: options)
        case .end: return try writeLocked(bytes, at: stored.size, options: options)
        case .endBelow(let limit):
            let offset = stored.size
            guard bytes.isEmpty || offset < limit else { throw .failed(.EFBIG) }
            let fitting = bytes.prefix(Int(clamping: limit - min(offset, limit)))
            return try writeLocked(
                UnsafeRawBufferPointer(rebasing: fitting), at: offset, options: options)
        }
    }

    private func writeLocked(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, options: WriteOptions
    ) throws(Pause) -> Written {
        let fixed: FileFlags = [.immutable, .appendOnly]
        if !stored.flags.isDisjoint(with: fixed) {
            guard !stored.flags.contains(.immutable), offset >= stored.size else {
                throw .failed(.EPERM)
            }
        }
        var bytes = bytes
        if options.contains(.withinFile) {
            let room = stored.size > offset ? stored.size - offset : 0
            bytes = UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(clamping: room)))
        }
        guard bytes.count > 0 else { return Written(offset: offset, count: 0) }
        guard offset < tree.maximumFileSize else { throw .failed(.EFBIG) }
        let count = Int(min(UInt64(bytes.count), tree.maximumFileSize - offset))
        var after = stored
        after.size = max(after.size, offset + UInt64(count))
        if !options.contains(.keepTimes) {
            after.modificationTime = now()
            after.changeTime = after.modificationTime
        }
        if options.contains(.clearPrivileges) { after.clearPrivileges() }
        let written = try writeStored(
            UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: offset, attributes: &after)
        stored = after
        return Written(offset: offset, count: written)
    }

    // MARK: fallocate(2)

    final func changeAllocation(
        _ mode: AllocateMode, offset: UInt64, length: UInt64, options: WriteOptions
    ) throws(Pause) {
        try requireRegular()
        guard length > 0 else { throw .failed(.EINVAL) }
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard !overflow, end <= tree.maximumFileSize else { throw .failed(.EFBIG) }
        try lockExclusivelyUnlessFreed()
        defer { lock.unlock() }
        guard !stored.flags.contains(.immutable) else { throw .failed(.EPERM) }
        if stored.flags.contains(.appendOnly) {
            guard case .reserve = mode else { throw .failed(.EPERM) }
        }
        let now = self.now()
        var after = stored
        after.changeTime = now
        if options.contains(.clearPrivileges) { after.clearPrivileges() }
        var change = Change()
        var keepsSize = true
        switch mode {
        case .reserve(let keepSize):
            keepsSize = keepSize
        case .zero(let keepSize):
            keepsSize = keepSize
            change.append(.punch(self.edited, offset: offset, length: length))
            after.modificationTime = now
        case .punchHole:
            change.append(.punch(self.edited, offset: offset, length: length))
            after.modificationTime = now
        case .collapse, .insert:
            throw .failed(.EOPNOTSUPP)
        }
        if !keepsSize, end > after.size {
            after.size = end
            after.modificationTime = now
        }
        change.append(.attributes(self.edited, after))
        if case .punchHole = mode {
        } else {
            change.append(.reserve(self.edited, offset: offset, length: length))
        }
        try apply(change)
        keep(after)
    }

    // MARK: copy_file_range(2)

    final func copyData(
        from source: Inode, at sourceOffset: UInt64, to offset: UInt64, length: UInt64,
        options: WriteOptions
    ) throws(Pause) -> Int {
        let source = try sibling(source)
        try requireRegular()
        try source.requireRegular()
        guard offset < tree.maximumFileSize else { throw .failed(.EFBIG) }
        if source === self {
            let size = try attributes().size
            let count = min(length, size - min(size, sourceOffset))
            let distance = max(offset, sourceOffset) - min(offset, sourceOffset)
            guard distance >= count else { throw .failed(.EINVAL) }
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(min(length, UInt64(copyStep))), alignment: 16)
        defer { buffer.deallocate() }
        var done: UInt64 = 0
        while done < length {
            let step = Int(min(UInt64(buffer.count), length - done))
            let count: Int
            do throws(Pause) {
                count = try copyStepLocked(
                    from: source, at: sourceOffset + done, to: offset + done,
                    through: UnsafeMutableRawBufferPointer(rebasing: buffer[..<step]),
                    options: options)
            } catch {
                // What is done is done; the caller comes again for the rest.
                if done > 0 { break }
                throw error
            }
            if count == 0 { break }
            done += UInt64(count)
        }
        return Int(done)
    }

    private func copyStepLocked(
        from source: TreeNode, at sourceOffset: UInt64, to offset: UInt64,
        through buffer: UnsafeMutableRawBufferPointer, options: WriteOptions
    ) throws(Pause) -> Int {
        let locked = try LockedNodes(self, source)
        defer { withExtendedLifetime(locked) {} }
        guard !condition.contains(.freed), !source.condition.contains(.freed) else {
            throw .failed(.ENOENT)
        }
        guard sourceOffset < source.stored.size else { return 0 }
        let count = Int(min(UInt64(buffer.count), source.stored.size - sourceOffset))
        let available = try source.readStored(
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: sourceOffset)
        return try writeLocked(
            UnsafeRawBufferPointer(rebasing: buffer[..<available]), at: offset, options: options
        ).count
    }

    @inline(__always)
    final func requireRegular() throws(Pause) {
        guard kind == .regular else { throw .failed(isDirectory ? .EISDIR : .EINVAL) }
    }
}
