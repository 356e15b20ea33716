import CSystem
import CairnBase
import Testing

/// CRC32C against published values, and its fast ways against the plain one (D8).
struct CRC32CTests {
    private func checksum(_ bytes: [UInt8], continuing: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { CRC32C.checksum($0, continuing: continuing) }
    }

    /// One bit at a time, from the definition.
    private func plain(_ bytes: some Sequence<UInt8>) -> UInt32 {
        var remainder: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            remainder ^= UInt32(byte)
            for _ in 0..<8 {
                remainder = remainder & 1 == 0 ? remainder >> 1 : remainder >> 1 ^ 0x82F6_3B78
            }
        }
        return ~remainder
    }

    @Test func publishedValues() {
        #expect(checksum(Array("123456789".utf8)) == 0xE306_9283)
        #expect(checksum([]) == 0)
        // RFC 3720, B.4.
        #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(checksum(Array(0..<32)) == 0x46DD_794E)
        #expect(checksum(Array((0..<32).reversed())) == 0x113F_DB5C)
    }

    @Test func everyLengthAndAlignmentAgreesWithTheDefinition() {
        var state: UInt64 = 1
        let bytes: [UInt8] = (0..<9000).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 56)
        }
        let lengths = Array(0...64) + [503, 504, 505, 1007, 1008, 4031, 4032, 4088, 4096, 8900]
        for length in lengths {
            for start in 0..<9 {
                let piece = bytes[start..<start + length]
                let wanted = plain(piece)
                #expect(checksum(Array(piece)) == wanted)
                bytes.withUnsafeBytes { all in
                    let part = UnsafeRawBufferPointer(rebasing: all[start..<start + length])
                    #expect(CRC32C.checksum(part) == wanted)
                    #expect(cairn_crc32c_by_tables(0, part.baseAddress, length) == wanted)
                }
            }
        }
    }

    @Test func continuingIsAsIfTheBytesFollowed() {
        let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let whole = checksum(bytes)
        for cut in [0, 1, 7, 8, 504, 2500, 4999, 5000] {
            let first = checksum(Array(bytes[..<cut]))
            #expect(checksum(Array(bytes[cut...]), continuing: first) == whole)
        }
    }
}
