// Records of data, compressed and unpacked: nothing is lost, stubborn data is left alone, and damaged
// bytes never get beyond their room (requirements D7, T4).

import CairnIO
import CairnTestPace
import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct CompressingTests {
    private static let settings = [
        CompressionSetting(method: .lz4), CompressionSetting(method: .zstd),
        CompressionSetting(method: .zstd, level: 9),
    ]

    /// Text-like data with some noise.
    private func sample(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
        (0..<count).map { index in
            random.oneIn(20) ? UInt8(truncatingIfNeeded: random.next()) : UInt8(index / 7 % 50 + 40)
        }
    }

    private func compressed(
        _ bytes: [UInt8], _ setting: CompressionSetting, room: Int
    ) -> [UInt8]? {
        let compressor = Compressor(setting)
        var output = [UInt8](repeating: 0, count: room)
        let count = bytes.withUnsafeBytes { bytes in
            output.withUnsafeMutableBytes { compressor.compress(bytes, into: $0) }
        }
        return count.map { Array(output.prefix($0)) }
    }

    private func unpacked(
        _ bytes: [UInt8], _ method: Compression, count: Int
    ) -> [UInt8]? {
        // Guards around the room: nothing may be written there.
        var whole = [UInt8](repeating: 0xA5, count: count + 64)
        let isSound = bytes.withUnsafeBytes { bytes in
            whole.withUnsafeMutableBytes { whole in
                unpack(
                    bytes, method,
                    into: UnsafeMutableRawBufferPointer(rebasing: whole[32..<32 + count]))
            }
        }
        #expect(
            whole[..<32].allSatisfy { $0 == 0xA5 }
                && whole[(32 + count)...].allSatisfy { $0 == 0xA5 })
        return isSound ? Array(whole[32..<32 + count]) : nil
    }

    // D7: what compressing needs is made once, when it first does.
    @Test func memoryForCompressingIsUsedAgain() throws {
        let scratch = PlacementScratch()
        #expect(scratch.compressor(.init(method: .lz4)) === scratch.compressor(.init(method: .lz4)))
        #expect(try scratch.room(4096).baseAddress == scratch.room(100_000).baseAddress)
        var bytes: [UInt8] = [1, 2, 3, 4]
        try bytes.withUnsafeMutableBytes { bytes in
            let part = { BlockSegment(UnsafeMutableRawBufferPointer(rebasing: bytes[$0])) }
            let one = try scratch.contiguous([part(0..<3)], count: 3)
            #expect(one.baseAddress == UnsafeRawPointer(bytes.baseAddress), "no copy")
            let two = try scratch.contiguous([part(2..<4), part(0..<2)], count: 4)
            #expect(Array(two) == [3, 4, 1, 2])
        }
    }

    // D7: a file of any length that does not shrink is tried now and then, to its end.
    @Test func stubbornDataIsTriedNowAndThen() {
        var stubbornness = Stubbornness()
        var tried: [Int] = []
        for record in 0..<100_000 where stubbornness.admits() {
            stubbornness.note(shrank: false)
            tried.append(record)
        }
        #expect(tried.prefix(4) == [0, 1, 4, 9])
        #expect(tried.count > 700 && tried.count < 800)
        while !stubbornness.admits() {}
        stubbornness.note(shrank: true)
        let admits = stubbornness.admits()
        #expect(admits)
    }

    @Test("What was compressed is unpacked as it was", arguments: settings)
    func roundTrip(_ setting: CompressionSetting) throws {  // D7
        var random = SeededRandom(seed: 7)
        for count in [8192, 65536, 131_072] {
            let bytes = sample(count, &random)
            let packed = try #require(compressed(bytes, setting, room: count - 4096))
            #expect(packed.count < count * 3 / 4)
            #expect(unpacked(packed, setting.method, count: count) == bytes)
            // A record that says another length is damaged.
            #expect(unpacked(packed, setting.method, count: count + 1) == nil)
            #expect(unpacked(packed, setting.method, count: count - 1) == nil)
        }
    }

    @Test("Data that does not shrink is left as it is", arguments: settings)
    func stubborn(_ setting: CompressionSetting) {  // D7
        var random = SeededRandom(seed: 8)
        let noise = (0..<131_072).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        #expect(compressed(noise, setting, room: noise.count - 4096) == nil)
        #expect(compressed(noise, .none, room: noise.count) == nil)
    }

    @Test("Damaged bytes are refused, or give other bytes within their room", arguments: settings)
    func damage(_ setting: CompressionSetting) throws {  // T4
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let bytes = sample(16384, &random)
        let packed = try #require(compressed(bytes, setting, room: 12288), "seed \(seed)")
        for _ in 0..<rounds(2000) {
            var wrong = packed
            for _ in 0...random.number(below: 4) {
                wrong[random.number(below: wrong.count)] = UInt8(truncatingIfNeeded: random.next())
            }
            if random.oneIn(4) { wrong = Array(wrong.prefix(random.number(below: wrong.count))) }
            _ = unpacked(wrong, setting.method, count: bytes.count)
        }
    }

    @Test("A file's own choice goes before the mount's")
    func choice() {  // D7
        let mount = CompressionSetting(method: .zstd, level: 5)
        #expect(mount.chosen(.asMounted) == mount)
        #expect(mount.chosen(.none) == .none)
        #expect(mount.chosen(.lz4).method == .lz4)
        #expect(mount.chosen(.zstd) == mount)
        #expect(CompressionSetting.none.chosen(.zstd).method == .zstd)
        #expect(CompressionSetting.none.choiceForFlag == .lz4)
        #expect(mount.choiceForFlag == .zstd)
    }
}
