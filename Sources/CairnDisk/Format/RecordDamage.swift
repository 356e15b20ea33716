// RecordDamage: what is wrong with a record of a tree.
//
// A record that comes from a device is decoded by an initialiser that checks every byte of it and
// throws this. Whoever reads adds which record it was, reports that, and answers with EIO.

/// Says which rule of docs/format.md a record breaks.
struct RecordDamage: Error, Hashable, Sendable, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

extension UnsafeRawBufferPointer {
    /// A little-endian number of a record whose length was checked.
    @inline(__always)
    func number<Number: FixedWidthInteger>(_ type: Number.Type, at offset: Int) -> Number {
        Number(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }
}

extension UnsafeMutableRawBufferPointer {
    @inline(__always)
    func put<Number: FixedWidthInteger>(_ number: Number, at offset: Int) {
        storeBytes(of: number.littleEndian, toByteOffset: offset, as: Number.self)
    }
}

extension Array where Element == UInt8 {
    /// Makes a record: `length` bytes of zeros, then filled in.
    @inline(__always)
    init(recordOf length: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        self.init(repeating: 0, count: length)
        withUnsafeMutableBytes(fill)
    }
}
