// Every structure of the format is damaged in turn: a check finds it, mending mends it, and what was
// not concerned is still there, byte for byte (D10, T4).

import CairnBase
import CairnIO
import CairnVFS
import Testing

@testable import CairnDisk

/// Damage that a test plants, and what is to be said of it.
struct PlantedDamage: Sendable, CustomTestStringConvertible {
    let name: String
    /// What a check must say of it, in some finding.
    let says: String
    /// Before the image is made: checksums and counts around it will be right.
    var before: @Sendable (inout ImageMaker) -> Void = { _ in }
    /// In the image itself.
    var after: @Sendable (MemoryDevice, ImageMaker) -> Void = { _, _ in }
    /// Files that are not what they were, once it is mended.
    var losses: Set<String> = []
    /// What else there is then: a path and its content.
    var gains: [String: [UInt8]] = [:]

    var testDescription: String { name }
}

@Suite struct PlantedDamageTests {
    /// Two directories with files of 0 to 5 blocks, one of them with an attribute, and a link.
    static func sound() throws -> ImageMaker {
        var maker = try ImageMaker()
        let first = maker.makeDirectory("first")
        let second = maker.makeDirectory("second", in: first)
        for number in 0..<30 {
            maker.makeFile(
                "file \(number)", PlantedDamage.contents[number],
                in: number % 2 == 0 ? first : second)
        }
        let file = maker.makeFile("with attribute", Array("text".utf8))
        maker.setAttribute("user.long", Array(repeating: 0x61, count: 3000), of: file)
        maker.makeLink("link", to: "first/second")
        return maker
    }

    @Test func theImageIsWhatTheTestsTakeItFor() throws {
        let files = try ImageContent(of: try PlantedDamageTests.sound().make()).files
        #expect(files == PlantedDamage.soundFiles)
    }

    // D10, T4
    @Test(arguments: PlantedDamage.all)
    func damageIsFoundAndMended(_ damage: PlantedDamage) throws {
        let sound = try PlantedDamageTests.sound()
        var wanted = PlantedDamage.soundFiles
        for path in damage.losses { wanted[path] = nil }
        for (path, content) in damage.gains { wanted[path] = content }

        var maker = sound
        damage.before(&maker)
        let device = try maker.make()
        damage.after(device, maker)
        let planted = try device.copy()

        var found: [CheckFinding] = []
        let looked = try ImageCheck(device).check { found.append($0) }
        let said = found.map { "\($0.subject) \($0.place): \($0.what)" }
        #expect(said.contains { $0.contains(damage.says) }, "\(said)")
        #expect(looked.findings > 0 && !looked.isMended)
        #expect(device.holdsTheSame(as: planted), "a look must not write")

        let mended = try ImageCheck(device).mend(time: ManualTime()) { _ in }
        #expect(mended.isMended && mended.left == 0, "\(said)")
        var left: [CheckFinding] = []
        let last = try ImageCheck(device, CheckOptions(checksData: true)).check { left.append($0) }
        #expect(last.findings == 0, "\(left.map { "\($0.place): \($0.what)" })")
        let content = try ImageContent(of: device).files
        #expect(Set(content.keys).symmetricDifference(wanted.keys) == [])
        for (path, bytes) in wanted {
            #expect(content[path] == bytes, "\(path) is another")
        }
    }
}

/// All files of an image by path, read through its records.
struct ImageContent {
    /// What stands for the content of a directory.
    static let directory = Array("a directory".utf8)
    private(set) var files: [String: [UInt8]] = [:]

    init(of device: MemoryDevice) throws {
        let superblocks = try CheckedSuperblocks(on: device)
        let items = CheckedItems(superblocks.tree(.main, on: device))
        var pending: [(path: String, inode: UInt64)] = [("", 1)]
        while let (path, directory) = pending.popLast() {
            files[path] = ImageContent.directory
            let object = RecordKind.entry.object(of: directory)
            var entries: [(name: String, entry: EntryRecord)] = []
            try items.forEach(from: OwnedKey(object)) { (key, value) throws(CheckFailure) in
                guard key.object == object else { return false }
                if let entry = try? EntryRecord(decoding: value) {
                    entries.append((String(decoding: key.tail, as: UTF8.self), entry))
                }
                return true
            }
            for (name, entry) in entries {
                if entry.kind == .directory {
                    pending.append(("\(path)/\(name)", entry.inode))
                } else {
                    files["\(path)/\(name)"] = try ImageContent.data(
                        of: entry.inode, items, device)
                }
            }
        }
    }

    private static func data(
        of inode: UInt64, _ items: CheckedItems, _ device: MemoryDevice
    ) throws -> [UInt8] {
        guard let bytes = try items.find(ImageMaker.inodeKey(inode)),
            let record = InodeRecord(leniently: bytes)
        else { return Array("no inode".utf8) }
        var content = [UInt8](repeating: 0, count: Int(record.size))
        let object = RecordKind.extent.object(of: inode)
        let limits = ExtentRecord.Limits(blockSize: 4096, totalBlocks: 4096)
        try items.forEach(from: OwnedKey(object)) { (key, value) throws(CheckFailure) in
            guard key.object == object else { return false }
            guard let extent = try? ExtentRecord(decoding: value, at: key.number, limits) else {
                return true
            }
            let start = Int(extent.address.rawValue) * 4096
            let data =
                extent.form == .inline
                ? UnsafeRawBufferPointer(rebasing: value[ExtentRecord.headLength...])
                : UnsafeRawBufferPointer(device.contents).part(start..<(start + Int(extent.length)))
            let offset = Int(key.number)
            let count = min(data.count, max(content.count - offset, 0))
            content.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[offset..<(offset + count)])
                    .copyMemory(from: data.part(0..<count))
            }
            return true
        }
        return content
    }
}
