// Arguments: a command line taken apart, the GNU way. Options and operands may be mixed; letters
// may be joined (-la); a value follows its option, with or without a space (-oro, --size=1G);
// `--` ends the options.

/// Options and operands of one call of a subcommand.
struct Arguments: Sendable {
    private(set) var operands: [FilePath] = []
    private var given: [(key: String, value: String)] = []

    /// Whether the option was given.
    func has(_ key: String) -> Bool { given.contains { $0.key == key } }

    /// The last value given.
    func value(_ key: String) -> String? { given.last { $0.key == key }?.value }

    /// All values, in their order.
    func values(_ key: String) -> [String] { given.filter { $0.key == key }.map(\.value) }

    /// A whole number that an option must be.
    func number(_ key: String, in range: ClosedRange<Int>) throws(Failure) -> Int? {
        guard let text = value(key) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw .usage(
                "option --\(key)",
                "'\(text)' is no whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    static func parse(_ words: [[UInt8]], for command: Command) throws(Failure) -> Arguments {
        var parser = Parser(words: words, command: command)
        try parser.run()
        let count = parser.result.operands.count
        if count < command.operands.minimum {
            throw .usage(
                command.name,
                count == 0 ? "an operand is missing" : "one operand more is needed",
                of: command)
        }
        if count > command.operands.maximum {
            let surplus = parser.result.operands[command.operands.maximum].text
            throw .usage(command.name, "'\(surplus)' is one operand too many", of: command)
        }
        return parser.result
    }

    private struct Parser {
        let words: [[UInt8]]
        let command: Command
        var index = 0
        var result = Arguments()

        mutating func run() throws(Failure) {
            var optionsEnded = false
            while index < words.count {
                let word = words[index]
                index += 1
                if optionsEnded || word.first != UInt8(ascii: "-") || word.count == 1 {
                    result.operands.append(FilePath(word))
                } else if word == Array("--".utf8) {
                    optionsEnded = true
                } else if word.starts(with: "--".utf8) {
                    try takeLong(String(decoding: word.dropFirst(2), as: UTF8.self))
                } else {
                    try takeLetters(String(decoding: word.dropFirst(), as: UTF8.self))
                }
            }
        }

        private mutating func takeLong(_ text: String) throws(Failure) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = parts.first.map(String.init) ?? ""
            guard let option = command.options.first(where: { $0.long == name }) else {
                throw .usage(command.name, "unknown option '--\(name)'", of: command)
            }
            let attached = parts.count > 1 ? String(parts[1]) : nil
            if option.value == nil {
                if attached != nil {
                    throw .usage(command.name, "option '--\(name)' takes no value", of: command)
                }
                result.given.append((option.key, ""))
            } else {
                let value: String
                if let attached { value = attached } else { value = try nextWord(for: "--\(name)") }
                result.given.append((option.key, value))
            }
        }

        private mutating func takeLetters(_ text: String) throws(Failure) {
            var letters = Substring(text)
            while let letter = letters.popFirst() {
                guard let option = command.options.first(where: { $0.short == letter }) else {
                    throw .usage(command.name, "unknown option '-\(letter)'", of: command)
                }
                guard option.value != nil else {
                    result.given.append((option.key, ""))
                    continue
                }
                let value = letters.isEmpty ? try nextWord(for: "-\(letter)") : String(letters)
                result.given.append((option.key, value))
                return
            }
        }

        private mutating func nextWord(for option: String) throws(Failure) -> String {
            guard index < words.count else {
                throw .usage(command.name, "option '\(option)' needs a value", of: command)
            }
            index += 1
            return String(decoding: words[index - 1], as: UTF8.self)
        }
    }
}
