// cairn fsck: looks for damage in an image, and mends it. Exit statuses are those of fsck(8).
//
// `fsck.cairn` is what fsck(8) calls, at boot with -a: the same in its words.

import CairnBase
import CairnDisk
import CairnIO

enum FileSystemCheckCommand {
    private static let mended: Int32 = 1
    private static let errorsLeft: Int32 = 4
    private static let couldNotRun: Int32 = 8
    private static let usageStatus: Int32 = 16

    private static let statuses =
        "Exit status: 0 clean, 1 mended, 4 errors left, 8 could not run (also: it is mounted)."

    static let command = Command(
        name: "fsck", summary: "looks for damage in an image, and mends it",
        usage: ["[-n | --repair] [--data] [--json] IMAGE"], operands: .exactly(1),
        options: [
            CommandOption("n", "no-action", "looks only, as without options"),
            CommandOption(nil, "repair", "mends what can be mended"),
            CommandOption(nil, "data", "reads all data too, and compares checksums"),
            CommandOption(nil, "json", "a JSON object"),
        ],
        notes: [
            """
            An image that is damaged is not written to before everything was looked at. What mends
            it is written beside what is there; a superblock that leads to it comes last.
            """, statuses,
        ], run: run)

    private static let helper = Command(
        name: "fsck.cairn", summary: "is called by fsck(8) for filesystems of type cairn",
        usage: ["[-a | -p | -y | -n] [-f] [-C[FD]] [-rtvV] IMAGE"], operands: .exactly(1),
        options: [
            CommandOption("a", nil, "mends what can be mended"),
            CommandOption("p", nil, "the same"),
            CommandOption("y", nil, "the same"),
            CommandOption("n", nil, "looks only, as without options"),
            CommandOption("f", nil, "nothing: the whole image is always looked at"),
            CommandOption("C", nil, value: "FD", "nothing: progress is shown on a terminal"),
            CommandOption("r", nil, "nothing: no questions are asked"),
            CommandOption("t", nil, "nothing"),
            CommandOption("v", nil, "nothing"),
            CommandOption("V", nil, "nothing"),
        ], notes: [statuses], run: runHelper)

    /// Called as `fsck.cairn`.
    static func runAsHelper(_ words: [[UInt8]]) -> Int32 {
        let status = helper.execute(words)
        return status == ExitStatus.usage ? usageStatus : status
    }

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let mends = arguments.has("repair")
        if mends, arguments.has("no-action") {
            throw .usage("options -n and --repair", "exclude one another")
        }
        return try run(
            arguments.operands[0], CheckOptions(checksData: arguments.has("data")), mends: mends,
            asJSON: arguments.has("json"))
    }

    @Sendable
    private static func runHelper(_ arguments: Arguments) throws(Failure) -> Int32 {
        let mends = arguments.has("a") || arguments.has("p") || arguments.has("y")
        if mends, arguments.has("n") {
            throw .usage("option -n", "excludes -a, -p and -y")
        }
        return try run(arguments.operands[0], CheckOptions(), mends: mends, asJSON: false)
    }

    private static func run(
        _ image: FilePath, _ options: CheckOptions, mends: Bool, asJSON: Bool
    ) throws(Failure) -> Int32 {
        do throws(Failure) {
            return try HostDisk.with(image, isReadOnly: !mends) { device throws(Failure) in
                let look = Look(image, asJSON: asJSON)
                return look.status(of: try look.run(on: device, options, mends: mends))
            }
        } catch {
            throw Failure(error.what, error.why, wayOut: error.wayOut, status: couldNotRun)
        }
    }

    /// One look, and what it prints.
    private final class Look {
        private let image: FilePath
        private let asJSON: Bool
        private let progress = Progress()
        private var findings: [JSON] = []

        init(_ image: FilePath, asJSON: Bool) {
            self.image = image
            self.asJSON = asJSON
        }

        func run(
            on device: FileDevice, _ options: CheckOptions, mends: Bool
        ) throws(Failure) -> CheckSummary {
            let check = ImageCheck(device, options) { [progress] state in
                progress.stepsDone(state.phase, state.done, of: state.total)
            }
            defer { progress.end() }
            let summary: CheckSummary
            do throws(CheckFailure) {
                summary = mends ? try check.mend(time: SystemTime(), hear) : try check.check(hear)
            } catch {
                throw Failure("\(printable(image)): \(error.what)", error.why)
            }
            progress.end()
            tell(summary, mends: mends)
            return summary
        }

        private func hear(_ finding: CheckFinding) {
            if asJSON {
                findings.append([
                    "subject": .string(finding.subject.rawValue), "place": .string(finding.place),
                    "what": .string(finding.what),
                    "remedy": finding.remedy.map { .string($0) } ?? .null,
                ])
            } else {
                progress.end()
                standardOutput.write(
                    "\(finding.place): \(finding.what); \(finding.remedy ?? "nothing helps")\n")
            }
        }

        private func tell(_ summary: CheckSummary, mends: Bool) {
            if asJSON { return standardOutput.write(object(summary).pretty) }
            let text: String
            if summary.findings == 0 {
                text = "clean"
            } else if !mends {
                text = "\(summary.findings) errors; cairn fsck --repair mends what can be mended"
            } else if !summary.isMended {
                text = "\(summary.findings) errors, and nothing to mend"
            } else {
                text = "\(summary.findings) errors, mended; \(summary.left) left"
            }
            standardOutput.write(
                "\(printable(image)): \(summary.files) files, \(summary.directories) directories, "
                    + "\(summary.usedBlocks) of \(summary.totalBlocks) blocks in use: \(text)\n")
        }

        private func object(_ summary: CheckSummary) -> JSON {
            [
                "image": .bytes(Array(image.bytes)), "label": .string(summary.label),
                "group": .count(summary.group), "files": .count(summary.files),
                "directories": .count(summary.directories),
                "blockSize": .count(summary.blockSize),
                "totalBlocks": .count(summary.totalBlocks),
                "usedBlocks": .count(summary.usedBlocks), "extents": .count(summary.extents),
                "fragments": .count(summary.fragments), "mainNodes": .count(summary.mainNodes),
                "spaceNodes": .count(summary.spaceNodes),
                "logEntries": .count(summary.logEntries), "errors": .count(summary.findings),
                "hopeless": .count(summary.hopeless), "mended": .bool(summary.isMended),
                "left": .count(left(of: summary)), "findings": .array(findings),
            ]
        }

        /// What is wrong in the image as it is now.
        private func left(of summary: CheckSummary) -> UInt64 {
            summary.isMended ? summary.left : summary.findings
        }

        func status(of summary: CheckSummary) -> Int32 {
            if summary.findings == 0 { return ExitStatus.done }
            return left(of: summary) == 0 ? mended : errorsLeft
        }
    }
}
