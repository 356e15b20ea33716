// CheckedSuperblocks: the 16 slots of an image, and the one that counts for a check.
//
// Chosen as a mount does (docs/format.md §3): the newest one that is valid, with a main tree whose root
// can be read. (A mount wants that of the space tree too; a check can do without.) What is wrong with the others is told, and mended by writing them anew.
//
// Threading: immutable after init.

import CairnBase
import CairnIO

struct CheckedSuperblocks {
    let choice: SuperblockSlot.Choice
    let chosen: Superblock
    /// Those that would have come first, and why they do not.
    let passedOver: [(group: TransactionGroup, why: String)]

    init(on device: any BlockDevice) throws(CheckFailure) {
        choice = try CheckedSuperblocks.read(device)
        guard let newest = choice.candidates.first?.superblock, choice.otherVersions.isEmpty else {
            throw CheckedSuperblocks.failure(of: choice)
        }
        // An older superblock would undo what newer software wrote.
        let unknown = newest.features.incompatible
        guard unknown == 0 else {
            throw CheckFailure(
                "the image",
                "has incompatible features \(String(unknown, radix: 16)): newer software is needed")
        }
        var passedOver: [(group: TransactionGroup, why: String)] = []
        for candidate in choice.candidates {
            do throws(RecordDamage) {
                try CheckedSuperblocks.check(candidate.superblock, device)
                chosen = candidate.superblock
                self.passedOver = passedOver
                return
            } catch {
                // The second set may have the same group.
                if passedOver.last?.group != candidate.superblock.group {
                    passedOver.append((candidate.superblock.group, error.description))
                }
            }
        }
        let first = passedOver.first.map { "group \($0.group.rawValue): \($0.why)" }
        throw CheckFailure(
            "the image", "no superblock leads to a tree of files: \(first ?? "there is none")")
    }

    func tree(_ identity: TreeIdentity, on device: any BlockDevice) -> CheckedTree {
        CheckedTree(identity, of: chosen, on: device)
    }

    private static func check(
        _ superblock: Superblock, _ device: any BlockDevice
    ) throws(RecordDamage) {
        guard superblock.geometry.size <= device.size else {
            throw RecordDamage(
                "the device has \(device.size) bytes of the \(superblock.geometry.size)")
        }
        // Free space can be built anew, the files cannot.
        do throws(RecordDamage) {
            try CheckedTree(.main, of: superblock, on: device).checkRoot()
        } catch {
            throw RecordDamage("the root of the main tree: \(error)")
        }
    }

    // MARK: Reading

    /// Reads both sets; the second one stands where the first says, or at the device's end.
    static func read(_ device: any BlockDevice) throws(CheckFailure)
        -> SuperblockSlot.Choice
    {
        var end = device.size / VolumeGeometry.sizeUnit * VolumeGeometry.sizeUnit
        guard end >= VolumeGeometry.minimumSize else {
            throw CheckFailure(
                "the image", "has only \(device.size) bytes: no filesystem fits there")
        }
        let buffer: AlignedBuffer
        do throws(Errno) {
            buffer = try AlignedBuffer(count: SuperblockSlot.length)
        } catch {
            throw CheckFailure(reading: "the superblocks", error)
        }
        var found: [Superblock.Found?] = []
        for slot in 0..<2 * SuperblockSlot.perSet {
            if slot == SuperblockSlot.perSet,
                let first = SuperblockSlot.choose(found).candidates.first,
                first.superblock.geometry.size <= device.size
            {
                end = first.superblock.geometry.size
            }
            do throws(Errno) {
                try device.read(
                    into: buffer.memory, at: SuperblockSlot.offset(of: slot, end: end))
                found.append(Superblock.find(in: buffer.bytes, slot: slot))
            } catch {
                found.append(nil)
            }
        }
        return SuperblockSlot.choose(found)
    }

    private static func failure(of choice: SuperblockSlot.Choice) -> CheckFailure {
        if let version = choice.otherVersions.first {
            return CheckFailure("the image", "has version \(version) of the format; this knows 1")
        }
        return CheckFailure("the image", "is no mfs_disk: no superblock is valid")
    }

    // MARK: Findings

    /// Superblocks in a slot that their group does not go to.
    private var misplaced: [(slot: Int, superblock: Superblock)] {
        choice.candidates.filter {
            !SuperblockSlot.slots(of: $0.superblock.group, isUnmounting: true).contains($0.slot)
        }
    }

    var slotsToEmpty: [Int] { choice.damage.map(\.slot) + misplaced.map(\.slot) }

    func tell(_ context: CheckContext) {
        for (slot, damage) in choice.damage {
            context.tell(
                .superblock, "slot \(slot)", damage.description, remedy: "it is emptied")
        }
        for (group, why) in passedOver {
            context.tell(
                .superblock, "group \(group.rawValue)",
                "cannot be used (\(why)), group \(chosen.group.rawValue) is taken",
                remedy: "that one is made the newest")
        }
        for (slot, superblock) in misplaced {
            context.tell(
                .superblock, "slot \(slot)",
                "group \(superblock.group.rawValue) does not belong there", remedy: "it is emptied")
        }
        if chosen.isDamaged, passedOver.isEmpty {
            context.tell(
                .superblock, "the superblock", "a mount has found damage",
                remedy: "the mark is taken off, once all is in order")
        }
    }
}
