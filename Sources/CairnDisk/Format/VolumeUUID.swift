// VolumeUUID: which filesystem this is (docs/format.md §3).
//
// A value: 16 bytes in the order in which they stand on the device and in text.

import CairnBase

public struct VolumeUUID: Hashable, Sendable, CustomStringConvertible {
    /// The first and the last eight bytes, as big-endian numbers.
    let high: UInt64
    let low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A random one (RFC 9562, version 4).
    public init(using random: inout some RandomNumberGenerator) {
        high = UInt64.random(in: 0 ... .max, using: &random) & 0xFFFF_FFFF_FFFF_0FFF | 0x4000
        low = UInt64.random(in: 0 ... .max, using: &random) & ~0 >> 2 | 1 << 63
    }

    /// The 16 bytes at an offset of a record whose length was checked.
    init(decoding bytes: UnsafeRawBufferPointer, at offset: Int) {
        high = bytes.number(UInt64.self, at: offset).byteSwapped
        low = bytes.number(UInt64.self, at: offset + 8).byteSwapped
    }

    func encode(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        bytes.put(high.byteSwapped, at: offset)
        bytes.put(low.byteSwapped, at: offset + 8)
    }

    /// What all checksums of nodes, log and data continue (docs/format.md §1).
    var seed: UInt32 {
        let bytes = [UInt8](recordOf: 16) { encode(into: $0, at: 0) }
        return bytes.withUnsafeBytes { CRC32C.checksum($0) }
    }

    /// As `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
    public var description: String {
        var text = ""
        for (index, byte) in [UInt8](recordOf: 16, { encode(into: $0, at: 0) }).enumerated() {
            if [4, 6, 8, 10].contains(index) { text += "-" }
            let digits = String(byte, radix: 16)
            text += digits.count == 1 ? "0" + digits : digits
        }
        return text
    }
}
