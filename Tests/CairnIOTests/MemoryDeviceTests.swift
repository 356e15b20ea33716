// What a device in memory must do; and, on it, the forms that wait.

import CairnBase
import CairnIO
import Testing

@Suite struct MemoryDeviceTests {
    // C1
    @Test func whatIsWrittenIsReadInPieces() throws {
        let device = try MemoryDevice(size: 1 << 20)
        let source = try AlignedBuffer(count: 4096)
        for index in 0..<4096 { source.memory[index] = UInt8(truncatingIfNeeded: index &* 7) }
        try device.write(source.bytes, at: 8192)
        let first = try AlignedBuffer(count: 1024)
        let second = try AlignedBuffer(count: 3072)
        let pieces = [BlockSegment(first.memory), BlockSegment(second.memory)]
        try device.performAll(.read(into: pieces, at: 8192))
        #expect(Array(first.memory) + Array(second.memory) == Array(source.memory))
        try device.discard(at: 8192, length: 4096)
        try device.read(into: source.memory, at: 8192)
        #expect(source.memory.allSatisfy { $0 == 0 })
    }

    // C1
    @Test func wrongRequestsAreRefused() throws {
        let device = try MemoryDevice(size: 1 << 20, blockSize: 4096)
        let buffer = try AlignedBuffer(count: 4096)
        func refusal(_ request: BlockRequest, of device: MemoryDevice) -> Errno? {
            do throws(Errno) {
                try device.submit(request) { _ in Issue.record("called after a refusal") }
                return nil
            } catch {
                return error
            }
        }
        #expect(refusal(.read(into: buffer.memory, at: 512), of: device) == .EINVAL)
        #expect(refusal(.read(into: buffer.memory, at: 1 << 20), of: device) == .EIO)
        #expect(refusal(.read(into: buffer.memory, at: .max - 4095), of: device) == .EIO)
        #expect(refusal(.discard(at: 0, length: -4096), of: device) == .EINVAL)
        let fixed = try device.copy(isReadOnly: true)
        #expect(refusal(.write(buffer.bytes, at: 0), of: fixed) == .EROFS)
        device.close()
        #expect(refusal(.flush, of: device) == .EBADF)
    }

    // C2
    @Test func theAsyncFormReadsWhatWasWritten() async throws {
        let device = try MemoryDevice(size: 1 << 20)
        let buffer = try AlignedBuffer(count: 4096)
        buffer.memory[5] = 55
        try await device.write(buffer.bytes, at: 4096)
        buffer.memory[5] = 0
        try await device.read(into: buffer.memory, at: 4096)
        #expect(buffer.memory[5] == 55)
        let counted = device.statistics
        #expect(counted.reads.count == 1 && counted.writes.bytes == 4096)
        #expect(counted.queueDepth == 0 && counted.highestQueueDepth == 1)
    }

    // T3
    @Test func memoryThatIsNotThereIsAnError() {
        let tooMuch = 1 << 55
        #expect(failure { () throws(Errno) in try AlignedBuffer(count: tooMuch) } == .ENOMEM)
        #expect(failure { () throws(Errno) in try MemoryDevice(size: UInt64(tooMuch)) } == .ENOMEM)
        #expect(failure { () throws(Errno) in try MemoryDevice(size: .max) } == .ENOMEM)
    }
}
