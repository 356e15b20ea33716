// SourceLook: what stands at a source that no type was named for, so that a message can say more than
// that it is not ours.

import CairnBase
import Glibc

enum SourceLook {
    /// A filesystem of type mfs_disk, whole or not.
    case disk
    /// Something that others know.
    case foreign(String)
    /// Nothing that can be told, and why.
    case nothing(String)

    /// What is to be said of it where a filesystem is expected.
    var why: String {
        switch self {
        case .disk: "holds mfs_disk"
        case .foreign(let name): "holds \(name)"
        case .nothing(let why): why
        }
    }

    private static let slots = 8
    private static let slotLength = 16384
    private static let setLength = 131_072
    private static let sizeUnit = 65536

    init(at source: String) {
        let file = Glibc.open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else {
            self = .nothing(currentErrno().description)
            return
        }
        defer { Glibc.close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else {
            self = .nothing(currentErrno().description)
            return
        }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: self = .nothing("is a directory")
        case S_IFREG, S_IFBLK: self = SourceLook.look(at: file)
        default: self = .nothing("is neither a file nor a block device")
        }
    }

    private static func look(at file: Int32) -> SourceLook {
        let size = Int(lseek(file, 0, SEEK_END))
        guard size > 0 else { return .nothing("is empty") }
        // Both sets of superblocks: the first may be lost.
        let end = size / sizeUnit * sizeUnit
        for start in [0, end - setLength] where start >= 0 {
            for slot in 0..<slots {
                let magic: [UInt8] = [0x44, 0x53, 0x46, 0x4D]
                if has(magic, at: start + slot * slotLength, file) { return .disk }
            }
        }
        let known = others.first { has($0.magic, at: $0.offset, file) }
        return known.map { .foreign($0.name) } ?? .nothing("holds no filesystem that is known")
    }

    /// What others begin with.
    private static let others: [(name: String, offset: Int, magic: [UInt8])] = [
        ("ext2, ext3 or ext4", 1080, [0x53, 0xEF]),
        ("XFS", 0, Array("XFSB".utf8)),
        ("btrfs", 65600, Array("_BHRfS_M".utf8)),
        ("squashfs", 0, Array("hsqs".utf8)),
        ("ISO 9660", 32769, Array("CD001".utf8)),
        ("swap space", 4086, Array("SWAPSPACE2".utf8)),
        ("a QCOW image", 0, [0x51, 0x46, 0x49, 0xFB]),
        ("compressed data (gzip)", 0, [0x1F, 0x8B]),
        ("compressed data (xz)", 0, [0xFD, 0x37, 0x7A, 0x58, 0x5A]),
        ("compressed data (Zstd)", 0, [0x28, 0xB5, 0x2F, 0xFD]),
    ]

    private static func has(_ magic: [UInt8], at offset: Int, _ file: Int32) -> Bool {
        var found = [UInt8](repeating: 0, count: magic.count)
        return pread(file, &found, found.count, off_t(offset)) == found.count && found == magic
    }
}
