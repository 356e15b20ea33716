// The figures of a mount for people. Works on the JSON that the daemon gives, so that both forms
// say the same.

enum StatsText {
    /// `previous`: the figures of the look before, for rates.
    static func text(of figures: JSON, since previous: JSON?) -> String {
        let seconds =
            (figures["uptimeSeconds"]?.double ?? 0) - (previous?["uptimeSeconds"]?.double ?? 0)
        var text = head(of: figures)
        text += fileSystems(figures["fileSystems"]?.elements ?? [])
        text += operations(
            figures["operations"]?.elements ?? [],
            since: previous.map { $0["operations"]?.elements ?? [] }, seconds: seconds)
        for part in figures["fileSystems"]?.elements ?? [] {
            for member in part["figures"]?.members ?? [] {
                text += section(
                    "\(part["path"]?.text ?? ""): \(member.name)", member.value.members)
            }
        }
        for member in figures.members {
            guard case .object(let members) = member.value else { continue }
            text += section(member.name, members)
        }
        return text
    }

    private static func head(of figures: JSON) -> String {
        let place = figures["mountPoint"]?.text ?? "?"
        let pid = figures["pid"]?.integer ?? 0
        let seconds = Int(figures["uptimeSeconds"]?.double ?? 0)
        let time =
            seconds < 3600
            ? "\(seconds / 60) min \(seconds % 60) s"
            : "\(seconds / 86_400) d \(seconds / 3600 % 24) h \(seconds / 60 % 60) min"
        return "\(place): daemon \(pid), up \(time)\n"
    }

    private static func fileSystems(_ list: [JSON]) -> String {
        var text = ""
        for part in list {
            let total = UInt64(part["totalBytes"]?.double ?? 0)
            let used = UInt64(part["usedBytes"]?.double ?? 0)
            let space = total == 0 ? "" : "\(humanSize(used)) of \(humanSize(total)) used"
            text += "  \(part["path"]?.text ?? "")  \(part["type"]?.text ?? "")"
            text += "  \(part["source"]?.text ?? "")  \(space)\n"
        }
        return text
    }

    private static func operations(_ list: [JSON], since previous: [JSON]?, seconds: Double)
        -> String
    {
        var table: [[String]] = []
        for operation in list {
            guard let name = operation["name"]?.text, let count = operation["count"]?.double,
                count > 0
            else { continue }
            let before = previous?.first { $0["name"]?.text == name }?["count"]?.double ?? 0
            let rate = seconds > 0 ? fixed((count - before) / seconds, 1) : "-"
            let latencies = ["p50", "p90", "p99", "maximum"].map { key in
                operation["\(key)Nanoseconds"]?.double.map { humanDuration(nanoseconds: $0) } ?? "-"
            }
            let errors = operation["errors"]?.integer ?? 0
            table.append([name, fixed(count, 0), rate, String(errors)] + latencies)
        }
        if table.isEmpty { return "" }
        let heading = ["operation", "count", "per s", "errors", "p50", "p90", "p99", "max"]
        return "\n" + columns([heading] + table)
    }

    private static func section(_ name: String, _ members: [JSON.Member]) -> String {
        let rows = members.compactMap { member -> [String]? in
            switch member.value {
            case .integer(let value): return [member.name, String(value)]
            case .number(let value): return [member.name, fixed(value, 3)]
            case .string(let value): return [member.name, value]
            case .bool(let value): return [member.name, value ? "yes" : "no"]
            default: return nil
            }
        }
        return rows.isEmpty ? "" : "\n\(name)\n" + columns(rows)
    }
}

/// A table: the first column stands left, the others right.
func columns(_ rows: [[String]]) -> String {
    let count = rows.map(\.count).max() ?? 0
    let widths = (0..<count).map { column in
        rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0
    }
    var text = ""
    for row in rows {
        text += "  " + row[0].trailing(widths[0])
        for (column, cell) in row.enumerated().dropFirst() {
            text += "  " + cell.leading(widths[column])
        }
        text += "\n"
    }
    return text
}
