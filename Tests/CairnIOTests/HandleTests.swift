// Handles with rights, and the registry.

import CairnBase
import CairnIO
import Testing

@Suite struct HandleTests {
    private func request(
        _ operation: BlockRequest.Operation, _ buffer: AlignedBuffer
    ) -> BlockRequest {
        switch operation {
        case .read: .read(into: buffer.memory, at: 0)
        case .write: .write(buffer.bytes, at: 0)
        case .flush: .flush
        case .discard: .discard(at: 0, length: 4096)
        }
    }

    // V15
    @Test func whatTheRightsDoNotCoverIsRefused() throws {
        let device = try MemoryDevice(size: 1 << 20)
        let buffer = try AlignedBuffer(count: 4096)
        let kinds: [(BlockRequest.Operation, DeviceRights)] = [
            (.read, .read), (.write, .write), (.flush, .flush), (.discard, .discard),
        ]
        for bits in 0..<32 as Range<UInt8> {
            let rights = DeviceRights(rawValue: bits)
            let handle = device.handle(.all).handle(rights)
            for (operation, needed) in kinds {
                let seen = Seen<BlockResult>()
                let error = failure { () throws(Errno) in
                    try handle.submit(request(operation, buffer)) { seen.add($0) }
                }
                #expect(error == (rights.contains(needed) ? nil : .EACCES))
                #expect(seen.all.count == (rights.contains(needed) ? 1 : 0))
            }
            let managing = failure { () throws(Errno) in try handle.setQueueDepth(16) }
            #expect(managing == (rights.contains(.manage) ? nil : .EACCES))
            #expect(handle.isReadOnly == !rights.contains(.write))
            #expect(handle.canDiscard == rights.contains(.discard))
            // Rights that are gone do not come back.
            #expect(handle.handle(.all).rights == rights)
        }
        let reader = device.handle([.read])
        #expect(failure { () throws(Errno) in try reader.close() } == .EACCES)
        try device.handle(.manage).close()
        #expect(
            failure { () throws(Errno) in
                try reader.submit(request(.read, buffer)) { _ in }
            } == .EBADF)
    }

    // V15
    @Test func aBatchStopsWhereTheRightsEnd() throws {
        let device = try MemoryDevice(size: 1 << 20)
        let buffer = try AlignedBuffer(count: 4096)
        let seen = Seen<Int>()
        let batch = [BlockRequest.Operation.read, .flush, .write, .read].enumerated().map {
            (number, operation) in
            BlockSubmission(request(operation, buffer)) { _ in seen.add(number) }
        }
        let handle = device.handle([.read, .flush])
        #expect(try handle.submit(batch).count == 2)
        #expect(seen.all == [0, 1])
        #expect(failure { () throws(Errno) in try handle.submit(Array(batch[2...])) } == .EACCES)
        #expect(seen.all == [0, 1])
    }

    // C1: a registry by name
    @Test func devicesAreFoundByName() throws {
        let registry = DeviceRegistry()
        let first = try MemoryDevice(size: 1 << 20)
        let second = try MemoryDevice(size: 2 << 20)
        try registry.add(first, named: "data")
        try registry.add(second, named: "backup")
        #expect(failure { () throws(Errno) in try registry.add(second, named: "data") } == .EEXIST)
        #expect(failure { () throws(Errno) in try registry.add(second, named: "") } == .EINVAL)
        #expect(registry.names == ["backup", "data"])
        let handle = try registry.open("data", [.read])
        #expect(handle.size == 1 << 20 && handle.rights == [.read])
        #expect(try registry.remove("data") === first)
        #expect(failure { () throws(Errno) in try registry.open("data") } == .ENODEV)
        #expect(failure { () throws(Errno) in try registry.remove("data") } == .ENODEV)
        // Who has it keeps it.
        let buffer = try AlignedBuffer(count: 4096)
        let seen = Seen<BlockResult>()
        try handle.submit(.read(into: buffer.memory, at: 0)) { seen.add($0) }
        #expect(seen.all == [.complete(4096)])
    }
}
