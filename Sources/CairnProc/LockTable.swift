// Locks, as /proc/locks shows them (proc(5)).

import CairnVFS

struct LockTable {
    private let locks: [ListedLock]

    init(_ locks: [ListedLock]) {
        self.locks = locks
    }

    var text: [UInt8] {
        let lines = locks.enumerated().map { index, lock in
            LockTable.line(lock, number: index + 1) + "\n"
        }
        return Array(lines.joined().utf8)
    }

    var table: ReportTable {
        var table = ReportTable([
            "class", "kind", "waiting", "pid", "filesystem", "inode", "start", "end",
        ])
        for lock in locks {
            table.add([
                .text(LockTable.kindOfOwner(lock)), .text(LockTable.access(lock)),
                .number(lock.isWaiting ? 1 : 0), .text("\(lock.lock.processID)"),
                .number(lock.fileSystem), .number(lock.inodeNumber),
                .number(lock.lock.range.start),
                lock.lock.range.length == 0 ? .missing : .number(lock.lock.range.end),
            ])
        }
        return table
    }

    /// As one line of /proc/locks, with who waits marked by an arrow.
    static func line(_ lock: ListedLock, number: Int) -> String {
        let range = lock.lock.range
        let end = range.length == 0 ? "EOF" : "\(range.end)"
        let device = String(lock.fileSystem, radix: 16)
        let place =
            "00:\(device.count < 2 ? "0" : "")\(device):\(lock.inodeNumber)"
        let owner = padded(kindOfOwner(lock), 6)
        return "\(number): \(lock.isWaiting ? "-> " : "")\(owner) ADVISORY  "
            + "\(padded(access(lock), 5)) \(lock.lock.processID) \(place) \(range.start) \(end)"
    }

    private static func padded(_ word: String, _ width: Int) -> String {
        word + String(repeating: " ", count: max(0, width - word.count))
    }

    private static func kindOfOwner(_ lock: ListedLock) -> String {
        if lock.isFlock { return "FLOCK" }
        return lock.owner.kind == .description ? "OFDLCK" : "POSIX"
    }

    private static func access(_ lock: ListedLock) -> String {
        lock.lock.kind == .read ? "READ" : "WRITE"
    }
}
