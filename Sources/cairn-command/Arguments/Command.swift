// Command: what a subcommand takes and does. Parsing (Parser.swift) and help (HelpText.swift) are
// both made from it, so that they cannot disagree.

import Glibc

/// An option of a subcommand.
struct CommandOption: Sendable {
    let short: Character?
    let long: String?
    /// What its value is called in the help; nil: the option takes none.
    let value: String?
    let help: String

    init(_ short: Character? = nil, _ long: String? = nil, value: String? = nil, _ help: String) {
        self.short = short
        self.long = long
        self.value = value
        self.help = help
    }

    /// What `Arguments` knows it by: the long name, or the letter.
    var key: String { long ?? short.map(String.init) ?? "" }

    /// As a user types it: "-r, --recursive".
    var spelling: String {
        var forms: [String] = []
        if let short { forms.append("-\(short)") }
        if let long { forms.append("--\(long)") }
        return forms.joined(separator: ", ") + (value.map { " \($0)" } ?? "")
    }
}

/// How many operands a subcommand takes.
struct OperandCount: Sendable {
    let minimum: Int
    let maximum: Int

    static let any = OperandCount(minimum: 0, maximum: .max)
    static let some = OperandCount(minimum: 1, maximum: .max)
    static func exactly(_ count: Int) -> OperandCount {
        OperandCount(minimum: count, maximum: count)
    }
    static func atLeast(_ count: Int) -> OperandCount {
        OperandCount(minimum: count, maximum: .max)
    }
    static func atMost(_ count: Int) -> OperandCount { OperandCount(minimum: 0, maximum: count) }
}

/// One subcommand.
struct Command: Sendable {
    let name: String
    /// One line for the overview.
    let summary: String
    /// What follows the name, one form each.
    let usage: [String]
    let operands: OperandCount
    let options: [CommandOption]
    /// Paragraphs of the help, after the options.
    let notes: [String]
    let run: @Sendable (Arguments) throws(Failure) -> Int32

    /// Parses, runs, reports; gives the exit status.
    func execute(_ words: [[UInt8]]) -> Int32 {
        do throws(Failure) {
            if words.prefix(while: { $0 != Array("--".utf8) }).contains(Array("--help".utf8)) {
                standardOutput.write(HelpText.reference(of: self))
                return finish(ExitStatus.done)
            }
            return finish(try run(try Arguments.parse(words, for: self)))
        } catch {
            standardOutput.flush()
            report(error)
            return error.status
        }
    }
}

/// Ends the output. What could not be written is a failure of the command.
func finish(_ status: Int32) -> Int32 {
    standardOutput.flush()
    if let error = standardOutput.error {
        report(Failure("standard output", error.description))
        return ExitStatus.failed
    }
    return status
}
