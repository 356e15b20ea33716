// What mount(8) calls: `mount.cairn SOURCE MOUNTPOINT [-sfnv] [-o OPT,…] [-t TYPE]`. So
// `mount -t cairn -o type=mfs_ram none /mnt` and /etc/fstab work.
//
// Exit statuses are those of mount(8): 0 done, 1 wrong usage, 32 failed.

import CairnVFS

enum MountHelper {
    private static let usageStatus: Int32 = 1
    private static let failedStatus: Int32 = 32

    private static let mountHelper = Command(
        name: "mount.cairn", summary: "is called by mount(8) for filesystems of type cairn",
        usage: ["SOURCE MOUNTPOINT [-sfnv] [-o type=TYPE[,OPT…]] [-t TYPE]"],
        operands: .exactly(2),
        options: [
            CommandOption("s", "sloppy", "leave out options that are unknown: not done"),
            CommandOption("f", "fake", "only check the words"),
            CommandOption("n", "no-mtab", "nothing: there is no mtab"),
            CommandOption("v", "verbose", "nothing"),
            CommandOption("o", "options", value: "OPT,…", "type=TYPE and those of cairn mount"),
            CommandOption("t", "type", value: "TYPE", "cairn, or fuse.cairn"),
            CommandOption("N", "namespace", value: "NS", "not supported"),
        ], notes: [], run: { _ throws(Failure) in 0 })

    static func mount(_ words: [[UInt8]]) -> Int32 {
        answer { () throws(Failure) in
            let arguments = try Arguments.parse(words, for: mountHelper)
            if arguments.has("namespace") {
                throw .usage("mount.cairn", "mounting into another namespace is not supported")
            }
            var options = MountOptionList(arguments.values("options").joined(separator: ","))
            let type: String?
            do throws(MountFailure) {
                type = try options.takeValue("type")
            } catch {
                throw .usage(error.what, error.why)
            }
            let plan = MountPlan(
                type: type, source: arguments.operands[0].text,
                options: text(
                    of: arguments.values("options").joined(separator: ","), without: "type"),
                mountPoint: arguments.operands[1])
            if arguments.has("fake") { return }
            let status = try MountDaemon.start(plan.words, mountPoint: plan.mountPoint)
            // The daemon has said why.
            if status != 0 { throw Silent.failure }
        }
    }

    private enum Silent {
        static let failure = Failure("", "")
    }

    private static func answer(_ body: () throws(Failure) -> Void) -> Int32 {
        do throws(Failure) {
            try body()
            return 0
        } catch {
            if !error.what.isEmpty { report(error) }
            return error.status == ExitStatus.usage ? usageStatus : failedStatus
        }
    }

    /// The list without `key=…` and without what is only for /etc/fstab's readers (x-…, comment=).
    static func text(of options: String, without key: String) -> String {
        options.split(separator: ",").filter {
            !$0.hasPrefix("\(key)=") && !$0.hasPrefix("x-") && !$0.hasPrefix("comment=")
        }.joined(separator: ",")
    }
}

extension MountPlan {
    fileprivate init(type: String?, source: String, options: String, mountPoint: FilePath) {
        let root = PlannedFileSystem(
            path: FilePath("/"), type: type, source: source, options: options)
        self.init(fileSystems: [root], mountPoint: mountPoint, staysInFront: false)
    }
}
