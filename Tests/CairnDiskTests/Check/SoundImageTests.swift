// An image that is in order: a check finds nothing, and mending does not touch it (D10).

import CairnBase
import CairnIO
import Testing

@testable import CairnDisk

@Suite struct SoundImageTests {
    /// A tree of directories and files, enough for several levels of nodes.
    static func image() throws -> ImageMaker {
        var maker = try ImageMaker()
        for directory in 0..<8 {
            let parent = maker.makeDirectory("directory \(directory)")
            for file in 0..<40 {
                let content = (0..<(file * 700)).map { UInt8(truncatingIfNeeded: $0 ^ file) }
                maker.makeFile("file number \(file)", content, in: parent)
            }
        }
        return maker
    }

    // D10
    @Test func nothingIsFoundInAnImageThatIsRight() throws {
        let device = try SoundImageTests.image().make()
        var found: [CheckFinding] = []
        let summary = try ImageCheck(device, CheckOptions(checksData: true)).check {
            found.append($0)
        }
        #expect(found.isEmpty, "\(found.map { "\($0.place): \($0.what)" })")
        #expect(summary.directories == 9 && summary.files == 320)
        #expect(summary.mainNodes > 20)
    }

    // D10
    @Test func mendingLeavesAnImageThatIsRightAlone() throws {
        let device = try SoundImageTests.image().make()
        let before = try device.copy()
        let summary = try ImageCheck(device).mend(time: ManualTime()) { _ in }
        #expect(!summary.isMended && summary.findings == 0)
        #expect(device.holdsTheSame(as: before))
    }

    /// Names are counted in windows, so that memory is bounded.
    @Test func smallWindowsFindTheSame() throws {
        let device = try SoundImageTests.image().make()
        var options = CheckOptions()
        options.window = 37
        var found: [CheckFinding] = []
        let summary = try ImageCheck(device, options).check { found.append($0) }
        #expect(found.isEmpty, "\(found.map { "\($0.place): \($0.what)" })")
        #expect(summary.files == 320)
    }
}
