// JSON, paths, figures and times: what users and scripts read.

import CairnBase
import Testing

@testable import cairn_command

@Suite struct JSONTests {
    @Test func whatIsWrittenIsReadAgain() {
        let value: JSON = [
            "text": "a\"b\\c\n\u{1}ü", "list": [.integer(-1), .number(0.5), .null, true],
            "empty": [], "object": ["x": .integer(.max)],
        ]
        #expect(JSON(parsing: value.line) == value)
        #expect(JSON(parsing: value.pretty) == value)
    }

    @Test func escapesAreRead() {
        #expect(JSON(parsing: #""\u00e9\ud83d\ude00\/""#) == .string("é😀/"))
    }

    @Test(arguments: [
        "", "{", "[1,]", "{\"a\"}", "\"", "tru", "1 2", "\"\\ud800\"", "nul", "[", "-", "\"\\u12\"",
    ])
    func whatIsNoJSONIsRefused(_ text: String) {
        #expect(JSON(parsing: text) == nil)
    }

    @Test func depthIsBounded() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(JSON(parsing: deep) == nil)
    }
}

@Suite struct PathTests {
    @Test(arguments: [
        ("a/b/c", "a/b", "c"), ("a", ".", "a"), ("/a", "/", "a"), ("/", "/", "/"),
        ("a/b//", "a", "b"),
        ("//a", "/", "a"), ("a//b", "a", "b"),
    ])
    func pathsAreTakenApart(_ path: String, _ directory: String, _ name: String) {
        #expect(FilePath(path).directory.text == directory)
        #expect(FilePath(path).lastName.text == name)
    }

    @Test func belowIsByNames() {
        #expect(FilePath("/mnt/a").isWithin(FilePath("/mnt")))
        #expect(FilePath("/mnt").isWithin(FilePath("/mnt/")))
        #expect(!FilePath("/mnt2").isWithin(FilePath("/mnt")))
        #expect(FilePath("/mnt").isWithin(FilePath("/")))
    }

    @Test func addressesAreSplitBeforeTheFirstColonAndSlash() {
        #expect(OpenTrees.split(FilePath("disk.img:/a:/b"))?.source == "disk.img")
        #expect(OpenTrees.split(FilePath("disk.img:/a:/b"))?.path == FilePath("/a:/b"))
        #expect(OpenTrees.split(FilePath("plain")) == nil)
        #expect(OpenTrees.split(FilePath("with:colon")) == nil)
        #expect(OpenTrees.split(FilePath(":/x")) == nil)
    }
}

@Suite struct FigureTests {
    @Test(
        arguments: [
            (0, "0"), (1023, "1023"), (1024, "1.0K"), (1025, "1.1K"), (10240, "10K"),
            (10241, "11K"),
            (1_048_575, "1.0M"), (1 << 30, "1.0G"), (UInt64.max, "16E"),
        ] as [(UInt64, String)])
    func sizesAreRoundedUpAsLsDoes(_ bytes: UInt64, _ text: String) {
        #expect(humanSize(bytes) == text)
    }

    @Test func decimals() {
        #expect(fixed(0.05, 1) == "0.1")
        #expect(fixed(12.345, 2) == "12.35")
        #expect(fixed(-1, 1) == "-1.0")
        #expect(fixed(7, 0) == "7")
    }

    @Test(
        arguments: [
            ("@5.25", 5, 250_000_000), ("1970-01-02T00:00:00Z", 86_400, 0),
            ("2000-01-01 00:00:00.5Z", 946_684_800, 500_000_000),
        ] as [(String, Int64, UInt32)])
    func timesAreRead(_ text: String, _ seconds: Int64, _ nanoseconds: UInt32) {
        let expected = Timestamp(seconds: seconds, nanoseconds: nanoseconds)
        #expect(TouchCommand.parseTime(text) == expected)
    }

    @Test(arguments: ["", "yesterday", "@", "@x", "2026-13-01", "2026-01-01 25", "2026-01-01.5"])
    func whatIsNoTimeIsRefused(_ text: String) {
        #expect(TouchCommand.parseTime(text) == nil)
    }
}
