// Failure: why a command could not do what it was asked, for people.

import CairnBase
import CairnVFS

enum ExitStatus {
    static let done: Int32 = 0
    static let failed: Int32 = 1
    static let usage: Int32 = 2
}

/// `WHAT: WHY`, and where there is one, the way out.
struct Failure: Error, Sendable {
    let what: String
    let why: String
    let wayOut: String?
    let status: Int32

    init(_ what: String, _ why: String, wayOut: String? = nil, status: Int32 = ExitStatus.failed) {
        self.what = what
        self.why = why
        self.wayOut = wayOut
        self.status = status
    }

    init(_ what: String, _ error: Errno, wayOut: String? = nil) {
        self.init(what, error.description, wayOut: wayOut)
    }

    init(_ failure: MountFailure) {
        self.init(failure.what, failure.why)
    }

    static func usage(_ what: String, _ why: String, of command: Command? = nil) -> Failure {
        Failure(
            what, why, wayOut: command.map { "see cairn \($0.name) --help" },
            status: ExitStatus.usage)
    }

    /// One line, and a second one with the way out.
    var message: String {
        "cairn: \(what): \(why)\n" + (wayOut.map { "  \($0)\n" } ?? "")
    }
}

/// Tells the user of a failure. Commands with several operands go on after it.
func report(_ failure: Failure) {
    standardOutput.flush()
    standardError.write(failure.message)
    standardError.flush()
}
