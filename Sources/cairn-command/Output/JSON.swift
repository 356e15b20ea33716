// JSON: the values that `--json` prints and that a mount's daemon answers with (RFC 8259).

/// One JSON value. Members of an object keep their order.
enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([Member])

    struct Member: Equatable, Sendable {
        let name: String
        let value: JSON
    }

    /// An unsigned number; what no Int64 holds becomes a floating-point number.
    static func count(_ value: some BinaryInteger) -> JSON {
        Int64(exactly: value).map { .integer($0) } ?? .number(Double(value))
    }

    /// A name of a file; bytes that are no UTF-8 are replaced.
    static func bytes(_ value: [UInt8]) -> JSON { .string(String(decoding: value, as: UTF8.self)) }

    subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.name == name }?.value
    }

    var text: String? {
        if case .string(let text) = self { return text }
        return nil
    }

    var elements: [JSON] {
        if case .array(let elements) = self { return elements }
        return []
    }

    var members: [Member] {
        if case .object(let members) = self { return members }
        return []
    }

    var double: Double? {
        switch self {
        case .integer(let value): return Double(value)
        case .number(let value): return value
        default: return nil
        }
    }

    var integer: Int64? {
        if case .integer(let value) = self { return value }
        return nil
    }
}

extension JSON: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral,
    ExpressibleByStringLiteral, ExpressibleByBooleanLiteral
{
    init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(elements.map { Member(name: $0.0, value: $0.1) })
    }
    init(arrayLiteral elements: JSON...) { self = .array(elements) }
    init(stringLiteral value: String) { self = .string(value) }
    init(booleanLiteral value: Bool) { self = .bool(value) }
}

// MARK: Writing

extension JSON {
    /// On one line.
    var line: String {
        var text = ""
        write(to: &text, indent: nil)
        return text
    }

    /// With a line for each member, two spaces deeper each level, ended by a line feed.
    var pretty: String {
        var text = ""
        write(to: &text, indent: 0)
        return text + "\n"
    }

    private func write(to text: inout String, indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): JSON.write(value, to: &text)
        case .array(let elements):
            JSON.writeList(elements, "[", "]", to: &text, indent: indent) { element, text, deeper in
                element.write(to: &text, indent: deeper)
            }
        case .object(let members):
            JSON.writeList(members, "{", "}", to: &text, indent: indent) { member, text, deeper in
                JSON.write(member.name, to: &text)
                text += deeper == nil ? ":" : ": "
                member.value.write(to: &text, indent: deeper)
            }
        }
    }

    private static func writeList<Element>(
        _ list: [Element], _ open: String, _ close: String, to text: inout String, indent: Int?,
        _ writeElement: (Element, inout String, Int?) -> Void
    ) {
        text += open
        let deeper = indent.map { $0 + 2 }
        for (index, element) in list.enumerated() {
            if index > 0 { text += "," }
            if let deeper { text += "\n" + String(repeating: " ", count: deeper) }
            writeElement(element, &text, deeper)
        }
        if let indent, !list.isEmpty { text += "\n" + String(repeating: " ", count: indent) }
        text += close
    }

    private static func write(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
