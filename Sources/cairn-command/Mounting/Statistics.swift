// What a mount's daemon tells of itself, as JSON.

import Cairn
import CairnBase
import CairnFUSE
import CairnVFS

extension Composition {
    /// How the kernel is to see the mount: its flags are those of the root.
    var fuseOptions: FUSEMountOptions {
        var options = FUSEMountOptions()
        guard let root = parts.first?.opened else { return options }
        if root.door.allowOther { options.allowOther = true }
        // Nobody but the kernel changes these filesystems: no size of its own can go stale.
        options.writebackCache =
            root.door.writebackCache
            ?? (parts.allSatisfy { $0.opened.fileSystem.acceptsLateWrites }
                && !root.flags.contains(.synchronous))
        options.transport = root.door.transport
        options.threads = root.door.threads
        if let poll = root.door.idlePollMicroseconds { options.idlePollMicroseconds = poll }
        options.sourceName = root.source == "none" ? root.type : root.source
        options.subtype = "cairn"
        return options
    }

    /// Each filesystem with how full it is.
    var description: JSON {
        .array(
            parts.map { part in
                var members: [JSON.Member] = [
                    .init(name: "path", value: .bytes(part.path.bytes)),
                    .init(name: "type", value: .string(part.opened.type)),
                    .init(name: "source", value: .string(part.opened.source)),
                    .init(name: "options", value: .string(part.opened.optionsText)),
                ]
                let fileSystem = part.opened.fileSystem
                members.append(.init(name: "figures", value: fileSystem.figuresObject))
                let figures = try? blocking { () throws(Pause) in try fileSystem.statistics() }
                if let figures {
                    let block = UInt64(figures.blockSize)
                    let used = figures.totalBlocks - min(figures.freeBlocks, figures.totalBlocks)
                    members += [
                        .init(name: "totalBytes", value: .count(figures.totalBlocks * block)),
                        .init(name: "usedBytes", value: .count(used * block)),
                        .init(name: "totalFiles", value: .count(figures.totalNodes)),
                        .init(name: "freeFiles", value: .count(figures.freeNodes)),
                    ]
                }
                return .object(members)
            })
    }
}

extension FileSystem {
    /// What it tells of its caches, commits and queues, by the name of each.
    fileprivate var figuresObject: JSON {
        .object(
            figures.map { group in
                let members = group.figures.map {
                    JSON.Member(name: $0.name, value: .count($0.value))
                }
                return JSON.Member(name: group.name, value: .object(members + group.ratios))
            })
    }
}

extension FigureGroup {
    /// What follows from the figures of commits and of space, as people ask for it.
    fileprivate var ratios: [JSON.Member] {
        func figure(_ name: String) -> Double {
            figures.first { $0.name == name }.map { Double($0.value) } ?? 0
        }
        func ratio(_ name: String, _ part: Double, of whole: Double) -> [JSON.Member] {
            whole > 0 ? [JSON.Member(name: name, value: .number(part / whole))] : []
        }
        switch kind {
        case .commit:
            let (packed, into) = (figure("packed_bytes"), figure("packed_into_bytes"))
            let data = figure("data_bytes")
            let written =
                data + figure("node_bytes") + figure("log_bytes") + figure("superblock_bytes")
            // Of each byte of files that was placed, compressed or not.
            return ratio("write_amplification", written, of: data - into + packed)
                + ratio("compression_ratio", packed, of: into)
        case .space:
            let free = figure("free_bytes")
            return ratio(
                "free_fragmentation", free - min(figure("longest_free_runs_bytes"), free), of: free)
        case .cache, .queue: return []
        }
    }
}

extension OpenedFileSystem {
    /// As in /proc/mounts: those of the mount, then those of the filesystem.
    var optionsText: String {
        let own = fileSystem.optionsDescription
        return own.isEmpty ? flags.description : "\(flags.description),\(own)"
    }
}

extension MountService {
    /// What changes while the mount lives.
    var statistics: JSON {
        let now = SystemTime().now()
        let uptime =
            Double(now.seconds - start.seconds)
            + (Double(now.nanoseconds) - Double(start.nanoseconds)) / 1e9
        let figures = mount.statistics
        return [
            "uptimeSeconds": .number(uptime),
            "fileSystems": composition.description,
            "operations": .array(figures.operations.map(\.json)),
            "names": [
                "kept": .count(vfs.dentries.count), "limit": .count(vfs.dentries.limit),
                "hits": .count(vfs.dentries.hitCount), "misses": .count(vfs.dentries.missCount),
                "evictions": .count(vfs.dentries.evictions),
            ],
            "door": [
                "transport": .string(figures.transport),
                "protocol": .string("7.\(figures.protocolMinor)"),
                "knownInodes": .count(figures.nodes),
                "waitingRequests": .count(figures.waiting),
                "notifications": .count(figures.notifications),
            ],
        ]
    }
}

extension FUSEMountStatistics.Operation {
    var json: JSON {
        [
            "name": .string(name), "count": .count(count), "errors": .count(errors),
            "waited": .count(waited),
            "meanNanoseconds": .count(count == 0 ? 0 : totalNanoseconds / count),
            "p50Nanoseconds": .count(percentile(0.5, of: histogram)),
            "p90Nanoseconds": .count(percentile(0.9, of: histogram)),
            "p99Nanoseconds": .count(percentile(0.99, of: histogram)),
            "maximumNanoseconds": .count(percentile(1, of: histogram)),
        ]
    }
}

/// From a histogram whose bucket n counts 2ⁿ ..< 2ⁿ⁺¹: the value that this part of all does not
/// pass, placed evenly within its bucket.
func percentile(_ part: Double, of histogram: [UInt64]) -> UInt64 {
    let total = histogram.reduce(0, +)
    guard total > 0 else { return 0 }
    let wanted = max(1, Double(total) * part)
    var below = 0.0
    for (bucket, count) in histogram.enumerated() where count > 0 {
        if below + Double(count) >= wanted {
            let low = Double(UInt64(1) << UInt64(bucket))
            return UInt64(low + low * (wanted - below) / Double(count))
        }
        below += Double(count)
    }
    return 0
}
