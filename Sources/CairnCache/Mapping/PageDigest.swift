// PageDigest: tells whether a page has changed, without a copy of it.
//
// 128 bits. Each word of the page goes through a step that can be undone, in one of four lanes; so a
// change of one word always shows, and any other change does but for one in 2^64.
//
// A value.

struct PageDigest: Equatable, Sendable {
    private var first: UInt64
    private var second: UInt64

    /// `bytes`: a multiple of 32.
    init(of bytes: UnsafeRawBufferPointer) {
        let factor: UInt64 = 0x9E37_79B9_7F4A_7C15
        var lanes = SIMD4<UInt64>(1, 2, 3, 4)
        var offset = 0
        while offset &+ 32 <= bytes.count {
            for lane in 0..<4 {
                let word = bytes.loadUnaligned(
                    fromByteOffset: offset &+ lane &* 8, as: UInt64.self)
                let mixed = (lanes[lane] ^ word) &* factor
                lanes[lane] = mixed ^ mixed >> 29
            }
            offset &+= 32
        }
        first = (lanes[0] &* factor ^ lanes[1]) &* factor ^ lanes[2] >> 32 ^ lanes[2]
        second = (lanes[2] &* factor ^ lanes[3]) &* factor ^ lanes[0] >> 32 ^ lanes[1]
    }
}
