// ChangePass: the leave to change something, for the length of one attempt.
//
// The gate (Group/Gate.swift) gives it and takes it back. While somebody has one, the open group
// does not change; so what carries the group in it (births) can be encoded under it.

struct ChangePass: ~Copyable {
    enum Kind: Sendable {
        /// Somebody's operation. Waits while the gate is closed.
        case operation
        /// A change that was put off until a commit. Goes on while the gate is closed, and is refused
        /// (ENOSPC) where an operation would wait for a commit.
        case late
        /// Data that was accepted before is placed. Goes on while the gate is closed, is never
        /// refused for lack of space, and counts as no operation.
        case placing
    }

    let kind: Kind
    /// The open group: what is changed under this pass becomes durable with it.
    let group: TransactionGroup

    init(_ kind: Kind, group: TransactionGroup) {
        self.kind = kind
        self.group = group
    }
}
