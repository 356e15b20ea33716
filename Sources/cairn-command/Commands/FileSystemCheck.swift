// cairn fsck: looks for damage in an image, and mends it. Exit statuses are those of fsck(8).

import CairnBase
import CairnDisk
import CairnIO

enum FileSystemCheckCommand {
    private static let mended: Int32 = 1
    private static let errorsLeft: Int32 = 4
    private static let couldNotRun: Int32 = 8

    static let command = Command(
        name: "fsck", summary: "looks for damage in an image, and mends it",
        usage: ["[-n | --repair] [--data] IMAGE"], operands: .some,
        options: [
            CommandOption("n", "no-action", "looks only, as without options"),
            CommandOption(nil, "repair", "mends what can be mended"),
            CommandOption(nil, "data", "reads all data too, and compares checksums"),
        ],
        notes: ["Exit status: 0 clean, 1 mended, 4 errors left, 8 could not run."], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        guard arguments.operands.count == 1, let image = arguments.operands.first else {
            throw .usage("IMAGE", "one is looked at at a time")
        }
        let mends = arguments.has("repair")
        if mends, arguments.has("no-action") {
            throw .usage("options -n and --repair", "exclude one another")
        }
        let options = CheckOptions(checksData: arguments.has("data"))
        do throws(Failure) {
            return try HostDisk.with(image, isReadOnly: !mends) { device throws(Failure) in
                try look(at: device, image, options, mends: mends)
            }
        } catch {
            throw Failure(error.what, error.why, wayOut: error.wayOut, status: couldNotRun)
        }
    }

    private static func look(
        at device: FileDevice, _ image: FilePath, _ options: CheckOptions, mends: Bool
    ) throws(Failure) -> Int32 {
        let check = ImageCheck(device, options)
        let hear: (CheckFinding) -> Void = { finding in
            standardOutput.write("\(finding.place): \(finding.what)\n")
        }
        do throws(CheckFailure) {
            let summary =
                mends ? try check.mend(time: SystemTime(), hear) : try check.check(hear)
            standardOutput.write(
                "\(printable(image)): \(summary.files) files, \(summary.directories) directories, "
                    + "\(summary.usedBlocks)/\(summary.totalBlocks) blocks, "
                    + "\(summary.findings) findings\n")
            if summary.findings == 0 { return ExitStatus.done }
            return summary.isMended && summary.left == 0 ? mended : errorsLeft
        } catch {
            throw Failure("\(printable(image)): \(error.what)", error.why)
        }
    }
}
