// PageBacking: where the pages of a file come from and go to. A store implements it.

public import CairnBase
public import CairnIO

public protocol PageBacking: AnyObject, Sendable {
    /// Brings pages into memory: all bytes of `fill.segments`, zeros for holes and for what lies beyond
    /// what is stored. Then calls `fill.complete()` or `fill.fail(…)`, exactly once, on any thread,
    /// also before it returns. Called with no lock held; does not block.
    ///
    /// What the store has cut off (a truncation, a hole) must be zeros from then on, also before
    /// that is durable.
    func fill(_ fill: PageFill, of pages: FilePages)

    /// Writes pages to where they belong, then calls `completion` exactly once. Only for stores
    /// whose pages a `Flusher` writes. No two writes of one page are under way at the same time.
    /// Called with no lock held; does not block.
    func writeBack(
        _ run: DirtyRun, of pages: FilePages, completion: @escaping @Sendable (Errno?) -> Void)

    /// Makes durable what was written back before. Only for stores whose pages a `Flusher` writes.
    func makeDurable(_ completion: @escaping @Sendable (Errno?) -> Void)
}

extension PageBacking {
    public func writeBack(
        _ run: DirtyRun, of pages: FilePages, completion: @escaping @Sendable (Errno?) -> Void
    ) {
        preconditionFailure("a flusher writes pages of a store that places them itself")
    }

    public func makeDurable(_ completion: @escaping @Sendable (Errno?) -> Void) {
        preconditionFailure("a flusher writes pages of a store that places them itself")
    }
}

/// Adjacent pages of a file, and where their content stands in memory.
public struct DirtyRun: Sendable {
    public let first: PageIndex
    /// How many pages.
    public let count: Int
    /// Their bytes in order. Pages that are neighbours in memory are one segment.
    public let segments: [BlockSegment]

    /// How many bytes.
    public var byteCount: Int { segments.reduce(0) { $0 + $1.count } }
}
