// Compressing records of data, and unpacking them: LZ4's block format and frames of Zstandard.
//
// Bytes that are unpacked come from a device: neither library writes beyond the room that it is
// given, and what does not give exactly the bytes that the record says is damage.

import CLz4
import CZstd
import CairnBase

/// How new data is compressed.
struct CompressionSetting: Hashable, Sendable {
    var method: Compression
    /// For Zstd.
    var level: Int32 = 1

    static let none = CompressionSetting(method: .none)

    /// What FS_COMPR_FL on a file asks for where this is the mount's.
    var choiceForFlag: InodeRecord.CompressionChoice { method == .zstd ? .zstd : .lz4 }

    /// For a file with this choice, on a mount with this setting.
    func chosen(_ choice: InodeRecord.CompressionChoice) -> CompressionSetting {
        switch choice {
        case .asMounted: self
        case .none: .none
        case .lz4: CompressionSetting(method: .lz4)
        case .zstd: method == .zstd ? self : CompressionSetting(method: .zstd)
        }
    }
}

/// Compresses records, one after the other. Its contexts are made once.
///
/// Threading: used by one thread at a time.
final class Compressor: @unchecked Sendable {
    // Sendable: handed from thread to thread, never shared.
    private let setting: CompressionSetting
    private let zstd: OpaquePointer?
    private let lz4State: UnsafeMutableRawPointer?

    init(_ setting: CompressionSetting) {
        self.setting = setting
        zstd = setting.method == .zstd ? ZSTD_createCCtx() : nil
        lz4State =
            setting.method == .lz4
            ? .allocate(byteCount: Int(LZ4_sizeofState()), alignment: 16) : nil
    }

    deinit {
        ZSTD_freeCCtx(zstd)
        lz4State?.deallocate()
    }

    /// Writes the bytes compressed into the room; gives how many, or nil if they do not fit: the
    /// room is as large as what would be worth it, so stubborn data ends early.
    func compress(
        _ bytes: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
    ) -> Int? {
        switch setting.method {
        case .none:
            return nil
        case .lz4:
            guard let lz4State else { return nil }
            let count = LZ4_compress_fast_extState(
                lz4State, bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                room.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count),
                Int32(room.count), 1)
            return count > 0 ? Int(count) : nil
        case .zstd:
            guard let zstd else { return nil }
            let count = ZSTD_compressCCtx(
                zstd, room.baseAddress, room.count, bytes.baseAddress, bytes.count, setting.level)
            return ZSTD_isError(count) == 0 ? count : nil
        }
    }
}

/// Unpacks a record into exactly as many bytes as there must be. False: it is damaged.
func unpack(
    _ bytes: UnsafeRawBufferPointer, _ compression: Compression,
    into whole: UnsafeMutableRawBufferPointer
) -> Bool {
    switch compression {
    case .none:
        return false
    case .lz4:
        let count = LZ4_decompress_safe(
            bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
            whole.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count),
            Int32(whole.count))
        return Int(count) == whole.count
    case .zstd:
        let count = ZSTD_decompress(
            whole.baseAddress, whole.count, bytes.baseAddress, bytes.count)
        return ZSTD_isError(count) == 0 && count == whole.count
    }
}
