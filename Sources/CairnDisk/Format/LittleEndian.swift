// Numbers of a node: little-endian, at any alignment, at places that the caller has checked.

@inline(__always)
func loadU16(_ base: UnsafeRawPointer, _ offset: Int) -> UInt16 {
    UInt16(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
}

@inline(__always)
func loadU32(_ base: UnsafeRawPointer, _ offset: Int) -> UInt32 {
    UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
}

@inline(__always)
func loadU64(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
}

@inline(__always)
func storeU16(_ number: UInt16, _ base: UnsafeMutableRawPointer, _ offset: Int) {
    base.storeBytes(of: number.littleEndian, toByteOffset: offset, as: UInt16.self)
}

@inline(__always)
func storeU32(_ number: UInt32, _ base: UnsafeMutableRawPointer, _ offset: Int) {
    base.storeBytes(of: number.littleEndian, toByteOffset: offset, as: UInt32.self)
}

@inline(__always)
func storeU64(_ number: UInt64, _ base: UnsafeMutableRawPointer, _ offset: Int) {
    base.storeBytes(of: number.littleEndian, toByteOffset: offset, as: UInt64.self)
}
