// cairn umount: takes a mount away, and returns when nothing can be lost any more.

import CHost
import CairnBase
import CairnVFS
import Glibc

enum UmountCommand {
    static let command = Command(
        name: "umount", summary: "unmounts, and returns once everything is durable",
        usage: ["[-f | -l] MOUNTPOINT"], operands: .exactly(1),
        options: [
            CommandOption(
                "f", "force",
                "what is in flight fails, then unmount: for a mount that\n"
                    + "does not answer any more. What was not written yet is lost."),
            CommandOption("l", "lazy", "take it out of the tree now; it ends with its last use"),
        ],
        notes: [
            """
            Without -l, status 0 means that everything is durable and the mount's daemon is gone.
            A mount whose daemon died is cleared.
            """
        ], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        if arguments.has("force"), arguments.has("lazy") {
            throw .usage("umount", "-f and -l exclude one another", of: command)
        }
        let how: Unmounting.How =
            arguments.has("force") ? .force : arguments.has("lazy") ? .lazy : .clean
        try Unmounting.unmount(arguments.operands[0], how)
        return ExitStatus.done
    }
}

extension Unmounting {
    enum How {
        case clean
        case lazy
        case force
    }

    /// What `cairn umount` does.
    static func unmount(_ operand: FilePath, _ how: How) throws(Failure) {
        let path = try mountPointPath(operand)
        guard let mount = try MountTable.mount(at: path) else {
            throw Failure(printable(path), "is not a mount point")
        }
        guard mount.isCairn else {
            throw Failure(
                printable(path), "is a mount of type \(mount.type), not one of Cairn",
                wayOut: "umount(8) unmounts it")
        }
        // It may stand in several places; then the daemon lives on.
        let isLast = try MountTable.read().count { $0.connection == mount.connection } == 1
        let entry = StateEntry.find(for: mount)
        if how == .lazy { return try attempt(path, lazily: true) }
        var daemon = entry.flatMap { LivingDaemon(entry: $0, of: mount) }
        if how == .force {
            try abort(mount)
            // If that did not unmount it, then it is in use.
            if try MountTable.mount(at: path)?.connection == mount.connection {
                try attempt(path, lazily: true)
            }
        } else {
            if let asked = daemon, !asked.willTellOfEnd() {
                // One that was killed listens until the last of its threads and memory is gone.
                guard asked.isGoneSoon() else {
                    throw Failure(
                        printable(path), "its daemon (\(asked.pid)) does not answer",
                        wayOut: "cairn umount -f ends it; what is not durable is lost")
                }
                daemon = nil
            }
            // Without a daemon there is nothing left that could be lost.
            try attempt(path, lazily: daemon == nil && entry != nil)
        }
        guard let daemon else {
            if let entry {
                tellOfDeath(entry, mount)
            } else {
                standardError.write(
                    "cairn: \(printable(path)): unmounted, but it is not known which process "
                        + "served it: it may still be writing\n")
            }
            return
        }
        if !isLast {
            standardError.write(
                "cairn: \(printable(path)): unmounted here; it is mounted elsewhere too\n")
        } else if how == .force {
            daemon.end()
            entry?.remove()
        } else {
            try daemon.waitForEnd(path)
        }
    }

    /// The mount is cleared; its log goes with it, so its last words are shown.
    private static func tellOfDeath(_ entry: StateEntry, _ mount: KernelMount) {
        let path = mount.mountPoint
        let log = entry.logText(of: mount.user ?? geteuid())
        let words = log.split(separator: 0x0A).suffix(3).map { printable(FilePath($0)) }
        let text = words.isEmpty ? "it left no word" : words.joined(separator: "\n  ")
        standardError.write("cairn: \(printable(path)): cleared; its daemon had died:\n  \(text)\n")
        entry.remove()
    }

    private static func attempt(_ path: FilePath, lazily: Bool) throws(Failure) {
        do throws(MountFailure) {
            try unmount(path, lazily: lazily)
        } catch {
            guard error.errno == .EBUSY else {
                throw Failure(
                    error.what, error.why,
                    wayOut: error.errno == .EPERM
                        ? "root may unmount it, and who mounted it" : nil)
            }
            let users = users(of: path)
            throw Failure(
                printable(path), "busy" + (users.isEmpty ? "" : ": used by \(users)"),
                wayOut: "end what uses it, or take it out of the tree with cairn umount -l")
        }
    }
}

/// The daemon of a mount, watched until it is gone.
private final class LivingDaemon {
    private let client: ControlClient
    private let process: Int32
    private let log: FilePath
    var pid: Int32 { client.pid }

    /// How long one that ends may take, by itself at `umount -f` or because it was killed.
    private static var graceMilliseconds: Int32 { 5000 }

    /// Nil: nobody listens on the entry's socket, or somebody else than who mounted. Root looks
    /// into directories of users here, who could make it meet (and kill) any process.
    init?(entry: StateEntry, of mount: KernelMount) {
        guard let client = ControlClient(at: entry.socket), client.user == mount.user else {
            return nil
        }
        let process = cairn_host_open_process(client.pid)
        guard process >= 0 else { return nil }
        guard client.isConnected else {
            close(process)
            return nil
        }
        self.client = client
        self.process = process
        log = entry.log
    }

    deinit { close(process) }

    /// Asks it to say when all is closed; false: it does not answer.
    func willTellOfEnd() -> Bool { client.ask("wait") != nil }

    /// Waits for what it says at its end, and for the end itself.
    func waitForEnd(_ path: FilePath) throws(Failure) {
        if !client.hasAnswer(withinMilliseconds: 10_000) {
            standardError.write(
                "cairn: \(printable(path)): unmounted; waiting until all is written, and nobody "
                    + "uses it elsewhere\n")
        }
        let answer = client.nextAnswer()
        _ = isGone(withinMilliseconds: -1)
        guard let answer else {
            throw Failure(
                printable(path), "its daemon died before everything was durable",
                wayOut: "its log: \(log.text)")
        }
        if let why = answer["error"]?.text {
            throw Failure(
                printable(path), "unmounted, but not everything is durable: \(why)",
                wayOut: "its log: \(log.text)")
        }
    }

    /// Its connection is aborted: it ends by itself, or is killed.
    func end() {
        if isGoneSoon() { return }
        _ = cairn_host_signal_process(process, SIGKILL)
        _ = isGone(withinMilliseconds: -1)
    }

    /// It is gone, or goes within the time that one that ends may take.
    func isGoneSoon() -> Bool { isGone(withinMilliseconds: LivingDaemon.graceMilliseconds) }

    private func isGone(withinMilliseconds timeout: Int32) -> Bool {
        var end = pollfd(fd: process, events: Int16(POLLIN), revents: 0)
        while true {
            let count = poll(&end, 1, timeout)
            if count >= 0 { return count > 0 }
            if errno != EINTR { return false }
        }
    }
}
