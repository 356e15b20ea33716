// InodeCensus: the inodes of an image, for counting the names that lead to each.
//
// Names and inodes stand in different orders, so one side must be in memory. That is the inodes, in
// windows of a bounded number: an image with more of them takes a pass over its names for each
// window. Directories are kept from the first to the last, since a loop may lead through any of them.
//
// Threading: one thread at a time.

import CairnVFS

struct InodeCensus {
    /// Inodes in a window: about 20 bytes each.
    static let defaultWindow = 4 << 20

    private(set) var numbers: [UInt64] = []
    private(set) var kinds: [FileKind] = []
    private(set) var links: [UInt32] = []
    /// Names that were seen.
    var names: [UInt32] = []

    let capacity: Int

    init(capacity: Int = defaultWindow) {
        self.capacity = capacity
    }

    var isFull: Bool { numbers.count >= capacity }
    var count: Int { numbers.count }

    /// In ascending order of numbers.
    mutating func add(_ number: UInt64, _ kind: FileKind, links count: UInt32) {
        numbers.append(number)
        kinds.append(kind)
        links.append(count)
        names.append(0)
    }

    /// The root, which comes before all others.
    mutating func addRoot(links count: UInt32) {
        numbers.insert(InodeNumbers.root, at: 0)
        kinds.insert(.directory, at: 0)
        links.insert(count, at: 0)
        names.insert(0, at: 0)
    }

    mutating func removeAll() {
        numbers.removeAll(keepingCapacity: true)
        kinds.removeAll(keepingCapacity: true)
        links.removeAll(keepingCapacity: true)
        names.removeAll(keepingCapacity: true)
    }

    func index(of number: UInt64) -> Int? { numbers.searched(for: number) }
}

/// Every directory: its parent, and the subdirectories that were counted in it.
struct DirectoryCensus {
    private(set) var numbers: [UInt64] = []
    var parents: [UInt64] = []
    /// As its record has it.
    private(set) var links: [UInt32] = []
    var subdirectories: [UInt32] = []
    /// Whether a name leads to it from its parent.
    var isNamed: [Bool] = []

    mutating func add(_ number: UInt64, parent: UInt64, links count: UInt32) {
        numbers.append(number)
        parents.append(parent)
        links.append(count)
        subdirectories.append(0)
        isNamed.append(false)
    }

    mutating func addRoot(links count: UInt32) {
        numbers.insert(InodeNumbers.root, at: 0)
        parents.insert(InodeNumbers.root, at: 0)
        links.insert(count, at: 0)
        subdirectories.insert(0, at: 0)
        isNamed.insert(false, at: 0)
    }

    var count: Int { numbers.count }

    func index(of number: UInt64) -> Int? { numbers.searched(for: number) }

    /// Directories that do not lead up to the root, one for each loop: from it, the others of the
    /// loop hang.
    func loops(root: UInt64) -> [Int] {
        enum Mark: UInt8 { case unseen, onTheWay, done }
        var marks = [Mark](repeating: .unseen, count: numbers.count)
        var found: [Int] = []
        for start in numbers.indices where marks[start] == .unseen {
            var way: [Int] = []
            var current: Int? = start
            while let index = current, marks[index] == .unseen {
                marks[index] = .onTheWay
                way.append(index)
                let isEnd = numbers[index] == root || !isNamed[index]
                current = isEnd ? nil : self.index(of: parents[index])
            }
            if let index = current, marks[index] == .onTheWay { found.append(index) }
            for index in way { marks[index] = .done }
        }
        return found
    }
}

extension Array where Element == UInt64 {
    /// Where a number is in an ascending array.
    fileprivate func searched(for number: UInt64) -> Int? {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low &+ high) / 2
            if self[middle] < number { low = middle &+ 1 } else { high = middle }
        }
        return low < count && self[low] == number ? low : nil
    }
}
