// The command `cairn`: finds the subcommand, runs it, and turns a failure into a message and an
// exit status.
//
// Exit statuses: 0 done, 1 the operation failed, 2 wrong usage. What mount(8) calls (`mount.cairn`)
// answers with mount's: 1 wrong usage, 32 failed; what fsck(8) calls (`fsck.cairn`) with fsck's.

import CHost
import Glibc

/// The version that `cairn --version` and the stats of a mount show.
let cairnVersion = "0.1.0"

@main
struct Cairn {
    /// In the order in which `cairn --help` lists them.
    static let commands: [Command] = [
        MountCommand.command, UmountCommand.command, StatsCommand.command,
        ListCommand.command, TreeCommand.command, CatCommand.command, StatCommand.command,
        CopyCommand.command, MoveCommand.command, RemoveCommand.command,
        MakeDirectoryCommand.command, LinkCommand.command, TouchCommand.command,
        DiskFreeCommand.command, BenchCommand.command,
        MakeFileSystemCommand.command, FileSystemCheckCommand.command, DumpCommand.command,
    ]

    static func main() {
        setlocale(LC_ALL, "")
        let words = commandLineWords()
        exit(run(words))
    }

    static func run(_ words: [[UInt8]]) -> Int32 {
        let invokedAs = words.first.map { FilePath($0).lastName.text } ?? "cairn"
        let rest = Array(words.dropFirst())
        switch invokedAs {
        case "mount.cairn", "mount.fuse.cairn", "mount.fuse3.cairn":
            return MountHelper.mount(rest)
        case "mkfs.cairn":
            return MakeFileSystemCommand.command.execute(rest)
        case "fsck.cairn":
            return FileSystemCheckCommand.runAsHelper(rest)
        default:
            return runSubcommand(rest)
        }
    }

    private static func runSubcommand(_ words: [[UInt8]]) -> Int32 {
        guard let first = words.first.map({ String(decoding: $0, as: UTF8.self) }) else {
            standardError.write(HelpText.overview(of: commands))
            return ExitStatus.usage
        }
        switch first {
        case "--help", "help":
            return help(words.count > 1 ? String(decoding: words[1], as: UTF8.self) : nil)
        case "--version":
            standardOutput.write("cairn \(cairnVersion)\n")
            return finish(ExitStatus.done)
        case MountDaemon.subcommand:
            return MountDaemon.main(Array(words.dropFirst()))
        case InFront.subcommand:
            return InFront.run { runSubcommand(Array(words.dropFirst())) }
        default:
            break
        }
        guard let command = commands.first(where: { $0.name == first }) else {
            let what =
                first.hasPrefix("-") ? "unknown option '\(first)'" : "unknown command '\(first)'"
            report(Failure(what, "see cairn --help", status: ExitStatus.usage))
            return ExitStatus.usage
        }
        return command.execute(Array(words.dropFirst()))
    }

    private static func help(_ name: String?) -> Int32 {
        guard let name else {
            standardOutput.write(HelpText.overview(of: commands))
            return finish(ExitStatus.done)
        }
        guard let command = commands.first(where: { $0.name == name }) else {
            report(Failure("unknown command '\(name)'", "see cairn --help"))
            return ExitStatus.usage
        }
        standardOutput.write(HelpText.reference(of: command))
        return finish(ExitStatus.done)
    }
}

/// The words of the command line as bytes: names of files need not be UTF-8.
private func commandLineWords() -> [[UInt8]] {
    var words: [[UInt8]] = []
    let vector = CommandLine.unsafeArgv
    for index in 0..<Int(CommandLine.argc) {
        guard let word = vector[index] else { break }
        words.append(Array(UnsafeRawBufferPointer(start: word, count: strlen(word))))
    }
    return words
}
