// cairn touch: makes files that are missing and sets times.

import CHost
import CairnBase
import CairnVFS

enum TouchCommand {
    static let command = Command(
        name: "touch", summary: "makes files that are missing and sets their times",
        usage: ["[-acmh] [-d TIME | -r FILE] FILE…"], operands: .some,
        options: [
            CommandOption("a", nil, "the access time only"),
            CommandOption("m", nil, "the modification time only"),
            CommandOption("c", "no-create", "do not make files that are missing"),
            CommandOption("h", "no-dereference", "a symbolic link itself"),
            CommandOption(
                "d", "date", value: "TIME",
                "this time instead of now: @SECONDS or\n"
                    + "YYYY-MM-DD[ HH:MM[:SS[.FRACTION]]][Z], local unless Z"),
            CommandOption("r", "reference", value: "FILE", "the times of FILE instead of now"),
        ] + OpenTrees.options, notes: [OpenTrees.note], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments) { trees throws(Failure) in
            var (access, modification) = (TimeChange.now, TimeChange.now)
            if let file = arguments.value("reference") {
                let status = try trees.place(FilePath(file)).status(following: true)
                access = .set(status.attributes.accessTime)
                modification = .set(status.attributes.modificationTime)
            } else if let text = arguments.value("date") {
                guard let time = parseTime(text) else {
                    throw .usage(
                        "option --date", "'\(text)' is no time", of: command)
                }
                (access, modification) = (.set(time), .set(time))
            }
            if arguments.has("a"), !arguments.has("m") { modification = .keep }
            if arguments.has("m"), !arguments.has("a") { access = .keep }
            return OpenTrees.each(arguments.operands) { operand throws(Failure) in
                let place = try trees.place(operand)
                try touch(place, access, modification, arguments)
            }
        }
    }

    private static func touch(
        _ place: Place, _ access: TimeChange, _ modification: TimeChange, _ arguments: Arguments
    ) throws(Failure) {
        let follows = !arguments.has("no-dereference")
        if try place.statusIfThere(following: follows) == nil {
            if arguments.has("no-create") { return }
            try place.attempt { tree, path throws(Errno) in
                do throws(Errno) {
                    try tree.open(path, for: .creating(permissions: 0o666)).close()
                } catch {
                    if error != .EEXIST { throw error }
                }
            }
        }
        try place.attempt { tree, path throws(Errno) in
            try tree.setTimes(
                access: access, modification: modification, of: path, following: follows)
        }
    }

    /// "@1700000000.5", "2026-11-20", "2026-11-20 15:04", "2026-11-20T15:04:05.25Z".
    static func parseTime(_ text: String) -> Timestamp? {
        var rest = Substring(text)
        let isSeconds = rest.first == "@"
        if isSeconds { rest = rest.dropFirst() }
        let isUTC = rest.last == "Z" && !isSeconds
        if isUTC { rest = rest.dropLast() }
        var nanoseconds: UInt32 = 0
        if let point = rest.lastIndex(of: ".") {
            let digits = rest[rest.index(after: point)...]
            guard (1...9).contains(digits.count), digits.allSatisfy(\.isASCIIDigit),
                let value = UInt32(digits + String(repeating: "0", count: 9 - digits.count))
            else { return nil }
            nanoseconds = value
            rest = rest[..<point]
        }
        if isSeconds {
            return Int64(rest).map { Timestamp(seconds: $0, nanoseconds: nanoseconds) }
        }
        for pattern in ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"] {
            if nanoseconds != 0, !pattern.hasSuffix("S") { continue }
            var seconds: Int64 = 0
            if cairn_host_parse_time(String(rest), pattern, isUTC ? 1 : 0, &seconds) == 0 {
                return Timestamp(seconds: seconds, nanoseconds: nanoseconds)
            }
        }
        return nil
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { ("0"..."9").contains(self) }
}
