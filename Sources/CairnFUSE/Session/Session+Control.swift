// IOCTL: the flags that chattr(1) and lsattr(1) speak of.
//
// The kernel sends the four ioctls of file flags as they are; everything else is ENOTTY.

import CairnBase
import CairnVFS

extension Session {
    /// Linux's ioctl numbers (linux/fs.h).
    enum ControlCode {
        static let getFlags: UInt32 = 0x8008_6601
        static let setFlags: UInt32 = 0x4008_6602
        static let getExtended: UInt32 = 0x801c_581f
        static let setExtended: UInt32 = 0x401c_5820

        static func changes(_ code: UInt32) -> Bool { code == setFlags || code == setExtended }
    }

    private static let replySize = 16
    private static let extendedFlagsSize = 28

    func control(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker
    ) throws(Pause) -> Outcome {
        let input = Fields(bytes: request.payload)
        switch request.arguments.u32(12) {
        case ControlCode.getFlags:
            let flags = try place(request.nodeID).inode.attributes().flags
            return try answer(reply, room: Int(request.arguments.u32(28)), size: 4) {
                reply.put(flags.rawValue, at: $0)
            }
        case ControlCode.setFlags:
            guard request.payload.count >= 4 else { throw .failed(.EINVAL) }
            return try setFlags(FileFlags(rawValue: input.u32(0)), request, reply, worker)
        case ControlCode.getExtended:
            let flags = try place(request.nodeID).inode.attributes().flags
            let size = Self.extendedFlagsSize
            return try answer(reply, room: Int(request.arguments.u32(28)), size: size) {
                reply.zero($0, size)
                reply.put(Self.extendedFlags(flags), at: $0)
            }
        case ControlCode.setExtended:
            guard request.payload.count >= 4 else { throw .failed(.EINVAL) }
            let kept = try place(request.nodeID).inode.attributes().flags
                .intersection([.compress, .noCopyOnWrite])
            return try setFlags(
                Self.fileFlags(input.u32(0)).union(kept), request, reply, worker)
        default:
            throw .failed(.ENOTTY)
        }
    }

    private func setFlags(
        _ flags: FileFlags, _ request: Request, _ reply: ReplyBuffer, _ worker: Worker
    ) throws(Pause) -> Outcome {
        let place = try writable(request.nodeID)
        // What the kernel gathers comes here when it likes.
        if flags.contains(.sync), negotiated.writebackCache,
            !(try place.inode.attributes().flags.contains(.sync))
        {
            throw .failed(.EOPNOTSUPP)
        }
        var change = AttributeChange()
        change.flags = flags.intersection(.settable)
        try vfs.setAttributes(of: place.inode, change, by: caller(request, worker))
        return try answer(reply, room: 0, size: 0) { _ in }
    }

    /// struct fuse_ioctl_out, and the data after it.
    private func answer(
        _ reply: ReplyBuffer, room: Int, size: Int, _ fill: (Int) -> Void
    ) throws(Pause) -> Outcome {
        guard room >= size, reply.capacity >= Self.replySize + room else {
            throw .failed(.EINVAL)
        }
        reply.zero(0, Self.replySize + room)
        fill(Self.replySize)
        return .reply(Self.replySize + room)
    }

    // FS_XFLAG_*: immutable 0x8, append 0x10, sync 0x20, noatime 0x40, nodump 0x80.
    private static let extendedBits: [(UInt32, FileFlags)] = [
        (0x08, .immutable), (0x10, .appendOnly), (0x20, .sync), (0x40, .noAccessTime),
        (0x80, .noDump),
    ]

    private static func extendedFlags(_ flags: FileFlags) -> UInt32 {
        extendedBits.reduce(0) { flags.contains($1.1) ? $0 | $1.0 : $0 }
    }

    private static func fileFlags(_ bits: UInt32) -> FileFlags {
        extendedBits.reduce(into: FileFlags()) { if bits & $1.0 != 0 { $0.insert($1.1) } }
    }
}
