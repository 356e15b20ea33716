// FreeFrames: frames without a page, and whether the system has their memory.
//
// Warm frames have memory of the system; cold ones have none: never touched, or given back. Warm
// ones are taken first, the last one freed before others, so those at the bottom of the stack are
// the ones that nobody needs: `idle` says how many stayed free since the last time it was asked.
//
// Threading: guarded by the pool's lock.

struct FreeFrames {
    private var warm: [FrameNumber] = []
    private var cold: [FrameNumber] = []
    /// Frames from here on were never used.
    private var untouched: FrameNumber = 0
    private let count: FrameNumber
    /// The fewest warm frames there were since `takeIdle`.
    private var lowest = 0
    /// Frames that have a page, or are about to.
    private(set) var used = 0

    init(count: Int) {
        self.count = FrameNumber(count)
        // So that no allocation happens under the lock.
        warm.reserveCapacity(count)
        cold.reserveCapacity(count)
    }

    /// Frames that have memory of the system, with a page or not.
    var resident: Int { used + warm.count }

    mutating func take() -> FrameNumber? {
        if let number = warm.popLast() {
            lowest = min(lowest, warm.count)
            used += 1
            return number
        }
        if let number = cold.popLast() {
            used += 1
            return number
        }
        guard untouched < count else { return nil }
        defer { untouched += 1 }
        used += 1
        return untouched
    }

    mutating func put(_ number: FrameNumber) {
        used -= 1
        warm.append(number)
    }

    /// Takes out those of so many warm frames that were free for longest. They count as neither
    /// used nor free until `putCold`.
    mutating func takeWarm(_ wanted: Int) -> [FrameNumber] {
        let result = Array(warm.prefix(wanted))
        warm.removeFirst(result.count)
        lowest = min(lowest, warm.count)
        return result
    }

    /// Takes out the warm frames that were free all the time since this was called last.
    mutating func takeIdle() -> [FrameNumber] {
        let result = takeWarm(lowest)
        lowest = warm.count
        return result
    }

    mutating func putCold(_ numbers: [FrameNumber]) {
        cold.append(contentsOf: numbers)
    }
}
