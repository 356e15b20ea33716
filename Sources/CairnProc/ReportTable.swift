// ReportTable: figures in rows, as text in columns or as JSON.

import CairnVFS

struct ReportTable {
    enum Cell {
        case text(String)
        case number(UInt64)
        case missing
    }

    var columns: [String]
    var rows: [[Cell]] = []

    init(_ columns: [String]) {
        self.columns = columns
    }

    mutating func add(_ cells: [Cell]) {
        precondition(cells.count == columns.count, "a row as wide as the table")
        rows.append(cells)
    }

    /// Columns with a head, numbers to the right.
    var text: [UInt8] {
        let shown = rows.map { $0.map(\.shown) }
        let widths = columns.indices.map { column in
            max(columns[column].count, shown.map { $0[column].count }.max() ?? 0)
        }
        func line(_ words: [String], _ isNumber: (Int) -> Bool) -> String {
            var line = ""
            for (column, word) in words.enumerated() {
                let space = String(repeating: " ", count: widths[column] - word.count)
                line += (column > 0 ? "  " : "") + (isNumber(column) ? space + word : word + space)
            }
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }
        var result = line(columns) { column in rows.first?[column].isNumber ?? false }
        for (row, words) in zip(rows, shown) {
            result += line(words) { row[$0].isNumber }
        }
        return Array(result.utf8)
    }

    /// An array with an object for each row; what is missing is left out.
    var json: [UInt8] {
        let objects = rows.map { row in
            let members = zip(columns, row).compactMap { column, cell in
                cell.json.map { "\(jsonString(column)): \($0)" }
            }
            return "  {" + members.joined(separator: ", ") + "}"
        }
        let text = objects.isEmpty ? "[]\n" : "[\n" + objects.joined(separator: ",\n") + "\n]\n"
        return Array(text.utf8)
    }
}

extension ReportTable.Cell {
    fileprivate var shown: String {
        switch self {
        case .text(let text): text
        case .number(let number): "\(number)"
        case .missing: "-"
        }
    }

    fileprivate var isNumber: Bool {
        if case .text = self { return false }
        return true
    }

    fileprivate var json: String? {
        switch self {
        case .text(let text): jsonString(text)
        case .number(let number): "\(number)"
        case .missing: nil
        }
    }
}

/// A string of JSON (RFC 8259).
private func jsonString(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\t": result += "\\t"
        case _ where scalar.value < 0x20:
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
