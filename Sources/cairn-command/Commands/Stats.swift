// cairn stats: figures of a mount, from its daemon.

import CairnBase
import Glibc

enum StatsCommand {
    static let command = Command(
        name: "stats", summary: "shows what a mount does: operations, latencies, caches",
        usage: ["[--watch [--interval SECONDS]] [--json] MOUNTPOINT"], operands: .exactly(1),
        options: [
            CommandOption("w", "watch", "again and again, with rates since the time before"),
            CommandOption(nil, "interval", value: "SECONDS", "between two looks with --watch: 1"),
            CommandOption(nil, "json", "a JSON object; with --watch, one on each line"),
        ],
        notes: ["MOUNTPOINT may be any path below the mount."], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let path = try mountPointPath(arguments.operands[0])
        let table = try MountTable.read()
        let mount = table.last { $0.isCairn && path.isWithin($0.mountPoint) }
        guard let mount else { throw Failure(printable(path), "is not on a mount of Cairn") }
        let watches = arguments.has("watch")
        let interval = try arguments.number("interval", in: 1...86_400) ?? 1
        var previous: JSON?
        while true {
            let figures = try ask(mount)
            if arguments.has("json") {
                standardOutput.write(watches ? figures.line + "\n" : figures.pretty)
            } else {
                if watches, standardOutput.isTerminal { standardOutput.write("\u{1B}[H\u{1B}[2J") }
                standardOutput.write(StatsText.text(of: figures, since: previous))
            }
            standardOutput.flush()
            guard watches, standardOutput.error == nil else { return ExitStatus.done }
            previous = figures
            sleep(UInt32(interval))
        }
    }

    static func ask(_ mount: KernelMount) throws(Failure) -> JSON {
        let place = printable(mount.mountPoint)
        guard let entry = StateEntry.find(for: mount) else {
            throw Failure(place, "has no control socket, or one that is another user's")
        }
        guard let client = ControlClient(at: entry.socket) else {
            throw Failure(
                place, "its daemon is gone",
                wayOut: "cairn umount \(place) clears it; its log: \(entry.log.text)")
        }
        guard let answer = client.ask("stats") else {
            throw Failure(place, "its daemon does not answer", wayOut: "its log: \(entry.log.text)")
        }
        return answer
    }
}
