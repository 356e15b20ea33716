// LockedNodes: several nodes locked together, without deadlock.
//
// Whoever needs more than one node's lock takes them all here, in the order of the nodes' numbers.
// What names lead to is read before; so it is read again under the locks, and where it differs the
// operation fails with ESTALE and its caller looks anew.

import CairnBase
import CairnVFS

/// The exclusive locks of up to four nodes, taken in the order of their numbers and given back
/// when this goes.
struct LockedNodes: ~Copyable {
    private var nodes: InlineArray<4, Unmanaged<TreeNode>?> = .init(repeating: nil)
    private var count = 0

    /// Each node once, however often it is named. The caller keeps them alive.
    init(
        _ first: TreeNode, _ second: TreeNode, _ third: TreeNode? = nil,
        _ fourth: TreeNode? = nil
    ) throws(Pause) {
        enlist(first)
        enlist(second)
        if let third { enlist(third) }
        if let fourth { enlist(fourth) }
        for index in 0..<count {
            do throws(Pause) {
                try nodes[index]?.takeUnretainedValue().lockExclusively()
            } catch {
                unlock(first: index)
                count = 0
                throw error
            }
        }
    }

    deinit {
        unlock(first: count)
    }

    private func unlock(first count: Int) {
        var index = count
        while index > 0 {
            index -= 1
            nodes[index]?._withUnsafeGuaranteedRef { $0.lock.unlock() }
        }
    }

    private mutating func enlist(_ node: TreeNode) {
        let reference = Unmanaged.passUnretained(node)
        for index in 0..<count where nodes[index]?.toOpaque() == reference.toOpaque() { return }
        var index = count
        while index > 0, let before = nodes[index - 1],
            before._withUnsafeGuaranteedRef({ $0.number > node.number })
        {
            nodes[index] = before
            index -= 1
        }
        nodes[index] = reference
        count += 1
    }
}
