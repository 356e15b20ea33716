// NameNumber: the number under which a name stands in the tree (docs/format.md §7).
//
// SipHash-2-4 with a key of the filesystem's own, so that nobody outside can choose names that
// collide: 46 bits of hash, then 16 zero bits, where the distinction of a directory entry makes a
// position of it (SipHash: Aumasson and Bernstein, 2012; reference implementation at
// github.com/veorq/SipHash).

/// The 16 bytes `name key` of a superblock.
struct NameKey: Hashable, Sendable {
    var first: UInt64
    var second: UInt64
    /// Bits of the hash that count; fewer only in tests, where names shall collide.
    var hashBits: UInt64 = NameKey.hashBits

    static let hashBits: UInt64 = 46
    static let distinctionBits: UInt64 = 16

    init(first: UInt64, second: UInt64, hashBits: UInt64 = NameKey.hashBits) {
        self.first = first
        self.second = second
        self.hashBits = hashBits
    }

    /// From 16 bytes.
    init(_ bytes: UnsafeRawBufferPointer) {
        first = bytes.number(UInt64.self, at: 0)
        second = bytes.number(UInt64.self, at: 8)
    }

    /// The number of a name; its low 16 bits are zero.
    func number(of name: UnsafeRawBufferPointer) -> UInt64 {
        let hash = sipHash(name) >> (64 - NameKey.hashBits)
        let kept = hash >> (NameKey.hashBits &- hashBits)
        return kept << NameKey.distinctionBits
    }

    /// SipHash-2-4, as the reference implementation's little-endian number.
    func sipHash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var state = SipState(self)
        var offset = 0
        while bytes.count &- offset >= 8 {
            state.absorb(bytes.number(UInt64.self, at: offset))
            offset &+= 8
        }
        var last = UInt64(truncatingIfNeeded: bytes.count) << 56
        var shift: UInt64 = 0
        while offset < bytes.count {
            last |= UInt64(bytes[offset]) << shift
            shift &+= 8
            offset &+= 1
        }
        state.absorb(last)
        return state.finish()
    }
}

private struct SipState {
    var a: UInt64
    var b: UInt64
    var c: UInt64
    var d: UInt64

    @inline(__always)
    init(_ key: NameKey) {
        a = key.first ^ 0x736f_6d65_7073_6575
        b = key.second ^ 0x646f_7261_6e64_6f6d
        c = key.first ^ 0x6c79_6765_6e65_7261
        d = key.second ^ 0x7465_6462_7974_6573
    }

    @inline(__always)
    private static func rotated(_ word: UInt64, _ count: UInt64) -> UInt64 {
        word &<< count | word &>> (64 &- count)
    }

    @inline(__always)
    private mutating func round() {
        a = a &+ b
        b = SipState.rotated(b, 13) ^ a
        a = SipState.rotated(a, 32)
        c = c &+ d
        d = SipState.rotated(d, 16) ^ c
        a = a &+ d
        d = SipState.rotated(d, 21) ^ a
        c = c &+ b
        b = SipState.rotated(b, 17) ^ c
        c = SipState.rotated(c, 32)
    }

    @inline(__always)
    mutating func absorb(_ word: UInt64) {
        d ^= word
        round()
        round()
        a ^= word
    }

    @inline(__always)
    mutating func finish() -> UInt64 {
        c ^= 0xFF
        for _ in 0..<4 { round() }
        return a ^ b ^ c ^ d
    }
}
