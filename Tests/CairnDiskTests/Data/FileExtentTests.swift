// Extents that are cut: what is left says the same as before of every block, and what is freed is
// exactly what nobody refers to any more (requirements D4, D7).

import CairnTestSupport
import Testing

@testable import CairnDisk

@Suite struct FileExtentTests {
    private static let blockSize: UInt32 = 4096
    private static let inode: UInt64 = 20
    private let layout = DataLayout(
        blockSize: blockSize, nodeSize: 16384, totalBlocks: 1 << 20)

    private func plain(
        _ offset: UInt64, blocks: UInt32, at address: UInt64, _ form: ExtentRecord.Form = .stored
    ) -> FileExtent {
        let record = ExtentRecord(
            form, length: blocks * Self.blockSize, at: BlockNumber(rawValue: address),
            birth: TransactionGroup(rawValue: 3), hasChecksums: form == .stored)
        let checksums = (0..<blocks).map { UInt32(truncatingIfNeeded: address) + $0 }
        let payload =
            form == .stored
            ? checksums.flatMap { withUnsafeBytes(of: $0.littleEndian, Array.init) } : []
        return FileExtent(offset: offset, record: record, payload: payload)
    }

    private func packed(_ offset: UInt64, at address: UInt64) -> FileExtent {
        let record = ExtentRecord(
            .lz4, whole: 131_072, stored: 20000, at: BlockNumber(rawValue: address),
            birth: TransactionGroup(rawValue: 3), hasChecksums: true)
        return FileExtent(offset: offset, record: record, payload: [1, 2, 3, 4])
    }

    /// The extents after a batch, and the runs that it frees.
    private func outcome(
        _ batch: borrowing EditBatch, of extents: [FileExtent]
    ) throws -> (left: [FileExtent], freed: [BlockRun]) {
        var left = Dictionary(uniqueKeysWithValues: extents.map { ($0.offset, $0) })
        var freed: [BlockRun] = []
        var damage: RecordDamage?
        batch.forEachRecord { record in
            switch record.kind {
            case .remove:
                left[record.second] = nil
            case .put:
                do throws(RecordDamage) {
                    let decoded = try ExtentRecord(
                        decoding: record.value, at: record.second, layout.limits)
                    let head = ExtentRecord.storedHeadLength
                    left[record.second] = FileExtent(
                        offset: record.second, record: decoded,
                        payload: Array(record.value[head...]))
                } catch {
                    damage = error
                }
            case .freed:
                freed.append(
                    BlockRun(start: BlockNumber(rawValue: record.first), count: record.second))
            default:
                break
            }
        }
        if let damage { throw damage }
        return (left.values.sorted { $0.offset < $1.offset }, freed)
    }

    /// For each block of the file: where it stands on the device, and its checksum.
    private func map(_ extents: [FileExtent]) -> [UInt64: [UInt64]] {
        var result: [UInt64: [UInt64]] = [:]
        for extent in extents where extent.record.compression == .none {
            for index in 0..<UInt64(extent.record.length / Self.blockSize) {
                let checksum = extent.record.hasChecksums ? UInt64(extent.checksum(Int(index))) : 0
                result[extent.offset + index * UInt64(Self.blockSize)] = [
                    extent.record.address.rawValue + index, checksum,
                ]
            }
        }
        return result
    }

    @Test("Whatever range is taken out of plain extents, the rest stays as it was")
    func plainExtents() throws {  // D4
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let size = UInt64(Self.blockSize)
        for _ in 0..<500 {
            var extents: [FileExtent] = []
            var offset: UInt64 = 0
            for index in 0..<6 {
                offset += UInt64(random.number(below: 3)) * size
                let blocks = UInt32(1 + random.number(below: 9))
                extents.append(
                    plain(
                        offset, blocks: blocks, at: UInt64(1000 + 100 * index),
                        random.oneIn(4) ? .reserved : .stored))
                offset += UInt64(blocks) * size
            }
            let start = UInt64(random.number(below: 40)) * size
            let range = start..<start + UInt64(1 + random.number(below: 30)) * size
            var batch = EditBatch()
            let vacated = batch.vacate(range, of: Self.inode, extents, layout)
            let (left, freed) = try outcome(batch, of: extents)
            let before = map(extents)
            #expect(map(left) == before.filter { !range.contains($0.key) }, "seed \(seed)")
            let gone = Set(before.filter { range.contains($0.key) }.map { $0.value[0] })
            let freedBlocks = freed.flatMap { Array($0.start.rawValue..<$0.end.rawValue) }
            #expect(Set(freedBlocks) == gone, "seed \(seed)")
            #expect(freedBlocks.count == gone.count)
            #expect(vacated.blocks == UInt64(gone.count))
        }
    }

    @Test("A compressed extent keeps its blocks until the last part goes")
    func packedExtents() throws {  // D7
        let extent = packed(131_072, at: 500)
        var head = EditBatch()
        #expect(head.vacate(0..<135_168, of: Self.inode, [extent], layout).blocks == 0)
        let afterHead = try outcome(head, of: [extent])
        #expect(afterHead.freed.isEmpty)
        #expect(afterHead.left.map(\.offset) == [135_168])
        #expect(afterHead.left[0].record.skip == 4096)
        #expect(afterHead.left[0].end == extent.end)

        var tail = EditBatch()
        _ = tail.vacate(200_704..<1 << 62, of: Self.inode, afterHead.left, layout)
        let afterTail = try outcome(tail, of: afterHead.left)
        #expect(afterTail.freed.isEmpty)
        #expect(afterTail.left.map(\.range) == [135_168..<200_704])
        #expect(afterTail.left[0].record.stored == 20000)

        var rest = EditBatch()
        #expect(rest.vacate(131_072..<262_144, of: Self.inode, afterTail.left, layout).blocks == 5)
        let afterAll = try outcome(rest, of: afterTail.left)
        #expect(afterAll.left.isEmpty)
        #expect(afterAll.freed == [BlockRun(start: BlockNumber(rawValue: 500), count: 5)])
    }

    @Test("Reserved blocks that get data are not freed")
    func keptReservations() throws {  // D6
        let extent = plain(0, blocks: 8, at: 100, .reserved)
        var batch = EditBatch()
        let vacated = batch.vacate(
            0..<32768, of: Self.inode, [extent], layout, keeping: [4096..<12288])
        #expect(vacated.blocks == 6)
        let (left, freed) = try outcome(batch, of: [extent])
        #expect(left.isEmpty)
        #expect(
            freed == [
                BlockRun(start: BlockNumber(rawValue: 100), count: 1),
                BlockRun(start: BlockNumber(rawValue: 103), count: 5),
            ])
    }

    @Test("Extents with checksums fit into leaves, and small files into inodes")
    func layouts() {  // D4
        for nodeSize: UInt32 in [4096, 8192, 16384, 32768] {
            for blockSize: UInt32 in [4096, 8192, 16384] where nodeSize >= blockSize {
                let layout = DataLayout(
                    blockSize: blockSize, nodeSize: nodeSize, totalBlocks: 1 << 20)
                let checksums = Int(layout.checkedExtentLength / blockSize) * 4
                let most = (Int(nodeSize) - 32) / 4
                #expect(24 + ExtentRecord.storedHeadLength + checksums <= most)
                #expect(24 + ExtentRecord.headLength + layout.inlineLimit <= most)
                #expect(layout.inlineLimit >= 900 && layout.inlineLimit <= 4096)
            }
        }
        let layout = DataLayout(blockSize: 4096, nodeSize: 16384, totalBlocks: 1 << 20)
        #expect(layout.roundedUp(1) == 4096)
        #expect(layout.roundedDown(8191) == 4096)
        #expect(layout.blocks(4097) == 2)
    }
}
