// RingRegistrations: files and memory that a ring knows by number, so that the kernel need not look
// them up, nor pin the memory, for each request.
//
// All is best effort: what the kernel refuses (an old one, RLIMIT_MEMLOCK) is used without.
//
// Threading: any thread, under `lock`; io_uring_register(2) is safe beside the loop's calls.

import CLiburing
import CairnBase
import Glibc
import Synchronization

final class RingRegistrations: @unchecked Sendable {
    // Sendable: `lock` guards what changes.
    private let ring: UnsafeMutablePointer<io_uring>
    private let lock = Lock()
    // Guarded by `lock`.
    private var freeFiles: [Int32] = []
    private var freeBuffers: [UInt32] = []
    private var regions: [Region] = []
    private var hasEnded = false
    /// So that a ring without registered memory does not take the lock for each request.
    private let regionCount = Atomic<Int>(0)

    /// A part of registered memory with a number of its own: the kernel takes 1 GiB at most.
    private struct Region {
        let memory: UnsafeMutableRawBufferPointer
        let index: UInt32
    }

    private static let fileCount: UInt32 = 64
    private static let bufferCount: UInt32 = 256
    private static let regionLimit = 1 << 30

    init(_ ring: UnsafeMutablePointer<io_uring>) {
        self.ring = ring
        if io_uring_register_files_sparse(ring, Self.fileCount) == 0 {
            freeFiles = (0..<Int32(Self.fileCount)).reversed()
        }
        if io_uring_register_buffers_sparse(ring, Self.bufferCount) == 0 {
            freeBuffers = (0..<Self.bufferCount).reversed()
        }
    }

    /// The ring goes, and everything with it.
    func end() {
        lock.withLock { hasEnded = true }
    }

    // MARK: Files

    func add(_ file: ReactorFile) {
        lock.withLock {
            guard !hasEnded, let index = freeFiles.popLast() else { return }
            var descriptor = file.descriptor
            if io_uring_register_files_update(ring, UInt32(index), &descriptor, 1) == 1 {
                file.registered = index
            } else {
                freeFiles.append(index)
            }
        }
    }

    func remove(_ file: ReactorFile) {
        lock.withLock {
            guard !hasEnded, file.registered >= 0 else { return }
            var none: Int32 = -1
            _ = io_uring_register_files_update(ring, UInt32(file.registered), &none, 1)
            freeFiles.append(file.registered)
            file.registered = -1
        }
    }

    // MARK: Memory

    func add(_ memory: UnsafeMutableRawBufferPointer) -> Bool {
        lock.withLock {
            guard !hasEnded else { return false }
            var start = 0
            while start < memory.count {
                let end = min(start + Self.regionLimit, memory.count)
                let part = UnsafeMutableRawBufferPointer(rebasing: memory[start..<end])
                guard let index = freeBuffers.popLast() else { break }
                guard update(index, part) else {
                    freeBuffers.append(index)
                    break
                }
                regions.append(Region(memory: part, index: index))
                start = end
            }
            if start < memory.count { removeRegions(in: memory) }
            regionCount.store(regions.count, ordering: .relaxed)
            return start >= memory.count
        }
    }

    func remove(_ memory: UnsafeMutableRawBufferPointer) {
        lock.withLock {
            guard !hasEnded else { return }
            removeRegions(in: memory)
            regionCount.store(regions.count, ordering: .relaxed)
        }
    }

    private func removeRegions(in memory: UnsafeMutableRawBufferPointer) {
        guard let first = memory.baseAddress else { return }
        let range = first..<(first + memory.count)
        regions.removeAll { region in
            guard let start = region.memory.baseAddress, range.contains(start) else { return false }
            _ = update(region.index, UnsafeMutableRawBufferPointer(start: nil, count: 0))
            freeBuffers.append(region.index)
            return true
        }
    }

    private func update(_ index: UInt32, _ memory: UnsafeMutableRawBufferPointer) -> Bool {
        var vector = iovec(iov_base: memory.baseAddress, iov_len: memory.count)
        return io_uring_register_buffers_update_tag(ring, index, &vector, nil, 1) == 1
    }

    /// The number of the region that has all of this memory.
    @inline(__always)
    func index(of address: UnsafeMutableRawPointer?, count: Int) -> Int32? {
        regionCount.load(ordering: .relaxed) == 0 ? nil : search(address, count)
    }

    private func search(_ address: UnsafeMutableRawPointer?, _ count: Int) -> Int32? {
        guard let address else { return nil }
        return lock.withLock {
            for region in regions {
                guard let start = region.memory.baseAddress, address >= start else { continue }
                let skipped = address - start
                if skipped <= region.memory.count, count <= region.memory.count - skipped {
                    return Int32(region.index)
                }
            }
            return nil
        }
    }
}
