// Real images that are changed at random, under checksums that are right (D10, T4): whatever then
// stands there, a check, a dump, a picture and a mount give answers. What a check calls clean can be
// mounted, read and written; what it has mended is clean, and has all that was not damaged.
//
// CAIRN_FUZZ=ROUNDS[,SEED] goes on for longer, from another seed; a line before each round then says
// which one it is, since what crashes says nothing.

import CairnBase
import CairnIO
import Glibc
import Testing

@testable import CairnDisk
@testable import CairnTestSupport

@Suite struct SealedDamageTests {
    private struct Plan {
        var rounds = 8
        var seed: UInt64 = 0x5EA1
        var tells = false

        init() {
            guard let words = getenv("CAIRN_FUZZ").map({ String(cString: $0) }) else { return }
            let numbers = words.split(separator: ",").compactMap { UInt64($0) }
            rounds = numbers.first.map { Int($0) } ?? rounds
            seed = numbers.count > 1 ? numbers[1] : seed
            tells = true
        }
    }

    @Test(arguments: [Compression.none, .lz4, .zstd], [false, true])
    func sealedDamageNeverGetsPast(_ method: Compression, _ isCut: Bool) throws {
        let image = try RealImage(method, isCut: isCut)
        let sound = try Walk(of: try image.device.copy(), writing: true)
        #expect(sound.errors == [])
        #expect(try VolumeGround.findings(image.device) == [])
        let plan = Plan()
        for round in 0..<plan.rounds {
            let seed = plan.seed &+ UInt64(round)
            let name = "\(method), cut \(isCut), seed \(seed)"
            if plan.tells {
                let line = Array("\(name)\n".utf8)
                _ = write(2, line, line.count)
            }
            try Round(image, seed: seed, name).run()
        }
    }

    /// One image that is damaged in one or a few places.
    private struct Round {
        let image: RealImage
        let name: String
        var damage: RandomDamage
        let device: MemoryDevice

        init(_ image: RealImage, seed: UInt64, _ name: String) throws {
            self.image = image
            device = try image.device.copy()
            damage = try RandomDamage(SealedImage(device), seed: seed)
            let count = seed % 4 == 0 ? 3 : 1
            for _ in 0..<count { try damage.plant() }
            self.name = "\(name): \(damage.story.joined(separator: "; "))"
        }

        func run() throws {
            for part in DumpPart.allCases {
                try? ImageDump(device, { _ in }).run(part)
            }
            _ = try? DeviceMap(device)
            var found: [String] = []
            var dataFindings = 0
            let looked = try? ImageCheck(device, CheckOptions(checksData: true)).check { finding in
                found.append("\(finding.place): \(finding.what)")
                if finding.subject == .data { dataFindings += 1 }
            }
            let mounted = try device.copy()
            let walk = try? Walk(of: mounted, writing: true)
            if let looked, looked.findings == 0 {
                let walk = try #require(walk, "clean, and cannot be mounted: \(name)")
                #expect(walk.errors == [], "clean, and cannot be read: \(name)")
                let after = try VolumeGround.findings(mounted)
                #expect(after == [], "clean, and a mount broke it: \(name)")
            }
            try mend(wasReadable: looked != nil, dataFindings: dataFindings)
        }

        private func mend(wasReadable: Bool, dataFindings: Int) throws {
            let before = try device.copy()
            var told: [String] = []
            let mended: CheckSummary
            do {
                mended = try ImageCheck(device).mend(time: ManualTime()) { finding in
                    told.append("\(finding.place): \(finding.what)")
                }
            } catch {
                #expect(
                    device.holdsTheSame(as: before) || "\(error)".contains("written"),
                    "gave up half way: \(error), \(name)")
                return
            }
            guard mended.isMended else { return }
            #expect(mended.left == 0, "\(name): \(told)")
            var left: [String] = []
            let last = try ImageCheck(device, CheckOptions(checksData: true)).check { finding in
                if finding.subject != .data { left.append("\(finding.place): \(finding.what)") }
            }
            #expect(left == [], "\(name)")
            let walk = try #require(try? Walk(of: device.copy()), "mended, and no mount: \(name)")
            if last.findings == 0 { #expect(walk.errors == [], "mended, \(name)") }
            for (inode, content) in image.contents where !damage.isConcerned(inode) {
                #expect(
                    walk.contents[inode] == content,
                    "inode \(inode) is another after mending: \(name), \(told)")
            }
        }
    }
}

/// Changes that no checksum shows.
private struct RandomDamage {
    private let image: SealedImage
    private var random: SeededRandom
    private(set) var story: [String] = []
    private var concerned: Set<UInt64> = []
    private var concernsAll = false

    init(_ image: SealedImage, seed: UInt64) {
        self.image = image
        random = SeededRandom(seed: seed)
    }

    /// Whether what is wrong may have to do with an inode.
    func isConcerned(_ inode: UInt64) -> Bool { concernsAll || concerned.contains(inode) }

    mutating func plant() throws {
        switch random.number(below: 16) {
        case 0, 1: try plantInSuperblock()
        case 2: plantBytes()
        case 3: plantPointer()
        case 4: try plantInLog()
        case 5: plantInSpace()
        case 6, 7: plantRemoval()
        default: plantInRecord()
        }
    }

    private mutating func number() -> UInt64 {
        switch random.number(below: 8) {
        case 0: 0
        case 1: .max
        case 2: 1 << 63 - 1
        case 3: UInt64(random.number(below: 300))
        case 4: UInt64(random.number(below: 4)) &+ image.superblock.geometry.totalBlocks &- 2
        case 5: 1 << random.number(below: 64)
        case 6: UInt64(random.number(below: 2100))
        default: random.next()
        }
    }

    /// Puts a number of 1, 2, 4 or 8 bytes somewhere.
    private mutating func change(_ bytes: UnsafeMutableRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        let width = min([1, 1, 2, 4, 8][random.number(below: 5)], bytes.count)
        let offset = random.number(below: bytes.count - width + 1) & ~(width - 1)
        let value =
            random.oneIn(3) ? UInt64(bytes[offset]) ^ 1 << random.number(below: 8) : number()
        for index in 0..<width {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
        }
        story.append("\(width) bytes at \(offset) are \(value)")
    }

    private mutating func plantInSuperblock() throws {
        story.append("superblock")
        concernsAll = true
        let end = random.oneIn(4) ? 500 : 408
        var changed = self
        image.sealSuperblock { bytes in
            var one = self
            one.change(UnsafeMutableRawBufferPointer(rebasing: bytes[8..<end]))
            changed = one
        }
        self = changed
    }

    /// Anything in a node.
    private mutating func plantBytes() {
        concernsAll = true
        let node = random.number(below: image.nodes.count)
        story.append("node at block \(image.nodes[node].address.rawValue)")
        for _ in 0...random.number(below: 4) { change(image.bytes(of: node)) }
        image.seal(node)
    }

    /// A pointer to another node, or to nowhere.
    private mutating func plantPointer() {
        concernsAll = true
        let children = image.nodes.indices.filter { image.nodes[$0].parent != nil }
        guard !children.isEmpty else { return }
        let child = image.nodes[children[random.number(below: children.count)]]
        guard let parent = child.parent else { return }
        let bytes = UnsafeMutableRawBufferPointer(
            rebasing: image.bytes(of: parent)[child.pointerOffset...][..<(child.pointerOffset + 24)]
        )
        if random.oneIn(2) {
            let other = random.number(below: image.nodes.count)
            let node = image.view(of: other)
            story.append(
                "pointer to \(child.address.rawValue) leads to \(node.address), "
                    + "\(image.nodes[other].tree)")
            bytes.put(node.address, at: 0)
            bytes.put(node.group.rawValue, at: 8)
            bytes.put(node.checksum, at: 16)
        } else {
            story.append("pointer to \(child.address.rawValue)")
            change(bytes)
        }
        image.seal(parent)
    }

    private mutating func plantInLog() throws {
        let entries = try image.logEntries()
        guard !entries.isEmpty else { return plantInRecord() }
        concernsAll = true
        let (offset, header) = entries[random.number(below: entries.count)]
        story.append("log entry \(header.sequence)")
        let start = random.oneIn(3) ? 8 : LogEntryHeader.length
        let end = LogEntryHeader.length + Int(header.recordBytes)
        for _ in 0...random.number(below: 3) {
            change(
                UnsafeMutableRawBufferPointer(
                    rebasing: image.device.contents[offset + start..<offset + end]))
        }
        image.sealLogEntry(at: offset, recordBytes: header.recordBytes)
    }

    private mutating func plantInSpace() {
        let leaves = image.nodes(of: .space, atLevel: { $0 == 0 })
        plant(in: leaves[random.number(below: leaves.count)])
    }

    private mutating func plantInRecord() {
        let leaves = image.nodes(of: .main, atLevel: { $0 == 0 })
        plant(in: leaves[random.number(below: leaves.count)])
    }

    /// A number in the key or the value of an item.
    private mutating func plant(in node: Int) {
        let view = image.view(of: node)
        guard view.count > 0 else { return }
        let index = random.number(below: view.count)
        concern(node, index)
        story.append("item \(OwnedKey(view.key(index))) in \(image.nodes[node].tree)")
        let bytes = image.bytes(of: node)
        if random.oneIn(6) {
            let start = NodeView.headerSize + index * NodeView.itemSize
            change(UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + 16]))
            concernsAll = true
        } else {
            let start = view.place(index) + (random.oneIn(8) ? 0 : view.tailCount(index))
            change(UnsafeMutableRawBufferPointer(rebasing: bytes[start..<view.end(index)]))
        }
        concern(node, index)
        image.seal(node)
    }

    /// Whose record it is, and where a name leads.
    private mutating func concern(_ node: Int, _ index: Int) {
        guard image.nodes[node].tree == .main else { return }
        let view = image.view(of: node)
        let key = view.key(index)
        concerned.insert(key.object >> 8)
        // What hangs from a directory that cannot be read, or from a name, may move, and stays.
        let value = view.value(index)
        if key.object & 0xFF == RecordKind.entry.rawValue, value.count >= 8 {
            concerned.insert(value.number(UInt64.self, at: 0))
        }
    }

    private mutating func plantRemoval() {
        let leaves = image.nodes(of: random.oneIn(5) ? .space : .main, atLevel: { $0 == 0 })
        let node = leaves[random.number(below: leaves.count)]
        let view = image.view(of: node)
        guard view.count > 1 else { return }
        let index = random.number(below: view.count)
        concern(node, index)
        story.append("item \(OwnedKey(view.key(index))) of \(image.nodes[node].tree) is removed")
        image.editor(of: node).remove(at: index)
        image.seal(node)
    }
}
