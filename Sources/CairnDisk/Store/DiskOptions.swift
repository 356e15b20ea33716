// DiskOptions: what a mount of mfs_disk chooses (requirements D1, D5, D7, D8, C8).

import CairnVFS

/// `compress=none|lz4|zstd[:N] checksums=on|off cow=on|off trim=on|off commit=MS dirty_limit=N cache=N`.
struct DiskOptions: Hashable, Sendable {
    var compression = CompressionSetting.none
    var checksums = true
    /// Off: data of files that are new is overwritten in place.
    var copiesOnWrite = true
    var isReadOnly = false
    /// Freed blocks are discarded on the device.
    var discards = true
    /// How long a change stays in memory at most, in milliseconds.
    var commitMilliseconds: UInt64 = 100
    /// Memory for pages of files and nodes of the trees.
    var cacheBytes: UInt64 = 256 << 20
    /// How much of what was written may be in memory only; nil: a part of the cache.
    var dirtyBytes: UInt64?

    init() {}

    /// Takes its options from a mount's.
    init(taking options: inout MountOptionList) throws(MountFailure) {
        if let text = try options.takeValue("compress") {
            compression = try DiskOptions.compression(text)
        }
        checksums = try DiskOptions.takeSwitch("checksums", from: &options) ?? true
        copiesOnWrite = try DiskOptions.takeSwitch("cow", from: &options) ?? true
        discards = try DiskOptions.takeSwitch("trim", from: &options) ?? true
        if let text = try options.takeValue("commit") {
            guard let number = UInt64(text), (1...600_000).contains(number) else {
                throw MountFailure(
                    .EINVAL, "option commit", "'\(text)' is no number of milliseconds, 1 to 600000")
            }
            commitMilliseconds = number
        }
        if let size = try options.takeSize("cache") {
            guard size >= DiskOptions.leastCache, size <= 1 << 44 else {
                throw MountFailure(.EINVAL, "option cache", "is at least 4M and at most 16T")
            }
            cacheBytes = size
        }
        dirtyBytes = try options.takeSize("dirty_limit")
        if let dirtyBytes, dirtyBytes < 1 << 16 || dirtyBytes > cacheBytes / 2 {
            throw MountFailure(
                .EINVAL, "option dirty_limit", "is at least 64K and at most half of the cache")
        }
    }

    static let leastCache: UInt64 = 4 << 20

    // MARK: What follows

    /// A part of the cache is for nodes of the trees.
    private var nodeCacheBytes: Int { Int(cacheBytes / 4) }

    var pageCacheBytes: Int { Int(cacheBytes) - nodeCacheBytes }

    /// How many nodes that nobody uses stay in memory: a kilobyte each, or somewhat more with what
    /// it knows of its pages, so up to a third of the cache beside it.
    var nodeLimit: Int { Int(min(cacheBytes / 4096, 1 << 16)) }

    /// How many nodes wait for their time of access to be recorded: for each a kilobyte or two of memory.
    var accessTimeLimit: Int { Int(min(cacheBytes >> 16, 4096)) }

    /// How much of the pages may be dirty.
    var dirtyShare: Double {
        guard let dirtyBytes else { return 0.2 }
        return Double(dirtyBytes) / Double(pageCacheBytes)
    }

    var volumeOptions: VolumeOptions {
        var result = VolumeOptions()
        result.isReadOnly = isReadOnly
        result.commitIntervalNanoseconds = commitMilliseconds * 1_000_000
        result.discards = discards
        result.nodeCacheBytes = nodeCacheBytes
        result.groupBytes = min(16 << 20, nodeCacheBytes / 4)
        return result
    }

    private static func compression(_ text: String) throws(MountFailure) -> CompressionSetting {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        switch (parts[0], parts.count) {
        case ("none", 1): return .none
        case ("lz4", 1): return CompressionSetting(method: .lz4)
        case ("zstd", 1): return CompressionSetting(method: .zstd)
        case ("zstd", 2):
            guard let level = Int32(parts[1]), (1...19).contains(level) else {
                throw MountFailure(.EINVAL, "option compress", "levels of zstd are 1 to 19")
            }
            return CompressionSetting(method: .zstd, level: level)
        default:
            throw MountFailure(
                .EINVAL, "option compress", "'\(text)' is none of none, lz4, zstd, zstd:1 … zstd:19"
            )
        }
    }

    static func takeSwitch(
        _ key: String, from options: inout MountOptionList
    ) throws(MountFailure) -> Bool? {
        guard let text = try options.takeValue(key) else { return nil }
        switch text {
        case "on": return true
        case "off": return false
        default: throw MountFailure(.EINVAL, "option \(key)", "'\(text)' is neither on nor off")
        }
    }

    /// As /proc/mounts shows them: what differs from the default.
    var description: String {
        var words: [String] = []
        switch compression.method {
        case .none: break
        case .lz4: words.append("compress=lz4")
        case .zstd: words.append("compress=zstd:\(compression.level)")
        }
        if !checksums { words.append("checksums=off") }
        if !copiesOnWrite { words.append("cow=off") }
        if !discards { words.append("trim=off") }
        if commitMilliseconds != 100 { words.append("commit=\(commitMilliseconds)") }
        if cacheBytes != DiskOptions().cacheBytes { words.append("cache=\(cacheBytes / 1024)k") }
        if let dirtyBytes { words.append("dirty_limit=\(dirtyBytes / 1024)k") }
        return words.joined(separator: ",")
    }
}
