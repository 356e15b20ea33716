// Going through items in order.
//
// A scan that misses a leaf throws, and starts again at its beginning with the next attempt: a body that
// keeps something begins anew with it. Whoever goes through much does it in pieces.

import CairnBase

extension ItemTree {
    /// Gives items to the body in ascending order, from the first one that is not before `start`, until
    /// the body gives false. Keys and values are valid inside the body only.
    package func scan(
        from start: ItemKey,
        _ body: (ItemKey, UnsafeRawBufferPointer) throws(Pause) -> Bool
    ) throws(Pause) {
        try Epoch.section { () throws(Pause) in
            var step = try descend(to: start)
            var index = view(step.node).firstIndex(notBefore: start)
            while true {
                let leaf = view(step.node)
                while index < leaf.count {
                    guard try body(leaf.key(index), leaf.value(index)) else { return }
                    index += 1
                }
                guard step.hasHigh else { return }
                step = try descendAhead(to: step.high)
                index = 0
            }
        }
    }

    /// Gives items to the body in descending order, from the last one that is not after `start`, until the
    /// body gives false.
    package func scanBackward(
        from start: ItemKey,
        _ body: (ItemKey, UnsafeRawBufferPointer) throws(Pause) -> Bool
    ) throws(Pause) {
        try Epoch.section { () throws(Pause) in
            var step = try descend(to: start)
            var end = view(step.node).firstIndex(notBefore: start)
            if end < view(step.node).count, view(step.node).isKey(end, equalTo: start) { end += 1 }
            while true {
                let leaf = view(step.node)
                while end > 0 {
                    end -= 1
                    guard try body(leaf.key(end), leaf.value(end)) else { return }
                }
                guard step.hasLow else { return }
                step = try descend(before: step.low)
                end = view(step.node).count
            }
        }
    }

    /// The leaf that holds the keys just before this one.
    private func descend(before key: ItemKey) throws(Pause) -> Descent {
        var step = try rootStep()
        while step.level > 0 {
            try enterChild(view(step.node).childIndex(before: key), of: &step)
        }
        return step
    }

    /// As `descend`; a leaf that is missing is fetched together with those after it.
    private func descendAhead(to key: ItemKey) throws(Pause) -> Descent {
        var step = try rootStep()
        while step.level > 0 {
            let parent = step
            let index = view(step.node).childIndex(for: key)
            do throws(ChildMiss) {
                try goDown(to: index, of: &step)
            } catch {
                guard case .absent(let expectation) = error, parent.level == 1 else {
                    throw pause(for: error)
                }
                throw .wait(
                    NodeWait([cache.fetch(expectation)], ahead: fetches(after: index, of: parent)))
            }
        }
        return step
    }

    /// Fetches of the next children that are not in memory.
    private func fetches(after index: Int, of parent: Descent) -> [NodeFetch] {
        var result: [NodeFetch] = []
        let view = view(parent.node)
        let most = min(options.scanAhead, cache.limitBytes / nodeSize / 4)
        for next in index + 1..<max(min(index + most, view.count), index + 1) {
            var step = parent
            do throws(ChildMiss) {
                try goDown(to: next, of: &step)
            } catch {
                guard case .absent(let expectation) = error else { break }
                result.append(cache.fetch(expectation))
            }
        }
        return result
    }
}
