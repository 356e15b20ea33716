// CRC32C: the checksum of what stands on a device (requirement D8).
//
// The Castagnoli polynomial 0x1EDC6F41, reflected, initial value and final XOR 0xFFFFFFFF, as in
// iSCSI (RFC 3720) and SSE4.2: that of "123456789" is 0xE3069283. Pure; any thread.

import CSystem

public enum CRC32C {
    /// The checksum of the bytes. With `continuing` it is that of the bytes that gave that one,
    /// followed by these.
    public static func checksum(
        _ bytes: UnsafeRawBufferPointer, continuing checksum: UInt32 = 0
    ) -> UInt32 {
        cairn_crc32c(checksum, bytes.baseAddress, bytes.count)
    }
}
