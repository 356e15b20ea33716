// cairn dump: what is on a device, explained.

import CairnDisk
import CairnIO

enum DumpCommand {
    static let command = Command(
        name: "dump", summary: "shows what is on the disk, structure by structure",
        usage: ["[--json] IMAGE [superblocks|tree|extents|free|log]", "--map IMAGE"],
        operands: OperandCount(minimum: 1, maximum: 2),
        options: [
            CommandOption(nil, "json", "a JSON object on each line"),
            CommandOption(nil, "map", "a picture (SVG) of what is where"),
        ],
        notes: [
            """
            superblocks (as without): all slots, and the one that counts. tree: the nodes of the tree
            of files, with all records. extents: where the data of files is. free: the regions, and
            what is free in them. log: what was synced since the last commit.
            """,
            """
            Everything is verified as it is read. What is damaged is a line of its own, is left out,
            and makes the exit status 1. docs/format.md explains every word.
            """,
        ], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        let image = arguments.operands[0]
        if arguments.has("map") {
            guard arguments.operands.count == 1, !arguments.has("json") else {
                throw .usage("option --map", "is for the whole of an image, and a picture")
            }
            return try HostDisk.with(image, isReadOnly: true) { device throws(Failure) in
                try draw(device, image)
            }
        }
        var part = DumpPart.superblocks
        if arguments.operands.count == 2 {
            let word = arguments.operands[1].text
            guard let known = DumpPart(rawValue: word) else {
                let words = DumpPart.allCases.map(\.rawValue).joined(separator: ", ")
                throw .usage("'\(printable(arguments.operands[1]))'", "is none of \(words)")
            }
            part = known
        }
        let chosen = part
        let asJSON = arguments.has("json")
        return try HostDisk.with(image, isReadOnly: true) { device throws(Failure) in
            try dump(device, image, chosen, asJSON: asJSON)
        }
    }

    private static func dump(
        _ device: FileDevice, _ image: FilePath, _ part: DumpPart, asJSON: Bool
    ) throws(Failure) -> Int32 {
        var status = ExitStatus.done
        let dump = ImageDump(device) { line in
            if line.isDamage { status = ExitStatus.failed }
            standardOutput.write(asJSON ? object(line).line + "\n" : text(line))
        }
        do throws(CheckFailure) {
            try dump.run(part)
        } catch {
            throw Failure("\(printable(image)): \(error.what)", error.why)
        }
        return status
    }

    private static func draw(_ device: FileDevice, _ image: FilePath) throws(Failure) -> Int32 {
        do throws(CheckFailure) {
            let map = try DeviceMap(device)
            let label = map.label.isEmpty ? "" : " (\(map.label))"
            standardOutput.write(DeviceMapSVG(map).text(title: printable(image) + label))
            return map.damagedNodes == 0 ? ExitStatus.done : ExitStatus.failed
        } catch {
            throw Failure("\(printable(image)): \(error.what)", error.why)
        }
    }

    // MARK: Lines

    /// The kind and the first field say what it is; the others follow. What has many is a list.
    private static func text(_ line: DumpLine) -> String {
        let indent = String(repeating: "  ", count: line.depth)
        guard let first = line.fields.first else { return "\(indent)\(line.kind)\n" }
        let name = first.name == line.kind ? "" : "\(first.name) "
        let head = "\(indent)\(line.kind) \(name)\(word(first.value))"
        let rest = line.fields.dropFirst()
        guard rest.count <= listLength else {
            return "\(head)\n"
                + rest.map { "\(indent)  \($0.name.trailing(18)) \(word($0.value))\n" }.joined()
        }
        if rest.isEmpty { return head + "\n" }
        return head + ": " + rest.map { "\($0.name) \(word($0.value))" }.joined(separator: ", ")
            + "\n"
    }

    private static let listLength = 20

    private static func word(_ value: DumpLine.Value) -> String {
        switch value {
        case .number(let number): "\(number)"
        case .hexadecimal(let number): "0x" + String(number, radix: 16)
        case .text(let text): text.isEmpty ? "none" : text
        case .time(let time): time.seconds == 0 ? "never" : fullTimeText(time)
        }
    }

    private static func object(_ line: DumpLine) -> JSON {
        let fields = line.fields.map { field in
            JSON.Member(name: field.name, value: json(field.value))
        }
        return .object(
            [
                JSON.Member(name: "kind", value: .string(line.kind)),
                JSON.Member(name: "depth", value: .count(line.depth)),
            ] + fields)
    }

    private static func json(_ value: DumpLine.Value) -> JSON {
        switch value {
        case .number(let number), .hexadecimal(let number): .count(number)
        case .text(let text): .string(text)
        case .time(let time): .string("\(time.seconds)." + nanoseconds(of: time.nanoseconds))
        }
    }

    private static func nanoseconds(of count: UInt32) -> String {
        let digits = String(count)
        return String(repeating: "0", count: 9 - digits.count) + digits
    }
}
