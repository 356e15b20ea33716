// Request: one message of the kernel, cut into its parts and checked.
//
// A message has a header of 40 bytes, the fixed structure of its opcode, then names or data, and
// at the very end extensions (supplementary groups). Over /dev/fuse it comes as one piece; over
// io_uring the fixed structure stands apart. Both are cut here, so that nothing behind this line
// reads outside of what came. The bytes belong to the transport; a request borrows them.

import CairnBase
import CairnVFS

struct Request: @unchecked Sendable {
    // Sendable: borrows bytes that nobody changes while the request is worked on.
    let opcode: Opcode
    /// The kernel's number of the request.
    let unique: UInt64
    let nodeID: UInt64
    let user: UInt32
    let group: UInt32
    let process: UInt32
    /// The fixed structure of the opcode, whole.
    let arguments: Fields
    /// Names or data after it.
    let payload: UnsafeRawBufferPointer
    /// The extensions at the end.
    let extensions: UnsafeRawBufferPointer

    /// Moves so much data that it takes longer than to wake a thread.
    var isBulk: Bool {
        (opcode == .read || opcode == .write) && arguments.u32(16) >= 1 << 17
    }

    /// What a header says of a message whose opcode we do not know, to answer it at all.
    struct Header {
        var length: UInt32
        var opcode: UInt32
        var unique: UInt64
        var extensionLength: Int
    }

    static func header(_ bytes: UnsafeRawBufferPointer) -> Header? {
        guard bytes.count >= Wire.requestHeaderSize else { return nil }
        let fields = Fields(bytes: bytes)
        return Header(
            length: fields.u32(0), opcode: fields.u32(4), unique: fields.u64(8),
            extensionLength: Int(fields.u16(36)) * 8)
    }

    /// A message in one piece. ENOSYS for an unknown opcode, EINVAL for a malformed message.
    static func parse(_ message: UnsafeRawBufferPointer) throws(Errno) -> Request {
        guard let header = header(message), Int(header.length) == message.count else {
            throw .EINVAL
        }
        let opcode = try opcode(header)
        let body = message.dropFirst(Wire.requestHeaderSize)
        // The kernel of 7.22 and before sends a shorter INIT; longer structures of newer kernels
        // are data that nobody looks at.
        let fixed = opcode.argumentSize
        guard body.count >= fixed else { throw .EINVAL }
        return try Request(
            header: Fields(bytes: message), opcode: opcode,
            arguments: UnsafeRawBufferPointer(
                rebasing: opcode == .initialize ? body : body.prefix(fixed)),
            rest: UnsafeRawBufferPointer(rebasing: body.dropFirst(fixed)),
            extensionLength: header.extensionLength)
    }

    /// A message in three pieces, as io_uring brings it.
    static func parse(
        header bytes: UnsafeRawBufferPointer, arguments: UnsafeRawBufferPointer,
        payload: UnsafeRawBufferPointer
    ) throws(Errno) -> Request {
        guard let header = header(bytes) else { throw .EINVAL }
        let opcode = try opcode(header)
        guard arguments.count >= opcode.argumentSize else { throw .EINVAL }
        return try Request(
            header: Fields(bytes: bytes), opcode: opcode,
            arguments: UnsafeRawBufferPointer(rebasing: arguments.prefix(opcode.argumentSize)),
            rest: payload, extensionLength: header.extensionLength)
    }

    private static func opcode(_ header: Header) throws(Errno) -> Opcode {
        guard let opcode = Opcode(rawValue: header.opcode) else { throw .ENOSYS }
        return opcode
    }

    private init(
        header: Fields, opcode: Opcode, arguments: UnsafeRawBufferPointer,
        rest: UnsafeRawBufferPointer, extensionLength: Int
    ) throws(Errno) {
        guard extensionLength <= rest.count else { throw .EINVAL }
        self.opcode = opcode
        self.unique = header.u64(8)
        self.nodeID = header.u64(16)
        self.user = header.u32(24)
        self.group = header.u32(28)
        self.process = header.u32(32)
        self.arguments = Fields(bytes: arguments)
        let split = rest.count - extensionLength
        self.payload = UnsafeRawBufferPointer(rebasing: rest[..<split])
        self.extensions = UnsafeRawBufferPointer(rebasing: rest[split...])
    }

    /// COPY_FILE_RANGE: about two nodes, of which the second changes.
    var isCopy: Bool { opcode == .copyRange || opcode == .copyRange64 }

    /// Changes names, attributes or space.
    var changesMetadata: Bool {
        opcode.changesMetadata
            && (opcode != .control || Session.ControlCode.changes(arguments.u32(12)))
    }

    /// The node that it changes.
    var changedNode: UInt64 { isCopy ? arguments.u64(16) : nodeID }

    /// The other directory whose names it changes.
    var targetNode: UInt64? {
        opcode == .rename || opcode == .rename2 ? arguments.u64(0) : nil
    }

    // MARK: Names

    /// The text at the beginning of the payload, up to its NUL.
    func text(after skipped: Int = 0) throws(Pause) -> UnsafeRawBufferPointer {
        guard skipped <= payload.count else { throw .failed(.EINVAL) }
        let rest = UnsafeRawBufferPointer(rebasing: payload[skipped...])
        guard let end = rest.firstIndex(of: 0) else { throw .failed(.EINVAL) }
        return UnsafeRawBufferPointer(rebasing: rest[..<end])
    }

    /// The name of a directory entry that stands in the payload.
    func name(after skipped: Int = 0) throws(Pause) -> Name {
        let bytes = try text(after: skipped)
        guard bytes.count <= Name.maximumLength else { throw .failed(.ENAMETOOLONG) }
        let name = Name(bytes)
        guard !bytes.isEmpty, !name.isDot, !name.isDotDot, !bytes.contains(UInt8(ascii: "/")) else {
            throw .failed(.EINVAL)
        }
        return name
    }

    /// The supplementary group that the kernel sent along (FUSE_EXT_GROUPS), if any.
    var supplementaryGroups: [UInt32] {
        var offset = 0
        while offset + 8 <= extensions.count {
            let header = Fields(
                bytes: UnsafeRawBufferPointer(rebasing: extensions[offset...]))
            let size = Int(header.u32(0))
            guard size >= 8, offset + size <= extensions.count else { return [] }
            if header.u32(4) == 32, size >= 12 {
                let count = min(Int(header.u32(8)), (size - 12) / 4)
                return (0..<count).map { header.u32(12 + $0 * 4) }
            }
            offset += (size + 7) & ~7
        }
        return []
    }
}
