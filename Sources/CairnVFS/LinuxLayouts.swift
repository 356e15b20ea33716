// Linux's structures, byte by byte: linux_dirent64, and struct stat, statx and statfs of x86-64.
//
// Offsets are written out; tests compare them with the C structures (requirement V8).

import CairnBase

/// struct linux_dirent64: ino u64, off i64, reclen u16, type u8, name, NUL, up to a multiple of 8.
public enum LinuxDirectoryRecord {
    static var nameOffset: Int { 19 }

    /// Bytes that the record of a name takes.
    public static func size(nameLength: Int) -> Int {
        (nameOffset + nameLength + 1 + 7) & ~7
    }

    /// Writes a record at an offset; gives its size, or nil if it does not fit.
    public static func write(
        _ entry: DirectoryEntry, into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) -> Int? {
        let size = size(nameLength: entry.name.count)
        guard offset + size <= buffer.count, let base = buffer.baseAddress else { return nil }
        let record = base + offset
        record.storeBytes(of: entry.number, as: UInt64.self)
        record.storeBytes(of: Int64(bitPattern: entry.cookie), toByteOffset: 8, as: Int64.self)
        record.storeBytes(of: UInt16(size), toByteOffset: 16, as: UInt16.self)
        record.storeBytes(of: entry.kind.rawValue, toByteOffset: 18, as: UInt8.self)
        let end = nameOffset + entry.name.count
        if let name = entry.name.bytes.baseAddress {
            (record + nameOffset).copyMemory(from: name, byteCount: entry.name.count)
        }
        UnsafeMutableRawBufferPointer(start: record + end, count: size - end)
            .initializeMemory(as: UInt8.self, repeating: 0)
        return size
    }
}

/// Device numbers as Linux's user space has them (makedev(3)).
public enum LinuxDevice {
    /// dev_t from (major << 32) | minor.
    public static func encode(_ device: UInt64) -> UInt64 {
        let major = device >> 32
        let minor = device & 0xFFFF_FFFF
        return (major & 0xFFFF_F000) << 32 | (major & 0xFFF) << 8
            | (minor & 0xFFFF_FF00) << 12 | (minor & 0xFF)
    }

    /// (major << 32) | minor from dev_t.
    public static func decode(_ device: UInt64) -> UInt64 {
        let major = (device >> 32 & 0xFFFF_F000) | (device >> 8 & 0xFFF)
        let minor = (device >> 12 & 0xFFFF_FF00) | (device & 0xFF)
        return major << 32 | minor
    }
}

extension Attributes {
    /// The size of struct stat on x86-64.
    public static var linuxStatSize: Int { 144 }

    /// Fills a struct stat of x86-64. `deviceNumber`: st_dev, as dev_t. The buffer has
    /// `linuxStatSize` bytes at least.
    public func fill(stat buffer: UnsafeMutableRawBufferPointer, deviceNumber: UInt64) {
        precondition(buffer.count >= Self.linuxStatSize)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        func put<N: FixedWidthInteger>(_ offset: Int, _ number: N) {
            buffer.storeBytes(of: number, toByteOffset: offset, as: N.self)
        }
        put(0, deviceNumber)
        put(8, number)
        put(16, UInt64(linkCount))
        put(24, mode)
        put(28, user)
        put(32, group)
        put(40, LinuxDevice.encode(device))
        put(48, Int64(clamping: size))
        put(56, Int64(blockSize))
        put(64, Int64(clamping: blocks))
        for (offset, time) in [(72, accessTime), (88, modificationTime), (104, changeTime)] {
            put(offset, time.seconds)
            put(offset + 8, Int64(time.nanoseconds))
        }
    }

    /// The size of struct statx.
    public static var linuxStatxSize: Int { 256 }

    /// Fills a struct statx. `mountIdentity`: stx_mnt_id.
    public func fill(
        statx buffer: UnsafeMutableRawBufferPointer, deviceNumber: UInt64, mountIdentity: UInt64
    ) {
        precondition(buffer.count >= Self.linuxStatxSize)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        func put<N: FixedWidthInteger>(_ offset: Int, _ number: N) {
            buffer.storeBytes(of: number, toByteOffset: offset, as: N.self)
        }
        // STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID
        put(0, UInt32(0x7FF | 0x800 | 0x1000))
        put(4, blockSize)
        put(8, UInt64(statxAttributes))
        put(16, linkCount)
        put(20, user)
        put(24, group)
        put(28, UInt16(truncatingIfNeeded: mode))
        put(32, number)
        put(40, size)
        put(48, blocks)
        // compressed, immutable, append, nodump
        put(56, UInt64(0x4 | 0x10 | 0x20 | 0x40))
        let times = [(64, accessTime), (80, birthTime), (96, changeTime), (112, modificationTime)]
        for (offset, time) in times {
            put(offset, time.seconds)
            put(offset + 8, time.nanoseconds)
        }
        put(128, UInt32(truncatingIfNeeded: device >> 32))
        put(132, UInt32(truncatingIfNeeded: device))
        let device = LinuxDevice.decode(deviceNumber)
        put(136, UInt32(truncatingIfNeeded: device >> 32))
        put(140, UInt32(truncatingIfNeeded: device))
        put(144, mountIdentity)
    }

    /// STATX_ATTR_*: the same bits as FS_*_FL for these four.
    private var statxAttributes: UInt32 {
        flags.intersection([.compress, .immutable, .appendOnly, .noDump]).rawValue
    }
}

extension FileSystemStatistics {
    /// The size of struct statfs on x86-64.
    public static var linuxStatfsSize: Int { 120 }

    /// Fills a struct statfs of x86-64. `type`: f_type, a magic number.
    public func fill(
        statfs buffer: UnsafeMutableRawBufferPointer, type: Int64, identity: UInt64,
        flags: MountFlags
    ) {
        precondition(buffer.count >= Self.linuxStatfsSize)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        func put(_ offset: Int, _ number: UInt64) {
            buffer.storeBytes(of: number, toByteOffset: offset, as: UInt64.self)
        }
        buffer.storeBytes(of: type, as: Int64.self)
        put(8, UInt64(blockSize))
        put(16, totalBlocks)
        put(24, freeBlocks)
        put(32, availableBlocks)
        put(40, totalNodes)
        put(48, freeNodes)
        put(56, identity)
        put(64, UInt64(maximumNameLength))
        put(72, UInt64(blockSize))
        put(80, UInt64(flags.rawValue & 0xFFFF))
    }
}
