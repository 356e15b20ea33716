// DeviceFiles: the descriptors of a file or block device that is open, and what it can do.
//
// `main` goes past the page cache where that can be, `buffered` through it; they are the same file.
// The lock is on `main`.
//
// Threading: immutable but for `close`, which is called once nothing is under way.

import CSystem
import CairnBase
import Glibc

final class DeviceFiles: @unchecked Sendable {
    // Sendable: `lock` guards `isClosed` and `reactor`; the rest does not change.
    let facts: cairn_device_facts
    let main: ReactorFile
    /// The same as `main` if that goes through the page cache.
    let buffered: ReactorFile
    let isDirect: Bool
    /// What O_DIRECT asks of memory, and of offsets and lengths; 1 without it.
    let memoryAlignment: Int
    private let offsetAlignment: Int

    private let lock = Lock()
    private var isClosed = false
    private var reactor: Reactor?

    /// Opens them, and waits as long as the options say where they are locked.
    static func opened(path: String, options: FileDevice.Options) throws(Errno) -> DeviceFiles {
        let step = 20
        var left = options.patience
        while true {
            do throws(Errno) {
                return try DeviceFiles(path: path, options: options)
            } catch {
                guard error == .EBUSY, left > 0 else { throw error }
            }
            usleep(UInt32(step * 1000))
            left -= step
        }
    }

    private init(path: String, options: FileDevice.Options) throws(Errno) {
        let access = options.isReadOnly ? 0 : CAIRN_DEVICE_WRITE
        let plain = try Self.open(path, access)
        do throws(Errno) {
            facts = try Self.describe(plain)
            if facts.is_read_only != 0, !options.isReadOnly { throw .EROFS }
        } catch {
            _ = cairn_close(plain)
            throw error
        }
        let chosen: (main: Int32, isDirect: Bool)
        do throws(Errno) {
            chosen = try Self.openMain(path, access, facts, isDirect: options.isDirect)
        } catch {
            _ = cairn_close(plain)
            throw error
        }
        main = ReactorFile(chosen.main)
        isDirect = chosen.isDirect
        buffered = ReactorFile(plain)
        memoryAlignment = isDirect ? max(Int(facts.direct_memory_alignment), 1) : 1
        offsetAlignment = isDirect ? max(Int(facts.direct_offset_alignment), 1) : 1
        let result = cairn_device_lock(chosen.main, options.isReadOnly ? 1 : 0)
        // What is open is closed by `deinit`.
        guard result == 0 else {
            throw result == -Errno.EAGAIN.rawValue ? .EBUSY : Errno(rawValue: -result)
        }
    }

    deinit {
        close()
    }

    private static func open(_ path: String, _ flags: Int32) throws(Errno) -> Int32 {
        let descriptor = cairn_device_open(path, flags)
        guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
        return descriptor
    }

    private static func describe(_ descriptor: Int32) throws(Errno) -> cairn_device_facts {
        var facts = cairn_device_facts()
        let result = cairn_device_describe(descriptor, &facts)
        guard result == 0 else { throw Errno(rawValue: -result) }
        if facts.direct_offset_alignment == 0 {
            // A kernel before 6.1 does not say. What asks for more than a page is unheard of.
            facts.direct_memory_alignment = 4096
            facts.direct_offset_alignment = 4096
        }
        return facts
    }

    /// Opens the file that requests go to, directly if that can be; it must still be the same file.
    private static func openMain(
        _ path: String, _ access: Int32, _ known: cairn_device_facts, isDirect: Bool
    ) throws(Errno) -> (Int32, Bool) {
        let claims = known.is_block_device != 0 && access & CAIRN_DEVICE_WRITE != 0
        let flags = access | (claims ? CAIRN_DEVICE_EXCLUSIVE : 0)
        var descriptor: Int32 = -1
        var direct = isDirect
        if isDirect { descriptor = cairn_device_open(path, flags | CAIRN_DEVICE_DIRECT) }
        if !isDirect || descriptor == -Errno.EINVAL.rawValue {
            direct = false
            descriptor = cairn_device_open(path, flags)
        }
        guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
        do throws(Errno) {
            let facts = try describe(descriptor)
            guard facts.device == known.device, facts.inode == known.inode else { throw .ESTALE }
            return (descriptor, direct)
        } catch {
            _ = cairn_close(descriptor)
            throw error
        }
    }

    /// Whether a request for this memory can go past the page cache, if there is a way.
    func takesDirectly(offset: UInt64, _ segments: UnsafeBufferPointer<BlockSegment>) -> Bool {
        guard isDirect else { return true }
        let offsetMask = offsetAlignment &- 1
        let memoryMask = UInt(memoryAlignment &- 1)
        guard offset & UInt64(offsetMask) == 0 else { return false }
        for segment in segments {
            if UInt(bitPattern: segment.address) & memoryMask != 0 { return false }
            if segment.count & offsetMask != 0 { return false }
        }
        return true
    }

    /// Before any request.
    func register(with reactor: Reactor) {
        self.reactor = reactor
        reactor.register(main)
    }

    func close() {
        let isFirst = lock.withLock {
            defer { isClosed = true }
            return !isClosed
        }
        guard isFirst else { return }
        // The ring may hold on to the file for a moment.
        cairn_device_unlock(main.descriptor)
        reactor?.unregister(main)
        reactor = nil
        _ = cairn_close(main.descriptor)
        _ = cairn_close(buffered.descriptor)
    }
}
