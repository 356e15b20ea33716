// OneMutexPool: the pool's operations behind one mutex: what requirement C4 is measured against.
//
// A hash table of pages and a list in order of use, all under one pthread mutex, as page caches are
// often built at first. It has what the benchmark asks for: pages that are here, and their states.

import CairnCache
import Glibc

final class OneMutexPool: @unchecked Sendable {
    // Sendable: `mutex` guards the rest.
    private struct Entry {
        var number: Int
        var isDirty = false
        var isWriting = false
        var newer = -1
        var older = -1
    }

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let memory: UnsafeMutableRawPointer
    private var numbers: [PageKey: Int] = [:]
    private var entries: [Entry] = []
    private var newest = -1
    private var oldest = -1

    init(pages: Int) {
        pthread_mutex_init(mutex, nil)
        memory = .allocate(byteCount: pages * 4096, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: pages * 4096)
        numbers.reserveCapacity(pages)
        entries.reserveCapacity(pages)
    }

    deinit {
        memory.deallocate()
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    private func withMutex<Value>(_ body: () -> Value) -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    func insert(_ key: PageKey) {
        withMutex {
            numbers[key] = entries.count
            entries.append(Entry(number: entries.count))
            link(entries.count - 1)
        }
    }

    private func link(_ number: Int) {
        entries[number].newer = -1
        entries[number].older = newest
        if newest >= 0 { entries[newest].newer = number }
        newest = number
        if oldest < 0 { oldest = number }
    }

    private func unlink(_ number: Int) {
        let (newer, older) = (entries[number].newer, entries[number].older)
        if newer >= 0 { entries[newer].older = older } else { newest = older }
        if older >= 0 { entries[older].newer = newer } else { oldest = newer }
    }

    private func bytes(_ number: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory + number * 4096, count: 4096)
    }

    /// The page, which is the newest then.
    func tryGet(_ key: PageKey) -> UnsafeRawBufferPointer? {
        withMutex {
            guard let number = numbers[key] else { return nil }
            unlink(number)
            link(number)
            return UnsafeRawBufferPointer(bytes(number))
        }
    }

    func hasDirty(_ key: PageKey) -> Bool {
        withMutex {
            guard let number = numbers[key] else { return false }
            return entries[number].isDirty || entries[number].isWriting
        }
    }

    func getDirty(_ key: PageKey) -> Bool {
        withMutex {
            guard let number = numbers[key], entries[number].isDirty, !entries[number].isWriting
            else { return false }
            entries[number].isDirty = false
            entries[number].isWriting = true
            return true
        }
    }

    func markFlushed(_ key: PageKey) {
        withMutex {
            if let number = numbers[key] { entries[number].isWriting = false }
        }
    }

    func markNeedsFlush(_ key: PageKey) {
        withMutex {
            if let number = numbers[key] { entries[number].isDirty = true }
        }
    }

    func modifyDirtyInPlace(
        _ key: PageKey, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        withMutex {
            guard let number = numbers[key] else { return }
            body(bytes(number))
            entries[number].isDirty = true
        }
    }
}
