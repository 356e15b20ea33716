// File data (requirements V7, M1), over every ground.

import CairnBase
import CairnTestSupport
import CairnTree
import CairnVFS
import Testing

@Suite struct DataTests {
    @Test("What was written is read back, wherever it stands", arguments: Ground.allCases)
    func roundTrip(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            let file = try s.file("/f")
            let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
            #expect(try s.write(file, bytes, at: .offset(3)) == bytes.count)
            #expect(try s.read(file, count: 300_000) == [0, 0, 0] + bytes)
            #expect(try s.read(file, at: 65_530, count: 20) == Array(bytes[65_527..<65_547]))
            #expect(try s.read(file, at: 200_003) == [])
            #expect(try s.read(file, at: .max >> 1) == [])
            #expect(try s.stat(file).size == 200_003)
            #expect(try s.stat(file).blocks >= (ground == .diskLZ4 ? 1 : 390))
            #expect(try s.write(file, []) == 0)
        }
    }

    @Test("Appending goes to the end", arguments: Ground.allCases)
    func append(_ ground: Ground) throws {  // V6
        try onFreshTree(ground) { s in
            let file = try s.file("/f", "ab")
            try s.write(file, "cd", at: .end)
            try s.write(file, "ef", at: .end)
            #expect(try s.text(file) == "abcdef")
        }
    }

    @Test("What was cut off does not come back", arguments: Ground.allCases)
    func truncate(_ ground: Ground) throws {  // M1
        try onFreshTree(ground) { s in
            let file = try s.file("/f")
            let bytes = [UInt8](repeating: 0xAA, count: 150_000)
            for cut: UInt64 in [0, 1, 100, 4095, 4096, 65_535, 65_536, 65_537, 131_072, 149_999] {
                try s.write(file, bytes)
                try s.truncate("/f", cut)
                #expect(try s.stat(file).size == cut)
                try s.truncate("/f", 150_000)
                let read = try s.read(file, count: 200_000)
                #expect(read.count == 150_000)
                #expect(read[..<Int(cut)].allSatisfy { $0 == 0xAA })
                #expect(read[Int(cut)...].allSatisfy { $0 == 0 }, "after a cut at \(cut)")
                try s.truncate("/f", cut)
                try s.write(file, [1], at: .offset(149_999))
                #expect(try s.read(file, at: cut, count: 200_000).dropLast().allSatisfy { $0 == 0 })
                try s.truncate("/f", 0)
                #expect(try s.stat(file).blocks == 0)
            }
            try s.directory("/d")
            try s.make(.symbolicLink, "/l", target: "f")
            #expect(throws: Errno.EISDIR) { try s.truncate("/d", 0) }
            #expect(throws: Errno.EINVAL) { try s.truncate("/l", 0) }
        }
    }

    @Test("Memory that was another file's is never shown", arguments: [Ground.memory])
    func noStaleBytes(_ ground: Ground) throws {  // M1
        try onFreshTree(ground) { s in
            var random = SeededRandom(seed: 11)
            for round in 0..<60 {
                let file = try s.file("/f\(round)")
                let size = 1 << random.number(below: 18)
                try s.write(file, [UInt8](repeating: 0xCC, count: size))
                if round % 2 == 0 { try s.unlink("/f\(round)") }
                let sparse = try s.file("/s\(round)")
                let end = UInt64(random.number(below: 150_000) + 1)
                try s.write(sparse, [7], at: .offset(end))
                #expect(try s.read(sparse, count: 200_000).dropLast().allSatisfy { $0 == 0 })
                try s.unlink("/s\(round)")
            }
        }
    }

    @Test("Offsets go up to 2^63 - 1, and no further", arguments: Ground.allCases)
    func largeOffsets(_ ground: Ground) throws {  // M1
        try onFreshTree(ground) { s in
            let file = try s.file("/f", "start")
            let last = UInt64(Int64.max) - 1
            #expect(try s.write(file, [42, 43], at: .offset(last)) == 1)
            #expect(try s.stat(file).size == last + 1)
            #expect(try s.read(file, at: last) == [42])
            #expect(try s.read(file, at: last - 3) == [0, 0, 0, 42])
            #expect(throws: Errno.EFBIG) { try s.write(file, [1], at: .offset(last + 1)) }
            #expect(throws: Errno.EFBIG) { try s.truncate("/f", last + 2) }
            #expect(try s.seek("/f", .data, 100_000) & ~0xFFFF == last & ~0xFFFF)
            try s.truncate("/f", 5)
            #expect(try s.text(file) == "start")
            for shift in stride(from: 17, to: 63, by: 3) {
                try s.write(file, [UInt8(shift)], at: .offset(1 << UInt64(shift)))
            }
            for shift in stride(from: 17, to: 63, by: 3) {
                #expect(try s.read(file, at: 1 << UInt64(shift), count: 1) == [UInt8(shift)])
            }
        }
    }

    @Test("Data and holes are told apart", arguments: Ground.allCases)
    func seek(_ ground: Ground) throws {  // V7
        try onFreshTree(ground) { s in
            let file = try s.file("/f")
            #expect(throws: Errno.ENXIO) { try s.seek("/f", .data, 0) }
            #expect(throws: Errno.ENXIO) { try s.seek("/f", .hole, 0) }
            try s.write(file, [1], at: .offset(1 << 20))
            try s.truncate("/f", 4 << 20)
            let data = try s.seek("/f", .data, 0)
            #expect(data > 0 && data <= 1 << 20)
            #expect(try s.seek("/f", .hole, 0) == 0)
            #expect(try s.seek("/f", .data, 1 << 20) == 1 << 20)
            let hole = try s.seek("/f", .hole, 1 << 20)
            #expect(hole > 1 << 20 && hole < 4 << 20)
            #expect(throws: Errno.ENXIO) { try s.seek("/f", .data, hole) }
            #expect(throws: Errno.ENXIO) { try s.seek("/f", .hole, 4 << 20) }
            let full = try s.file("/g")
            try s.write(full, [UInt8](repeating: 1, count: 65_536))
            #expect(try s.seek("/g", .hole, 5) == 65_536)
            #expect(try s.seek("/g", .data, 5) == 5)
            try s.directory("/d")
            #expect(throws: Errno.EINVAL) { try s.seek("/d", .data, 0) }
        }
    }

    @Test("fallocate reserves, punches and zeros", arguments: Ground.allCases)
    func allocate(_ ground: Ground) throws {  // V7
        try onFreshTree(ground) { s in
            let file = try s.file("/f")
            try s.allocate("/f", .reserve(keepSize: true), 0, 200_000)
            #expect(try s.stat(file).size == 0)
            #expect(try s.stat(file).blocks >= (ground == .diskLZ4 ? 1 : 390))
            try s.allocate("/f", .reserve(keepSize: false), 1000, 199_000)
            #expect(try s.stat(file).size == 200_000)
            #expect(try s.read(file, count: 300_000).allSatisfy { $0 == 0 })
            let bytes = [UInt8](repeating: 9, count: 200_000)
            try s.write(file, bytes)
            let held = try s.stat(file).blocks
            try s.allocate("/f", .punchHole, 5_000, 140_000)
            #expect(try s.stat(file).blocks < held)
            #expect(try s.stat(file).size == 200_000)
            var expected = bytes
            expected.replaceSubrange(5_000..<145_000, with: [UInt8](repeating: 0, count: 140_000))
            // From the start of a block, and not to its end.
            try s.allocate("/f", .punchHole, 196_608, 1000)
            expected.replaceSubrange(196_608..<197_608, with: [UInt8](repeating: 0, count: 1000))
            #expect(try s.read(file, count: 300_000) == expected)
            try s.allocate("/f", .zero(keepSize: false), 150_000, 100_000)
            #expect(try s.stat(file).size == 250_000)
            #expect(try s.read(file, at: 150_000, count: 300_000).allSatisfy { $0 == 0 })
            #expect(try s.read(file, at: 149_999, count: 1) == [9])
            try s.allocate("/f", .punchHole, 0, 1 << 40)
            #expect(try s.read(file, count: 300_000).allSatisfy { $0 == 0 })
            #expect(throws: Errno.EINVAL) { try s.allocate("/f", .punchHole, 0, 0) }
            #expect(throws: Errno.EFBIG) {
                try s.allocate("/f", .reserve(keepSize: false), .max - 5, 10)
            }
            #expect(throws: Errno.EFBIG) {
                try s.allocate("/f", .reserve(keepSize: false), 1 << 62, 1 << 62)
            }
            #expect(throws: Errno.EOPNOTSUPP) { try s.allocate("/f", .collapse, 0, 4096) }
            try s.directory("/d")
            #expect(throws: Errno.EISDIR) { try s.allocate("/d", .punchHole, 0, 1) }
        }
    }

    @Test("Ranges are copied between files, and within one", arguments: Ground.allCases)
    func copyRange(_ ground: Ground) throws {  // V7
        try onFreshTree(ground) { s in
            let bytes = (0..<600_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
            let source = try s.file("/a")
            try s.write(source, bytes)
            let target = try s.file("/b")
            var done = 0
            while done < 500_000 {
                let count = try s.copy(
                    "/a", 50_000 + UInt64(done), "/b", 10 + UInt64(done), UInt64(500_000 - done))
                #expect(count > 0)
                done += count
            }
            #expect(try s.read(target, at: 10, count: 600_000) == Array(bytes[50_000..<550_000]))
            #expect(try s.copy("/a", 599_990, "/b", 0, 1000) == 10)
            #expect(try s.copy("/a", 600_000, "/b", 0, 1000) == 0)
            #expect(throws: Errno.EINVAL) { try s.copy("/a", 0, "/a", 100, 200) }
            #expect(try s.copy("/a", 0, "/a", 1_000_000, 100) == 100)
            #expect(try s.read(source, at: 1_000_000, count: 200) == Array(bytes[..<100]))
        }
    }

    @Test("Writing dates a file, and reading it as the policy says", arguments: Ground.allCases)
    func times(_ ground: Ground) throws {  // V10
        try onFreshTree(ground) { s in
            func tick(_ seconds: UInt64 = 1) -> Timestamp {
                s.time.advance(nanoseconds: seconds * 1_000_000_000)
                return s.time.now()
            }
            let file = try s.file("/f")
            let written = tick()
            try s.write(file, "x")
            #expect(try s.stat(file).modificationTime == written)
            #expect(try s.stat(file).changeTime == written)
            _ = tick()
            try s.write(file, [1], options: .keepTimes)
            #expect(try s.stat(file).modificationTime == written)
            func read(_ policy: AccessTimePolicy) throws -> Timestamp {
                // A store may not have what it needs at once; then the time is not kept.
                for _ in 0..<50 { file.noteAccess(policy) }
                return try s.stat(file).accessTime
            }
            #expect(try read(.never) < written)
            let first = tick()
            #expect(try read(.relative) == first)
            _ = tick()
            #expect(try read(.relative) == first)
            let late = tick(86_400)
            #expect(try read(.relative) == late)
            let strict = tick()
            #expect(try read(.strict) == strict)
            let cut = tick()
            try s.truncate("/f", 0)
            #expect(try s.stat(file).modificationTime == cut)
            try s.set(file) { $0.flags = .noAccessTime }
            _ = tick()
            #expect(try read(.strict) == strict)
        }
    }

    @Test("Writing takes set-id bits away where it must", arguments: Ground.allCases)
    func clearsPrivileges(_ ground: Ground) throws {  // V9
        try onFreshTree(ground) { s in
            let file = try s.file("/f", mode: 0o6755)
            try s.write(file, [1])
            #expect(try s.stat(file).permissions.rawValue == 0o6755)
            try s.write(file, [1], options: .clearPrivileges)
            #expect(try s.stat(file).permissions.rawValue == 0o755)
            let locked = try s.file("/g", mode: 0o6644)
            try s.write(locked, [1], options: .clearPrivileges)
            #expect(try s.stat(locked).permissions.rawValue == 0o2644)
        }
    }

    @Test("What cannot hold data refuses it", arguments: Ground.allCases)
    func wrongKinds(_ ground: Ground) throws {
        try onFreshTree(ground) { s in
            try s.directory("/d")
            try s.make(.fifo, "/p")
            #expect(throws: Errno.EISDIR) { try s.read(s.inode("/d")) }
            #expect(throws: Errno.EISDIR) { try s.write(s.inode("/d"), [1]) }
            #expect(throws: Errno.EINVAL) { try s.write(s.inode("/p"), [1]) }
        }
    }
}
