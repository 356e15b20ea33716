// ResidentNode: a node in memory, and what is known of it beside its bytes.
//
//           fetched, or written                        changed first in a group
//   clean ◀──────────────────── dirty ◀──────────────────────────────────────── clean
//     │ evicted                   │ its group is closed: no longer changed, but copied (replaced)
//     ▼                           ▼ merged away, or its replaced group is written
//   gone                        gone
//
// A clean node is what stands on the device at `address`: it is in the cache's table, and may be evicted
// while nobody has it pinned. A dirty one is in no table: pointers to it are provisional and are the
// record's own address. It belongs to group `birth`; while that is the tree's open group it may be
// changed in place, afterwards it is read only and waits to be written.
//
// Threading: bytes and fields change under the volume's tree lock held exclusively, and are read under
// it held at least shared; but `pins`, `listIndex`, and all that has to do with being in the table,
// under the cache's lock. A commit reads nodes of a closed group without a lock: nobody changes them.

import CairnBase
import Synchronization

struct NodeRecord: ~Copyable {
    enum State: UInt8 {
        case clean, dirty
        /// In no tree any more; freed with the last pin.
        case gone
    }

    /// The next record in the table's chain.
    let next = Atomic<UInt>(0)
    /// By which pointer it was reached last: that one was checked against it.
    let token = Atomic<UInt64>(0)
    /// How much it was used lately, 0 … 3.
    let usage = Atomic<UInt8>(0)
    var state: State
    /// Dirty: a copy in the next group has taken its place in the tree.
    var isReplaced = false
    /// Operations that fetched it and are not done. Changed under the cache's lock.
    let pins = Atomic<Int32>(0)
    /// Clean: where it is.
    var address: UInt64
    /// The node's bytes.
    var data: UnsafeMutableRawPointer
    /// The group that wrote it or will write it.
    var birth: TransactionGroup
    /// Dirty: the address that the commit chose for it.
    var place: BlockNumber?
    /// Dirty: its checksum, once the commit has computed it.
    var checksum: UInt32 = 0
    /// Where it stands in the cache's list of clean or of dirty nodes.
    var listIndex = -1
    /// The preparation that met it last, and its place in the list of leaves that this one keeps.
    var stamp: UInt64 = 0
    var touchedIndex = 0

    init(state: State, address: UInt64, data: UnsafeMutableRawPointer, birth: TransactionGroup) {
        self.state = state
        self.address = address
        self.data = data
        self.birth = birth
    }
}

/// Refers to a record without counting references. Valid under the rules above.
struct ResidentNode: Equatable {
    let record: UnsafeMutablePointer<NodeRecord>

    @inline(__always)
    init(_ record: UnsafeMutablePointer<NodeRecord>) {
        self.record = record
    }

    @inline(__always)
    init?(bits: UInt) {
        guard let record = UnsafeMutablePointer<NodeRecord>(bitPattern: bits) else { return nil }
        self.record = record
    }

    /// The node that a provisional address means.
    @inline(__always)
    init(provisional address: NodeAddress) {
        let bits = UInt(address.rawValue & ~NodeAddress.provisionalBit)
        guard let record = UnsafeMutablePointer<NodeRecord>(bitPattern: bits) else {
            preconditionFailure("a provisional address of nothing")
        }
        self.record = record
    }

    @inline(__always) var bits: UInt { UInt(bitPattern: record) }
    @inline(__always) var isDirty: Bool { record.pointee.state == .dirty }

    @inline(__always)
    func view(_ size: Int) -> NodeView { NodeView(record.pointee.data, size: size) }

    @inline(__always)
    func editor(_ size: Int) -> NodeEditor { NodeEditor(record.pointee.data, size: size) }

    /// What a pointer in memory says of it.
    var pointer: NodePointer {
        if isDirty {
            return NodePointer(
                address: NodeAddress(rawValue: UInt64(bits) | NodeAddress.provisionalBit),
                birth: record.pointee.birth, checksum: 0)
        }
        return NodePointer(
            address: NodeAddress(rawValue: record.pointee.address), birth: record.pointee.birth,
            checksum: record.pointee.checksum)
    }

    /// Counts a use, for the cache's choice of what goes.
    @inline(__always)
    func touch() {
        let usage = record.pointee.usage.load(ordering: .relaxed)
        if usage < 3 { record.pointee.usage.store(usage &+ 1, ordering: .relaxed) }
    }
}
