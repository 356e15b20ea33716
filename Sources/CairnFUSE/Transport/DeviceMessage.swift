// Memory for messages over /dev/fuse, and the sending of replies.
//
// A reply's header stands right before its body, so that one write sends both, and the body
// begins on a page. A request is read to where the data of a WRITE begins on a page.

import CSystem
import CairnBase

/// Where a reply is made: room for its header, then its body.
final class ReplyMemory {
    private let base: UnsafeMutableRawPointer
    let body: ReplyBuffer
    private static let bodyOffset = 4096

    init(capacity: Int) {
        base = .allocate(byteCount: Self.bodyOffset + capacity, alignment: Self.bodyOffset)
        body = ReplyBuffer(
            bytes: UnsafeMutableRawBufferPointer(
                start: base + Self.bodyOffset, count: capacity))
    }

    deinit {
        base.deallocate()
    }

    /// Answers one request. A reply that the kernel does not take is replaced by an error, so
    /// that nobody waits for ever.
    func send(
        _ result: Result<Session.Outcome, Errno>, to unique: UInt64, over descriptor: Int32
    ) {
        let error: Int32
        var length = Wire.replyHeaderSize
        switch result {
        case .success(.silent): return
        case .success(.reply(let count)):
            error = 0
            length += count
        case .success(.notImplemented): error = Errno.ENOSYS.rawValue
        case .failure(let errno): error = errno.rawValue
        }
        write(-error, length, unique, descriptor)
    }

    private func write(
        _ error: Int32, _ length: Int, _ unique: UInt64, _ descriptor: Int32
    ) {
        let header = base + Self.bodyOffset - Wire.replyHeaderSize
        header.storeBytes(of: UInt32(length), as: UInt32.self)
        header.storeBytes(of: error, toByteOffset: 4, as: Int32.self)
        header.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
        let sent = cairn_write(descriptor, header, length)
        // ENOENT: the request is gone. ENODEV: the mount is.
        let isOver = [Errno.ENOENT.rawValue, Errno.ENODEV.rawValue].contains(Int32(-min(sent, 0)))
        if sent < 0, !isOver, length > Wire.replyHeaderSize {
            write(-Errno.EIO.rawValue, Wire.replyHeaderSize, unique, descriptor)
        }
    }
}

/// Where a request is read to.
final class RequestMemory {
    private let base: UnsafeMutableRawPointer
    let bytes: UnsafeMutableRawBufferPointer
    private static let pageSize = 4096
    private static let writeHeaderSize = Wire.requestHeaderSize + 40

    /// For requests that carry at most `capacity` bytes of data.
    init(capacity: Int) {
        base = .allocate(
            byteCount: 2 * Self.pageSize + capacity, alignment: Self.pageSize)
        let start = Self.pageSize - Self.writeHeaderSize
        bytes = UnsafeMutableRawBufferPointer(
            start: base + start, count: 2 * Self.pageSize + capacity - start)
    }

    deinit {
        base.deallocate()
    }
}

/// A request that came over /dev/fuse and is parked: it keeps its memory.
final class DeviceMessage: MessageHolder {
    let request: Request
    private let memory: RequestMemory
    private let replyMemory: ReplyMemory
    private let descriptor: Int32

    var reply: ReplyBuffer { replyMemory.body }

    /// `message` lies in `memory`, which is the holder's from now on.
    init(_ request: Request, in memory: RequestMemory, descriptor: Int32) {
        self.request = request
        self.memory = memory
        self.descriptor = descriptor
        // As much as the request can ask for: names and attributes fit 64 KiB.
        var capacity = 1 << 16
        switch request.opcode {
        case .read, .readDirectory, .readDirectoryPlus:
            capacity = min(max(capacity, Int(request.arguments.u32(16))), 1 << 21)
        default: break
        }
        replyMemory = ReplyMemory(capacity: capacity)
    }

    func answer(_ result: Result<Session.Outcome, Errno>) {
        replyMemory.send(result, to: request.unique, over: descriptor)
    }
}
