// MountPlan: what a call of `cairn mount` asks for, before anything is opened.

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

/// Options of a mount that are neither the namespace's nor a filesystem's.
struct DoorOptions: Sendable {
    var allowOther = false

    /// `default_permissions` is accepted, and always so: the kernel checks access. So are those
    /// that only mean something in /etc/fstab.
    init(taking options: inout MountOptionList) throws(MountFailure) {
        allowOther = try options.takeFlag("allow_other")
        for flag in [
            "default_permissions", "defaults", "auto", "noauto", "user", "nouser", "users",
            "owner", "group", "_netdev", "nofail",
        ] {
            _ = try options.takeFlag(flag)
        }
    }
}
