// The mounts of a namespace, as /proc/mounts and /proc/self/mountinfo show them (proc(5)).

import CairnVFS

struct MountTable {
    private let namespace: Namespace
    private let lines: [(mount: Mount, path: [UInt8])]

    /// Mounts that can be reached from `top`, with their paths from there.
    init(_ namespace: Namespace, from top: Location) {
        self.namespace = namespace
        lines = namespace.mounts.compactMap { mount in
            let place = Location(mount: mount, inode: mount.root)
            return namespace.path(of: place, from: top).map { (mount, $0) }
        }
    }

    /// fstab(5): source, path, type, options.
    var mounts: [UInt8] {
        lines.flatMap { (mount, path) -> [UInt8] in
            var line = escaped(mount.source) + [space]
            line += escaped(path) + [space]
            line += escaped(mount.fileSystem.typeName) + [space] + escaped(options(of: mount))
            return line + Array(" 0 0\n".utf8)
        }
    }

    var mountInfo: [UInt8] {
        lines.flatMap { (mount, path) -> [UInt8] in
            let fileSystem = mount.fileSystem
            let below = namespace.cover(of: mount)?.mount.identity ?? mount.identity
            var line = Array("\(mount.identity) \(below) 0:\(fileSystem.identity) ".utf8)
            line += escaped(mount.rootPath ?? Array("/ (deleted)".utf8)) + [space]
            line += escaped(path) + [space] + escaped(mount.flags.description)
            line += Array(" - ".utf8) + escaped(fileSystem.typeName) + [space]
            line += escaped(mount.source) + [space]
            var own = fileSystem.isReadOnly ? "ro" : "rw"
            if !fileSystem.optionsDescription.isEmpty { own += "," + fileSystem.optionsDescription }
            return line + escaped(own) + [UInt8(ascii: "\n")]
        }
    }

    var table: ReportTable {
        var table = ReportTable(["id", "parent", "source", "path", "type", "options"])
        for (mount, path) in lines {
            let below = namespace.cover(of: mount)?.mount.identity
            table.add([
                .number(mount.identity), below.map { .number($0) } ?? .missing,
                .text(mount.source), .text(String(decoding: path, as: UTF8.self)),
                .text(mount.fileSystem.typeName), .text(options(of: mount)),
            ])
        }
        return table
    }

    private func options(of mount: Mount) -> String {
        let own = mount.fileSystem.optionsDescription
        return own.isEmpty ? mount.flags.description : mount.flags.description + "," + own
    }
}

private let space = UInt8(ascii: " ")

private func escaped(_ text: String) -> [UInt8] { escaped(Array(text.utf8)) }

/// What separates fields is written as an octal number, and an empty field as "none".
private func escaped(_ bytes: [UInt8]) -> [UInt8] {
    if bytes.isEmpty { return Array("none".utf8) }
    return bytes.flatMap { byte -> [UInt8] in
        switch byte {
        case 0x20, 0x09, 0x0A, 0x5C, 0x23:
            let digits = String(byte, radix: 8)
            let zeros = String(repeating: "0", count: 3 - digits.count)
            return Array(("\\" + zeros + digits).utf8)
        default: return [byte]
        }
    }
}
