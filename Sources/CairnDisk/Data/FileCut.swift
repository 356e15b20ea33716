// FileCut: pages of a file that become zeros or go with a change of records.
//
// Made before the change: it waits for what is being written of these pages, fetches the pages that are
// cut within, holds them, and reserves blocks for them, as they become dirty. Carried out after the
// change, it then has nothing to wait for. If the change fails, it gives all of that back as it goes.

import CairnBase
import CairnCache

final class FileCut {
    enum Kind {
        case truncate(UInt64)
        case punch(Range<UInt64>)
        /// The file ceases to be.
        case drop
    }

    let kind: Kind
    private let node: DiskNode
    private let file: FileState
    private let pages: FilePages?
    private var held: [PinnedPage]
    /// What was promised for them, and for which pages.
    private var needs: [(need: FileState.Need, pages: Range<UInt64>)] = []

    /// The file ceases to be.
    init(dropping node: DiskNode, _ file: FileState) {
        kind = .drop
        self.node = node
        self.file = file
        pages = file.pagesIfMade
        held = []
    }

    init(_ kind: Kind, of node: DiskNode, _ file: FileState) throws(Pause) {
        self.kind = kind
        self.node = node
        self.file = file
        held = []
        let range: Range<UInt64>
        switch kind {
        case .truncate(let size): range = size..<DataLayout.endOfFiles
        case .punch(let hole): range = hole
        case .drop: preconditionFailure("a file that goes needs nothing")
        }
        if let placing = file.placing { throw .wait(OperationWait(placing)) }
        let pages = file.pages(recordedSize: node.state.recordedSize)
        self.pages = pages
        held = try pages.prepareCut(range)
        guard !held.isEmpty else { return }
        for range in edges(of: range) {
            var need = try file.store.need(ofPages: range, of: node, file, pages)
            need.nodes = 0
            try file.store.volume.reserve(need.promise, mayUseReserve: true)
            needs.append((need, range))
        }
    }

    /// Pages that are cut within; those of one window (SpareBlocks) as one range.
    private func edges(of range: Range<UInt64>) -> [Range<UInt64>] {
        let size = UInt64(file.store.blockSize)
        let pages = [range.lowerBound, range.upperBound].filter { $0 % size != 0 }.map { $0 / size }
        guard let first = pages.first, let last = pages.last else { return [] }
        if file.spare.windows(of: first..<last + 1).count == 1 { return [first..<last + 1] }
        return [first..<first + 1, last..<last + 1]
    }

    /// Zeros that stand in dirty pages now, and nowhere else.
    private func noteZeros() {
        let layout = file.store.layout
        switch kind {
        case .truncate(let size):
            file.unlogged = file.unlogged.prefix(size)
            if !held.isEmpty { file.unlogged.insert(size..<layout.roundedUp(size)) }
        case .punch(let range):
            guard !held.isEmpty else { return }
            let first = layout.roundedUp(range.lowerBound)
            let last = layout.roundedDown(range.upperBound)
            file.unlogged.insert(
                range.lowerBound..<min(max(first, range.lowerBound), range.upperBound))
            if last >= range.lowerBound { file.unlogged.insert(last..<range.upperBound) }
        case .drop:
            file.unlogged.removeAll()
        }
    }

    deinit {
        for page in held { page.unpin() }
        for (need, _) in needs { file.store.volume.release(need.promise) }
    }

    /// Under the node's exclusive lock; the records were changed.
    func carryOut() {
        file.generation.add(1, ordering: .acquiringAndReleasing)
        file.recordedEnd.store(node.state.recordedSize, ordering: .releasing)
        if case .drop = kind { file.isDropped = true }
        guard let pages else { return }
        do throws(Pause) {
            switch kind {
            case .truncate(let size): try pages.truncate(to: size)
            case .punch(let range): try pages.punch(range)
            case .drop: pages.drop()
            }
        } catch {
            preconditionFailure("a cut that was prepared had to wait")
        }
        noteZeros()
        for (need, pages) in needs { file.keep(need, forPages: pages) }
        needs = []
        file.settleReservation()
        if pages.dirtyCount > 0, !file.isDropped { file.store.dirtyNodes.list(node, file) }
    }
}
