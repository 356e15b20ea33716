// The reports at the top of procfs.

import CairnBase
import CairnVFS
import Glibc

struct ProcReports: @unchecked Sendable {
    // Sendable: the filesystem may be asked from any thread. Unowned, because its nodes hold it.
    private unowned let fileSystem: ProcFileSystem

    struct Report {
        var name: String
        var make: @Sendable () -> [UInt8]
    }

    init(_ fileSystem: ProcFileSystem) {
        self.fileSystem = fileSystem
    }

    /// Every report; those that are tables also as JSON.
    var all: [Report] {
        let tables: [(String, @Sendable () -> ReportTable)] = [
            ("caches", { caches }), ("commits", { groups(.commit) }),
            ("queues", { groups(.queue) }), ("operations", { operations }), ("memory", { memory }),
        ]
        var reports = [
            Report(name: "mounts") { mountTable?.mounts ?? [] },
            Report(name: "mountinfo") { mountTable?.mountInfo ?? [] },
            Report(name: "mounts.json") { mountTable?.table.json ?? ReportTable([]).json },
            Report(name: "filesystems") {
                Array(vfs.typeNames.map { "nodev\t\($0)\n" }.joined().utf8)
            },
            Report(name: "locks") { locks.text },
            Report(name: "locks.json") { locks.table.json },
        ]
        for (name, make) in tables {
            reports.append(Report(name: name) { make().text })
            reports.append(Report(name: "\(name).json") { make().json })
        }
        return reports
    }

    private var vfs: VFS { fileSystem.vfs }

    private var mountTable: MountTable? {
        fileSystem.namespace.map { MountTable($0, from: $0.root) }
    }

    private var locks: LockTable {
        LockTable(fileSystem.fileSystems.flatMap(\.fileLocks))
    }

    // MARK: Figures

    /// Names and nodes in memory: those of the VFS, then those of each filesystem.
    private var caches: ReportTable {
        let dentries = vfs.dentries
        let names = FigureGroup(
            .cache, "dentries",
            [
                .init("entries", UInt64(dentries.count)), .init("limit", UInt64(dentries.limit)),
                .init("hits", UInt64(dentries.hitCount)),
                .init("misses", UInt64(dentries.missCount)),
                .init("evictions", UInt64(dentries.evictions)),
            ])
        return table(of: [("vfs", names)] + groupsOfFileSystems(.cache))
    }

    private func groups(_ kind: FigureGroup.Kind) -> ReportTable {
        table(of: groupsOfFileSystems(kind))
    }

    private func groupsOfFileSystems(_ kind: FigureGroup.Kind) -> [(String, FigureGroup)] {
        fileSystem.fileSystems.flatMap { owner in
            owner.figures.filter { $0.kind == kind }
                .map { ("\(owner.typeName)#\(owner.identity)", $0) }
        }
    }

    /// A row for each group, with a column for each figure that any of them has.
    private func table(of groups: [(owner: String, group: FigureGroup)]) -> ReportTable {
        var names: [String] = []
        for figure in groups.flatMap(\.group.figures) where !names.contains(figure.name) {
            names.append(figure.name)
        }
        var table = ReportTable(["filesystem", "name"] + names)
        for (owner, group) in groups {
            let cells = names.map { name in
                group.figures.first { $0.name == name }.map { ReportTable.Cell.number($0.value) }
                    ?? .missing
            }
            table.add([.text(owner), .text(group.name)] + cells)
        }
        return table
    }

    /// Calls: how many, how many failed, and how long those took that were timed.
    private var operations: ReportTable {
        var table = ReportTable([
            "scope", "call", "count", "errors", "timed", "p50_ns", "p90_ns", "p99_ns", "p999_ns",
            "max_ns",
        ])
        let scopes = [("vfs", vfs.statistics)] + vfs.statistics.scopes.map { ($0.0, $0.1) }
        for (scope, statistics) in scopes {
            for figures in statistics.snapshot() {
                let latency = figures.latency
                let times: [ReportTable.Cell] =
                    latency.count == 0
                    ? Array(repeating: .missing, count: 5)
                    : [0.5, 0.9, 0.99, 0.999].map { .number(latency.percentile($0)) }
                        + [.number(latency.maximum)]
                table.add(
                    [
                        .text(scope), .text("\(figures.call)"), .number(figures.count),
                        .number(figures.errors), .number(latency.count),
                    ] + times)
            }
        }
        return table
    }

    /// Memory and time of the program, as getrusage(2) and the machine's own procfs tell.
    private var memory: ReportTable {
        var usage = rusage()
        getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
        var table = ReportTable(["name", "value"])
        let figures: [(String, UInt64)] = [
            ("peak_resident_bytes", UInt64(max(usage.ru_maxrss, 0)) * 1024),
            ("resident_bytes", residentBytes),
            ("user_time_us", microseconds(usage.ru_utime)),
            ("system_time_us", microseconds(usage.ru_stime)),
            ("major_faults", UInt64(max(usage.ru_majflt, 0))),
            ("processes", UInt64(vfs.processes.count)),
            ("namespaces", UInt64(vfs.namespaces.count)),
            ("filesystems", UInt64(fileSystem.fileSystems.count)),
        ]
        for (name, value) in figures {
            table.add([.text(name), .number(value)])
        }
        return table
    }

    /// Pages in memory: the second number of /proc/self/statm. 0 where the machine shows none.
    private var residentBytes: UInt64 {
        let file = Glibc.open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return 0 }
        defer { Glibc.close(file) }
        var bytes = [UInt8](repeating: 0, count: 128)
        let count = Glibc.read(file, &bytes, bytes.count)
        guard count > 0 else { return 0 }
        let words = String(decoding: bytes[..<count], as: UTF8.self).split(separator: " ")
        guard words.count > 1, let pages = UInt64(words[1]) else { return 0 }
        return pages * UInt64(max(sysconf(Int32(_SC_PAGESIZE)), 4096))
    }

    private func microseconds(_ time: timeval) -> UInt64 {
        UInt64(max(time.tv_sec, 0)) * 1_000_000 + UInt64(max(time.tv_usec, 0))
    }
}
