// FigureGroup: numbers that a filesystem tells about itself, for procfs and `cairn stats`.

/// Figures that belong together: of one cache, of the commits, of one queue.
public struct FigureGroup: Sendable {
    /// Which report they belong to.
    public enum Kind: Sendable {
        case cache
        case commit
        case queue
        case space
    }

    public struct Figure: Sendable {
        /// As in a column's head or a JSON key; the unit stands last: "hits", "dirty_bytes".
        public var name: String
        public var value: UInt64

        public init(_ name: String, _ value: UInt64) {
            self.name = name
            self.value = value
        }
    }

    public var kind: Kind
    public var name: String
    public var figures: [Figure]

    public init(_ kind: Kind, _ name: String, _ figures: [Figure]) {
        self.kind = kind
        self.name = name
        self.figures = figures
    }
}
