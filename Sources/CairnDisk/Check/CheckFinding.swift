// What a check finds, and what it says in the end.

import CairnBase

/// One thing that is not as docs/format.md says.
public struct CheckFinding: Sendable {
    /// Which structure of the format is concerned.
    public enum Subject: String, Sendable, CaseIterable {
        case superblock, log, node, space, counter, record, directory, links, data
    }

    public let subject: Subject
    /// Where it is: a slot, a block, a file.
    public let place: String
    public let what: String
    /// What mending does about it; nil: nothing can be done.
    public let remedy: String?

    public init(_ subject: Subject, _ place: String, _ what: String, remedy: String?) {
        self.subject = subject
        self.place = place
        self.what = what
        self.remedy = remedy
    }
}

/// Why a check could not be carried out.
public struct CheckFailure: Error, Sendable {
    public let what: String
    public let why: String

    public init(_ what: String, _ why: String) {
        self.what = what
        self.why = why
    }

    init(reading what: String, _ error: Errno) {
        self.init(what, error.description)
    }
}

/// What was counted, and how it ended.
public struct CheckSummary: Sendable {
    public var group: UInt64 = 0
    public var label = ""
    public var directories: UInt64 = 0
    public var files: UInt64 = 0
    public var totalBlocks: UInt64 = 0
    public var usedBlocks: UInt64 = 0
    public var blockSize: UInt64 = 0
    public var mainNodes: UInt64 = 0
    public var spaceNodes: UInt64 = 0
    /// Extents of files that do not follow the one before on the device.
    public var fragments: UInt64 = 0
    public var extents: UInt64 = 0
    public var logEntries: UInt64 = 0
    /// What was found, also what was told only by number.
    public var findings: UInt64 = 0
    /// Of these, what mending cannot help.
    public var hopeless: UInt64 = 0
    /// The image was mended.
    public var isMended = false
    /// What is still wrong after mending.
    public var left: UInt64 = 0

    public init() {}
}

/// How far a check is.
public struct CheckProgress: Sendable {
    public let phase: String
    public let done: UInt64
    /// 0: not known.
    public let total: UInt64
}
