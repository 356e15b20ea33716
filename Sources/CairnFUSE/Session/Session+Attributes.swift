// Requests about attributes, extended attributes and whole filesystems.

import CairnBase
import CairnVFS

extension Session {
    func getAttributes(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        if request.nodeID == OpenlessProbe.nodeID { return openlessProbe.putAttributes(reply) }
        let place = try place(request.nodeID)
        return attributesReply(place, try place.inode.attributes(), reply)
    }

    /// STATX: the kernel asks for it when somebody wants the time of birth.
    func extendedStatus(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        let place = try place(request.nodeID)
        let attributes = try place.inode.attributes()
        let timeout = attributeTimeout(of: place.mount.fileSystem)
        reply.zero(0, Wire.extendedStatusSize)
        reply.put(timeout.seconds, at: 0)
        reply.put(timeout.nanoseconds, at: 8)

        // struct fuse_statx, from here.
        let base = 32
        let basicStatusAndBirth: UInt32 = 0x7ff | 0x800
        reply.put(basicStatusAndBirth, at: base)
        reply.put(attributes.blockSize, at: base + 4)
        reply.put(UInt64(attributes.flags.rawValue & 0x74), at: base + 8)
        reply.put(attributes.linkCount, at: base + 16)
        reply.put(attributes.user, at: base + 20)
        reply.put(attributes.group, at: base + 24)
        reply.put(UInt16(truncatingIfNeeded: attributes.mode), at: base + 28)
        reply.put(
            shownNumber(attributes.number, of: place.mount.fileSystem), at: base + 32)
        reply.put(attributes.size, at: base + 40)
        reply.put(attributes.blocks, at: base + 48)
        reply.put(UInt64(0x74), at: base + 56)
        Wire.putTime(attributes.accessTime, at: base + 64, in: reply)
        Wire.putTime(attributes.birthTime, at: base + 80, in: reply)
        Wire.putTime(attributes.changeTime, at: base + 96, in: reply)
        Wire.putTime(attributes.modificationTime, at: base + 112, in: reply)
        reply.put(UInt32(truncatingIfNeeded: attributes.device >> 32), at: base + 128)
        reply.put(UInt32(truncatingIfNeeded: attributes.device), at: base + 132)
        return .reply(Wire.extendedStatusSize)
    }

    func setAttributes(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker
    ) throws(Pause) -> Outcome {
        let place = try writable(request.nodeID)
        let arguments = request.arguments
        let mask = SetAttributesMask(rawValue: arguments.u32(0))
        var change = AttributeChange()
        if mask.contains(.mode) {
            change.permissions = Permissions(rawValue: arguments.u32(68)).intersection(.all)
        }
        if mask.contains(.user) { change.user = arguments.u32(76) }
        if mask.contains(.group) { change.group = arguments.u32(80) }
        if mask.contains(.size) { change.size = arguments.u64(16) }
        change.accessTime = time(
            mask, .accessTime, now: .accessTimeNow, arguments, seconds: 32, nanoseconds: 56)
        change.modificationTime = time(
            mask, .modificationTime, now: .modificationTimeNow, arguments, seconds: 40,
            nanoseconds: 60)
        if mask.contains(.changeTime) {
            change.changeTime = timestamp(arguments, seconds: 48, nanoseconds: 64)
        }
        change.clearsPrivileges = mask.contains(.clearPrivileges)
        let attributes = try vfs.setAttributes(
            of: place.inode, change, by: caller(request, worker))
        return attributesReply(place, attributes, reply)
    }

    private func time(
        _ mask: SetAttributesMask, _ bit: SetAttributesMask, now: SetAttributesMask,
        _ arguments: Fields, seconds: Int, nanoseconds: Int
    ) -> TimeChange {
        guard mask.contains(bit) else { return .keep }
        if mask.contains(now) { return .now }
        return .set(timestamp(arguments, seconds: seconds, nanoseconds: nanoseconds))
    }

    private func timestamp(_ arguments: Fields, seconds: Int, nanoseconds: Int) -> Timestamp {
        Timestamp(
            seconds: Int64(bitPattern: arguments.u64(seconds)),
            nanoseconds: min(arguments.u32(nanoseconds), 999_999_999))
    }

    // MARK: Extended attributes

    /// Names of attributes are no file names: they may hold a `/`.
    private func attributeName(_ request: Request) throws(Pause) -> Name {
        let bytes = try request.text()
        guard !bytes.isEmpty, bytes.count <= Name.maximumLength else { throw .failed(.ERANGE) }
        return Name(bytes)
    }

    /// The kernel takes it from a file that is written, but for what is written past its cache.
    static let fileCapabilities = permanentName("security.capability")

    private static func permanentName(_ text: StaticString) -> Name {
        Name(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    func setExtendedAttribute(
        _ request: Request, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let place = try writable(request.nodeID)
        let name = try attributeName(request)
        let size = Int(request.arguments.u32(0))
        let start = name.count + 1
        guard size <= request.payload.count - start else { throw .failed(.EINVAL) }
        guard let mode = ExtendedAttributeMode(rawValue: request.arguments.u32(4)) else {
            throw .failed(.EINVAL)
        }
        let caller = caller(request, worker)
        if name == Self.fileCapabilities { nodes.mark(request.nodeID, .mayHaveCapabilities) }
        if progress.count == 0 {
            try vfs.setExtendedAttribute(
                name, of: place.inode,
                to: UnsafeRawBufferPointer(rebasing: request.payload[start..<start + size]),
                mode: mode, by: caller)
            progress.count = 1
        }
        if request.arguments.u32(8) & WireFlag.attributeClearsSetGroupID != 0 {
            let permissions = try place.inode.attributes().permissions
            if permissions.contains(.setGroupID) {
                var change = AttributeChange()
                change.permissions = permissions.subtracting(.setGroupID)
                try vfs.setAttributes(of: place.inode, change, by: caller)
            }
        }
        return .done
    }

    func removeExtendedAttribute(
        _ request: Request, _ worker: Worker
    ) throws(Pause) -> Outcome {
        let place = try writable(request.nodeID)
        try vfs.setExtendedAttribute(
            try attributeName(request), of: place.inode, to: nil, by: caller(request, worker))
        return .done
    }

    func getExtendedAttribute(
        _ request: Request, _ reply: ReplyBuffer
    ) throws(Pause) -> Outcome {
        let place = try place(request.nodeID)
        // The value may be written over the payload, so the name is taken out of it first.
        let name = try attributeName(request).owned
        let wanted = Int(request.arguments.u32(0))
        let room = reply.part(0, min(wanted, reply.capacity))
        let size: Int
        do throws(Pause) {
            size = try name.withName { (name) throws(Pause) in
                try place.inode.extendedAttribute(name, into: room)
            }
        } catch .failed(.EOPNOTSUPP) where name.isAccessList {
            // The kernel asks for it to see who may pass, and would let nobody pass but the owner.
            throw .failed(.ENODATA)
        }
        return try sized(size, wanted: wanted, reply)
    }

    func listExtendedAttributes(
        _ request: Request, _ reply: ReplyBuffer
    ) throws(Pause) -> Outcome {
        let place = try place(request.nodeID)
        let wanted = Int(request.arguments.u32(0))
        if request.user == 0 {
            let room = reply.part(0, min(wanted, reply.capacity))
            let size = try place.inode.extendedAttributeNames(into: room)
            return try sized(size, wanted: wanted, reply)
        }
        // trusted.* is seen by the administrator only, and the kernel leaves that to us.
        let whole = reply.part(0, min(1 << 16, reply.capacity))
        let size = try place.inode.extendedAttributeNames(into: whole)
        guard size <= whole.count else { throw .failed(.E2BIG) }
        return try sized(Self.dropTrusted(whole, size), wanted: wanted, reply)
    }

    /// Takes names that begin with "trusted." out of a list; gives its new length.
    static func dropTrusted(_ list: UnsafeMutableRawBufferPointer, _ size: Int) -> Int {
        guard let base = list.baseAddress else { return 0 }
        let prefix: StaticString = "trusted."
        var kept = 0
        var start = 0
        while start < size {
            var end = start
            while end < size, list[end] != 0 { end += 1 }
            end = min(end + 1, size)
            let length = end - start
            let isTrusted =
                length > prefix.utf8CodeUnitCount
                && equalBytes(
                    UnsafeRawBufferPointer(start: base + start, count: prefix.utf8CodeUnitCount),
                    UnsafeRawBufferPointer(
                        start: prefix.utf8Start, count: prefix.utf8CodeUnitCount))
            if !isTrusted {
                (base + kept).copyMemory(from: base + start, byteCount: length)
                kept += length
            }
            start = end
        }
        return kept
    }

    /// A value that was asked for with its room, or only its size when the room was 0.
    private func sized(
        _ size: Int, wanted: Int, _ reply: ReplyBuffer
    ) throws(Pause) -> Outcome {
        if wanted == 0 {
            reply.put(UInt32(truncatingIfNeeded: size), at: 0)
            reply.put(UInt32(0), at: 4)
            return .reply(8)
        }
        guard size <= wanted else { throw .failed(.ERANGE) }
        return .reply(size)
    }

    // MARK: Whole filesystems

    func statistics(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        let found = try place(request.nodeID).mount.fileSystem.statistics()
        reply.zero(0, Wire.statisticsSize)
        reply.put(found.totalBlocks, at: 0)
        reply.put(found.freeBlocks, at: 8)
        reply.put(found.availableBlocks, at: 16)
        reply.put(found.totalNodes, at: 24)
        reply.put(found.freeNodes, at: 32)
        reply.put(found.blockSize, at: 40)
        reply.put(found.maximumNameLength, at: 44)
        reply.put(found.blockSize, at: 48)
        return .reply(Wire.statisticsSize)
    }

    func sync(_ request: Request, _ progress: inout Progress) throws(Pause) -> Outcome {
        let dataOnly = request.arguments.u32(8) & WireFlag.syncDataOnly != 0
        let inode = try place(request.nodeID).inode
        try inode.sync(dataOnly: dataOnly, &progress.point)
        if let error = openings.takeWriteError(of: inode, through: request.arguments.u64(0)) {
            throw .failed(error)
        }
        return .done
    }

    /// SYNCFS names some node; all filesystems of the namespace are one to the kernel.
    func syncFileSystem(
        _ request: Request, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        // In the order of their identities; those up to `count` are done.
        for mount in namespace.mounts where mount.identity > UInt64(progress.count) {
            do throws(Pause) {
                if !mount.hasFailed { try mount.fileSystem.sync(&progress.point) }
            } catch {
                guard case .wait(let wait) = error else { throw error }
                throw .wait(mount.registered(wait))
            }
            progress.count = Int(truncatingIfNeeded: mount.identity)
            progress.point = SyncPoint()
        }
        return .done
    }
}

extension FileName {
    fileprivate var isAccessList: Bool {
        description == AccessControlList.Kind.access.attributeName
            || description == AccessControlList.Kind.default.attributeName
    }
}
