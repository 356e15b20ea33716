// cairn stat: what a filesystem knows of a file.

import CairnBase
import CairnVFS

enum StatCommand {
    static let command = Command(
        name: "stat", summary: "shows what a filesystem knows of a file",
        usage: ["[-L] [--json] FILE…"], operands: .some,
        options: [
            CommandOption("L", "dereference", "of what a symbolic link points to"),
            CommandOption(nil, "json", "a JSON array of objects"),
        ] + OpenTrees.options, notes: [OpenTrees.note], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments, isReading: true) { trees throws(Failure) in
            let owners = OwnerNames()
            var objects: [JSON] = []
            let status = OpenTrees.each(arguments.operands) { operand throws(Failure) in
                let place = try trees.place(operand)
                let status = try place.status(following: arguments.has("dereference"))
                if arguments.has("json") {
                    objects.append(describe(place, status))
                } else {
                    standardOutput.write(text(of: place, status, owners))
                }
            }
            if arguments.has("json") { standardOutput.write(JSON.array(objects).pretty) }
            return status
        }
    }

    /// As stat(1) of GNU prints it.
    private static func text(of place: Place, _ status: FileStatus, _ owners: OwnerNames) -> String
    {
        let file = status.attributes
        var name = place.text
        if file.kind == .symbolicLink, let target = try? place.tree.readLink(place.path) {
            name += " -> " + printable(target)
        }
        let size = String(file.size).trailing(15)
        let blocks = String(file.blocks).trailing(10)
        let device =
            file.kind.isDevice
            ? " Device type: \(file.device >> 32),\(file.device & 0xFFFF_FFFF)" : ""
        let mode = "\(octal(file.permissions.rawValue))/\(modeText(file))"
        let user = "\(String(file.user).leading(5))/\(owners.user(file.user).leading(8))"
        let group = "\(String(file.group).leading(5))/\(owners.group(file.group).leading(8))"
        return """
              File: \(name)
              Size: \(size) Blocks: \(blocks) IO Block: \(file.blockSize) \(file.kind.description)
             Inode: \(String(file.number).trailing(15)) Links: \(file.linkCount)\(device)
            Access: (\(mode))  Uid: (\(user))   Gid: (\(group))
            Access: \(fullTimeText(file.accessTime))
            Modify: \(fullTimeText(file.modificationTime))
            Change: \(fullTimeText(file.changeTime))

            """
    }
}
