// MountPlan: what a call of `cairn mount` asks for, before anything is opened.

import CairnFUSE
import CairnVFS

/// One filesystem of a plan.
struct PlannedFileSystem: Sendable {
    /// Where in the namespace: "/" for the first one.
    var path: FilePath
    /// Nil: to be found from the source.
    var type: String?
    var source: String
    /// The text after `-o`.
    var options: String
}

struct MountPlan: Sendable {
    /// The first is the root.
    var fileSystems: [PlannedFileSystem]
    var mountPoint: FilePath
    var staysInFront: Bool

}

extension MountPlan {
    /// From the operands and options of `cairn mount`.
    init(_ arguments: Arguments) throws(Failure) {
        let root = PlannedFileSystem(
            path: FilePath("/"), type: arguments.value("type"),
            source: arguments.operands[0].text,
            options: arguments.values("options").joined(separator: ","))
        var fileSystems = [root]
        for text in arguments.values("at") {
            fileSystems.append(try MountPlan.parseAt(text))
        }
        self.init(
            fileSystems: fileSystems, mountPoint: arguments.operands[1],
            staysInFront: arguments.has("foreground"))
    }

    /// PATH=TYPE:SOURCE[,OPT…]
    static func parseAt(_ text: String) throws(Failure) -> PlannedFileSystem {
        let form = "must be PATH=TYPE:SOURCE[,OPT…], such as /proc=procfs:none"
        guard let equals = text.firstIndex(of: "=") else { throw .usage("--at \(text)", form) }
        let path = text[..<equals]
        let rest = text[text.index(after: equals)...]
        guard let colon = rest.firstIndex(of: ":") else { throw .usage("--at \(text)", form) }
        let type = rest[..<colon]
        let parts = rest[rest.index(after: colon)...].split(
            separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
        let source = parts.first.map(String.init) ?? ""
        guard path.hasPrefix("/"), !type.isEmpty, !source.isEmpty else {
            throw .usage("--at \(text)", form)
        }
        return PlannedFileSystem(
            path: FilePath(String(path)), type: String(type), source: source,
            options: parts.count > 1 ? String(parts[1]) : "")
    }
}

/// Options of a mount that are neither the namespace's nor a filesystem's: how the kernel sees it.
struct DoorOptions: Sendable {
    var allowOther = false
    /// Nil: where every filesystem accepts it.
    var writebackCache: Bool?
    var transport = FUSEMountOptions.Transport.automatic
    /// 0: as many as suit the machine.
    var threads = 0
    /// Nil: what suits the machine.
    var idlePollMicroseconds: Int?

    private static let transports: [String: FUSEMountOptions.Transport] = [
        "auto": .automatic, "device": .device, "io_uring": .ioUring,
    ]

    /// Accepted without a meaning: the kernel checks access in any case, and the others are for
    /// readers of /etc/fstab.
    private static let idleFlags = [
        "default_permissions", "defaults", "auto", "noauto", "user", "nouser", "users", "owner",
        "group", "_netdev", "nofail",
    ]

    init() {}

    init(taking options: inout MountOptionList) throws(MountFailure) {
        allowOther = try options.takeFlag("allow_other")
        if try options.takeFlag("writeback") { writebackCache = true }
        if try options.takeFlag("nowriteback") {
            guard writebackCache == nil else {
                throw MountFailure(
                    .EINVAL, "option nowriteback", "contradicts the option writeback")
            }
            writebackCache = false
        }
        if let name = try options.takeValue("transport") {
            guard let transport = DoorOptions.transports[name] else {
                throw MountFailure(
                    .EINVAL, "option transport", "'\(name)' is none of auto, device, io_uring")
            }
            self.transport = transport
        }
        if let text = try options.takeValue("threads") {
            guard let count = Int(text), (1...256).contains(count) else {
                throw MountFailure(
                    .EINVAL, "option threads", "'\(text)' is no number from 1 to 256")
            }
            threads = count
        }
        if let text = try options.takeValue("idle_poll") {
            guard let count = Int(text), (0...1_000_000).contains(count) else {
                throw MountFailure(
                    .EINVAL, "option idle_poll",
                    "'\(text)' is no number of microseconds from 0 to 1000000")
            }
            idlePollMicroseconds = count
        }
        for flag in DoorOptions.idleFlags { _ = try options.takeFlag(flag) }
    }

    /// A part of a namespace has no door of its own.
    static func refuse(in options: MountOptionList) throws(MountFailure) {
        var rest = options
        var refused: String?
        let flags = ["allow_other", "writeback", "nowriteback", "sync"] + idleFlags
        for flag in flags where try rest.takeFlag(flag) {
            refused = refused ?? flag
        }
        for key in ["transport", "threads", "idle_poll"] where try rest.takeValue(key) != nil {
            refused = refused ?? key
        }
        if let refused {
            throw MountFailure(
                .EINVAL, "option \(refused)",
                "is of the whole mount and not of a part; give it with -o instead of --at")
        }
    }
}
