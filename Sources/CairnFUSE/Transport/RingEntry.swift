// RingEntry: memory that the kernel puts one request into, and takes its reply from, over
// io_uring.
//
//     header, 288 bytes:   0  fuse_in_header, then fuse_out_header in its place
//                        128  the fixed structure of the request
//                        256  flags u64 | commit id u64 | payload bytes u32 | – u32 | – u64
//     payload:                names and data of the request, then the body of the reply
//
// Source: struct fuse_uring_req_header of the kernel's include/uapi/linux/fuse.h, 7.42.
//
// Threading: belongs to its queue's thread, except between parking and `answer`, when it belongs
// to whoever finishes the wait.

import CSystem
import CairnBase
import CairnVFS
import Glibc

final class RingEntry: MessageHolder {
    static let headerSize = 288
    private static let argumentsOffset = 128
    private static let statusOffset = 256

    /// The kernel's number of the queue: the processor whose requests it takes.
    let queueID: UInt16
    /// Its place among the loop's entries; set by the loop.
    var index = 0
    private let memory: UnsafeMutableRawPointer
    private let memorySize: Int
    private let payload: UnsafeMutableRawBufferPointer
    /// What REGISTER points the kernel to: header and payload.
    let parts: UnsafeMutablePointer<iovec>
    private var current: Request?
    /// It has brought a request, so the kernel had taken it.
    private(set) var hasServed = false
    /// Strongly, as a parked entry may finish after its loop has failed. The loop lets go of its
    /// entries when it ends.
    private let loop: RingLoop
    private static let pageSize = 4096

    /// Nil if there is no memory.
    init?(queueID: UInt16, payloadSize: Int, loop: RingLoop) {
        memorySize = Self.pageSize + payloadSize
        guard let base = cairn_map_anonymous(memorySize, Self.pageSize, 0) else { return nil }
        self.queueID = queueID
        self.loop = loop
        memory = base
        payload = UnsafeMutableRawBufferPointer(start: base + Self.pageSize, count: payloadSize)
        parts = .allocate(capacity: 2)
        parts[0] = iovec(iov_base: base, iov_len: Self.headerSize)
        parts[1] = iovec(iov_base: base + Self.pageSize, iov_len: payloadSize)
    }

    deinit {
        parts.deallocate()
        cairn_unmap(memory, memorySize)
    }

    /// What REGISTER and COMMIT_AND_FETCH are to name.
    var commitID: UInt64 { status.u64(8) }

    private var status: Fields {
        Fields(
            bytes: UnsafeRawBufferPointer(start: memory + Self.statusOffset, count: 32))
    }

    // MARK: The request

    /// Cuts the request that the kernel has put here.
    func parse() throws(Errno) -> Request {
        hasServed = true
        let count = min(Int(status.u32(16)), payload.count)
        let request = try Request.parse(
            header: UnsafeRawBufferPointer(start: memory, count: Self.argumentsOffset),
            arguments: UnsafeRawBufferPointer(
                start: memory + Self.argumentsOffset,
                count: Self.statusOffset - Self.argumentsOffset),
            payload: UnsafeRawBufferPointer(rebasing: payload[..<count]))
        current = request
        return request
    }

    var request: Request {
        guard let current else { preconditionFailure("an entry that has no request") }
        return current
    }

    var reply: ReplyBuffer { ReplyBuffer(bytes: payload) }

    // MARK: The reply

    /// From any thread: the parked request is done.
    func answer(_ result: Result<Session.Outcome, Errno>) {
        loop.finished(self, result)
    }

    /// Writes what COMMIT_AND_FETCH takes.
    func fillReply(_ result: Result<Session.Outcome, Errno>) {
        let unique = memory.load(fromByteOffset: 8, as: UInt64.self)
        var error: Int32 = 0
        var count = 0
        switch result {
        case .success(.reply(let length)): count = length
        case .success(.silent): break
        case .success(.notImplemented): error = -Errno.ENOSYS.rawValue
        case .failure(let errno): error = -errno.rawValue
        }
        memory.storeBytes(
            of: UInt32(Wire.replyHeaderSize + count), toByteOffset: 0, as: UInt32.self)
        memory.storeBytes(of: error, toByteOffset: 4, as: Int32.self)
        memory.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
        memory.storeBytes(
            of: UInt32(count), toByteOffset: Self.statusOffset + 16, as: UInt32.self)
        current = nil
    }
}
