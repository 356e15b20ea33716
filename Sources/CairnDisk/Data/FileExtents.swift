// Looking up the extents of a file in the main tree (FileExtent.swift says what one is).

import CairnBase

extension DiskStore {
    /// Shows the extents of a file that overlap the range, in order, until `body` says false.
    func forEachExtent(
        of inode: UInt64, in range: Range<UInt64>,
        _ body: (UInt64, ExtentRecord, UnsafeRawBufferPointer) throws(RecordDamage) -> Bool
    ) throws(Pause) {
        guard !range.isEmpty else { return }
        let object = RecordKind.extent.object(of: inode)
        let limits = layout.limits
        var damage: RecordDamage?
        try volume.read { tree throws(Pause) in
            damage = nil
            var goesOn = true
            func show(_ key: ItemKey, _ value: UnsafeRawBufferPointer) {
                do throws(RecordDamage) {
                    let record = try ExtentRecord(decoding: value, at: key.number, limits)
                    guard key.number + UInt64(record.length) > range.lowerBound else { return }
                    let head =
                        record.form == .inline
                        ? ExtentRecord.headLength : ExtentRecord.storedHeadLength
                    goesOn = try body(
                        key.number, record, UnsafeRawBufferPointer(rebasing: value[head...]))
                } catch {
                    damage = error
                    goesOn = false
                }
            }
            if range.lowerBound > 0 {
                let before = ItemKey(object: object, number: range.lowerBound - 1, tail: .empty)
                try tree.scanBackward(from: before) { key, value in
                    if key.object == object { show(key, value) }
                    return false
                }
            }
            guard goesOn else { return }
            let first = ItemKey(object: object, number: range.lowerBound, tail: .empty)
            try tree.scan(from: first) { key, value in
                guard key.object == object, key.number < range.upperBound else { return false }
                show(key, value)
                return goesOn
            }
        }
        if let damage { throw damaged(inode, damage.description) }
    }

    /// The same as a list.
    func extents(
        of inode: UInt64, in range: Range<UInt64>, atMost limit: Int = .max
    ) throws(Pause) -> [FileExtent] {
        var result: [FileExtent] = []
        try forEachExtent(of: inode, in: range) { offset, record, payload in
            result.append(FileExtent(offset: offset, record: record, payload: Array(payload)))
            return result.count < limit
        }
        return result
    }
}
