// Hammer: random calls on one plain file beside a model of it, from a seed.
//
// For the tests of the page cache, and for its soak. Whatever else happens in the pool meanwhile, what
// is read is what was written last. Another seed is another run; the same one makes the same calls.
//
// Threading: one thread each; several files, or one file each, may be hammered at once.

public import CairnBase
import CairnCache
import CairnIO

/// Numbers from a seed.
public struct HammerRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) {
        state = seed
    }

    /// splitmix64
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }

    public mutating func number(below limit: Int) -> Int {
        Int(truncatingIfNeeded: next() >> 1) % max(limit, 1)
    }
}

/// What was read is not what was written.
public struct Difference: Error, CustomStringConvertible {
    public let round: Int
    public let offset: Int
    public let what: String

    public var description: String { "round \(round), byte \(offset): \(what)" }
}

/// Runs an attempt to its end, and again when the device failed: nothing has changed then.
public func persistently<Value>(_ attempt: () throws(Pause) -> Value) throws(Errno) -> Value {
    while true {
        do throws(Errno) {
            return try blocking(attempt)
        } catch {
            guard error == .EIO else { throw error }
        }
    }
}

public struct Hammer {
    private let file: PlainFile
    private let capacity: Int
    private var random: HammerRandom
    private var model: [UInt8] = []
    private var mapping: FileMapping?
    private var isMapping = false

    /// `mapping`: changes it through a mapping, too.
    public init(_ file: PlainFile, seed: UInt64, mapping: Bool = false) {
        self.file = file
        capacity = Int(file.capacity)
        random = HammerRandom(seed: seed)
        isMapping = mapping
    }

    /// So many calls, and at last a read of the whole file.
    public mutating func run(_ rounds: Int) throws {
        let opening = file.open()
        for round in 0..<rounds {
            let offset = random.number(below: capacity - 1)
            let longest = random.number(below: 4) == 0 ? 300_000 : 9000
            let count = 1 + random.number(below: min(longest, capacity - offset))
            switch random.number(below: isMapping ? 15 : 12) {
            case 0...4: try write(offset, count, round)
            case 5...8: try check(offset, count, round)
            case 9:
                try truncate(to: random.number(below: 3) == 0 ? offset : min(model.count, offset))
            case 10: try punch(offset..<offset + count)
            case 11:
                try makeKnown()
                try persistently { () throws(Pause) in try opening.sync() }
            case 12: try map()
            default: changeMapped(round)
            }
        }
        try makeKnown()
        mapping = nil
        try check(0, capacity, rounds)
    }

    private mutating func write(_ offset: Int, _ count: Int, _ round: Int) throws {
        let mark = UInt8(truncatingIfNeeded: round)
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: (offset + $0) &* 31 >> 3) ^ mark }
        let buffer = try AlignedBuffer(count: count)
        buffer.memory.copyBytes(from: bytes)
        var done = 0
        while done < count {
            done += try persistently { () throws(Pause) in
                try file.write(
                    UnsafeRawBufferPointer(rebasing: buffer.bytes[done..<count]),
                    at: UInt64(offset + done))
            }
        }
        if model.count < offset + count {
            model += [UInt8](repeating: 0, count: offset + count - model.count)
        }
        model.replaceSubrange(offset..<offset + count, with: bytes)
    }

    private func check(_ offset: Int, _ count: Int, _ round: Int) throws {
        let buffer = try AlignedBuffer(count: count)
        var done = 0
        let got = try persistently { () throws(Pause) in
            try inSteps(of: count, &done) { (done) throws(Pause) in
                try file.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: buffer.memory[done..<count]),
                    at: UInt64(offset + done))
            }
        }
        let wanted = offset < model.count ? model[offset...].prefix(count) : []
        guard got == wanted.count else {
            throw Difference(round: round, offset: offset, what: "\(got) of \(wanted.count) bytes")
        }
        for (place, byte) in wanted.enumerated() where buffer.memory[place] != byte {
            throw Difference(
                round: round, offset: offset + place, what: "\(buffer.memory[place]), not \(byte)")
        }
    }

    private mutating func truncate(to size: Int) throws {
        try persistently { () throws(Pause) in try file.truncate(to: UInt64(size)) }
        if size < model.count {
            model.removeLast(model.count - size)
        } else {
            model += [UInt8](repeating: 0, count: size - model.count)
        }
    }

    private mutating func punch(_ range: Range<Int>) throws {
        try persistently { () throws(Pause) in
            try file.punch(UInt64(range.lowerBound)..<UInt64(range.upperBound))
        }
        let range = range.clamped(to: 0..<model.count)
        model.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
    }

    // MARK: Through a mapping

    /// Maps another part of the file.
    private mutating func map() throws {
        try makeKnown()
        mapping = nil
        guard model.count > 4096 else { return }
        let offset = random.number(below: model.count / 4096) * 4096
        let length = 1 + random.number(below: min(model.count - offset, 64 << 10))
        let request = MappingRequest(
            offset: UInt64(offset), length: length, protection: [.read, .write], isShared: true,
            mayWrite: true)
        var progress: FileMapping?
        mapping = try persistently { () throws(Pause) in try file.map(request, &progress) }
    }

    /// Changes some bytes that lie within the file.
    private mutating func changeMapped(_ round: Int) {
        guard let mapping else { return }
        let start = Int(mapping.offset)
        let end = min(start + mapping.memory.count, model.count)
        guard start < end else { return }
        for _ in 0..<1 + random.number(below: 20) {
            let place = start + random.number(below: end - start)
            // A hole that a truncation has left behind is brought by the next map.
            guard isShown(place, in: mapping) else { continue }
            let byte = UInt8(truncatingIfNeeded: random.next())
            mapping.memory[place - start] = byte
            model[place] = byte
        }
    }

    private func isShown(_ place: Int, in mapping: FileMapping) -> Bool {
        let offset = place - Int(mapping.offset)
        return mapping.isShown(offset..<offset + 1)
    }

    /// What msync(2) does first.
    private func makeKnown() throws {
        guard let mapping else { return }
        try persistently { () throws(Pause) in
            for range in mapping.changes(in: 0..<mapping.memory.count) {
                var range = range
                // Behind the end is nothing to be written.
                let room = Int(file.size) - Int(mapping.offset) - range.lowerBound
                range = range.lowerBound..<min(range.upperBound, range.lowerBound + max(room, 0))
                while !range.isEmpty {
                    let count = try file.write(
                        UnsafeRawBufferPointer(rebasing: mapping.memory[range]),
                        at: mapping.offset + UInt64(range.lowerBound))
                    range = range.lowerBound + count..<range.upperBound
                }
            }
        }
    }
}
