// The B+tree of mfs_disk, with all nodes in memory: what a lookup and a change cost.

import CairnBase
import CairnDisk
import CairnIO
import CSystem
import Glibc

struct TreeBenchmark {
    private static let count = 1_000_000
    private let nodeSizes = [4096, 16384, 32768]

    func run() throws {
        var rows: [Row] = []
        for size in nodeSizes { rows.append(try measure(nodeSize: size)) }
        printTable(
            "The tree with a million inodes and a million names, all in memory",
            [
                "nodes of", "levels", "find, of 1000", "find, of all", "find a name, of all",
                "put in order, of 100", "replace, of all", "seal and write a node",
            ], rows)
        checksums()
    }

    private func measure(nodeSize: Int) throws -> Row {
        let device = try MemoryDevice(size: 2 << 30)
        let geometry = NodeGeometry(
            blockSize: 4096, nodeSize: nodeSize, seed: 1, places: 64..<(2 << 30) / 4096)
        let cache = NodeCache(
            device: device, geometry: geometry, limitBytes: 2 << 30, report: { _ in })
        let bench = TreeBench(cache)
        let build = bench.fill(Self.count)
        let commit = try bench.commit()
        let levels = Int(bench.tree.root.level) + 1
        let finds = timeInTurns(
            rounds: 5,
            [
                { bench.findInodes($0, among: 1000) }, { bench.findInodes($0, among: Self.count) },
                { bench.findNames($0, among: Self.count) },
            ])
        let replace = timeInTurns(rounds: 5, [{ bench.replace($0, among: Self.count) }])
        return Row(
            name: "\(nodeSize)",
            figures: ["\(levels)"] + finds.map { nanosecondsText($0.nanoseconds) }
                + [nanosecondsText(build), nanosecondsText(replace[0].nanoseconds)]
                + [nanosecondsText(commit)])
    }

    private func checksums() {
        var rows: [Row] = []
        for size in [64, 4096, 16384, 131_072] {
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
            defer { bytes.deallocate() }
            _ = bytes.initializeMemory(as: UInt8.self, repeating: 7)
            var sum: UInt32 = 0
            let times = timeInTurns(
                rounds: 5,
                [
                    { for _ in 0..<$0 { sum ^= CRC32C.checksum(UnsafeRawBufferPointer(bytes)) } },
                    {
                        for _ in 0..<$0 {
                            sum ^= cairn_crc32c_by_tables(0, bytes.baseAddress, size)
                        }
                    },
                ])
            rows.append(
                Row(
                    name: "\(size) bytes",
                    figures: times.map {
                        nanosecondsText($0.nanoseconds) + ", "
                            + fixed(Double(size) / $0.nanoseconds, 1) + " GB/s"
                    }))
            if sum == 1 { print("") }
        }
        printTable("CRC32C", ["of", "instruction", "tables"], rows)
    }
}

/// A tree and what is done with it. One thread, so no lock.
private final class TreeBench {
    let cache: NodeCache
    let tree: ItemTree
    private let value = UnsafeMutableRawBufferPointer.allocate(byteCount: 104, alignment: 8)
    private let name = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 8)
    private var place: UInt64 = 64
    private var found = 0

    init(_ cache: NodeCache) {
        self.cache = cache
        tree = ItemTree(emptyWith: .main, openGroup: TransactionGroup(rawValue: 1), in: cache)
        _ = value.initializeMemory(as: UInt8.self, repeating: 3)
        _ = name.initializeMemory(as: UInt8.self, repeating: 0x61)
    }

    deinit {
        value.deallocate()
        name.deallocate()
    }

    private func inode(_ index: Int) -> ItemKey {
        ItemKey(object: (UInt64(index + 16) << 8) | 1, number: 0)
    }

    /// In a directory of its own for each thousand, at a number as random as a hash.
    private func entry(_ index: Int) -> ItemKey {
        name.storeBytes(of: UInt64(index), as: UInt64.self)
        let number = ((UInt64(index) &* 0x9E37_79B9_7F4A_7C15) >> 18) << 16
        return ItemKey(
            object: (UInt64(index / 1000 + 16) << 8) | 0x30, number: number,
            tail: UnsafeRawBufferPointer(name))
    }

    private func apply(_ edits: [ItemEdit]) {
        do throws(Pause) {
            tree.apply(edits, try tree.prepare(edits))
        } catch {
            preconditionFailure("a miss in a tree that is all in memory")
        }
    }

    /// Enters inodes, 100 at a time, then names. Gives the nanoseconds for one inode.
    func fill(_ count: Int) -> Double {
        let bytes = UnsafeRawBufferPointer(value)
        let start = cairn_clock_monotonic()
        for first in stride(from: 0, to: count, by: 100) {
            apply((first..<first + 100).map { .put(inode($0), bytes) })
        }
        let time = Double(cairn_clock_monotonic() - start) / Double(count)
        let short = UnsafeRawBufferPointer(rebasing: bytes[..<12])
        for index in 0..<count { apply([.put(entry(index), short)]) }
        return time
    }

    /// Nanoseconds for each node.
    func commit() throws -> Double {
        let start = cairn_clock_monotonic()
        let commit = tree.close()
        commit.place { _ in
            defer { place += cache.geometry.blocksPerNode }
            return BlockNumber(rawValue: place)
        }
        let sealed = commit.seal()
        for image in sealed.images {
            try cache.device.write(image.bytes, at: cache.geometry.offset(of: image.address))
        }
        commit.written()
        return Double(cairn_clock_monotonic() - start) / Double(sealed.images.count)
    }

    private func find(_ key: ItemKey) {
        do throws(Pause) {
            if let length = try tree.find(key, { $0.count }) { found += length }
        } catch {
            preconditionFailure("a miss in a tree that is all in memory")
        }
    }

    func findInodes(_ calls: Int, among count: Int) {
        var index = 0
        for _ in 0..<calls {
            find(inode(index % count))
            index += 7919
        }
    }

    func findNames(_ calls: Int, among count: Int) {
        var index = 0
        for _ in 0..<calls {
            find(entry(index % count))
            index += 7919
        }
    }

    /// Replaces values; the group is closed by nobody, so nodes are dirty after the first time.
    func replace(_ calls: Int, among count: Int) {
        var index = 0
        for _ in 0..<calls {
            value.storeBytes(of: UInt64(index), as: UInt64.self)
            apply([.put(inode(index % count), UnsafeRawBufferPointer(value))])
            index += 7919
        }
    }
}
