// NodeTable: the numbers by which the kernel knows inodes, and how often it was told each.
//
//     node number:  use of the slot (24 bits) | slot in its shard (34 bits) | shard (6 bits)
//
// Invariants
//  - A node is in the table exactly while the kernel's lookup count of it is above zero. It holds
//    its inode and its mount (`hold`), so a file without links lives until the kernel forgets it.
//  - A number is never given to two nodes with the same generation: each use of a slot counts up
//    a number whose low bits stand in the node number, and whose high bits are the generation.
//  - Directories are known by mount and inode: a directory that is bound in two places must be
//    two in the kernel, which allows a directory only one place. Other files are known by inode
//    alone, so that there is one page cache and one set of locks; only under a mount that is
//    read-only or noexec have they their own node, because what may be done differs.
//  - A file that was found through several mounts has one of them as its own and keeps the others
//    beside. When one of them goes, the file stays with the rest.
//
// Threading. Finding a node by number takes no lock: the kernel sends a number only while it
// holds a count of it, so the slot cannot be emptied meanwhile. (A peer that breaks this rule is
// not the kernel.) All changes are under the lock of the shard, which the inode decides.

import CairnBase
import CairnVFS
import Synchronization

/// What is remembered of a node for who writes past the kernel's cache (Session+Data.swift).
struct NodeMarks: OptionSet, Sendable {
    var rawValue: UInt8

    /// The kernel asked for data.
    static let wasRead = NodeMarks(rawValue: 1)
    /// It may have file capabilities.
    static let mayHaveCapabilities = NodeMarks(rawValue: 2)
}

final class NodeTable: @unchecked Sendable {
    // Sendable: immutable; shards guard themselves.

    /// FUSE_ROOT_ID
    static let rootID: UInt64 = 1
    private static let shardBits: UInt64 = 6
    private static let slotBits: UInt64 = 34
    private static let useBits: UInt64 = 24

    private let root: Location
    private let shards: [NodeShard]

    init(root: Location) {
        self.root = root
        self.shards = (0..<(1 << Int(Self.shardBits))).map { _ in NodeShard() }
    }

    /// The use of a slot that comes after `use`. The low bits are never 0, for such numbers are
    /// reserved: 0, the root's, and the openless probe's.
    static func use(after use: UInt64) -> UInt64 {
        let next = use &+ 1
        return next & ((1 << useBits) - 1) == 0 ? next &+ 1 : next
    }

    /// What the kernel is told of a node.
    struct Reference {
        var nodeID: UInt64
        var generation: UInt64
    }

    /// The place that a number stands for; nil for a number that was not given out.
    @inline(__always)
    func place(_ nodeID: UInt64) -> Location? {
        if nodeID == Self.rootID { return root }
        return shards[shard(of: nodeID)].place(slot(of: nodeID), nodeID)
    }

    /// The inode that a number stands for, for one who is not answering the kernel: safe while
    /// the node may be forgotten meanwhile.
    func retained(_ nodeID: UInt64) -> Inode? {
        if nodeID == Self.rootID { return root.inode }
        return shards[shard(of: nodeID)].retained(slot(of: nodeID), nodeID)
    }

    /// The kernel is about to be told of this place once more. Nil if the file is gone already.
    func reference(_ place: Location) -> Reference? {
        if place.inode === root.inode, place.mount === root.mount || !place.inode.isDirectory {
            return Reference(nodeID: Self.rootID, generation: 0)
        }
        let hash = mixHash(place.inode.identity, 0x9E37_79B9_7F4A_7C15)
        let index = Int(truncatingIfNeeded: hash & ((1 << Self.shardBits) - 1))
        return shards[index].reference(place, hash: hash >> Self.shardBits) { slot, use in
            Reference(
                nodeID: (use & ((1 << Self.useBits) - 1)) << (Self.slotBits + Self.shardBits)
                    | UInt64(slot) << Self.shardBits | UInt64(index),
                generation: use >> Self.useBits)
        }
    }

    /// The kernel takes back `count` of the times that it was told of a node.
    func forget(_ nodeID: UInt64, count: UInt64) {
        guard nodeID != Self.rootID else { return }
        shards[shard(of: nodeID)].forget(slot(of: nodeID), nodeID, count: count)
    }

    /// The numbers under which the kernel knows an inode, by whichever mount; but not the one by
    /// which it is known through the mount `besides`.
    func numbers(of inode: Inode, besides mount: UInt64? = nil) -> [UInt64] {
        let hash = mixHash(inode.identity, 0x9E37_79B9_7F4A_7C15)
        let index = Int(truncatingIfNeeded: hash & ((1 << Self.shardBits) - 1))
        var found = shards[index].numbers(
            of: inode.identity, hash: hash >> Self.shardBits, besides: mount)
        if inode === root.inode, root.mount.identity != mount { found.append(Self.rootID) }
        return found
    }

    /// Which mount a node is seen through, by its identity; 0 for a number that was not given out.
    @inline(__always)
    func mountIdentity(of nodeID: UInt64) -> UInt64 {
        if nodeID == Self.rootID { return root.mount.identity }
        return shards[shard(of: nodeID)].mountIdentity(slot(of: nodeID), nodeID)
    }

    /// The root has no marks: nobody creates it through the mount.
    @inline(__always)
    func mark(_ nodeID: UInt64, _ mark: NodeMarks) {
        guard nodeID != Self.rootID else { return }
        shards[shard(of: nodeID)].mark(slot(of: nodeID), mark)
    }

    func isMarked(_ nodeID: UInt64, _ mark: NodeMarks) -> Bool {
        nodeID != Self.rootID && shards[shard(of: nodeID)].isMarked(slot(of: nodeID), mark)
    }

    func unmark(_ nodeID: UInt64, _ mark: NodeMarks) {
        guard nodeID != Self.rootID else { return }
        shards[shard(of: nodeID)].unmark(slot(of: nodeID), mark)
    }

    /// Whether a node was found through the mount, among others.
    func isKnown(_ nodeID: UInt64, through mount: Mount) -> Bool {
        if nodeID == Self.rootID { return root.mount === mount }
        return shards[shard(of: nodeID)].isKnown(slot(of: nodeID), nodeID, through: mount)
    }

    /// Files that were found through other mounts as well let go of this one.
    func leave(_ mount: Mount) {
        for shard in shards {
            shard.leave(mount)
        }
    }

    /// Every node that the kernel knows, and whether it is a regular file.
    func all() -> [(nodeID: UInt64, isRegular: Bool)] {
        [(Self.rootID, false)] + shards.flatMap { $0.all() }
    }

    /// Whether some node holds the mount.
    func holds(_ mount: Mount) -> Bool { !numbers(on: mount, limit: 1).isEmpty }

    /// The numbers of nodes that hold the mount.
    func numbers(on mount: Mount, limit: Int) -> [UInt64] {
        var found: [UInt64] = []
        for shard in shards where found.count < limit {
            found += shard.numbers(on: mount, limit: limit - found.count)
        }
        return found
    }

    /// Every inode that the kernel knows, the root's included.
    var inodes: [Inode] { [root.inode] + shards.flatMap { $0.inodes } }

    /// The kernel has let go of everything.
    func forgetAll() {
        for shard in shards {
            shard.forgetAll()
        }
    }

    /// Nodes that the kernel knows, the root not counted.
    var count: Int { shards.reduce(0) { $0 + $1.count } }

    private func shard(of nodeID: UInt64) -> Int {
        Int(truncatingIfNeeded: nodeID & ((1 << Self.shardBits) - 1))
    }

    private func slot(of nodeID: UInt64) -> Int {
        Int(truncatingIfNeeded: (nodeID >> Self.shardBits) & ((1 << Self.slotBits) - 1))
    }
}
