// MountDaemon: how `cairn mount` returns while the mount lives on.
//
// A process with threads cannot fork safely, so the command runs itself anew with a hidden
// subcommand, before it has opened anything. That child parses the same words, opens, mounts, and
// says "ready" through a pipe. Until then its errors go to the user's terminal and its exit status
// is the command's; after that its standard error is its log.
//
//   cairn mount …            cairn __mount-daemon FD …
//     posix_spawn ───────────▶ setsid, open sources, mount
//     wait on the pipe ◀────── "ready", log opened; serve until unmounted
//     statfs(mount point)      (the mount answers)
//     exit 0

import CHost
import CairnBase
import Glibc

enum MountDaemon {
    static let subcommand = "__mount-daemon"

    /// Starts the daemon, waits until its mount answers, and gives the exit status.
    static func start(_ words: [[UInt8]], mountPoint: FilePath) throws(Failure) -> Int32 {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Failure("pipe", currentErrno()) }
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        let pid: pid_t
        do throws(Failure) {
            pid = try spawn(words, readyDescriptor: ends[1])
        } catch {
            close(ends[0])
            close(ends[1])
            throw error
        }
        close(ends[1])
        var byte: UInt8 = 0
        var count: Int
        repeat { count = read(ends[0], &byte, 1) } while count < 0 && errno == EINTR
        close(ends[0])
        guard count == 1 else { return try statusOfFailedDaemon(pid) }
        var status = statvfs()
        if mountPoint.withCString({ statvfs($0, &status) }) != 0 {
            throw Failure(
                printable(mountPoint), "mounted, but it does not answer: \(currentErrno())",
                wayOut: "its log is in \(StateEntry.own().text); cairn umount clears the mount")
        }
        return ExitStatus.done
    }

    private static func spawn(_ words: [[UInt8]], readyDescriptor: Int32) throws(Failure) -> pid_t {
        let head = ["cairn", subcommand, String(readyDescriptor)].map { Array($0.utf8) }
        var vector = (head + words).map { word in
            FilePath(word).withCString { strdup($0) }
        }
        vector.append(nil)
        defer { for word in vector { free(word) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        var pid: pid_t = 0
        let result = posix_spawn(&pid, "/proc/self/exe", &actions, nil, &vector, environ)
        guard result == 0 else { throw Failure("the mount's daemon", Errno(rawValue: result)) }
        return pid
    }

    /// The daemon ended before it was ready, and has said why.
    private static func statusOfFailedDaemon(_ pid: pid_t) throws(Failure) -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 {
            guard errno == EINTR else { throw Failure("the mount's daemon", currentErrno()) }
        }
        let signal = status & 0x7F
        if signal != 0 { throw Failure("the mount's daemon", "killed by signal \(signal)") }
        let code = (status >> 8) & 0xFF
        return code == 0 ? ExitStatus.failed : code
    }

    /// The daemon itself: `words` are the ready descriptor and then those of `cairn mount`.
    static func main(_ words: [[UInt8]]) -> Int32 {
        guard let number = words.first.flatMap({ Int32(String(decoding: $0, as: UTF8.self)) }),
            fcntl(number, F_SETFD, FD_CLOEXEC) == 0
        else {
            report(Failure(subcommand, "is for cairn mount only", status: ExitStatus.usage))
            return ExitStatus.usage
        }
        cairn_host_close_inherited(number)
        setsid()
        do throws(Failure) {
            let arguments = try Arguments.parse(Array(words.dropFirst()), for: MountCommand.command)
            let service = try MountService(try MountPlan(arguments))
            return service.run { entry in
                detach(to: entry.log)
                var byte: UInt8 = 1
                let isHeard = write(number, &byte, 1) == 1
                close(number)
                return isHeard
            }
        } catch {
            report(error)
            return error.status
        }
    }

    /// Nothing ties the daemon to the terminal or to a directory any more.
    private static func detach(to log: FilePath) {
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        let output = log.withCString {
            open($0, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
        }
        if null >= 0 {
            dup2(null, 0)
            dup2(null, 1)
            dup2(output >= 0 ? output : null, 2)
            close(null)
        }
        if output >= 0 { close(output) }
        chdir("/")
    }
}
