// Memory really goes back to the machine (requirement M1). One after the other, as they look at what
// the whole process holds.

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Glibc
import Testing

@testable import CairnRAM

@Suite(.serialized) struct MemoryTests {
    private func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
        return Int(text.split(separator: " ")[1]).map { $0 * 4096 } ?? 0
    }

    @Test("Memory goes back to the machine when files go")
    func memoryReturns() throws {
        let time = ManualTime()
        let s = try Session(store: Ground.memoryStore(bytes: 1 << 30, time: time), time: time)
        let before = residentBytes()
        let bytes = [UInt8](repeating: 1, count: 1 << 20)
        for name in ["/a", "/b"] {
            let file = try s.file(name)
            for index in 0..<96 {
                try s.write(file, bytes, at: .offset(UInt64(index) << 20))
            }
        }
        #expect(residentBytes() - before > 150 << 20)
        try s.truncate("/a", 1)
        try s.unlink("/b")
        #expect(residentBytes() - before < 60 << 20)
        try s.close()
    }

    @Test("Chunks that were freed between used ones give their pages back, and come back as zeros")
    func fragments() throws {
        let arena = ChunkArena()
        let before = residentBytes()
        var kept: [Chunk] = []
        var freed: [Chunk] = []
        for index in 0..<2000 {
            let chunk = try #require(arena.allocate(sizeClass: 10)).chunk
            memset(try #require(chunk.address), 0xCC, chunk.capacity)
            if index % 16 == 0 { kept.append(chunk) } else { freed.append(chunk) }
        }
        #expect(residentBytes() - before > 100 << 20)
        for chunk in freed { arena.free(chunk) }
        #expect(residentBytes() - before < 60 << 20)
        for chunk in kept {
            let bytes = UnsafeRawBufferPointer(start: chunk.address, count: chunk.capacity)
            try #require(stride(from: 0, to: 65_536, by: 512).allSatisfy { bytes[$0] == 0xCC })
        }
        var zeroCount = 0
        for _ in 0..<freed.count {
            let (chunk, isZero) = try #require(arena.allocate(sizeClass: 10))
            kept.append(chunk)
            guard isZero else { continue }
            zeroCount += 1
            let bytes = UnsafeRawBufferPointer(start: chunk.address, count: chunk.capacity)
            try #require(stride(from: 0, to: 65_536, by: 512).allSatisfy { bytes[$0] == 0 })
        }
        #expect(zeroCount > 1000)
        for chunk in kept { arena.free(chunk) }
    }
}
