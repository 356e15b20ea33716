// Files as devices: content, alignment, locks, sizes, refusals; on each engine, on a disk and on
// tmpfs, past the page cache and through it.

import CairnBase
import CairnIO
import CairnTestSupport
import Glibc
import Testing

@Suite struct FileDeviceTests {
    // C1
    @Test(arguments: Ground.all)
    func contentIsWhatWasWritten(_ ground: Ground) async throws {
        let seed = UInt64.random(in: 0 ... .max)
        try await ground.run { bench in
            let device = try bench.makeImage()
            var model = [UInt8](repeating: 0, count: Int(device.size))
            var random = SeededRandom(seed: seed)
            let buffer = try AlignedBuffer(count: 256 << 10)
            for step in 0..<150 {
                let blocks = 1 + random.number(below: 64)
                let length = blocks * device.blockSize
                let offset =
                    random.number(below: model.count / device.blockSize - blocks)
                    * device.blockSize
                // Memory that is aligned to pages, to blocks, and not at all.
                let shift = [0, 512, 1, 4096][random.number(below: 4)]
                let memory = UnsafeMutableRawBufferPointer(
                    rebasing: buffer.memory[shift..<shift + length])
                let pieces = split(memory, into: 1 + random.number(below: 5), &random)
                if random.oneIn(2) {
                    for index in memory.indices {
                        memory[index] = UInt8(truncatingIfNeeded: random.next())
                    }
                    try await device.performAll(.write(pieces, at: UInt64(offset)))
                    model.replaceSubrange(offset..<offset + length, with: memory)
                } else {
                    try await device.performAll(.read(into: pieces, at: UInt64(offset)))
                    let isRight = memory.elementsEqual(model[offset..<offset + length])
                    #expect(isRight, "seed \(seed), step \(step)")
                }
            }
            try await device.flush()
            device.close()
            #expect(fileBytes(bench.imagePath) == model, "seed \(seed)")
        }
    }

    private func split(
        _ memory: UnsafeMutableRawBufferPointer, into count: Int, _ random: inout SeededRandom
    ) -> [BlockSegment] {
        var pieces: [BlockSegment] = []
        var start = 0
        for left in stride(from: count, to: 1, by: -1) where memory.count - start > left * 16 {
            let length = 1 + random.number(below: (memory.count - start) / left)
            pieces.append(
                BlockSegment(
                    UnsafeMutableRawBufferPointer(
                        rebasing: memory[start..<start + length])))
            start += length
        }
        pieces.append(BlockSegment(UnsafeMutableRawBufferPointer(rebasing: memory[start...])))
        return pieces
    }

    // C1: what is past the page cache and what goes through it are one file
    @Test(arguments: Reactor.Engine.allCases)
    func unalignedMemoryAndAlignedMemorySeeTheSame(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage()
            let buffer = try AlignedBuffer(count: 3 * 4096)
            for round in 0..<20 {
                let aligned = UnsafeMutableRawBufferPointer(rebasing: buffer.memory[..<4096])
                let odd = UnsafeMutableRawBufferPointer(rebasing: buffer.memory[4099..<8195])
                aligned.initializeMemory(as: UInt8.self, repeating: UInt8(round))
                try await device.write(UnsafeRawBufferPointer(aligned), at: 0)
                try await device.read(into: odd, at: 0)
                #expect(odd.allSatisfy { $0 == UInt8(round) })
                odd.initializeMemory(as: UInt8.self, repeating: UInt8(100 + round))
                try await device.write(UnsafeRawBufferPointer(odd), at: 0)
                try await device.read(into: aligned, at: 0)
                #expect(aligned.allSatisfy { $0 == UInt8(100 + round) })
            }
        }
    }

    // C1
    @Test(arguments: Ground.all)
    func manyReadAnImageOrOneWrites(_ ground: Ground) async throws {
        try await ground.run { bench in
            var first: FileDevice? = try bench.makeImage()
            let path = bench.imagePath
            let again = { () throws(Errno) in
                try FileDevice(path: path, options: bench.options(), reactor: bench.reactor)
            }
            let reading = { () throws(Errno) in
                try FileDevice(
                    path: path, options: bench.options(isReadOnly: true), reactor: bench.reactor)
            }
            #expect(failure(again) == .EBUSY && failure(reading) == .EBUSY)
            first?.close()
            let readers = [try reading(), try reading()]
            #expect(readers[0].isReadOnly && !readers[0].canDiscard)
            #expect(failure(again) == .EBUSY)
            for reader in readers { reader.close() }
            let second = try again()
            #expect(failure(again) == .EBUSY)
            second.close()
            // Without `close`, when the last reference goes.
            first = try again()
            #expect(failure(again) == .EBUSY)
            first = nil
            #expect(failure(again) == nil)
        }
    }

    // C1
    @Test(arguments: Ground.all)
    func wrongRequestsAndOptionsAreRefused(_ ground: Ground) async throws {
        try await ground.run { bench in
            let device = try bench.makeImage(size: (1 << 20) + 700)
            #expect(device.size == (1 << 20) + 512)
            let buffer = try AlignedBuffer(count: 4096)
            let never: @Sendable (BlockResult) -> Void = { _ in Issue.record("called") }
            func refusal(_ request: BlockRequest, _ device: FileDevice) -> Errno? {
                failure { () throws(Errno) in
                    try device.submit(request, completion: never)
                }
            }
            #expect(refusal(.read(into: buffer.memory, at: 100), device) == .EINVAL)
            #expect(refusal(.write(buffer.bytes, at: 1 << 20), device) == .EIO)
            #expect(refusal(.read(into: buffer.memory, at: .max - 511), device) == .EIO)
            #expect(refusal(.discard(at: 0, length: 0), device) == .EINVAL)
            device.close()
            #expect(refusal(.flush, device) == .EBADF)
            let reader = try FileDevice(
                path: bench.imagePath, options: bench.options(isReadOnly: true),
                reactor: bench.reactor)
            #expect(refusal(.write(buffer.bytes, at: 0), reader) == .EROFS)
            #expect(refusal(.discard(at: 0, length: 4096), reader) == .EROFS)

            func opening(_ path: String, _ options: FileDevice.Options) -> Errno? {
                failure { () throws(Errno) in
                    try FileDevice(path: path, options: options, reactor: bench.reactor)
                }
            }
            #expect(opening(bench.directory + "/none", bench.options()) == .ENOENT)
            #expect(opening("/dev/null", bench.options(isReadOnly: true)) == .EINVAL)
            #expect(opening(bench.directory, bench.options(isReadOnly: true)) == .EINVAL)
            reader.close()
            #expect(opening(bench.imagePath, bench.options(queueDepth: 0)) == .EINVAL)
            for blockSize in [256, 600, 0, -512] {
                let options = FileDevice.Options(blockSize: blockSize)
                #expect(opening(bench.imagePath, options) == .EINVAL)
            }
            // Those that failed have given the lock back.
            #expect(opening(bench.imagePath, bench.options()) == nil)
            #expect(
                failure { () throws(Errno) in
                    try FileDevice.create(
                        path: bench.imagePath, size: 4096, options: bench.options(),
                        reactor: bench.reactor)
                } == .EEXIST)
        }
    }

    // C2: results may be partial and say so
    @Test(arguments: Ground.all)
    func readingAFileThatHasBecomeShorter(_ ground: Ground) async throws {
        try await ground.run { bench in
            let device = try bench.makeImage(size: 1 << 20)
            #expect(truncate(bench.imagePath, 8192 + 100) == 0)
            let buffer = try AlignedBuffer(count: 16384)
            let completions = Completions()
            let requests: [BlockRequest] = [
                .read(into: buffer.memory, at: 0), .read(into: buffer.memory, at: 512 << 10),
            ]
            for (number, request) in requests.enumerated() {
                try device.submit(request, completion: completions.expect(number))
            }
            await completions.wait(for: 2)
            #expect(completions.results(of: 0) == [.partial(8192)])
            #expect(completions.results(of: 1) == [.failed(.EIO)])
            let error = await asyncFailure { () async throws(Errno) in
                try await device.read(into: buffer.memory, at: 0)
            }
            #expect(error == .EIO)
            let reads = device.statistics.reads
            #expect(reads.count == 4 && reads.partial == 2 && reads.errors == 2)
            #expect(reads.bytes == 16384)
        }
    }

    // C1
    @Test(arguments: Ground.all)
    func discardGivesTheBlocksBack(_ ground: Ground) async throws {
        try await ground.run { bench in
            let device = try bench.makeImage(size: 8 << 20)
            try #require(device.canDiscard)
            let buffer = try AlignedBuffer(count: 1 << 20)
            buffer.memory.initializeMemory(as: UInt8.self, repeating: 9)
            for part in 0..<8 { try await device.write(buffer.bytes, at: UInt64(part) << 20) }
            try await device.flush()
            func blocks() -> Int {
                var status = stat()
                stat(bench.imagePath, &status)
                return status.st_blocks
            }
            let before = blocks()
            try await device.discard(at: 1 << 20, length: 6 << 20)
            #expect(blocks() < before - (5 << 20) / 512)
            try await device.read(into: buffer.memory, at: 3 << 20)
            #expect(buffer.memory.allSatisfy { $0 == 0 })
            try await device.read(into: buffer.memory, at: 7 << 20)
            #expect(buffer.memory.allSatisfy { $0 == 9 })
        }
    }

    // C1: batches go in one submission
    @Test(arguments: Ground.all)
    func aBatchStopsAtTheFirstThatCannotStart(_ ground: Ground) async throws {
        try await ground.run { bench in
            let device = try bench.makeImage(queueDepth: 4)
            let buffer = try AlignedBuffer(count: 16 * 4096)
            let completions = Completions()
            var batch = (0..<16).map { number in
                BlockSubmission(
                    .write(
                        UnsafeRawBufferPointer(
                            rebasing: buffer.bytes[number * 4096..<(number + 1) * 4096]),
                        at: UInt64(number) * 4096),
                    completion: completions.expect(number))
            }
            #expect(try device.submit(batch).count == 16)
            await completions.wait(for: 16)
            #expect(completions.areExactlyOnce(16))

            batch[3].request = .write(buffer.bytes, at: device.size)
            let more = Completions()
            for number in batch.indices { batch[number].completion = more.expect(number) }
            #expect(try device.submit(batch).count == 3)
            await more.wait(for: 3)
            try await device.flush()
            #expect(more.areExactlyOnce(3))
            #expect(failure { () throws(Errno) in try device.submit(Array(batch[3...])) } == .EIO)
            #expect(device.statistics.writes.count == 19)
        }
    }

    // C1: more segments than one system call takes
    @Test(arguments: Reactor.Engine.allCases)
    func thousandsOfSegments(_ engine: Reactor.Engine) async throws {
        try await Ground(engine: engine).run { bench in
            let device = try bench.makeImage(size: 4 << 20)
            let buffer = try AlignedBuffer(count: 3000 * 512)
            for index in buffer.memory.indices { buffer.memory[index] = UInt8(index / 512 & 0xFF) }
            let pieces = (0..<3000).map { number in
                BlockSegment(
                    UnsafeMutableRawBufferPointer(
                        rebasing: buffer.memory[number * 512..<(number + 1) * 512]))
            }
            try await device.performAll(.write(pieces, at: 0))
            buffer.memory.initializeMemory(as: UInt8.self, repeating: 0)
            try await device.performAll(.read(into: pieces.reversed(), at: 0))
            for number in 0..<3000 {
                #expect(buffer.memory[number * 512] == UInt8((2999 - number) & 0xFF))
            }
            #expect(device.statistics.writes.partial > 0)
        }
    }
}
