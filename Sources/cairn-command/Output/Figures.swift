// How figures, modes, times and names are shown to people.

import CairnBase
import CairnVFS
import Glibc

/// Bytes as `ls -h` shows them: rounded up, with one decimal below ten.
func humanSize(_ bytes: UInt64) -> String {
    guard bytes >= 1024 else { return String(bytes) }
    var unit = 0
    var value = Double(bytes)
    while value >= 1024, unit < 6 {
        value /= 1024
        unit += 1
    }
    let letter = Array(" KMGTPE")[unit]
    if value < 9.95 {
        let tenths = Int((value * 10).rounded(.up))
        if tenths < 100 { return "\(tenths / 10).\(tenths % 10)\(letter)" }
    }
    let whole = Int(value.rounded(.up))
    return whole == 1024 && unit < 6
        ? "1.0\(Array(" KMGTPE")[unit + 1])" : "\(whole)\(letter)"
}

/// A duration with three digits or so: "640 ns", "12.4 µs", "3.1 ms", "2.0 s".
func humanDuration(nanoseconds: Double) -> String {
    switch nanoseconds {
    case ..<1000: return "\(Int(nanoseconds)) ns"
    case ..<1e6: return "\(fixed(nanoseconds / 1e3, 1)) µs"
    case ..<1e9: return "\(fixed(nanoseconds / 1e6, 1)) ms"
    default: return "\(fixed(nanoseconds / 1e9, 1)) s"
    }
}

/// A number with its decimals.
func fixed(_ value: Double, _ decimals: Int) -> String {
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 1e18 else { return "\(value)" }
    let digits = String(UInt64(scaled))
    let padded = String(repeating: "0", count: max(0, decimals + 1 - digits.count)) + digits
    let sign = value < 0 && scaled > 0 ? "-" : ""
    return decimals == 0
        ? sign + padded : "\(sign)\(padded.dropLast(decimals)).\(padded.suffix(decimals))"
}

extension String {
    /// Filled with spaces before it.
    func leading(_ width: Int) -> String {
        String(repeating: " ", count: max(0, width - count)) + self
    }
    /// Filled with spaces after it.
    func trailing(_ width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}

/// "drwxr-sr-t", as ls(1).
func modeText(_ attributes: Attributes) -> String {
    let kinds: [FileKind: Character] = [
        .directory: "d", .symbolicLink: "l", .characterDevice: "c", .blockDevice: "b",
        .fifo: "p", .socket: "s",
    ]
    var text = [kinds[attributes.kind] ?? "-"]
    let mode = attributes.permissions.rawValue
    let special: [(UInt32, Character, Character)] = [
        (0o4000, "s", "S"), (0o2000, "s", "S"), (0o1000, "t", "T"),
    ]
    for (index, (bit, set, setOnly)) in special.enumerated() {
        let part = mode >> UInt32(6 - 3 * index)
        text.append(part & 4 != 0 ? "r" : "-")
        text.append(part & 2 != 0 ? "w" : "-")
        let executes = part & 1 != 0
        text.append(mode & bit != 0 ? (executes ? set : setOnly) : (executes ? "x" : "-"))
    }
    return String(text)
}

/// Octal digits, at least four.
func octal(_ mode: UInt32) -> String {
    let digits = String(mode, radix: 8)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}

extension FileKind {
    var description: String {
        switch self {
        case .fifo: return "fifo"
        case .characterDevice: return "character special file"
        case .directory: return "directory"
        case .blockDevice: return "block special file"
        case .regular: return "regular file"
        case .symbolicLink: return "symbolic link"
        case .socket: return "socket"
        }
    }
}

/// Local time by a pattern of strftime(3).
func timeText(_ time: Timestamp, _ pattern: String) -> String {
    var seconds = time_t(time.seconds)
    var parts = tm()
    localtime_r(&seconds, &parts)
    var buffer = [CChar](repeating: 0, count: 64)
    let count = strftime(&buffer, buffer.count, pattern, &parts)
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// "2026-11-20 15:04:05.000000000 +0000", as stat(1).
func fullTimeText(_ time: Timestamp) -> String {
    let digits = String(time.nanoseconds)
    let fraction = String(repeating: "0", count: 9 - digits.count) + digits
    return timeText(time, "%Y-%m-%d %H:%M:%S") + ".\(fraction) " + timeText(time, "%z")
}

/// Names of users and groups, looked up once each.
final class OwnerNames {
    private var users: [UInt32: String] = [:]
    private var groups: [UInt32: String] = [:]

    func user(_ number: UInt32) -> String {
        if let name = users[number] { return name }
        let name = getpwuid(number).map { String(cString: $0.pointee.pw_name) } ?? String(number)
        users[number] = name
        return name
    }

    func group(_ number: UInt32) -> String {
        if let name = groups[number] { return name }
        let name = getgrgid(number).map { String(cString: $0.pointee.gr_name) } ?? String(number)
        groups[number] = name
        return name
    }
}

/// A name as a message may show it: control characters could make a terminal do things.
func printable(_ path: FilePath) -> String {
    guard path.bytes.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { return path.text }
    return FilePath(path.bytes.map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: "?") : $0 }).text
}

/// A name as it goes to standard output: as it is into a pipe, harmless on a terminal.
func outputBytes(_ path: FilePath) -> [UInt8] {
    standardOutput.isTerminal ? Array(printable(path).utf8) : Array(path.bytes)
}
