// Opening a volume (docs/format.md §3, §10; requirements D3, D9, D12).
//
//     open:   all slots of both sets → the newest superblock whose roots and regions can be read
//     start:  what was synced since its group is carried out again; the volume is in use
//
// Nothing here grows with the number of files. Whatever stands on the device, the answer is a volume or
// a VolumeFailure; older superblocks are fallen back to with a report.

import CairnBase
import CairnIO

extension Volume {
    /// Reads what a volume needs to be used. The store is made on top of it, and then `start` called.
    static func open(
        _ environment: VolumeEnvironment, _ options: VolumeOptions
    ) async throws(VolumeFailure) -> Volume {
        let device = environment.device
        guard device.size >= VolumeGeometry.minimumSize else {
            throw VolumeFailure(
                .EINVAL, "a device of \(device.size) bytes", "no mfs_disk filesystem is so small")
        }
        let choice = try await readSlots(environment)
        // Beside a superblock of another version, one of this version is what newer software left behind: it says
        // nothing of what that has written since.
        guard let newest = choice.candidates.first, choice.otherVersions.isEmpty else {
            throw noSuperblock(choice)
        }
        for (slot, damage) in choice.damage {
            environment.report("superblock slot \(slot) is damaged: \(damage)")
        }
        var failure: VolumeFailure?
        var tried: Set<TransactionGroup> = []
        for (slot, superblock) in choice.candidates where tried.insert(superblock.group).inserted {
            do throws(VolumeFailure) {
                let volume = try await open(
                    environment, options, superblock, openGroup: newest.superblock.group.next)
                if superblock.group != newest.superblock.group {
                    environment.report(
                        "fell back from group \(newest.superblock.group.rawValue) to group"
                            + " \(superblock.group.rawValue) in slot \(slot): \(failure?.why ?? "")"
                    )
                    volume.space.lock.withLock { volume.space.hasDamage = true }
                }
                return volume
            } catch {
                // What no older superblock would change is told at once.
                guard error.errno == .EIO else { throw error }
                failure = failure ?? error
            }
        }
        throw failure ?? noSuperblock(choice)
    }

    private static func noSuperblock(_ choice: SuperblockSlot.Choice) -> VolumeFailure {
        if let version = choice.otherVersions.first {
            return VolumeFailure(
                .EOPNOTSUPP, "version \(version) of the format",
                "this software knows version \(Superblock.version) only")
        }
        guard let (slot, damage) = choice.damage.first(where: { $0.what.isOfSuperblock }) else {
            return VolumeFailure(.EINVAL, "the device", "there is no mfs_disk filesystem on it")
        }
        return VolumeFailure(
            .EIO, "no superblock of 16 can be used", "slot \(slot): \(damage); run cairn fsck")
    }

    /// What stands in all slots.
    private static func readSlots(
        _ environment: VolumeEnvironment
    ) async throws(VolumeFailure) -> SuperblockSlot.Choice {
        let unit = VolumeGeometry.sizeUnit
        let end = environment.device.size / unit * unit
        var found = await readSet(environment.device, at: 0, firstSlot: 0)
        found += await readSet(environment.device, at: end - VolumeGeometry.setLength, firstSlot: 8)
        let choice = SuperblockSlot.choose(found)
        // The device may have grown since: then the second set is where the filesystem ends.
        guard let size = choice.candidates.first?.superblock.geometry.size, size < end else {
            return choice
        }
        found[8...] = await readSet(
            environment.device, at: size - VolumeGeometry.setLength, firstSlot: 8)[...]
        return SuperblockSlot.choose(found)
    }

    private static func readSet(
        _ device: any BlockDevice, at offset: UInt64, firstSlot: Int
    ) async -> [Superblock.Found?] {
        var found: [Superblock.Found?] = []
        for index in 0..<SuperblockSlot.perSet {
            do throws(Errno) {
                let buffer = try AlignedBuffer(count: SuperblockSlot.length)
                let place = offset + UInt64(index * SuperblockSlot.length)
                try await device.read(into: buffer.memory, at: place)
                found.append(Superblock.find(in: buffer.bytes, slot: firstSlot + index))
            } catch {
                found.append(nil)
            }
        }
        return found
    }

    // MARK: One superblock

    private static func open(
        _ environment: VolumeEnvironment, _ options: VolumeOptions, _ superblock: Superblock,
        openGroup: TransactionGroup
    ) async throws(VolumeFailure) -> Volume {
        let canWrite = try mayWrite(environment, options, superblock)
        let cache = NodeCache(
            device: environment.device, geometry: NodeGeometry(superblock),
            limitBytes: options.nodeCacheBytes
        ) { damage in environment.report("\(damage)") }
        let mainTree = ItemTree(
            .main, root: superblock.mainRoot.treeRoot, nodeCount: superblock.mainNodes,
            openGroup: openGroup, in: cache)
        let spaceTree = ItemTree(
            .space, root: superblock.spaceRoot.treeRoot, nodeCount: superblock.spaceNodes,
            openGroup: openGroup, in: cache)
        let space = Space(superblock, report: environment.report)
        let volume = Volume(
            environment, options, superblock, openGroup: openGroup, canWrite: canWrite,
            cache: cache, mainTree: mainTree, spaceTree: spaceTree, space: space)
        do throws(Errno) {
            _ = try await suspending { () throws(Pause) in
                try volume.read { (tree) throws(Pause) in try tree.find(ItemKey.first) { _ in true }
                }
            }
            try await suspending { () throws(Pause) in try volume.readRegions() }
        } catch {
            throw VolumeFailure(
                error, "group \(superblock.group.rawValue)",
                "its trees cannot be read (\(error)); run cairn fsck")
        }
        return volume
    }

    /// Whether it may be written to. Throws for what cannot be mounted at all.
    private static func mayWrite(
        _ environment: VolumeEnvironment, _ options: VolumeOptions, _ superblock: Superblock
    ) throws(VolumeFailure) -> Bool {
        let features = superblock.features
        guard features.incompatible == 0 else {
            throw VolumeFailure(
                .EOPNOTSUPP, "incompatible features \(String(features.incompatible, radix: 16))",
                "the filesystem was made by newer software, which is needed to mount it")
        }
        let device = environment.device
        guard superblock.geometry.size <= device.size else {
            throw VolumeFailure(
                .EINVAL, "the device has \(device.size) bytes",
                "the filesystem on it has \(superblock.geometry.size): the device was cut short")
        }
        guard UInt32(device.blockSize) <= superblock.geometry.blockSize else {
            throw VolumeFailure(
                .EINVAL, "blocks of \(superblock.geometry.blockSize) bytes",
                "the device writes \(device.blockSize) bytes at once")
        }
        if features.readOnlyCompatible != 0, !options.isReadOnly {
            environment.report(
                "mounted read-only: newer software has used features"
                    + " \(String(features.readOnlyCompatible, radix: 16))")
            return false
        }
        if device.isReadOnly, !options.isReadOnly {
            environment.report("mounted read-only: the device is")
        }
        return !options.isReadOnly && !device.isReadOnly
    }

    /// Takes the records of all regions into memory.
    private func readRegions() throws(Pause) {
        environment.progress?(
            VolumeProgress(
                work: .opening, done: UInt64(space.regionCount), of: UInt64(geometry.regionCount)))
        var damage: RecordDamage?
        do throws(Pause) {
            treeLock.lockShared()
            defer { treeLock.unlockShared() }
            let from = ItemKey(
                object: SpaceObject.region, number: UInt64(space.regionCount))
            try spaceTree.scan(from: from) { (key, value) throws(Pause) -> Bool in
                guard key.object == SpaceObject.region else { return false }
                do throws(RecordDamage) {
                    guard key.number == UInt64(space.regionCount), key.tail.isEmpty else {
                        throw RecordDamage("region \(space.regionCount) has no record")
                    }
                    space.append(
                        try RegionRecord(decoding: value, ofRegion: key.number, geometry))
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
        if damage == nil, space.regionCount < geometry.regionCount {
            damage = RecordDamage("region \(space.regionCount) has no record")
        }
        if let damage {
            environment.report("free space is damaged: \(damage)")
            throw .failed(.EIO)
        }
    }
}

extension NodeGeometry {
    init(_ superblock: Superblock) {
        let geometry = superblock.geometry
        self.init(
            blockSize: Int(geometry.blockSize), nodeSize: Int(geometry.nodeSize),
            seed: superblock.uuid.seed,
            places: geometry.firstBlock.rawValue..<geometry.endBlock.rawValue)
    }
}

extension RecordDamage {
    /// Something was there that began as a superblock does.
    var isOfSuperblock: Bool { !description.hasPrefix("no superblock") }
}
