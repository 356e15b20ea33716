// Requests that open files and move their data.
//
// Openless. When every filesystem of the namespace lets its data be cached, OPEN and OPENDIR are
// answered with ENOSYS once, and from then on the kernel opens and closes without asking. A file
// needs no opening here: it is held by its node until the kernel forgets it. Where some files
// differ from open to open (procfs), OPEN is answered; only those get a handle, and direct I/O.
// It is answered too where one mount is read-only or noexec and another is not: the kernel knows
// one mount, so each open must ask which it is.
//
// Past the cache. Who creates a file to write it only (tar, cp, dd, a log) gets direct I/O: one write(2) is
// then one request, whatever its size and place, with one copy fewer; through its page cache the kernel
// splits it at each page that it does not have whole, and asks for file capabilities first. What the
// kernel leaves to us there: capabilities go with a write, and pages that somebody else read in while we
// wrote are dropped before we answer.

import CairnBase
import CairnVFS

extension Session {
    // MARK: Opening

    /// What OPEN and CREATE do: asks the filesystem, unless nothing asks for it.
    func openFile(
        _ place: Location, _ flags: UInt32, _ caller: Caller
    ) throws(Pause) -> Opening? {
        guard !options.isOpenless else { return nil }
        let writing = flags & OpenFlag.accessMask != 0
        return try place.inode.open(writing: writing, by: caller.credentials)
    }

    /// struct fuse_open_out. `isNew`: the caller has just created the file.
    func putOpening(
        _ opening: Opening?, _ place: Location, isNew: Bool, openFlags: UInt32,
        at offset: Int, in reply: ReplyBuffer
    ) {
        var flags: OpenReplyFlags = [.keepCache]
        if let opening, !opening.isSeekable { flags = [.directIO, .stream] }
        if opening != nil || !place.mount.fileSystem.dataIsCacheable {
            flags.insert(.directIO)
            flags.remove(.keepCache)
        }
        if !options.sharesLocks { flags.insert(.noFlush) }
        let errors = place.inode.writeErrors
        let needsHandle = opening != nil || options.sharesLocks || errors != nil
        var handle = needsHandle ? openings.add(opening, errors) : 0
        if isNew, openFlags & OpenFlag.accessMask == OpenFlag.writeOnly,
            !negotiated.writebackCache, negotiated.minor >= Negotiation.dropsPagesMinor,
            !flags.contains(.directIO)
        {
            flags.insert(.directIO)
            handle |= OpeningTable.writesPastCache
        }
        reply.put(handle, at: offset)
        reply.put(flags.rawValue, at: offset + 8)
        reply.put(UInt32(0), at: offset + 12)
    }

    func open(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        if options.isOpenless { return .notImplemented }
        let flags = request.arguments.u32(0)
        let place = try place(request.nodeID)
        if place.mount.isReadOnly, flags & (OpenFlag.accessMask | OpenFlag.truncate) != 0 {
            throw .failed(.EROFS)
        }
        if place.mount.flags.contains(.noExecute), flags & OpenFlag.execute != 0 {
            throw .failed(.EACCES)
        }
        let caller = caller(request, worker)
        let opening = try openFile(place, flags, caller)
        if flags & OpenFlag.truncate != 0, place.inode.kind == .regular, progress.count == 0,
            opening == nil
        {
            var change = AttributeChange()
            change.size = 0
            change.clearsPrivileges =
                request.arguments.u32(4) & WireFlag.openClearsPrivileges != 0
            try vfs.setAttributes(of: place.inode, change, by: caller)
            progress.count = 1
        }
        if progress.count == 1, place.isSynchronous {
            try place.inode.sync(dataOnly: false, &progress.point)
        }
        putOpening(opening, place, isNew: false, openFlags: flags, at: 0, in: reply)
        return .reply(Wire.openReplySize)
    }

    func openDirectory(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        if options.isOpenless { return .notImplemented }
        let place = try place(request.nodeID)
        let fileSystem = place.mount.fileSystem
        let flags: OpenReplyFlags =
            fileSystem.namesAreCacheable ? [.keepCache, .cacheDirectory] : []
        reply.put(UInt64(0), at: 0)
        reply.put(flags.rawValue, at: 8)
        reply.put(UInt32(0), at: 12)
        return .reply(Wire.openReplySize)
    }

    func release(_ request: Request) -> Outcome {
        if let file = openings.remove(request.arguments.u64(0)) {
            if options.sharesLocks { releaseLocks(request, of: file) }
            file.opening?.close()
        }
        return .done
    }

    /// FLUSH is sent at each close. It is needed only to release POSIX locks that we keep.
    func flush(_ request: Request) throws(Pause) -> Outcome {
        guard options.sharesLocks else { return .notImplemented }
        try releaseRecordLocks(request)
        return .done
    }

    // MARK: Data

    func read(
        _ request: Request, _ reply: ReplyBuffer, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let place = try place(request.nodeID)
        let offset = request.arguments.u64(8)
        let room = reply.part(0, min(Int(request.arguments.u32(16)), reply.capacity))
        let count: Int
        if let opening = openings.find(request.arguments.u64(0)) {
            count = room.isEmpty ? 0 : max(try opening.read(into: room, at: offset), 0)
        } else {
            nodes.mark(request.nodeID, .wasRead)
            // A short read tells the kernel that the file ends there, so only its end may be short.
            count = try inSteps(of: room.count, &progress.count) { (done) throws(Pause) in
                try place.inode.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: room[done...]),
                    at: offset &+ UInt64(done))
            }
        }
        noteAccess(place)
        return .reply(count)
    }

    func write(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let place = try writable(request.nodeID)
        let arguments = request.arguments
        let size = Int(arguments.u32(16))
        guard size <= request.payload.count else { throw .failed(.EINVAL) }
        let flags = arguments.u32(20)
        var options: WriteOptions = []
        if flags & WireFlag.writeFromCache != 0 { options.insert(.keepTimes) }
        if flags & WireFlag.writeClearsPrivileges != 0 { options.insert(.clearPrivileges) }
        if request.user == 0 { options.insert(.useReserve) }

        let caller = caller(request, worker)
        let opening = openings.find(arguments.u64(0))
        do throws(Pause) {
            while progress.count < size, !progress.pagesAreDropped {
                let rest = UnsafeRawBufferPointer(
                    rebasing: request.payload[progress.count..<size])
                let position = WritePosition.offset(
                    arguments.u64(8) &+ UInt64(progress.count))
                let written =
                    if let opening {
                        try opening.write(rest, at: position, options: options)
                    } else {
                        try vfs.write(
                            rest, to: place.inode, at: position, options: options, by: caller)
                    }
                if written.count <= 0 { break }
                progress.count += written.count
                if opening != nil { break }
            }
        } catch {
            // What fitted counts, except for the kernel's cache, whose pages would seem clean.
            guard case .failed = error, progress.count > 0,
                flags & WireFlag.writeFromCache == 0
            else { throw error }
        }
        if arguments.u64(0) & OpeningTable.writesPastCache != 0 {
            try settle(request, place, caller, &progress)
        }
        if place.isSynchronous
            || arguments.u32(32) & (OpenFlag.synchronous | OpenFlag.synchronousData) != 0
        {
            try place.inode.sync(
                dataOnly: arguments.u32(32) & OpenFlag.synchronous == 0, &progress.point)
            if let error = openings.takeWriteError(of: place.inode, through: arguments.u64(0)) {
                throw .failed(error)
            }
        }
        reply.put(UInt32(truncatingIfNeeded: progress.count), at: 0)
        reply.put(UInt32(0), at: 4)
        return .reply(8)
    }

    /// After a write past the kernel's cache: the marks say what else there is to do.
    private func settle(
        _ request: Request, _ place: Location, _ caller: Caller, _ progress: inout Progress
    ) throws(Pause) {
        let node = request.nodeID
        if nodes.isMarked(node, .mayHaveCapabilities) {
            nodes.unmark(node, .mayHaveCapabilities)
            do throws(Pause) {
                try vfs.setExtendedAttribute(
                    Self.fileCapabilities, of: place.inode, to: nil, by: caller)
            } catch {
                guard case .failed(.ENODATA) = error else {
                    nodes.mark(node, .mayHaveCapabilities)
                    throw error
                }
            }
        }
        if !progress.pagesAreDropped, nodes.isMarked(node, .wasRead) {
            progress.pagesAreDropped = true
            throw .wait(
                notifier.dropPages(
                    of: node, offset: request.arguments.u64(8), length: UInt64(progress.count)))
        }
    }

    func allocate(_ request: Request, _ worker: Worker) throws(Pause) -> Outcome {
        let place = try writable(request.nodeID)
        // FALLOC_FL_*: keep size 1, punch 2, collapse 8, zero 16, insert 32.
        let mode: AllocateMode
        switch request.arguments.u32(24) {
        case 0: mode = .reserve(keepSize: false)
        case 1: mode = .reserve(keepSize: true)
        case 3: mode = .punchHole
        case 8: mode = .collapse
        case 16: mode = .zero(keepSize: false)
        case 17: mode = .zero(keepSize: true)
        case 32: mode = .insert
        default: throw .failed(.EOPNOTSUPP)
        }
        try vfs.allocate(
            mode, of: place.inode, offset: request.arguments.u64(8),
            length: request.arguments.u64(16),
            options: request.user == 0 ? [.useReserve] : [], by: caller(request, worker))
        return .done
    }

    /// Under the write-back cache the kernel may hold data where we know of a hole, and asks all the
    /// same: it is made to send that first.
    func seek(
        _ request: Request, _ reply: ReplyBuffer, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        let place = try place(request.nodeID)
        if negotiated.writebackCache, place.inode.kind == .regular, progress.count == 0 {
            progress.count = 1
            throw .wait(notifier.dropPages(of: request.nodeID, offset: 0, length: 0))
        }
        let target: SeekTarget
        switch request.arguments.u32(16) {
        case 3: target = .data
        case 4: target = .hole
        default: throw .failed(.EINVAL)
        }
        reply.put(try place.inode.seek(target, from: request.arguments.u64(8)), at: 0)
        return .reply(8)
    }

    /// What one request copies at most, in bytes: it holds a serving thread all the while, and a copy
    /// may be short, so that the caller comes again.
    private static var copyLimit: UInt64 { 8 << 20 }

    /// EXDEV and EOPNOTSUPP make the kernel copy through its page cache.
    func copyRange(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker
    ) throws(Pause) -> Outcome {
        let arguments = request.arguments
        let source = try place(request.nodeID)
        let target = try writable(arguments.u64(16))
        guard arguments.u64(48) == 0 else { throw .failed(.EINVAL) }
        let count = try vfs.copyRange(
            from: source.inode, at: arguments.u64(8), to: target.inode, at: arguments.u64(32),
            length: min(arguments.u64(40), Self.copyLimit),
            options: request.user == 0 ? [.useReserve] : [], by: caller(request, worker))
        reply.put(UInt64(count), at: 0)
        return .reply(8)
    }
}
