// A block device of the host: a loop device, where this machine lets us have one.

import CTestCalls
import CairnBase
import CairnIO
import Glibc
import Testing

private let canHaveLoopDevices = getuid() == 0 && access("/dev/loop-control", W_OK) == 0

@Suite(.enabled(if: canHaveLoopDevices, "needs root and /dev/loop-control"))
struct BlockDeviceFileTests {
    // C1
    @Test(
        .serialized,
        arguments: Reactor.Engine.allCases.flatMap { engine in [512, 4096].map { (engine, $0) } })
    func aBlockDevice(_ engine: Reactor.Engine, _ blockSize: Int) async throws {
        try await Ground(engine: engine).run { bench in
            let image = bench.directory + "/image"
            let file = open(image, O_CREAT | O_RDWR, 0o600)
            #expect(ftruncate(file, 8 << 20) == 0)
            close(file)
            var name = [CChar](repeating: 0, count: 64)
            guard cairn_test_loop_attach(image, UInt32(blockSize), &name, name.count) == 0 else {
                return  // All are taken.
            }
            defer { _ = cairn_test_loop_detach(name) }
            let path = String(decoding: name.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)

            let device = try FileDevice(
                path: path, options: bench.options(), reactor: bench.reactor)
            #expect(device.isBlockDevice && device.isDirect && device.canDiscard)
            #expect(device.size == 8 << 20 && device.blockSize == blockSize)
            let opening = { (isReadOnly: Bool) in
                failure { () throws(Errno) in
                    try FileDevice(
                        path: path, options: bench.options(isReadOnly: isReadOnly),
                        reactor: bench.reactor)
                }
            }
            #expect(opening(false) == .EBUSY)
            #expect(opening(true) == .EBUSY)

            let buffer = try AlignedBuffer(count: 1 << 20)
            buffer.memory.initializeMemory(as: UInt8.self, repeating: 7)
            try await device.write(buffer.bytes, at: 2 << 20)
            try await device.flush()
            try await device.discard(at: 2 << 20, length: 512 << 10)
            try await device.read(into: buffer.memory, at: 2 << 20)
            #expect(buffer.memory[..<(512 << 10)].allSatisfy { $0 == 0 })
            #expect(buffer.memory[(512 << 10)...].allSatisfy { $0 == 7 })
            // Through the page cache, for its memory.
            let odd = UnsafeMutableRawBufferPointer(rebasing: buffer.memory[5..<5 + 4096])
            try await device.read(into: odd, at: (3 << 20) - 4096)
            #expect(odd.allSatisfy { $0 == 7 })
            device.close()
            // A process that another test is starting just now has a copy of every descriptor until
            // it runs its program, and the kernel lets go of the device with the last copy.
            var isFree = false
            for _ in 0..<1000 where !isFree {
                isFree = opening(false) == nil
                if !isFree { try await Task.sleep(for: .milliseconds(5)) }
            }
            #expect(isFree)
        }
    }
}
