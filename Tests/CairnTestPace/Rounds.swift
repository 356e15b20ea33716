// Rounds: how often a test that tries things at random, or by the thousand, repeats them.
//
// CAIRN_TEST_SHARE=N runs one round in N: `scripts/sanitize` sets it, where each round costs ten
// times as much and a report needs few of them.

import Foundation

private let share: Int = {
    guard let text = ProcessInfo.processInfo.environment["CAIRN_TEST_SHARE"] else { return 1 }
    guard let number = Int(text), number > 0 else {
        fatalError("CAIRN_TEST_SHARE: '\(text)' is no number above 0")
    }
    return number
}()

/// `full`, or the share of it that was asked for; at least 1.
public func rounds(_ full: Int) -> Int {
    max(1, full / share)
}
