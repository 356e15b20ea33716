// Progress: how far long work is, on a terminal only; quiet in a pipe.

import CSystem

/// One line on standard error that is written anew, ten times a second at most.
final class Progress {
    private let isShown = standardError.isTerminal
    private var files: UInt64 = 0
    private var bytes: UInt64 = 0
    private let start = cairn_clock_monotonic()
    private var lastShown = cairn_clock_monotonic()
    private var hasLine = false

    private static var intervalNanoseconds: UInt64 { 100_000_000 }

    func fileDone() {
        files += 1
        show()
    }

    func bytesDone(_ count: UInt64) {
        bytes += count
        show()
    }

    /// So many steps of a phase are done; of 0: nobody knows how many there are.
    func stepsDone(_ phase: String, _ done: UInt64, of total: UInt64) {
        show { _ in "\(phase): \(done)" + (total == 0 ? "" : " of \(max(done, total))") }
    }

    private func show() {
        show { seconds in
            let rate = humanSize(UInt64(Double(bytes) / seconds))
            return "\(files) files, \(humanSize(bytes)), \(rate)/s"
        }
    }

    /// `line` is given the seconds since the start.
    private func show(_ line: (Double) -> String) {
        guard isShown else { return }
        let now = cairn_clock_monotonic()
        guard now - lastShown >= Progress.intervalNanoseconds else { return }
        lastShown = now
        hasLine = true
        standardError.write("\r\u{1B}[K" + line(Double(now - start) / 1e9))
    }

    /// Takes the line away.
    func end() {
        if hasLine { standardError.write("\r\u{1B}[K") }
        hasLine = false
    }
}
