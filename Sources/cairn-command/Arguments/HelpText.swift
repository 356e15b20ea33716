// The text of `--help`, made from the commands themselves.

enum HelpText {
    static func overview(of commands: [Command]) -> String {
        var text = """
            usage: cairn COMMAND [OPTION…] [OPERAND…]

            A virtual filesystem in user space: mounts it, looks into it, measures it.


            """
        let width = commands.map(\.name.count).max() ?? 0
        for command in commands {
            let padding = String(repeating: " ", count: width - command.name.count)
            text += "  \(command.name)\(padding)   \(command.summary)\n"
        }
        text += """

            cairn COMMAND --help explains one command; cairn --version says which version this is.
            Exit status: 0 done, 1 failed, 2 wrong usage.

            """
        return text
    }

    static func reference(of command: Command) -> String {
        var text = ""
        for (index, form) in command.usage.enumerated() {
            let lead = index == 0 ? "usage: " : "       "
            text += "\(lead)cairn \(command.name) \(form)".trimmedAtEnd + "\n"
        }
        text += "\n\(command.summary)\n"
        let options = command.options + [CommandOption(nil, "help", "show this text")]
        text += "\nOptions:\n"
        let width = min(options.map(\.spelling.count).max() ?? 0, 24)
        for option in options {
            let spelling = option.spelling
            let gap =
                spelling.count <= width
                ? String(repeating: " ", count: width - spelling.count + 3)
                : "\n" + String(repeating: " ", count: width + 5)
            let indent = "\n" + String(repeating: " ", count: width + 5)
            let lines = option.help.split(separator: "\n").joined(separator: indent)
            text += "  \(spelling)\(gap)\(lines)\n"
        }
        for note in command.notes {
            text += "\n\(note)\n"
        }
        return text
    }
}

extension String {
    fileprivate var trimmedAtEnd: String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
