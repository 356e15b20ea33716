// NodeDamage: what is reported of a node that could not be used (crash contract, design.md §4).

import CairnBase

/// A node that could not be read, or is not what it must be. Whoever wanted it got EIO, or what the
/// device said.
package struct NodeDamage: Sendable, CustomStringConvertible {
    package let expectation: NodeExpectation
    package let fault: NodeFault
    /// The checksum in its header, and that of its bytes.
    package let storedChecksum: UInt32
    package let computedChecksum: UInt32

    package var errno: Errno {
        if case .unreadable(let errno) = fault { return errno }
        return .EIO
    }

    package var description: String {
        let wanted = expectation
        var text =
            "\(wanted.tree): node at block \(wanted.pointer.address.rawValue), level \(wanted.level), "
        text += "keys from \(wanted.low?.description ?? "the first")"
        text += " to \(wanted.high?.description ?? "the last"): \(fault)"
        if case .unreadable = fault { return text }
        return text
            + " (checksum in its parent \(hexadecimal(wanted.pointer.checksum)), in its header "
            + "\(hexadecimal(storedChecksum)), of its bytes \(hexadecimal(computedChecksum)))"
    }
}

private func hexadecimal(_ checksum: UInt32) -> String {
    let digits = String(checksum, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
}

extension NodeFault: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreadable(let errno): "cannot be read (errno \(errno.rawValue))"
        case .magic(let found): "is no node: its magic number is 0x\(String(found, radix: 16))"
        case .checksum: "its checksum is wrong"
        case .address(let found): "was written to block \(found)"
        case .birth(let found): "was written by group \(found), not by the one in its pointer"
        case .pointer: "its checksum is not the one in its pointer"
        case .level(let found): "has level \(found)"
        case .tree(let found): "belongs to tree \(found)"
        case .count(let found): "has \(found) items"
        case .reserved: "has bytes in a reserved field"
        case .place(let item): "item \(item) is out of place"
        case .itemSize(let item): "item \(item) is too large"
        case .order(let item): "item \(item) is out of order"
        case .child(let item): "item \(item) is no pointer to a child"
        case .gap: "has bytes between items and content"
        case .bounds: "has keys that belong elsewhere"
        }
    }
}
