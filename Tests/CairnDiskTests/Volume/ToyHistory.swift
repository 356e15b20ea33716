// ToyHistory: random operations on a ToyStore, and what must be there after each of them.

import CairnBase
import CairnIO
import CairnTestSupport

@testable import CairnDisk

struct ToyHistory {
    /// `states[n]`: what is there after n operations.
    private(set) var states: [[String: [UInt8]]] = [[:]]
    /// When operation n had been acknowledged, in the recorder's moments; the first is before any.
    private(set) var acknowledged: [Int]
    /// Syncs that returned: when, and how many operations came before.
    private(set) var synced: [(moment: Int, operations: Int)] = []
    private var random: SeededRandom
    private var lastName = 0

    init(seed: UInt64, startingAt moment: Int) {
        random = SeededRandom(seed: seed)
        acknowledged = [moment]
        synced = [(moment, 0)]
    }

    /// Does something random. Throws what it failed with.
    mutating func step(
        _ store: ToyStore, _ ground: VolumeGround, _ recorder: RecordingDevice
    ) throws(Errno) {
        let names = (states.last ?? [:]).keys.sorted()
        let choice = random.number(below: 20)
        switch choice {
        case 0..<5 where names.count < 40, 0..<20 where names.isEmpty:
            lastName += 1
            let name = "file \(lastName)"
            try store.create(name)
            note(recorder) { $0[name] = [] }
        case 0..<9:
            let content = content(random.number(below: 700))
            let name = pick(names)
            try store.writeSmall(name, content)
            note(recorder) { $0[name] = content }
        case 9..<12:
            let content = content(1 + random.number(below: 30000))
            let name = pick(names)
            try store.writeLarge(name, content)
            note(recorder) { $0[name] = content }
        case 12..<14:
            let name = pick(names)
            try store.remove(name)
            note(recorder) { $0[name] = nil }
        case 14..<16 where names.count > 1:
            let name = pick(names)
            let other = random.oneIn(2) ? pick(names.filter { $0 != name }) : "new \(states.count)"
            try store.rename(name, other)
            note(recorder) { $0[other] = $0.removeValue(forKey: name) }
        case 16:
            ground.timers.advance(nanoseconds: 200_000_000)
        case 17:
            try ground.commit(store.volume)
            synced.append((recorder.moment, states.count - 1))
        default:
            try store.sync()
            synced.append((recorder.moment, states.count - 1))
        }
    }

    private mutating func note(
        _ recorder: RecordingDevice, _ change: (inout [String: [UInt8]]) -> Void
    ) {
        var state = states.last ?? [:]
        change(&state)
        states.append(state)
        acknowledged.append(recorder.moment)
    }

    private mutating func pick(_ names: [String]) -> String {
        names[random.number(below: names.count)]
    }

    private mutating func content(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: count)
        for index in stride(from: 0, to: count, by: 97) {
            bytes[index] = UInt8(truncatingIfNeeded: random.next())
        }
        return bytes
    }

    /// Whether this may be there after a cut of the power at that moment: the state after some number
    /// of operations, not fewer than the last sync covered that had returned, and at most one that
    /// had not.
    func allows(_ state: [String: [UInt8]], at moment: Int) -> Bool {
        let least = synced.last { $0.moment <= moment }?.operations ?? 0
        let most = min(
            (acknowledged.lastIndex { $0 <= moment } ?? 0) + 1, states.count - 1)
        return (least...max(most, least)).contains { states[$0] == state }
    }
}
