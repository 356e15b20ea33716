// DumpLine: one thing that stands on a device, for a person and for a program alike.
//
// Values.

public import CairnBase

public struct DumpLine: Sendable {
    public enum Value: Sendable {
        case number(UInt64)
        /// Of flags and checksums.
        case hexadecimal(UInt64)
        case text(String)
        case time(Timestamp)
    }

    public struct Field: Sendable {
        public let name: String
        public let value: Value
    }

    /// What it is: `slot`, `node`, `inode`, `extent`, ….
    public let kind: String
    /// How far within what came before.
    public let depth: Int
    /// The first says which one.
    public private(set) var fields: [Field] = []

    /// It says that something is not as the format wants it.
    public var isDamage: Bool { kind == "damage" || fields.contains { $0.name == "damage" } }

    init(_ kind: String, _ name: String, _ value: Value, depth: Int = 0) {
        self.kind = kind
        self.depth = depth
        fields.append(Field(name: name, value: value))
    }

    init(_ kind: String, _ name: String, _ number: UInt64, depth: Int = 0) {
        self.init(kind, name, .number(number), depth: depth)
    }

    mutating func add(_ name: String, _ value: Value) {
        fields.append(Field(name: name, value: value))
    }

    mutating func add(_ name: String, _ number: some BinaryInteger) {
        add(name, .number(UInt64(truncatingIfNeeded: number)))
    }

    mutating func add(_ name: String, _ text: String) { add(name, .text(text)) }
}

/// What can be dumped.
public enum DumpPart: String, Sendable, CaseIterable {
    /// All slots, and what the one that counts says.
    case superblocks
    /// The nodes of the tree of files, with what is in them.
    case tree
    /// Where data stands, in the order of files.
    case extents
    /// The regions, and what is free in them.
    case free
    /// What was synced since the last commit.
    case log
}
