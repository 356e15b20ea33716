// What a recording device remembers, and the states that a cut of the power can leave.

import CairnBase
import CairnIO
import CairnTestSupport
import Testing

@Suite struct RecordingTests {
    // T2: every prefix
    @Test func aPrefixIsWhatWasThereThen() async throws {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SeededRandom(seed: seed)
        let base = try MemoryDevice(size: 64 << 10)
        for index in base.contents.indices { base.contents[index] = UInt8(index & 0xFF) }
        let first = try base.copy()
        let device = RecordingDevice(base)
        var states: [[UInt8]] = [Array(base.contents)]
        let buffer = try AlignedBuffer(count: 8192)
        for round in 0..<60 {
            let blocks = 1 + random.number(below: 16)
            let offset = UInt64(random.number(below: 128 - blocks)) * 512
            buffer.memory.initializeMemory(as: UInt8.self, repeating: UInt8(round))
            let memory = UnsafeMutableRawBufferPointer(rebasing: buffer.memory[..<(blocks * 512)])
            switch random.number(below: 4) {
            case 0: try await device.flush()
            case 1: try await device.discard(at: offset, length: blocks * 512)
            case 2:
                let pieces = [
                    BlockSegment(UnsafeMutableRawBufferPointer(rebasing: memory[..<100])),
                    BlockSegment(UnsafeMutableRawBufferPointer(rebasing: memory[100...])),
                ]
                try await device.performAll(.write(pieces, at: offset))
            default: try await device.write(UnsafeRawBufferPointer(memory), at: offset)
            }
            try await device.read(into: memory, at: offset)
            states.append(Array(base.contents))
        }
        let log = device.log
        #expect(log.entries.count == 60 && log.moments == 120)
        for count in 0...60 {
            let copy = try first.copy()
            log.replay(first: count, onto: copy)
            #expect(copy.contents.elementsEqual(states[count]), "seed \(seed), \(count)")
            // All that is open survives: the same.
            let cut = log.cut(at: count * 2)
            let whole = try first.copy()
            cut.replay(onto: whole) { _, _ in .all }
            #expect(whole.contents.elementsEqual(states[count]), "seed \(seed), cut \(count)")
        }
    }

    // T2: what a flush has settled survives, and any subset of what came after
    @Test func aFlushSettlesWhatHadCompletedBefore() async throws {
        let timers = ManualTimers()
        var plan = FaultPlan()
        plan.latencyNanoseconds = 100...100
        let base = try MemoryDevice(size: 1 << 20)
        // Requests take a while, so that a flush can be submitted while a write is under way.
        let device = RecordingDevice(
            FaultyDevice(base, plan: plan, random: SeededRandom(seed: 1), timers: timers))
        let buffer = try AlignedBuffer(count: 4096)
        func submit(_ request: BlockRequest) throws { try device.submit(request) { _ in } }
        func write(_ block: UInt64) throws {
            buffer.memory.initializeMemory(as: UInt8.self, repeating: UInt8(block))
            try submit(.write(buffer.bytes, at: block * 4096))
        }
        try write(1)
        timers.advance(nanoseconds: 100)
        try write(2)  // under way when the flush is submitted
        try submit(.flush)
        let beforeFlush = device.moment
        timers.advance(nanoseconds: 100)
        let afterFlush = device.moment
        try write(3)
        try submit(.flush)  // does not complete
        let end = device.moment

        let log = device.log
        func places(_ entries: [DeviceLog.Entry]) -> [UInt64] { entries.map { $0.offset / 4096 } }
        #expect(places(log.cut(at: beforeFlush).settled) == [])
        #expect(places(log.cut(at: beforeFlush).open) == [1, 2])
        #expect(places(log.cut(at: afterFlush).settled) == [1])
        #expect(places(log.cut(at: end).settled) == [1])
        #expect(places(log.cut(at: end).open) == [2, 3])

        for subset in 0..<4 {
            let after = try MemoryDevice(size: 1 << 20)
            log.cut(at: end).replay(onto: after) { index, _ in
                subset >> index & 1 == 1 ? .all : .nothing
            }
            #expect(after.contents[4096] == 1)
            #expect(after.contents[2 * 4096] == (subset & 1 == 1 ? 2 : 0))
            #expect(after.contents[3 * 4096] == (subset & 2 == 2 ? 3 : 0))
        }
        // Torn.
        let torn = try MemoryDevice(size: 1 << 20)
        log.cut(at: end).replay(onto: torn) { index, _ in
            index == 0 ? .first(700) : .sectors { $0 % 2 == 1 }
        }
        let second = torn.contents[2 * 4096..<3 * 4096]
        #expect(
            second.prefix(700).allSatisfy { $0 == 2 }
                && second.dropFirst(700).allSatisfy { $0 == 0 })
        let third = Array(torn.contents[3 * 4096..<4 * 4096])
        for sector in 0..<8 {
            #expect(third[sector * 512..<(sector + 1) * 512].allSatisfy { $0 == sector % 2 * 3 })
        }
        timers.advance(nanoseconds: 100)
    }

    // T2: a partial write is settled as far as it went; one that failed may or may not be there
    @Test func partialAndFailedWritesAreRememberedAsWhatTheyAre() async throws {
        let base = try MemoryDevice(size: 1 << 20)
        let faulty = FaultyDevice(base, random: SeededRandom(seed: 2))
        let device = RecordingDevice(faulty)
        let buffer = try AlignedBuffer(count: 8192)
        func result(_ request: BlockRequest) throws -> BlockResult? {
            let seen = Seen<BlockResult>()
            try device.submit(request) { seen.add($0) }
            return seen.all.first
        }
        faulty.plan.partialRate = 1
        guard case .partial(let done)? = try result(.write(buffer.bytes, at: 0)) else {
            Issue.record("not partial")
            return
        }
        faulty.plan = FaultPlan(failing: FaultPlan.Failure(number: 1))
        #expect(try result(.write(buffer.bytes, at: 65536)) == .failed(.EIO))
        faulty.plan = FaultPlan(failing: FaultPlan.Failure(number: 1, isAtSubmission: true))
        #expect(
            failure { () throws(Errno) in
                try device.submit(.write(buffer.bytes, at: 131072)) { _ in Issue.record("called") }
            } == .EIO)
        try await device.flush()
        let cut = device.log.cut(at: device.moment)
        #expect(cut.settled.map(\.length) == [done])
        #expect(cut.open.map(\.offset) == [UInt64(done), 65536])
        #expect(cut.open.map(\.length) == [8192 - done, 8192])
    }
}
