// The records of the main tree: what is written is read, and whatever bytes come, the answer is a
// record within the limits or damage, never a crash (requirements D12, T4).

import CairnBase
import CairnTestPace
import CairnTestSupport
import CairnVFS
import Testing

@testable import CairnDisk

private let limits = ExtentRecord.Limits(blockSize: 4096, totalBlocks: 100_000)

@Suite struct RecordTests {
    @Test("An inode stands byte by byte as the format says")
    func inodeLayout() throws {  // D12
        var record = InodeRecord(
            kind: .regular, permissions: Permissions(rawValue: 0o4751), links: 3,
            birth: TransactionGroup(rawValue: 77), time: Timestamp(seconds: -5, nanoseconds: 9))
        record.user = 1000
        record.group = 1001
        record.size = 0x0102_0304_0506
        record.blocks = 42
        record.flags = [.inPlace, .immutable]
        record.compression = .zstd
        record.changeTime = Timestamp(seconds: 1, nanoseconds: 999_999_999)
        let bytes = record.encoded
        #expect(bytes.count == 104)
        #expect(Array(bytes[0..<4]) == [0xE9, 0x89, 0, 0])
        #expect(bytes[4..<8].elementsEqual([0xE8, 3, 0, 0]))
        #expect(bytes[12] == 3)
        #expect(bytes[16..<24].elementsEqual([6, 5, 4, 3, 2, 1, 0, 0]))
        #expect(bytes[24] == 42)
        #expect(bytes[40] == 77)
        #expect(bytes[48..<56].elementsEqual([0xFB] + [UInt8](repeating: 0xFF, count: 7)))
        #expect(bytes[64] == 1)
        #expect(bytes[88..<92].elementsEqual([0xFF, 0xC9, 0x9A, 0x3B]))
        #expect(bytes[96..<100].elementsEqual([5, 3, 0, 0]))
        let decoded = try bytes.withUnsafeBytes { try InodeRecord(decoding: $0) }
        #expect(decoded == record)
    }

    @Test("What an inode cannot be is damage")
    func inodeDamage() throws {  // T4
        let record = InodeRecord(
            kind: .fifo, permissions: [], links: 1, birth: TransactionGroup(rawValue: 1),
            time: Timestamp(seconds: 0))
        for (offset, byte) in [
            (1, 0x30), (2, 1), (23, 0x80), (30, 2), (32, 1), (83, 0x40), (96, 0x80), (97, 4),
            (98, 1), (100, 1), (103, 1),
        ] as [(Int, UInt8)] {
            var bytes = record.encoded
            bytes[offset] = byte
            #expect(throws: RecordDamage.self, "byte \(offset)") {
                try bytes.withUnsafeBytes { try InodeRecord(decoding: $0) }
            }
        }
        var directory = record
        directory.kind = .directory
        #expect(throws: RecordDamage.self) {
            try directory.encoded.withUnsafeBytes { try InodeRecord(decoding: $0) }
        }
    }

    @Test("A directory entry is 12 bytes, and leads somewhere")
    func entries() throws {  // D12
        let record = EntryRecord(inode: 0x0102, distinction: 3, kind: .symbolicLink)
        #expect(record.encoded == [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 10, 0])
        #expect(try record.encoded.withUnsafeBytes { try EntryRecord(decoding: $0) } == record)
        for (offset, byte) in [(0, 0), (7, 1), (8, 0), (10, 3), (11, 1)] as [(Int, UInt8)] {
            var bytes = EntryRecord(inode: 1, distinction: 1, kind: .regular).encoded
            bytes[offset] = byte
            #expect(throws: RecordDamage.self, "byte \(offset)") {
                try bytes.withUnsafeBytes { try EntryRecord(decoding: $0) }
            }
        }
        for name in ["", ".", "..", "a/b", "a\0b", String(repeating: "x", count: 256)] {
            #expect(throws: RecordDamage.self, "\(name)") {
                try Array(name.utf8).withUnsafeBytes { try EntryRecord.check(name: $0) }
            }
        }
        for name in ["a", "...", ".a", String(repeating: "x", count: 255), "\u{FF}"] {
            try Array(name.utf8).withUnsafeBytes { try EntryRecord.check(name: $0) }
        }
    }

    @Test("Extents of each form are read as they were written")
    func extents() throws {  // D8, D12
        let plain = ExtentRecord(
            .stored, length: 8192, at: BlockNumber(rawValue: 7),
            birth: TransactionGroup(rawValue: 9), hasChecksums: true)
        let bytes = plain.encoded([0xAABB_CCDD, 1], blockSize: 4096)
        #expect(bytes.count == 44)
        #expect(bytes[0..<8].elementsEqual([1, 0, 1, 0, 0, 0x20, 0, 0]))
        #expect(bytes[24..<36].elementsEqual([0, 0x20, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]))
        #expect(bytes[36..<40].elementsEqual([0xDD, 0xCC, 0xBB, 0xAA]))
        #expect(try decoded(bytes, at: 4096) == plain)

        var packed = ExtentRecord(
            .zstd, whole: 131_072, stored: 5000, at: BlockNumber(rawValue: 99_998),
            birth: TransactionGroup(rawValue: 9), hasChecksums: true)
        packed.skip = 4096
        packed.length = 8192
        #expect(try decoded(packed.encoded([5], blockSize: 4096), at: 0) == packed)
        #expect(packed.run(of: 4096).count == 2)

        let reserved = ExtentRecord(
            .reserved, length: 1 << 30, at: BlockNumber(rawValue: 0),
            birth: TransactionGroup(rawValue: 1))
        #expect(throws: RecordDamage.self) {
            try decoded(reserved.encoded([], blockSize: 4096), at: 0)
        }
        let small = ExtentRecord(
            .reserved, length: 4096, at: BlockNumber(rawValue: 99_999),
            birth: TransactionGroup(rawValue: 1))
        #expect(try decoded(small.encoded([], blockSize: 4096), at: 1 << 62) == small)

        let inline = [1, 2, 3].withUnsafeBytes { ExtentRecord.encodedInline($0) }
        #expect(inline.count == 8 + 24)
        #expect(try decoded(inline, at: 0).form == .inline)
    }

    @Test("What an extent cannot be is damage")
    func extentDamage() throws {  // T4
        let plain = ExtentRecord(
            .stored, length: 8192, at: BlockNumber(rawValue: 7),
            birth: TransactionGroup(rawValue: 9), hasChecksums: true)
        let good = plain.encoded([1, 2], blockSize: 4096)
        let wrong: [(Int, UInt8)] = [
            (0, 3), (0, 0), (0, 2), (1, 3), (1, 1), (2, 2), (3, 1), (4, 1), (5, 0), (5, 0x30),
            (6, 0x20), (10, 2), (15, 1), (25, 0x10), (29, 0x10), (33, 0x10),
        ]
        for (offset, byte) in wrong {
            var bytes = good
            bytes[offset] = byte
            #expect(throws: RecordDamage.self, "byte \(offset)") { try decoded(bytes, at: 0) }
        }
        #expect(throws: RecordDamage.self) { try decoded(good, at: 100) }
        #expect(throws: RecordDamage.self) { try decoded(good, at: 1 << 63) }
        #expect(throws: RecordDamage.self) { try decoded(Array(good.dropLast()), at: 0) }
        #expect(throws: RecordDamage.self) { try decoded(good + [0], at: 0) }
    }

    @Test("Whatever bytes come, decoding ends with a record or with damage")
    func arbitraryBytes() {  // T4
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let samples: [[UInt8]] = [
            InodeRecord(
                kind: .regular, permissions: [], links: 1, birth: TransactionGroup(rawValue: 1),
                time: Timestamp(seconds: 1)
            ).encoded,
            EntryRecord(inode: 20, distinction: 1, kind: .regular).encoded,
            ExtentRecord(
                .stored, length: 8192, at: BlockNumber(rawValue: 7),
                birth: TransactionGroup(rawValue: 9), hasChecksums: true
            ).encoded([1, 2], blockSize: 4096),
            ExtentRecord(
                .lz4, whole: 65536, stored: 5000, at: BlockNumber(rawValue: 7),
                birth: TransactionGroup(rawValue: 9), hasChecksums: true
            ).encoded([1], blockSize: 4096),
        ]
        for _ in 0..<rounds(20_000) {
            var bytes = samples[random.number(below: samples.count)]
            for _ in 0...random.number(below: 4) {
                switch random.number(below: 8) {
                case 0: bytes = Array(bytes.prefix(random.number(below: bytes.count + 1)))
                case 1: bytes.append(UInt8(truncatingIfNeeded: random.next()))
                default:
                    guard !bytes.isEmpty else { continue }
                    bytes[random.number(below: bytes.count)] =
                        random.oneIn(3) ? 0xFF : UInt8(truncatingIfNeeded: random.next())
                }
            }
            let offset = random.oneIn(2) ? UInt64(random.number(below: 100)) << 12 : random.next()
            bytes.withUnsafeBytes { bytes in
                _ = try? InodeRecord(decoding: bytes)
                _ = try? EntryRecord(decoding: bytes)
                _ = try? AttributeRecord.tail(bytes)
                _ = try? AttributeRecord.first(bytes)
                guard let extent = try? ExtentRecord(decoding: bytes, at: offset, limits) else {
                    return
                }
                let run = extent.run(of: limits.blockSize)
                #expect(run.end.rawValue <= limits.places.upperBound, "seed \(seed)")
                #expect(extent.skip + extent.length <= max(extent.whole, extent.length))
                #expect(extent.encodedLength(blockSize: 4096) == bytes.count, "seed \(seed)")
            }
        }
    }

    @Test("Tails of attributes name a first record or a piece")
    func attributeTails() throws {  // V11, T4
        func tail(_ bytes: [UInt8]) throws -> AttributeRecord.Tail {
            try bytes.withUnsafeBytes { try AttributeRecord.tail($0) }
        }
        #expect(try tail(Array("user.a".utf8)) == .first)
        #expect(try tail(Array("user.a".utf8) + [0, 3]) == .piece(3, nameLength: 6))
        for bytes in [
            [], [0, 1], Array("a".utf8) + [0], Array("a".utf8) + [0, 0],
            Array("a".utf8) + [0, 1, 1], [UInt8](repeating: 65, count: 256),
        ] as [[UInt8]] {
            #expect(throws: RecordDamage.self, "\(bytes)") { try tail(bytes) }
        }
        #expect(throws: RecordDamage.self) {
            try [1, 0, 1, 0].withUnsafeBytes { _ = try AttributeRecord.first($0) }
        }
        #expect(throws: RecordDamage.self) {
            try ([1, 0, 0, 0, 7, 8] as [UInt8]).withUnsafeBytes {
                _ = try AttributeRecord.first($0)
            }
        }
    }

    private func decoded(_ bytes: [UInt8], at offset: UInt64) throws -> ExtentRecord {
        try bytes.withUnsafeBytes {
            try ExtentRecord(decoding: $0, at: offset, limits)
        }
    }
}

@Suite struct NameNumberTests {
    /// Of the paper's reference implementation: key 00 01 … 0f, message 00 01 …, by its length.
    private static let vectors: [(length: Int, hash: UInt64)] = [
        (0, 0x726f_db47_dd0e_0e31), (1, 0x74f8_39c5_93dc_67fd), (2, 0x0d6c_8009_d9a9_4f5a),
        (3, 0x8567_6696_d7fb_7e2d), (4, 0xcf27_94e0_2771_87b7), (5, 0x1876_5564_cd99_a68d),
        (6, 0xcbc9_466e_58fe_e3ce), (7, 0xab02_00f5_8b01_d137), (8, 0x93f5_f579_9a93_2462),
        (9, 0x9e00_82df_0ba9_e4b0), (10, 0x7a5d_bbc5_94dd_b9f3), (11, 0xf4b3_2f46_226b_ada7),
        (12, 0x751e_8fbc_860e_e5fb), (13, 0x14ea_5627_c084_3d90), (14, 0xf723_ca90_8e7a_f2ee),
        (15, 0xa129_ca61_49be_45e5), (16, 0x3f2a_cc7f_57c2_9bdb), (31, 0x32d8_92fa_d841_c342),
        (32, 0x7127_512f_72f2_7cce), (63, 0x958a_324c_eb06_4572),
    ]

    private let key = NameKey(first: 0x0706_0504_0302_0100, second: 0x0f0e_0d0c_0b0a_0908)

    @Test("The hash is SipHash-2-4")
    func reference() {  // D4, D12
        for (length, hash) in Self.vectors {
            let message = (0..<length).map { UInt8($0) }
            #expect(message.withUnsafeBytes { key.sipHash($0) } == hash, "\(length) bytes")
        }
        let bytes = (0..<16).map { UInt8($0) }
        #expect(bytes.withUnsafeBytes { NameKey($0) } == key)
    }

    @Test("A name's number leaves room for the distinction")
    func numbers() {  // D4, D12
        let number = [UInt8](0..<15).withUnsafeBytes { key.number(of: $0) }
        #expect(number == (0xa129_ca61_49be_45e5 as UInt64 >> 18) << 16)
        #expect(number & 0xFFFF == 0)
        #expect(number <= (1 << 62) - 65536)
        var colliding = key
        colliding.hashBits = 0
        #expect([UInt8](0..<15).withUnsafeBytes { colliding.number(of: $0) } == 0)
    }
}
