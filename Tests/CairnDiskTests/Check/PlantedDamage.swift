// The damage that PlantedDamageTests plants. In its image, directory "first" is inode 16, "second"
// in it 17; "file N" is 18 + N, in "first" if N is even; "with attribute" is 48, "link" 49.

import CairnBase
import CairnIO
import CairnVFS

@testable import CairnDisk

private func inodeOf(file number: UInt64) -> UInt64 { 18 + number }

private func pathOf(file number: UInt64) -> String {
    number % 2 == 0 ? "/first/file \(number)" : "/first/second/file \(number)"
}

/// Lets the last pointer of the main tree's root lead elsewhere.
private func redirectLastLeaf(of device: MemoryDevice, to target: (NodeView) -> NodePointer) {
    guard let image = try? SealedImage(device) else { return }
    let root = image.view(of: 0)
    image.editor(of: 0).setPointer(at: root.count - 1, target(root))
    image.seal(0)
}

extension MemoryDevice {
    fileprivate func damage(_ offset: UInt64) { contents[Int(offset)] ^= 0x40 }
}

extension PlantedDamage {
    static let all = superblocks + space + nodes + inodes + names + extents + attributes

    // MARK: Superblocks and counters

    static let superblocks: [PlantedDamage] = [
        PlantedDamage(
            name: "a slot of the first set", says: "checksum",
            after: { device, _ in device.damage(5 * 16384 + 300) }),
        PlantedDamage(
            name: "a slot of the second set", says: "superblock slot 10",
            after: { device, maker in
                device.damage(maker.geometry.size - 131072 + 2 * 16384 + 300)
            }),
        PlantedDamage(
            name: "a superblock in another's slot", says: "written to slot 5",
            after: { device, _ in
                let slot = UnsafeRawBufferPointer(
                    rebasing: device.contents[(5 * 16384)...][..<(6 * 16384)])
                UnsafeMutableRawBufferPointer(
                    rebasing: device.contents[(3 * 16384)...][..<(4 * 16384)]
                )
                .copyMemory(from: slot)
            }),
        PlantedDamage(
            name: "bytes behind a superblock", says: "bytes behind the superblock",
            after: { device, _ in device.damage(5 * 16384 + 9000) }),
        PlantedDamage(
            name: "free blocks", says: "free blocks, there are",
            before: { $0.changeSuperblock = { $0.freeBlocks -= 3 } }),
        PlantedDamage(
            name: "nodes of the main tree", says: "nodes of the main tree, there are",
            before: { $0.changeSuperblock = { $0.mainNodes += 1 } }),
        PlantedDamage(
            name: "nodes of the space tree", says: "nodes of the space tree, there are",
            before: { $0.changeSuperblock = { $0.spaceNodes += 1 } }),
        PlantedDamage(
            name: "blocks of data", says: "blocks of data, there are",
            before: { $0.changeSuperblock = { $0.dataBlocks += 5 } }),
        PlantedDamage(
            name: "next inode", says: "the next inode is 40",
            before: { $0.changeSuperblock = { $0.nextInode = 40 } }),
        PlantedDamage(
            name: "the mark of damage", says: "a mount has found damage",
            before: { $0.changeSuperblock = { $0.isDamaged = true } }),
    ]

    // MARK: Free space

    static let space: [PlantedDamage] = [
        PlantedDamage(
            name: "a block that is used and free", says: "in use, and free",
            before: { maker in
                maker.changeSpace = { space in
                    space[OwnedKey(SpaceObject.freeExtent, 2050)] = [3, 0, 0, 0]
                }
            }),
        PlantedDamage(
            name: "blocks that are lost", says: "neither in use nor free",
            before: { maker in
                maker.changeSpace = { space in
                    space[OwnedKey(SpaceObject.freeExtent, 3072)] = nil
                }
            }),
        PlantedDamage(
            name: "free extents that touch", says: "touch",
            before: { maker in
                maker.changeSpace = { space in
                    space[OwnedKey(SpaceObject.freeExtent, 3072)] = [200, 0, 0, 0]
                    space[OwnedKey(SpaceObject.freeExtent, 3272)] = [56, 1, 0, 0]
                }
            }),
        PlantedDamage(
            name: "a free extent in two regions", says: "in two regions",
            before: { maker in
                maker.changeSpace = { space in
                    space[OwnedKey(SpaceObject.freeExtent, 3072)] = [0, 3, 0, 0]
                }
            }),
        PlantedDamage(
            name: "a region without a record", says: "its record is not there",
            before: { maker in
                maker.changeSpace = { $0[OwnedKey(SpaceObject.region, 4)] = nil }
            }),
        PlantedDamage(
            name: "a region's free blocks", says: "region 6: 500 free blocks",
            before: { maker in
                maker.changeSpace = {
                    $0[OwnedKey(SpaceObject.region, 6)] = [
                        0xF4, 1, 0, 0, 0xF4, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
                    ]
                }
            }),
        PlantedDamage(
            name: "a region's longest run", says: "no free extent beyond",
            before: { maker in
                maker.changeSpace = {
                    $0[OwnedKey(SpaceObject.region, 6)] = [
                        0, 2, 0, 0, 0, 2, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
                    ]
                }
            }),
        PlantedDamage(
            name: "an unknown key in the space tree", says: "a key of kind 3",
            before: { maker in maker.changeSpace = { $0[OwnedKey(3, 1)] = [1] } }),
        PlantedDamage(
            name: "a node of the space tree", says: "space tree: ",
            after: { device, maker in
                let offset = maker.geometry.offset(of: BlockNumber(rawValue: 1024))
                device.damage(offset + 4000)
            }),
    ]

    // MARK: Nodes

    /// Pointers of the root are changed, with all checksums right. The last leaf holds what comes last:
    /// the data of one file, and the link.
    static let nodes: [PlantedDamage] = [
        PlantedDamage(
            name: "two pointers to one leaf", says: "has keys that belong elsewhere",
            after: { device, _ in redirectLastLeaf(of: device) { $0.pointer(0) } },
            losses: ["/with attribute", "/link"], gains: ["/with attribute": [0, 0, 0, 0]]),
        PlantedDamage(
            name: "a pointer to nowhere", says: "a pointer to where no node can be",
            after: { device, _ in
                redirectLastLeaf(of: device) {
                    var pointer = $0.pointer($0.count - 1)
                    pointer.address = NodeAddress(rawValue: 3)
                    return pointer
                }
            }, losses: ["/with attribute", "/link"], gains: ["/with attribute": [0, 0, 0, 0]]),
        PlantedDamage(
            name: "a pointer to the root itself", says: "main tree: ",
            after: { device, _ in
                redirectLastLeaf(of: device) {
                    NodePointer(
                        address: NodeAddress(rawValue: $0.address), birth: $0.group,
                        checksum: $0.checksum)
                }
            }, losses: ["/with attribute", "/link"], gains: ["/with attribute": [0, 0, 0, 0]]),
        PlantedDamage(
            name: "a pointer into the space tree", says: "belongs to tree 2",
            after: { device, _ in
                guard let image = try? SealedImage(device) else { return }
                let leaf = image.view(of: image.nodes(of: .space, atLevel: { $0 == 0 })[0])
                redirectLastLeaf(of: device) { _ in
                    NodePointer(
                        address: NodeAddress(rawValue: leaf.address), birth: leaf.group,
                        checksum: leaf.checksum)
                }
            }, losses: ["/with attribute", "/link"], gains: ["/with attribute": [0, 0, 0, 0]]),
    ]

    // MARK: Inodes

    static let inodes: [PlantedDamage] = [
        PlantedDamage(
            name: "links of a file", says: "9 links, there are 1",
            before: { $0.change(20) { $0.links = 9 } }),
        PlantedDamage(
            name: "links of a directory", says: "7 links, there are 3",
            before: { $0.change(16) { $0.links = 7 } }),
        PlantedDamage(
            name: "entries of a directory", says: "99 entries, there are 16",
            before: { $0.change(16) { $0.size = 99 } }),
        PlantedDamage(
            name: "blocks of a file", says: "77 blocks",
            before: { $0.change(20) { $0.blocks = 77 } }),
        PlantedDamage(
            name: "the parent of a directory", says: "its parent is 1",
            before: { $0.change(17) { $0.special = 1 } }),
        PlantedDamage(
            name: "the parent of the root", says: "the root's parent is 16",
            before: { $0.change(1) { $0.special = 16 } }),
        PlantedDamage(
            name: "an inode without a record", says: "its record is not there",
            before: { $0.items[ImageMaker.inodeKey(inodeOf(file: 4))] = nil },
            losses: [pathOf(file: 4)],
            // Its size is that of its extents.
            gains: [pathOf(file: 4): paddedContent(4)]),
        PlantedDamage(
            name: "an inode of a mode that is none", says: "mode 70644",
            before: { $0.items[ImageMaker.inodeKey(inodeOf(file: 4))]?[1] = 0x71 },
            losses: [pathOf(file: 4)], gains: [pathOf(file: 4): paddedContent(4)]),
        PlantedDamage(
            name: "a directory without a record", says: "its record is not there",
            before: { $0.items[ImageMaker.inodeKey(17)] = nil }),
        PlantedDamage(
            name: "an inode of a group to come", says: "which is to come",
            before: { $0.change(20) { $0.birth = TransactionGroup(rawValue: 900) } },
            losses: [pathOf(file: 2)], gains: [pathOf(file: 2): paddedContent(2)]),
        PlantedDamage(
            name: "no root", says: "there is no root directory",
            before: { maker in
                maker.items[ImageMaker.inodeKey(1)] = nil
                for name in ["first", "with attribute", "link"] {
                    maker.items[ImageMaker.entryKey(name, in: 1)] = nil
                }
            }, losses: Set(soundPaths.filter { !$0.isEmpty }), gains: movedToLostAndFound),
        PlantedDamage(
            name: "a record of no kind", says: "a record that the format does not know",
            before: { $0.items[OwnedKey(20 << 8 | 0x77)] = [1, 2, 3] }),
        PlantedDamage(
            name: "an orphan that is not there", says: "stands in the list of orphans",
            before: { $0.items[OwnedKey(RecordKind.orphan.rawValue, 900)] = [] }),
    ]

    // MARK: Names

    static let names: [PlantedDamage] = [
        PlantedDamage(
            name: "a file without a name", says: "no name leads to this regular",
            before: { maker in
                maker.items[ImageMaker.entryKey("file 8", in: 16)] = nil
                maker.change(16) { $0.size -= 1 }
            },
            losses: [pathOf(file: 8)],
            gains: [
                "/lost+found": ImageContent.directory,
                "/lost+found/#\(inodeOf(file: 8))": contentOf(8),
            ]),
        PlantedDamage(
            name: "a directory without a name", says: "no name leads to this directory",
            before: { maker in
                maker.items[ImageMaker.entryKey("second", in: 16)] = nil
                maker.change(16) {
                    $0.size -= 1
                    $0.links -= 1
                }
            },
            losses: Set(soundPaths.filter { $0.hasPrefix("/first/second") }),
            gains: secondInLostAndFound),
        PlantedDamage(
            name: "a name that leads nowhere", says: "leads to inode 800, which is not there",
            before: { $0.link("nowhere", to: 800, .regular) }),
        PlantedDamage(
            name: "a name of another type", says: "name 'file 2' says",
            before: { maker in
                maker.items[ImageMaker.entryKey("file 2", in: 16)]?[10] = FileKind.fifo.rawValue
            }),
        PlantedDamage(
            name: "a second name of a directory", says: "is a second name of directory 17",
            before: { maker in
                maker.link("again", to: 17, .directory)
            }),
        PlantedDamage(
            name: "a directory in itself", says: "this directory lies within itself",
            before: { maker in
                maker.items[ImageMaker.entryKey("first", in: 1)] = nil
                maker.change(1) {
                    $0.size -= 1
                    $0.links -= 1
                }
                maker.link("loop", to: 16, .directory, in: 17)
                maker.change(16) { $0.special = 17 }
            },
            losses: Set(soundPaths.filter { $0.hasPrefix("/first") }), gains: firstInLostAndFound),
        PlantedDamage(
            name: "a name under a wrong number", says: "under a wrong name number",
            before: { maker in
                let key = ImageMaker.entryKey("file 2", in: 16)
                let value = maker.items[key]
                maker.items[key] = nil
                maker.items[OwnedKey(key.object, 5 << 16, key.tail)] = value
            }),
        PlantedDamage(
            name: "a name under two numbers", says: "under a wrong name number, and once more",
            before: { maker in
                let key = ImageMaker.entryKey("file 2", in: 16)
                maker.items[OwnedKey(key.object, 5 << 16, key.tail)] =
                    EntryRecord(inode: inodeOf(file: 4), distinction: 1, kind: .regular).encoded
                maker.change(16) { $0.size += 1 }
                maker.change(inodeOf(file: 4)) { $0.links = 2 }
            }),
        PlantedDamage(
            name: "a name that is none", says: "a name with byte 47",
            before: { maker in
                let key = ImageMaker.entryKey("a/b", in: 1)
                maker.items[key] =
                    EntryRecord(
                        inode: 48, distinction: 1, kind: .regular
                    ).encoded
                maker.change(1) { $0.size += 1 }
                maker.change(48) { $0.links = 2 }
            }),
        PlantedDamage(
            name: "a name in a file", says: "a name in a regular",
            before: { maker in
                maker.items[ImageMaker.entryKey("inside", in: 48)] =
                    EntryRecord(
                        inode: 20, distinction: 1, kind: .regular
                    ).encoded
            }),
    ]

    // MARK: Extents

    static let extents: [PlantedDamage] = [
        PlantedDamage(
            name: "an extent beyond the device", says: "beyond the device",
            before: { $0.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[11] = 9 },
            losses: [pathOf(file: 4)], gains: [pathOf(file: 4): zeros(4)]),
        PlantedDamage(
            name: "an extent among the superblocks", says: "outside the place for data",
            before: { maker in
                maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[8] = 2
                maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[9] = 0
            }, losses: [pathOf(file: 4)], gains: [pathOf(file: 4): zeros(4)]),
        PlantedDamage(
            name: "an extent of form 7", says: "an extent of form 7",
            before: { $0.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[0] = 7 },
            losses: [pathOf(file: 4)], gains: [pathOf(file: 4): zeros(4)]),
        PlantedDamage(
            name: "an extent that overlaps", says: "it overlaps the one before",
            before: { maker in
                var value = maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)] ?? []
                value[7] = 0
                maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 4096)] = value
            }),
        PlantedDamage(
            name: "a block of two files", says: "some of which are used otherwise",
            before: { maker in
                // File 5 gets the blocks of file 4 as well; its checksums are not theirs.
                let own = maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)] ?? []
                for offset in 8..<16 {
                    maker.items[ImageMaker.extentKey(inodeOf(file: 5), at: 0)]?[offset] =
                        own[offset]
                }
            }, losses: [pathOf(file: 5)], gains: [pathOf(file: 5): zeros(5)]),
        PlantedDamage(
            name: "an extent over a node", says: "some of which are used otherwise",
            before: { maker in
                maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[8] = 97
                maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[9] = 0
            }, losses: [pathOf(file: 4)], gains: [pathOf(file: 4): zeros(4)]),
        PlantedDamage(
            name: "an extent over a node of the space tree",
            says: "some of which are used otherwise",
            before: { maker in
                maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[8] = 0
                maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]?[9] = 4
            }, losses: [pathOf(file: 4)], gains: [pathOf(file: 4): zeros(4)]),
        PlantedDamage(
            name: "a link whose target is cut", says: "target has 12 bytes, there are 5",
            before: { maker in
                maker.items[ImageMaker.extentKey(49, at: 0)] = Array("first".utf8).lend {
                    ExtentRecord.encodedInline($0)
                }
            }, losses: ["/link"], gains: ["/link": Array("first".utf8)]),
        PlantedDamage(
            name: "a link without a target", says: "target has 12 bytes, there are 0",
            before: { $0.items[ImageMaker.extentKey(49, at: 0)] = nil },
            losses: ["/link"], gains: ["/link": []]),
        PlantedDamage(
            name: "an extent of a directory", says: "of a directory",
            before: { maker in
                let value = maker.items[ImageMaker.extentKey(inodeOf(file: 4), at: 0)]
                maker.items[ImageMaker.extentKey(16, at: 0)] = value
            }),
    ]

    // MARK: Attributes

    static let attributes: [PlantedDamage] = [
        PlantedDamage(
            name: "an attribute that is cut", says: "has 2400 of 3000 bytes",
            before: { maker in
                let key = maker.items.keys.filter { $0.object & 0xFF == 0x10 }.max()
                if let key { maker.items[key] = nil }
            }),
        PlantedDamage(
            name: "a piece without an attribute", says: "out of place",
            before: { maker in
                let key = maker.items.keys.filter { $0.object & 0xFF == 0x10 }.min()
                if let key { maker.items[key] = nil }
            }),
        PlantedDamage(
            name: "an attribute under a wrong number", says: "under a wrong name number",
            before: { maker in
                maker.items[OwnedKey(48 << 8 | 0x10, 3 << 16, Array("user.x".utf8))] = [0, 0, 0, 0]
            }),
        PlantedDamage(
            name: "the mark of attributes", says: "says that it has none",
            before: { $0.change(48) { $0.flags.remove(.hasAttributes) } }),
    ]
}

// MARK: What is there then

extension PlantedDamage {
    /// What is in "file N".
    static let contents: [[UInt8]] = (0..<30).map { number in
        (0..<(number % 6 * 4096 - number % 2 * 9 + 9)).map {
            UInt8(truncatingIfNeeded: $0 &* 7 ^ number)
        }
    }

    /// All that is in the image before the damage.
    static let soundFiles: [String: [UInt8]] = {
        var files: [String: [UInt8]] = [
            "": ImageContent.directory, "/first": ImageContent.directory,
            "/first/second": ImageContent.directory, "/with attribute": Array("text".utf8),
            "/link": Array("first/second".utf8),
        ]
        for number in 0..<30 { files[pathOf(file: UInt64(number))] = contents[number] }
        return files
    }()
}

private func contentOf(_ number: Int) -> [UInt8] { PlantedDamage.contents[number] }

private func zeros(_ number: Int) -> [UInt8] {
    [UInt8](repeating: 0, count: contentOf(number).count)
}

private func paddedContent(_ number: Int) -> [UInt8] {
    let content = contentOf(number)
    let count = (content.count + 4095) / 4096 * 4096
    return content + [UInt8](repeating: 0, count: count - content.count)
}

private let soundPaths = Array(PlantedDamage.soundFiles.keys)

/// What was below one path, below another.
private func moved(_ old: String, to new: String) -> [String: [UInt8]] {
    var files: [String: [UInt8]] = ["/lost+found": ImageContent.directory]
    for (path, content) in PlantedDamage.soundFiles where path == old || path.hasPrefix(old + "/") {
        files[new + path.dropFirst(old.count)] = content
    }
    return files
}

private let secondInLostAndFound = moved("/first/second", to: "/lost+found/#17")
private let firstInLostAndFound = moved("/first", to: "/lost+found/#16")
private let movedToLostAndFound = firstInLostAndFound.merging(
    [
        "/lost+found/#48": Array("text".utf8), "/lost+found/#49": Array("first/second".utf8),
    ], uniquingKeysWith: { $1 })
