// Data of files: reading, writing, and where data and holes are. All through pages of the cache; the
// device is read by FileState+Filling and written by placements.

import CairnBase
import CairnCache
import CairnTree
import CairnVFS

extension DiskStore {
    func read(
        _ node: TreeNode, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Pause) -> Int {
        let node = DiskStore.node(node)
        guard let file = node.file else { throw .failed(.EIO) }
        return try file.pages(recordedSize: node.state.recordedSize)
            .readStep(into: buffer, at: offset)
    }

    /// Its pages are the cache's. What is changed through it comes back as a write of its own memory.
    func map(
        _ node: TreeNode, _ request: MappingRequest, _ mapping: inout (any MappedMemory)?
    ) throws(Pause) {
        let node = DiskStore.node(node)
        guard let file = node.file else { throw .failed(.EIO) }
        let pages = file.pages(recordedSize: node.state.recordedSize)
        let whole: FileMapping
        if let made = mapping as? FileMapping {
            whole = made
        } else {
            do throws(Errno) {
                whole = try pages.makeMapping(request)
            } catch {
                throw .failed(error)
            }
            mapping = whole
        }
        try pages.bring(whole, size: node.stored.size)
    }

    func write(
        _ bytes: UnsafeRawBufferPointer, to node: TreeNode, at offset: UInt64,
        attributes: inout Attributes
    ) throws(Pause) -> Int {
        let node = DiskStore.node(node)
        guard let file = node.file else { throw .failed(.EIO) }
        try file.requireSettled()
        var after = attributes
        // Under a pass, so that the group that this belongs to does not end between its parts.
        let written = try volume.changing(.operation) { (pass) throws(Pause) in
            let written = try write(bytes, to: node, file, at: offset, &after)
            volume.noteOperation(pass)
            return written
        }
        attributes = after
        return written
    }

    private func write(
        _ bytes: UnsafeRawBufferPointer, to node: DiskNode, _ file: FileState, at offset: UInt64,
        _ attributes: inout Attributes
    ) throws(Pause) -> Int {
        let pages = file.pages(recordedSize: node.state.recordedSize)
        let count = try reserve(bytes.count, at: offset, node, file, pages)
        let written: Int
        do throws(Pause) {
            written = try pages.write(
                UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: offset)
        } catch {
            file.settleReservation()
            throw error
        }
        file.settleReservation()
        file.unlogged.insert(offset..<offset + UInt64(written))
        dirtyNodes.list(node, file)
        if written < bytes.count {
            attributes.size = max(node.stored.size, offset + UInt64(written))
        }
        attributes.blocks = occupancy(of: node, size: attributes.size)
        return written
    }

    /// Reserves blocks for a write; gives how many of its bytes there is room for, at least 1.
    private func reserve(
        _ count: Int, at offset: UInt64, _ node: DiskNode, _ file: FileState, _ pages: FilePages
    ) throws(Pause) -> Int {
        let size = UInt64(blockSize)
        var count = count
        while true {
            let range = offset / size..<(offset + UInt64(count) - 1) / size + 1
            let need = try need(ofPages: range, of: node, file, pages)
            guard need.blocks > 0 else { return count }
            do throws(Pause) {
                try volume.reserve(need.promise)
                file.keep(need, forPages: range)
                return count
            } catch {
                // A part may fit.
                guard case .failed(.ENOSPC) = error, range.count > 1 else { throw error }
                let half = (range.lowerBound + UInt64(range.count) / 2) * size
                count = Int(half - offset)
            }
        }
    }

    /// What has to be promised before these pages become dirty.
    func need(
        ofPages range: Range<UInt64>, of node: DiskNode, _ file: FileState, _ pages: FilePages
    ) throws(Pause) -> FileState.Need {
        try file.need(forPages: range, pages) { window throws(Pause) in
            try packedPages(in: window, overwriting: range, of: node, file)
        }
    }

    /// How many pages of a window of the file, from its start, have to be placed together if some
    /// of them are (SpareBlocks); 0: there is no compressed extent, nor will there be one first.
    private func packedPages(
        in window: Range<UInt64>, overwriting range: Range<UInt64>, of node: DiskNode,
        _ file: FileState
    ) throws(Pause) -> Int {
        guard !node.isInPlace else { return 0 }
        if window.overlaps(file.pagesBeingPlaced),
            options.compression.chosen(node.state.compression).method != .none
        {
            return window.count
        }
        guard node.state.packedMayExist else { return 0 }
        let all = window.clamped(to: 0..<layout.blocks(node.state.recordedSize))
        guard all.overlaps(range) else { return 0 }
        if all.clamped(to: range) == all { return all.count }
        var isPacked = false
        let size = UInt64(blockSize)
        let bytes = all.lowerBound * size..<all.upperBound * size
        try forEachExtent(of: node.number, in: bytes) { _, record, _ in
            isPacked = record.compression != .none
            return !isPacked
        }
        return isPacked ? all.count : 0
    }

    func seek(
        _ target: SeekTarget, in node: TreeNode, from offset: UInt64
    ) throws(Pause) -> UInt64? {
        let node = DiskStore.node(node)
        let size = node.stored.size
        guard offset < size else { return nil }
        let data = try dataRanges(of: node, in: offset..<size)
        switch target {
        case .data:
            return data.first.map { max(offset, $0.lowerBound) }
        case .hole:
            var position = offset
            for range in data {
                if range.lowerBound > position { break }
                position = max(position, range.upperBound)
            }
            return position < size ? position : nil
        }
    }

    /// Where there is data, in order: at least the first range and what touches it.
    private func dataRanges(
        of node: DiskNode, in range: Range<UInt64>
    ) throws(Pause) -> [Range<UInt64>] {
        var stored: [Range<UInt64>] = []
        if node.state.extentsMayExist {
            try forEachExtent(of: node.number, in: range) { offset, record, _ in
                if record.form == .reserved { return true }
                let end = offset + UInt64(record.length)
                if let last = stored.last, last.upperBound == offset {
                    stored[stored.count - 1] = last.lowerBound..<end
                    return true
                }
                stored.append(offset..<end)
                return stored.count < 2
            }
        }
        guard let pages = node.file?.pagesIfMade, pages.dirtyCount > 0 else { return stored }
        // Dirty pages fill gaps between extents: the two are merged until a gap is left.
        return try merged(node, pages, range)
    }

    private func merged(
        _ node: DiskNode, _ pages: FilePages, _ range: Range<UInt64>
    ) throws(Pause) -> [Range<UInt64>] {
        let size = UInt64(blockSize)
        var all: [Range<UInt64>] = []
        if node.state.extentsMayExist {
            try forEachExtent(of: node.number, in: range) { offset, record, _ in
                if record.form != .reserved { all.append(offset..<offset + UInt64(record.length)) }
                return true
            }
        }
        var index = range.lowerBound / size
        while let run = pages.nextDirtyRun(from: PageIndex(rawValue: index)),
            run.lowerBound.rawValue * size < range.upperBound
        {
            all.append(run.lowerBound.rawValue * size..<run.upperBound.rawValue * size)
            index = run.upperBound.rawValue
        }
        all.sort { $0.lowerBound < $1.lowerBound }
        var result: [Range<UInt64>] = []
        for next in all {
            if let last = result.last, next.lowerBound <= last.upperBound {
                result[result.count - 1] =
                    last.lowerBound..<max(last.upperBound, next.upperBound)
            } else {
                result.append(next)
            }
        }
        return result
    }

    // MARK: Uncompressing

    /// A compressed extent cannot lose its middle. So that the range can be punched, one that reaches
    /// beyond it on both sides is placed anew as it is, and this waits for that.
    func uncompress(
        around range: Range<UInt64>, of node: DiskNode, _ file: FileState
    ) throws(Pause) {
        guard node.state.extentsMayExist, !range.isEmpty else { return }
        var found: Range<UInt64>?
        try forEachExtent(of: node.number, in: range) { offset, record, _ in
            let end = offset + UInt64(record.length)
            guard record.compression != .none, offset < range.lowerBound, end > range.upperBound
            else { return true }
            found = offset..<end
            return false
        }
        guard let found else { return }
        if let placing = file.placing { throw .wait(OperationWait(placing)) }
        let pages = file.pages(recordedSize: node.state.recordedSize)
        let whole = found.clamped(to: 0..<layout.roundedUp(node.stored.size))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: whole.count, alignment: 16)
        defer { buffer.deallocate() }
        _ = try pages.read(into: buffer, at: whole.lowerBound)
        // The same bytes once more: all of the record becomes dirty.
        let count = try reserve(whole.count, at: whole.lowerBound, node, file, pages)
        defer { file.settleReservation() }
        file.placesPlain = true
        dirtyNodes.list(node, file)
        guard count == whole.count else { throw .failed(.ENOSPC) }
        var done = 0
        while done < count {
            done += try pages.write(
                UnsafeRawBufferPointer(rebasing: buffer[done...]),
                at: whole.lowerBound + UInt64(done))
        }
        throw .wait(placeSoon(node))
    }
}
