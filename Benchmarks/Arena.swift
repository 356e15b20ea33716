// Where the bytes of pages stand: the pool's memory file beside memory of the heap and anonymous memory
// (docs/adr/007-arena.md).

import CSystem
import CairnIO
import Glibc

struct ArenaBenchmark {
    private static let pages = 32_768
    private static let rounds = 5

    private enum Kind: String, CaseIterable {
        case file = "a memory file, mapped shared"
        case anonymous = "anonymous memory"
        case huge = "the same, huge pages asked for"
        case heap = "posix_memalign for each page"
    }

    private struct Times {
        var touch: Double
        var use: Double
        var giveBack: Double
    }

    func run() {
        var rows: [Row] = []
        var all = Kind.allCases.map { _ in [Times]() }
        for _ in 0..<Self.rounds {
            for (number, kind) in Kind.allCases.enumerated() {
                if let times = measure(kind) { all[number].append(times) }
            }
        }
        for (number, kind) in Kind.allCases.enumerated() where !all[number].isEmpty {
            func median(_ field: (Times) -> Double) -> String {
                nanosecondsText(all[number].map(field).sorted()[all[number].count / 2])
            }
            rows.append(
                Row(
                    name: kind.rawValue,
                    figures: [median(\.touch), median(\.use), median(\.giveBack)]))
        }
        printTable(
            "128 MiB of pages of 4 KiB",
            ["", "first touch of a page", "copy of 4 KiB at random", "giving a page back"], rows)
    }

    private func measure(_ kind: Kind) -> Times? {
        let size = Self.pages * 4096
        var places: [UnsafeMutableRawPointer] = []
        places.reserveCapacity(Self.pages)
        var descriptor: Int32 = -1
        var base: UnsafeMutableRawPointer?
        switch kind {
        case .file:
            descriptor = cairn_memory_file("bench", UInt64(size))
            guard descriptor >= 0 else { return nil }
            base = cairn_map_shared(descriptor, size)
        case .anonymous: base = cairn_map_anonymous(size, 4096, 0)
        case .huge: base = cairn_map_anonymous(size, 2 << 20, 1)
        case .heap: break
        }
        let start = processorTime()
        for page in 0..<Self.pages {
            if let base {
                places.append(base + page * 4096)
            } else {
                var place: UnsafeMutableRawPointer?
                guard posix_memalign(&place, 4096, 4096) == 0, let place else { return nil }
                places.append(place)
            }
            memset(places[page], 1, 4096)
        }
        let touched = processorTime()
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { buffer.deallocate() }
        var random: UInt64 = 1
        for _ in 0..<Self.pages * 8 {
            random ^= random << 13
            random ^= random >> 7
            random ^= random << 17
            memcpy(buffer, places[Int(random >> 33) % Self.pages], 4096)
        }
        let used = processorTime()
        // In pieces of 64 pages, as the pool does.
        for page in stride(from: 0, to: Self.pages, by: 64) {
            switch kind {
            case .file:
                _ = cairn_memory_file_punch(descriptor, UInt64(page * 4096), 64 * 4096)
            case .anonymous, .huge: madvise(places[page], 64 * 4096, MADV_DONTNEED)
            case .heap:
                for place in places[page..<page + 64] { free(place) }
            }
        }
        let ended = processorTime()
        if let base { cairn_unmap(base, size) }
        if descriptor >= 0 { _ = cairn_close(descriptor) }
        return Times(
            touch: Double(touched - start) / Double(Self.pages),
            use: Double(used - touched) / Double(Self.pages * 8),
            giveBack: Double(ended - used) / Double(Self.pages))
    }
}
