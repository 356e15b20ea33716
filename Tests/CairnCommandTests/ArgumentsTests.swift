// The command line: what is taken apart wrongly here would run the wrong command on files.

import Testing

@testable import cairn_command

@Suite struct ArgumentsTests {
    private static let sample = Command(
        name: "sample", summary: "", usage: [""], operands: .any,
        options: [
            CommandOption("a", "all", ""), CommandOption("o", "options", value: "OPT", ""),
            CommandOption("l", nil, ""), CommandOption(nil, "at", value: "X", ""),
        ], notes: [], run: { _ throws(Failure) in 0 })

    private func parse(_ words: String...) throws(Failure) -> Arguments {
        try Arguments.parse(words.map { Array($0.utf8) }, for: ArgumentsTests.sample)
    }

    @Test func lettersCanBeJoinedAndCarryAValue() throws {
        let arguments = try parse("-laoro,sync", "file")
        #expect(arguments.has("l") && arguments.has("all"))
        #expect(arguments.value("options") == "ro,sync")
        #expect(arguments.operands == [FilePath("file")])
    }

    @Test func optionsAndOperandsMayBeMixed() throws {
        let arguments = try parse("a", "--all", "b", "--at=1", "--at", "2")
        #expect(arguments.operands == [FilePath("a"), FilePath("b")])
        #expect(arguments.values("at") == ["1", "2"])
    }

    @Test func twoDashesEndOptionsAndOneDashIsAnOperand() throws {
        let arguments = try parse("-", "--", "-l", "--all")
        #expect(arguments.operands.map(\.text) == ["-", "-l", "--all"])
        #expect(!arguments.has("l"))
    }

    @Test func bytesThatAreNoTextStay() throws {
        let name: [UInt8] = [0x66, 0xFF, 0xFE]
        let arguments = try Arguments.parse([name], for: ArgumentsTests.sample)
        #expect(Array(arguments.operands[0].bytes) == name)
    }

    @Test(arguments: [["-x"], ["--nothing"], ["--all=1"], ["-o"], ["--at"]])
    func wrongOptionsAreWrongUsage(_ words: [String]) {
        let failure = #expect(throws: Failure.self) {
            try Arguments.parse(words.map { Array($0.utf8) }, for: ArgumentsTests.sample)
        }
        #expect(failure?.status == ExitStatus.usage)
    }

    @Test func everyCommandHasItsReference() {
        for command in Cairn.commands {
            let text = HelpText.reference(of: command)
            #expect(text.hasPrefix("usage: cairn \(command.name)"))
            for option in command.options { #expect(text.contains(option.spelling)) }
            let letters = command.options.compactMap(\.short)
            #expect(Set(letters).count == letters.count, "\(command.name) has a letter twice")
        }
    }
}

@Suite struct MountPlanTests {
    @Test func anAttachmentIsTakenApart() throws {
        let planned = try MountPlan.parseAt("/a/b=mfs_ram:none,size=1M,ro")
        #expect(planned.path == FilePath("/a/b"))
        #expect(planned.type == "mfs_ram")
        #expect(planned.source == "none")
        #expect(planned.options == "size=1M,ro")
    }

    @Test(arguments: ["", "/a", "/a=x", "a=mfs_ram:none", "/a=:none", "/a=mfs_ram:"])
    func wrongAttachmentsAreRefused(_ text: String) {
        #expect(throws: Failure.self) { try MountPlan.parseAt(text) }
    }

    /// The daemon parses the words that the plan is written as.
    @Test func aPlanSurvivesItsWords() throws {
        let words = ["-t", "mfs_ram", "-o", "ro", "--at", "/p=procfs:none", "none", "/mnt"]
        let plan = try MountPlan(
            Arguments.parse(words.map { Array($0.utf8) }, for: MountCommand.command))
        let again = try MountPlan(Arguments.parse(plan.words, for: MountCommand.command))
        #expect(again.fileSystems.map(\.type) == ["mfs_ram", "procfs"])
        #expect(again.fileSystems.map(\.options) == ["ro", ""])
        #expect(again.mountPoint == FilePath("/mnt"))
    }

    @Test func theKernelsTableIsRead() throws {
        let line =
            #"36 35 0:42 / /mnt/with\040space rw,nosuid shared:1 - fuse.cairn none rw,user_id=7"#
        let mount = try #require(MountTable.parse(Array(line.utf8)[...]))
        #expect(mount.mountPoint == FilePath("/mnt/with space"))
        #expect(mount.connection == 42)
        #expect(mount.isCairn && mount.user == 7)
        #expect(MountTable.parse(Array("36 35 0:42 / /mnt rw".utf8)[...]) == nil)
    }

    @Test func helperOptionsLeaveOutWhatIsForFstab() {
        let text = MountHelper.text(
            of: "type=mfs_ram,ro,x-systemd.automount,size=1M", without: "type")
        #expect(text == "ro,size=1M")
    }
}
