// SeededRandom: numbers that a seed replays (SplitMix64).

public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) {
        state = seed
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// 0 ..< count
    public mutating func number(below count: Int) -> Int {
        Int(next() % UInt64(count))
    }

    /// True once in `count` times.
    public mutating func oneIn(_ count: Int) -> Bool {
        next() % UInt64(count) == 0
    }
}
