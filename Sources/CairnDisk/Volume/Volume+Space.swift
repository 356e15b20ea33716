// Space as the store asks for it: promises at the write, blocks when data is placed (requirement D6).
//
// All are attempts. What has to be read first (the free extents of a region) or may come free with
// the next commit is waited for.

import CairnBase
import CairnIO

extension Volume {
    /// Promises room for data that is accepted now and placed later. Under a pass. Waits for a commit if that may
    /// bring it; ENOSPC if not.
    func reserve(_ promise: SpacePromise, mayUseReserve: Bool = false) throws(Pause) {
        switch space.reserve(promise, mayUseReserve: mayUseReserve) {
        case .granted: return
        case .afterCommit: throw .wait(commitWaitAfterPass())
        case .never: throw .failed(.ENOSPC)
        }
    }

    /// What was promised is not needed, or was placed in less.
    func release(_ promise: SpacePromise) {
        space.release(promise)
    }

    /// Blocks for data that is being placed, out of a promise: all of them, in few runs. They count as
    /// given out until a batch says `use`, or `giveBack` is called.
    func allocate(_ blocks: Int, near hint: BlockNumber?) throws(Pause) -> [BlockRun] {
        while true {
            switch space.allocate(blocks, near: hint) {
            case .found(let runs): return runs
            case .needsRegion(let region): try loadRegion(region)
            case .noSpace: throw .failed(.ENOSPC)
            }
        }
    }

    /// Blocks that `allocate` gave and that no batch will use.
    func giveBack(_ runs: [BlockRun]) {
        space.giveBack(runs)
    }

    /// Writes data to blocks that `allocate` gave, before the change that refers to them.
    nonisolated(nonsending)
        func writeData(_ segments: [BlockSegment], at block: BlockNumber) async throws(Errno)
    {
        let request = BlockRequest.write(segments, at: geometry.offset(of: block))
        try await device.performAll(request)
        noteDataWritten(request.length)
    }

    /// So many bytes of data were written to such blocks: a flush is needed before what refers to them.
    func noteDataWritten(_ bytes: Int) {
        counters.countData(bytes)
        hasUnflushedData.store(true, ordering: .releasing)
    }

    /// Brings the free extents of a region into memory.
    func loadRegion(_ index: Int) throws(Pause) {
        let start = geometry.start(ofRegion: index)
        let end = start.rawValue + UInt64(geometry.blocks(ofRegion: index))
        var map = FreeMap(count: Int(geometry.blocks(ofRegion: index)))
        var damage: RecordDamage?
        do throws(Pause) {
            treeLock.lockShared()
            defer { treeLock.unlockShared() }
            let from = ItemKey(object: SpaceObject.freeExtent, number: start.rawValue)
            try spaceTree.scan(from: from) { (key, value) throws(Pause) -> Bool in
                guard key.object == SpaceObject.freeExtent, key.number < end else { return false }
                do throws(RecordDamage) {
                    let run = try FreeExtentRecord.decode(value, at: key.number, geometry)
                    let first = Int(run.start.rawValue - start.rawValue)
                    guard key.tail.isEmpty, first == 0 || !map.isFree(first - 1) else {
                        throw RecordDamage("free extents that touch at block \(key.number)")
                    }
                    map.insert(first..<(first + Int(run.count)))
                    return true
                } catch {
                    damage = error
                    return false
                }
            }
        } catch {
            NodeWait.start(error)
            throw error
        }
        space.install(map, region: index, damage: damage)
    }
}
