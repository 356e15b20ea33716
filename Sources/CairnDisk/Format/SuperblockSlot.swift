// SuperblockSlot: where superblocks stand, and which one counts (docs/format.md §3).
//
// Values and pure functions: reading is SuperblockReading's, in Volume/.

/// Slots 0 … 7 stand at the start of the device, 8 … 15 at the end of the filesystem.
enum SuperblockSlot {
    /// Bytes.
    static let length = 16384
    static let perSet = 8
    /// How often the second set is brought up to date, in groups.
    static let secondSetInterval: UInt64 = 10

    /// Where a slot stands, in bytes; `end` is the filesystem's size, or, where that is not known,
    /// the device's rounded down to `VolumeGeometry.sizeUnit`.
    static func offset(of slot: Int, end: UInt64) -> UInt64 {
        slot < perSet
            ? UInt64(slot * length)
            : end &- VolumeGeometry.setLength &+ UInt64((slot - perSet) * length)
    }

    /// The slots that a group is written to.
    static func slots(of group: TransactionGroup, isUnmounting: Bool) -> [Int] {
        let first = Int(group.rawValue % UInt64(perSet))
        guard isUnmounting || group.rawValue % secondSetInterval == 0 else { return [first] }
        let second = perSet + Int(group.rawValue / secondSetInterval % UInt64(perSet))
        return [first, second]
    }

    /// What was found in all 16 slots, as whoever mounts needs it.
    struct Choice: Sendable {
        /// Those that may count, newest first; of equal groups the first set's comes first.
        var candidates: [(slot: Int, superblock: Superblock)] = []
        /// Slots that are neither valid nor empty, and why.
        var damage: [(slot: Int, what: RecordDamage)] = []
        /// Versions that other slots have.
        var otherVersions: [UInt32] = []
    }

    /// `found[i]` is what stands in slot i; nil: it could not be read.
    static func choose(_ found: [Superblock.Found?]) -> Choice {
        var choice = Choice()
        var valid: [(slot: Int, superblock: Superblock)] = []
        for (slot, content) in found.enumerated() {
            switch content {
            case .superblock(let superblock): valid.append((slot, superblock))
            case .empty: break
            case .otherVersion(let version): choice.otherVersions.append(version)
            case .damaged(let damage): choice.damage.append((slot, damage))
            case nil: choice.damage.append((slot, RecordDamage("it cannot be read")))
            }
        }
        let isNewer = {
            (
                one: (slot: Int, superblock: Superblock),
                other: (slot: Int, superblock: Superblock)
            ) -> Bool in
            (other.superblock.group, one.slot) < (one.superblock.group, other.slot)
        }
        valid.sort(by: isNewer)
        if let newest = valid.first(where: { $0.slot < perSet }) {
            valid.removeAll { $0.superblock.uuid != newest.superblock.uuid }
        } else if let newest = valid.first {
            valid.removeAll { $0.superblock.uuid != newest.superblock.uuid }
        }
        choice.candidates = valid
        return choice
    }
}
