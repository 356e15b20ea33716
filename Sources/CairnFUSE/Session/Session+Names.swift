// Requests that look names up, make them and take them away.

import CairnBase
import CairnVFS

extension Session {
    // MARK: Looking up

    func lookup(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        if openlessProbe.isMeant(request) { return openlessProbe.putEntry(reply) }
        let directory = try place(request.nodeID)
        let name = try request.name()
        // Between the lookup and the reference the file may lose its last name and go.
        for _ in 0..<8 {
            guard let found = try vfs.lookup(name, in: directory.inode) else {
                return try absent(in: directory, reply)
            }
            do throws(Pause) {
                try putEntry(crossed(found, in: directory), at: 0, in: reply)
                return .reply(Wire.entrySize)
            } catch {
                guard case .failed(.ENOENT) = error else { throw error }
            }
        }
        // The name leads somewhere each time, so that it does not exist must not be kept.
        throw .failed(.ENOENT)
    }

    /// An entry without a node tells the kernel for how long the name does not exist.
    private func absent(in directory: Location, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        guard directory.mount.fileSystem.namesAreCacheable else { throw .failed(.ENOENT) }
        reply.zero(0, Wire.entrySize)
        reply.put(options.negativeTimeout.seconds, at: 16)
        reply.put(options.negativeTimeout.nanoseconds, at: 32)
        return .reply(Wire.entrySize)
    }

    func forget(_ request: Request) -> Outcome {
        if request.opcode == .forget {
            nodes.forget(request.nodeID, count: request.arguments.u64(0))
            return .silent
        }
        let list = Fields(bytes: request.payload)
        let count = min(Int(request.arguments.u32(0)), request.payload.count / 16)
        for index in 0..<count {
            nodes.forget(list.u64(index * 16), count: list.u64(index * 16 + 8))
        }
        return .silent
    }

    func readLink(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        let place = try place(request.nodeID)
        let target = try place.inode.readLink()
        guard target.count <= reply.capacity else { throw .failed(.ENAMETOOLONG) }
        target.withUnsafeBytes { reply.put($0, at: 0) }
        noteAccess(place)
        return .reply(target.count)
    }

    // MARK: Making

    /// MKNOD, MKDIR and SYMLINK.
    func makeNode(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let directory = try writable(request.nodeID)
        let name = try request.name()
        let made: Inode
        if let before = progress.inode {
            made = before
        } else {
            made = try vfs.create(
                name, in: directory.inode, try newNode(request, name),
                by: caller(request, worker))
            progress.inode = made
        }
        try putEntry(Location(mount: directory.mount, inode: made), at: 0, in: reply)
        return .reply(Wire.entrySize)
    }

    private func newNode(_ request: Request, _ name: Name) throws(Pause) -> NewNode {
        let arguments = request.arguments
        switch request.opcode {
        case .makeSymbolicLink:
            let target = try request.text(after: name.count + 1)
            guard !target.isEmpty else { throw .failed(.ENOENT) }
            return NewNode(
                kind: .symbolicLink, permissions: Permissions(rawValue: 0o777),
                target: Array(target))
        case .makeDirectory:
            return NewNode(
                kind: .directory,
                permissions: Permissions(rawValue: arguments.u32(0)).intersection(.all),
                umask: Permissions(rawValue: arguments.u32(4)).intersection(.all))
        default:
            let mode = arguments.u32(0)
            let kind = mode & 0o170000 == 0 ? FileKind.regular : FileKind(mode: mode)
            guard let kind, kind != .directory, kind != .symbolicLink else {
                throw .failed(.EINVAL)
            }
            return NewNode(
                kind: kind, permissions: Permissions(rawValue: mode).intersection(.all),
                umask: Permissions(rawValue: arguments.u32(8)).intersection(.all),
                device: kind.isDevice ? Wire.decodeDevice(arguments.u32(4)) : 0)
        }
    }

    /// A regular file, as CREATE and TMPFILE want it.
    private func newFile(_ request: Request) -> NewNode {
        var node = NewNode(
            kind: .regular,
            permissions: Permissions(rawValue: request.arguments.u32(4)).intersection(.all),
            umask: Permissions(rawValue: request.arguments.u32(8)).intersection(.all))
        node.mayBeNamed = request.arguments.u32(0) & OpenFlag.exclusive == 0
        return node
    }

    /// Makes and opens a file. The kernel believes that the name is free. If another door has made
    /// it meanwhile, nobody has checked what the caller may do with it: ESTALE makes the kernel
    /// look the name up anew, check, and open what it finds.
    func create(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let directory = try writable(request.nodeID)
        let name = try request.name()
        let flags = request.arguments.u32(0)
        let caller = caller(request, worker)
        if progress.inode == nil {
            do throws(Pause) {
                progress.inode = try vfs.create(
                    name, in: directory.inode, newFile(request), by: caller)
            } catch {
                if case .failed(.EEXIST) = error, flags & OpenFlag.exclusive == 0 {
                    throw .failed(.ESTALE)
                }
                throw error
            }
        }
        guard let inode = progress.inode else { throw .failed(.EIO) }
        let place = Location(mount: directory.mount, inode: inode)
        try putEntryAndOpening(place, flags, caller, in: reply)
        return .reply(Wire.entrySize + Wire.openReplySize)
    }

    /// What CREATE and TMPFILE answer with.
    private func putEntryAndOpening(
        _ place: Location, _ flags: UInt32, _ caller: Caller, in reply: ReplyBuffer
    ) throws(Pause) {
        let opening = try openFile(place, flags, caller)
        do throws(Pause) {
            try putEntry(place, at: 0, in: reply)
        } catch {
            opening?.close()
            throw error
        }
        putOpening(
            opening, place, isNew: true, openFlags: flags, at: Wire.entrySize, in: reply)
    }

    /// The new file is held for us until the node holds it, over all runs.
    func createTemporary(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let directory = try writable(request.nodeID)
        let caller = caller(request, worker)
        if progress.inode == nil {
            progress.inode = try vfs.createTemporary(
                in: directory.inode, newFile(request), by: caller)
        }
        guard let inode = progress.inode else { throw .failed(.EIO) }
        try putEntryAndOpening(
            Location(mount: directory.mount, inode: inode), request.arguments.u32(0), caller,
            in: reply)
        inode.drop()
        return .reply(Wire.entrySize + Wire.openReplySize)
    }

    func link(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let directory = try writable(request.nodeID)
        let sourceID = request.arguments.u64(0)
        let source = try place(sourceID)
        let name = try request.name()
        // A file that was found through both mounts does not tell by which it is named now.
        guard nodes.isKnown(sourceID, through: directory.mount) else { throw .failed(.EXDEV) }
        if progress.inode == nil {
            try vfs.link(
                source.inode, as: name, in: directory.inode, by: caller(request, worker))
            progress.inode = source.inode
        }
        try putEntry(
            Location(mount: directory.mount, inode: source.inode), at: 0, in: reply)
        return .reply(Wire.entrySize)
    }

    // MARK: Taking away, moving

    func remove(_ request: Request, _ worker: Worker) throws(Pause) -> Outcome {
        let directory = try writable(request.nodeID)
        try vfs.remove(
            try request.name(), in: directory.inode,
            directory: request.opcode == .removeDirectory, by: caller(request, worker))
        return .done
    }

    func rename(_ request: Request, _ worker: Worker) throws(Pause) -> Outcome {
        let source = try writable(request.nodeID)
        let target = try writable(request.arguments.u64(0))
        let bits = request.opcode == .rename2 ? request.arguments.u32(8) : 0
        let flags = RenameFlags(rawValue: bits)
        guard flags.isSubset(of: [.noReplace, .exchange]), flags != [.noReplace, .exchange] else {
            throw .failed(.EINVAL)
        }
        guard source.mount === target.mount else { throw .failed(.EXDEV) }
        let name = try request.name()
        let newName = try request.name(after: name.count + 1)
        try vfs.rename(
            name, in: source.inode, to: newName, in: target.inode, flags: flags,
            by: caller(request, worker))
        return .done
    }
}
