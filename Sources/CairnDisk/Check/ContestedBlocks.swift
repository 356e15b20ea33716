// ContestedBlocks: what to do where two extents claim a block, or an extent and a node.
//
// Threading: one thread at a time; it waits for the device.

/// Blocks that more than one extent claims, or an extent and a node.
struct ContestedBlocks {
    private let context: CheckContext
    private let check: DiskCheck
    private let contested: [BlockRun]
    /// What no extent may have.
    private let nodes: BlockMap

    private struct Claim {
        let key: OwnedKey
        let run: BlockRun
        let verdict: DataReader.Verdict
    }

    init(_ check: DiskCheck, _ contested: [BlockRun], nodes: BlockMap) {
        context = check.context
        self.check = check
        self.contested = contested
        self.nodes = nodes
    }

    /// Those whose data has the right checksum keep the blocks, then those that have none, in the
    /// order of the tree; the others lose them.
    func settle() throws(CheckFailure) {
        var map = BlockMap(count: check.geometry.totalBlocks)
        for run in contested { map.insert(run.start.rawValue, run.count) }
        let reader = DataReader(check)
        var claims: [Claim] = []
        try check.forEachStoredExtent { (key, extent, record) throws(CheckFailure) in
            let run = extent.run(of: check.geometry.blockSize)
            guard map.intersects(run.start.rawValue, run.count) else { return }
            let verdict = reader.verify(extent, record).verdict
            claims.append(Claim(key: OwnedKey(key), run: run, verdict: verdict))
        }
        var taken = nodes
        claims.sort { ($1.verdict.rawValue, $0.key) < ($0.verdict.rawValue, $1.key) }
        for claim in claims
        where taken.intersects(claim.run.start.rawValue, claim.run.count)
            || !taken.insert(claim.run.start.rawValue, claim.run.count)
        {
            let inode = claim.key.object >> 8
            let blocks = claim.run.count
            context.tell(
                .record, "inode \(inode)",
                "extent at \(claim.key.number) leads to \(blocks) blocks at block "
                    + "\(claim.run.start.rawValue), some of which are used otherwise",
                remedy: "it is removed; there the file reads as zeros")
            try context.remove(claim.key)
            try context.update(inode) { $0.blocks = $0.blocks < blocks ? 0 : $0.blocks - blocks }
        }
    }
}
