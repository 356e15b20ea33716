// Volumes: made, opened, changed, committed, unmounted, and what is left of it all.

import CairnBase
import CairnIO
import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct VolumeTests {
    static let geometries: [(size: UInt64, block: UInt32, node: UInt32)] = [
        (4 << 20, 4096, 4096), (4 << 20, 16384, 16384), (8 << 20, 8192, 32768),
        (64 << 20, 4096, 16384),
    ]

    static func options(_ block: UInt32, _ node: UInt32) -> FormatOptions {
        var options = FormatOptions()
        options.blockSize = block
        options.nodeSize = node
        options.label = "ground"
        return options
    }

    static func content(_ seed: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ seed &* 7 &+ $0 >> 8) }
    }

    // D2, D10
    @Test(arguments: 0..<4)
    func aNewFilesystemIsSound(_ index: Int) throws {
        let (size, block, node) = VolumeTests.geometries[index]
        let device = try VolumeGround.format(size: size, VolumeTests.options(block, node))
        try VolumeGround.expectSound(device)
        let ground = VolumeGround()
        let volume = try ground.open(device)
        #expect(volume.opened.labelText == "ground")
        #expect(volume.opened.group.rawValue == 1 && !volume.opened.isInUse)
        #expect(ground.reports.all == [])
    }

    // D12: what newer software has taken over is not mounted as it was before.
    @Test(arguments: [2, 9])
    func aSlotOfAnotherVersionRefusesTheMount(_ slot: Int) throws {
        let device = try VolumeGround.format()
        let length = SuperblockSlot.length
        let places = [1, slot].map { Int(SuperblockSlot.offset(of: $0, end: device.size)) }
        var bytes = Array(device.contents[places[0]..<places[0] + length])
        bytes[8] = 2
        bytes[12] = UInt8(slot)
        SuperblockTests.fixChecksum(&bytes)
        UnsafeMutableRawBufferPointer(rebasing: device.contents[places[1]..<places[1] + length])
            .copyBytes(from: bytes)
        let ground = VolumeGround()
        for isReadOnly in [false, true] {
            var options = VolumeOptions()
            options.isReadOnly = isReadOnly
            let failure = #expect(throws: VolumeFailure.self) {
                _ = try ground.open(device, options)
            }
            #expect(failure?.errno == .EOPNOTSUPP)
            #expect(failure?.what == "version 2 of the format")
        }
        #expect(throws: CheckFailure.self) { try VolumeGround.findings(device) }
    }

    @Test func tooSmallDevicesAreRefusedClearly() throws {
        let device = try MemoryDevice(size: (4 << 20) - 512)
        #expect(throws: VolumeFailure.self) {
            try VolumeGround.format(device, FormatOptions())
        }
        let exact = try MemoryDevice(size: (4 << 20) + 512)
        try VolumeGround.format(exact, FormatOptions())
        try VolumeGround.expectSound(exact)
    }

    // D9
    @Test(arguments: 0..<4)
    func whatWasWrittenIsThereAfterMountingAgain(_ index: Int) throws {
        let (size, block, node) = VolumeTests.geometries[index]
        let device = try VolumeGround.format(size: size, VolumeTests.options(block, node))
        let ground = VolumeGround()
        var store = try ground.mount(device)
        var expected: [String: [UInt8]] = [:]
        for number in 0..<40 {
            let name = "file \(number)"
            try store.create(name)
            let content = VolumeTests.content(number, number % 3 == 0 ? 700 : number * 500)
            if number % 3 == 0 {
                try store.writeSmall(name, content)
            } else {
                try store.writeLarge(name, content)
            }
            expected[name] = content
            if number % 7 == 0 { try ground.commit(store.volume) }
            if number % 5 == 0 { try store.sync() }
        }
        #expect(try store.contents() == expected)
        #expect(store.volume.mainTree.checkInvariants() == [])
        try ground.unmount(store)
        try VolumeGround.expectSound(device)
        store = try ground.mount(device)
        #expect(!store.volume.opened.isInUse)
        #expect(try store.contents() == expected)
        #expect(store.volume.statistics.replayedEntries == 0)
        try ground.unmount(store)
        #expect(ground.reports.all == [])
    }

    // D6: no leak, to the block
    @Test(arguments: 0..<4)
    func removingEverythingGivesEverythingBack(_ index: Int) throws {
        let (size, block, node) = VolumeTests.geometries[index]
        let device = try VolumeGround.format(size: size, VolumeTests.options(block, node))
        let ground = VolumeGround()
        var store = try ground.mount(device)
        let before = store.volume.opened.freeBlocks
        var random = SeededRandom(seed: UInt64(index))
        var names: [String] = []
        for step in 0..<300 {
            if names.count < 60, !random.oneIn(3) {
                let name = "file \(step)"
                try store.create(name)
                names.append(name)
                try store.writeLarge(name, VolumeTests.content(step, random.number(below: 40000)))
            } else if !names.isEmpty {
                try store.remove(names.remove(at: random.number(below: names.count)))
            }
            if random.oneIn(10) { try ground.commit(store.volume) }
        }
        for name in names { try store.remove(name) }
        try ground.unmount(store)
        try VolumeGround.expectSound(device)
        store = try ground.mount(device)
        #expect(store.volume.opened.freeBlocks == before)
        #expect(store.volume.opened.dataBlocks == 0)
        #expect(try store.contents() == [:])
    }

    // D6, T3: ENOSPC comes whole, and removing works
    @Test(arguments: 0..<3)
    func aFullFilesystemRefusesAndCanBeEmptied(_ index: Int) throws {
        let (size, block, node) = VolumeTests.geometries[index]
        let device = try VolumeGround.format(size: size, VolumeTests.options(block, node))
        let ground = VolumeGround()
        let store = try ground.mount(device)
        let before = store.volume.spaceFigures.free
        var expected: [String: [UInt8]] = [:]
        fill: for number in 0..<100_000 {
            let name = "file \(number)"
            do throws(Errno) {
                try store.create(name)
                expected[name] = []
                let content = VolumeTests.content(number, number % 2 == 0 ? 9000 : 800)
                if number % 2 == 0 {
                    try store.writeLarge(name, content)
                } else {
                    try store.writeSmall(name, content)
                }
                expected[name] = content
            } catch {
                #expect(error == .ENOSPC)
                break fill
            }
        }
        #expect(try store.contents() == expected)
        #expect(store.volume.spaceFigures.free < before / 4)
        try ground.commit(store.volume)
        #expect(throws: Errno.ENOSPC) {
            try store.create("large")
            try store.writeLarge("large", VolumeTests.content(1, 1 << 20))
        }
        for name in expected.keys.sorted() { try store.remove(name) }
        if (try? store.contents()["large"]) != nil { try store.remove("large") }
        try ground.unmount(store)
        try VolumeGround.expectSound(device)
        let again = try ground.mount(device)
        #expect(again.volume.opened.dataBlocks == 0)
        #expect(again.volume.opened.freeBlocks + 8 * UInt64(node / block) > before)
        #expect(ground.reports.all == [])
    }

    // D3
    @Test func theTimerCommits() throws {
        let device = try VolumeGround.format()
        let ground = VolumeGround()
        let store = try ground.mount(device)
        let commits = store.volume.statistics.commits
        try store.create("one")
        ground.timers.advance(nanoseconds: 99_000_000)
        #expect(store.volume.statistics.commits == commits)
        ground.timers.advance(nanoseconds: 1_000_000)
        #expect(store.volume.statistics.commits == commits + 1)
        ground.timers.advance(nanoseconds: 10_000_000_000)
        #expect(store.volume.statistics.commits == commits + 1)
        // What was committed needs no log, and survives as it is.
        let other = try VolumeGround().mount(try device.copy())
        #expect(try other.contents().keys.sorted() == ["one"])
        #expect(other.volume.statistics.replayedEntries == 0)
    }

    // D9: the log
    @Test func whatWasSyncedIsReplayed() throws {
        let device = try VolumeGround.format()
        let ground = VolumeGround()
        let store = try ground.mount(device)
        let commits = store.volume.statistics.commits
        var expected: [String: [UInt8]] = [:]
        for number in 0..<10 {
            let name = "file \(number)"
            let content = VolumeTests.content(number, 300 + number)
            try store.create(name)
            try store.writeSmall(name, content)
            try store.sync()
            expected[name] = content
        }
        try store.writeLarge("file 3", VolumeTests.content(99, 20000))
        expected["file 3"] = VolumeTests.content(99, 20000)
        try store.remove("file 4")
        expected["file 4"] = nil
        try store.rename("file 5", "file 6")
        expected["file 6"] = expected.removeValue(forKey: "file 5")
        try store.sync()
        try store.create("not synced")
        let copy = try device.copy()
        let other = VolumeGround()
        let again = try other.mount(copy)
        #expect(try again.contents() == expected)
        #expect(store.volume.statistics.logEntries >= 10)
        #expect(store.volume.statistics.commits <= commits + 1)
        try other.unmount(again)
        try VolumeGround.expectSound(copy)
    }
}
