// CacheBench: a pool, a page cache and plain files on a device, for one test.

import CairnBase
import CairnCache
import CairnIO
import CairnPlainFiles
import Dispatch
import Testing

final class CacheBench: Sendable {
    let pool: PagePool
    let cache: PageCache
    let account: DirtyAccount
    let flusher: Flusher
    let timers: ManualTimers
    let device: any BlockDevice

    /// Instead of a reactor's thread.
    static let perform: @Sendable (@escaping @Sendable () -> Void) -> Void = { body in
        DispatchQueue.global().async(execute: body)
    }

    init(
        on device: any BlockDevice, budget: Int = 8 << 20, share: Double = 0.10,
        readAhead: ReadAheadSettings = ReadAheadSettings(),
        flusher settings: FlusherSettings = FlusherSettings(),
        _ change: (inout PagePool.Settings) -> Void = { _ in }
    ) throws {
        var poolSettings = PagePool.Settings(budget: budget, perform: Self.perform)
        change(&poolSettings)
        pool = try PagePool(poolSettings)
        var cacheSettings = PageCacheSettings()
        cacheSettings.readAhead = readAhead
        cache = PageCache(pool: pool, settings: cacheSettings)
        timers = ManualTimers()
        account = DirtyAccount(in: cache, timers: timers, share: share)
        flusher = Flusher(account, settings: settings)
        self.device = device
    }

    func file(
        _ number: UInt64 = 1, at start: UInt64 = 0, capacity: UInt64 = 1 << 20,
        isWritten: Bool = false
    ) -> PlainFile {
        PlainFile(
            number: number, on: device, at: start, capacity: capacity, flusher: flusher,
            isWritten: isWritten)
    }
}

/// Bytes of a pattern that tells where they stand and which writing it was.
func pattern(_ count: Int, at offset: Int, mark: UInt8) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: (offset + $0) &* 31 >> 3) ^ mark }
}

extension PlainFile {
    /// Writes all of it, going on after short writes.
    func writeAll(_ bytes: [UInt8], at offset: Int) throws(Errno) {
        let buffer = try AlignedBuffer(count: bytes.count)
        buffer.memory.copyBytes(from: bytes)
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: buffer.bytes[done..<bytes.count])
            done += try blocking { () throws(Pause) in
                try self.write(rest, at: UInt64(offset + done))
            }
        }
    }

    func readAll(_ count: Int, at offset: Int) throws(Errno) -> [UInt8] {
        let buffer = try AlignedBuffer(count: count)
        buffer.memory.initializeMemory(as: UInt8.self, repeating: 0xEE)
        var done = 0
        let got = try blocking { () throws(Pause) in
            try inSteps(of: count, &done) { (done) throws(Pause) in
                try self.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: buffer.memory[done..<count]),
                    at: UInt64(offset + done))
            }
        }
        return Array(buffer.memory[..<got])
    }
}
