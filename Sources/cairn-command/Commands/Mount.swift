// cairn mount: opens sources, composes a namespace and shows it to the kernel.

import CairnBase
import CairnVFS
import Glibc

enum MountCommand {
    static let command = Command(
        name: "mount", summary: "mounts a source, or a namespace composed of several",
        usage: ["[-t TYPE] [-o OPT,…] [-f] [--at PATH=TYPE:SOURCE[,OPT…]]… SOURCE MOUNTPOINT"],
        operands: .exactly(2),
        options: [
            CommandOption("t", "type", value: "TYPE", "the type of SOURCE"),
            CommandOption("o", "options", value: "OPT,…", "options of the mount and of its type"),
            CommandOption("f", "foreground", "stay in front; Ctrl-C or SIGTERM unmounts"),
            CommandOption(
                nil, "at", value: "PATH=TYPE:SOURCE[,OPT…]",
                "one more filesystem, at PATH below the mount point;\n"
                    + "missing directories are made where that can be written to"),
        ],
        notes: [
            """
            SOURCE is none for types that need none. Returns once the mount answers; a daemon serves
            it, and its log is in /run/cairn (root) or $XDG_RUNTIME_DIR/cairn.
            """,
            """
            Options of the mount: ro rw noatime relatime strictatime nodiratime sync nosuid nodev
            noexec allow_other default_permissions. The kernel checks permissions in any case. Mounts
            of root are open to all users, others only to the one who mounts unless allow_other is
            given. With --at, nosuid and nodev of one filesystem hold for all.
            """,
            """
            And how the kernel reaches it: writeback (it gathers small writes; a full filesystem is
            then reported at close or fsync) or nowriteback, by default writeback where no size was
            asked for; transport=auto|device|io_uring, threads=N, idle_poll=N (microseconds for
            which processors stay awake after a request; 0: not). Parts (--at) cannot have
            allow_other or these.
            """,
            """
            Types:
            \(typeHelp)
            """,
        ], run: run)

    private static let typeHelp = builtInTypes.map { type in
        "  \(type.name.trailing(10)) \(typeDescriptions[type.name] ?? "")".trimmedSpaces
    }.joined(separator: "\n")

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let plan = try MountPlan(arguments)
        if plan.staysInFront {
            return try MountService(plan).run { entry in
                let names = plan.fileSystems.map { $0.type ?? "" }.joined(separator: ", ")
                standardOutput.write(
                    "\(names) on \(printable(plan.mountPoint)); Ctrl-C unmounts it\n")
                standardOutput.flush()
                return true
            }
        }
        return try MountDaemon.start(plan.words, mountPoint: plan.mountPoint)
    }
}

extension MountPlan {
    /// The plan as the words of a command line, for the daemon.
    var words: [[UInt8]] {
        var words: [String] = []
        for (index, planned) in fileSystems.enumerated() {
            let options = planned.options
            if index == 0 {
                if let type = planned.type { words += ["-t", type] }
                if !options.isEmpty { words += ["-o", options] }
            } else {
                let tail = planned.source + (options.isEmpty ? "" : ",\(options)")
                words.append("--at=\(planned.path.text)=\(planned.type ?? ""):\(tail)")
            }
        }
        return (words + ["--"]).map { Array($0.utf8) }
            + [FilePath(fileSystems[0].source), mountPoint].map { Array($0.bytes) }
    }
}

extension String {
    fileprivate var trimmedSpaces: String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
