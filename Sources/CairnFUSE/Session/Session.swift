// Session: answers the requests of one connection. It knows no transport.
//
// `perform` is an attempt (CairnBase/Wait.swift): synchronous, never blocks, runs to completion on
// the thread that read the request. Where it throws `Pause.wait`, the transport parks the request
// (ParkedRequest) and runs `perform` again, with the `Progress` of the runs before: what must not
// happen twice is kept there. No lock is held over a call into a filesystem.
//
// The kernel checks permissions (default_permissions), so only effects are applied here, and
// what the kernel keeps by itself it keeps for long: changes that come by another door are told
// to it by the Notifier. Our own requests name the session's observer as their origin, so that
// nothing is told twice.
//
// The reply may lie over the request's payload (io_uring has one buffer for both): nothing of
// the payload is read after the first byte of the reply is written.

import CairnBase
import CairnVFS
import Synchronization

final class Session: @unchecked Sendable {
    // Sendable: immutable after INIT, or atomic, or guarding themselves.

    let namespace: Namespace
    let vfs: VFS
    let options: SessionOptions
    let nodes: NodeTable
    let openings = OpeningTable()
    let counters = RequestCounters()
    let parked = ParkedRequests()
    let openlessProbe = OpenlessProbe()
    /// Nil: processors may halt.
    let idlePolling: IdlePolling?
    /// Tells the kernel of others' changes; named as origin of ours.
    let notifier: Notifier
    var origin: any ChangeObserver { notifier }
    let observed: ObservedFileSystems
    /// Tells owners of locks of this session from those of others.
    let door: UInt64
    /// Written once by INIT, before any other request is answered.
    private(set) var negotiated = Negotiated()
    /// INIT was refused: no other request will come. Written by INIT.
    private(set) var isRefused = false
    /// What stands at the kernel's mount point.
    let root: Location
    private let rootFileSystem: FileSystem

    init(namespace: Namespace, options: SessionOptions, notifier: Notifier) {
        self.namespace = namespace
        self.vfs = namespace.vfs
        self.options = options
        self.notifier = notifier
        self.idlePolling =
            options.idlePollMicroseconds > 0
            ? IdlePolling(microseconds: options.idlePollMicroseconds) : nil
        self.observed = ObservedFileSystems(observer: notifier)
        self.door = Session.lastDoor.add(1, ordering: .relaxed).newValue
        self.root = namespace.crossed(namespace.root)
        self.nodes = NodeTable(root: root)
        self.rootFileSystem = root.mount.fileSystem
    }

    private static let lastDoor = Atomic<UInt64>(0)

    /// What an attempt gave.
    enum Outcome: Sendable {
        /// This many bytes of the reply buffer.
        case reply(Int)
        /// No answer is wanted.
        case silent
        /// ENOSYS: the kernel shall not ask this again on this connection.
        case notImplemented

        static let done = Outcome.reply(0)
    }

    /// What has happened in earlier runs of one request and must not happen again.
    struct Progress {
        var inode: Inode?
        var count = 0
        /// Of the file, or of the filesystem that is being synced.
        var point = SyncPoint()
        /// The kernel was told to drop its pages of what was written.
        var pagesAreDropped = false
        /// The reply of what has been done, while it becomes durable.
        var finished: [UInt8]?
        var change = UnsyncedChange.none
    }

    // MARK: Dispatch

    /// Answers one request, into `reply`. ENOSYS of a filesystem never gets to the kernel, which
    /// would not ask any filesystem again. What it waits for ends with EIO when its mount is
    /// unmounted by force.
    func perform(
        _ request: Request, into reply: ReplyBuffer, by worker: Worker,
        _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        do throws(Pause) {
            var outcome = Outcome.done
            if let finished = progress.finished {
                finished.withUnsafeBytes { reply.put($0, at: 0) }
                outcome = .reply(finished.count)
            } else {
                outcome = try dispatch(request, reply, worker, &progress)
            }
            if request.changesMetadata, case .reply(let size) = outcome {
                try makeDurable(request, reply, size, &progress)
            }
            return outcome
        } catch {
            switch error {
            case .failed(let errno):
                abandon(request, progress)
                throw errno == .ENOSYS ? .failed(.EOPNOTSUPP) : error
            case .wait(let wait): throw .wait(registered(wait, of: request))
            }
        }
    }

    /// Where that is asked for, a change is durable before its answer.
    @inline(__always)
    private func makeDurable(
        _ request: Request, _ reply: ReplyBuffer, _ size: Int, _ progress: inout Progress
    ) throws(Pause) {
        if progress.finished == nil {
            guard let place = nodes.place(request.changedNode) else { return }
            let target = request.targetNode.flatMap { nodes.place($0) } ?? place
            let change = UnsyncedChange(of: place, and: target)
            if change.isDurable { return }
            progress.finished = Array(reply.part(0, size))
            progress.change = change
        }
        try progress.change.makeDurable()
    }

    /// A request that was begun fails: the kernel does not learn of the node that it made, and must not go
    /// by what it believed before. Nobody holds a file without a name.
    func abandon(_ request: Request, _ progress: Progress) {
        if request.opcode == .write, progress.count > 0,
            request.arguments.u64(0) & OpeningTable.writesPastCache != 0
        {
            notifier.enqueue(
                .data(
                    request.nodeID, offset: request.arguments.u64(8),
                    length: UInt64(progress.count)))
        }
        if let finished = progress.finished {
            notifier.enqueue(.everyName)
            notifier.enqueue(.data(request.changedNode, offset: 0, length: 0))
            guard request.opcode.givesEntry else { return }
            finished.withUnsafeBytes { reply in
                if reply.count > Wire.entrySize {
                    let handle = reply.load(fromByteOffset: Wire.entrySize, as: UInt64.self)
                    openings.remove(handle)?.opening?.close()
                }
                nodes.forget(reply.load(as: UInt64.self), count: 1)
            }
        } else if request.opcode == .createTemporary {
            progress.inode?.drop()
        }
    }

    /// The wait, as one that unmounting by force ends: that of a mount that the request is about.
    private func registered(_ wait: Wait, of request: Request) -> Wait {
        guard let mount = nodes.place(request.nodeID)?.mount else { return wait }
        let own = mount.registered(wait)
        guard request.isCopy, let other = nodes.place(request.arguments.u64(16))?.mount,
            other !== mount
        else { return own }
        return other.registered(own)
    }

    private func dispatch(
        _ request: Request, _ reply: ReplyBuffer, _ worker: Worker, _ progress: inout Progress
    ) throws(Pause) -> Outcome {
        switch request.opcode {
        case .lookup: return try lookup(request, reply)
        case .forget, .forgetMany: return forget(request)
        case .getAttributes: return try getAttributes(request, reply)
        case .extendedStatus: return try extendedStatus(request, reply)
        case .setAttributes: return try setAttributes(request, reply, worker)
        case .readLink: return try readLink(request, reply)
        case .makeSymbolicLink, .makeNode, .makeDirectory:
            return try makeNode(request, reply, worker, &progress)
        case .create: return try create(request, reply, worker, &progress)
        case .createTemporary: return try createTemporary(request, reply, worker, &progress)
        case .unlink, .removeDirectory: return try remove(request, worker)
        case .rename, .rename2: return try rename(request, worker)
        case .link: return try link(request, reply, worker, &progress)
        case .open: return try open(request, reply, worker, &progress)
        case .openDirectory: return try openDirectory(request, reply)
        case .release: return release(request)
        case .releaseDirectory: return .done
        case .flush: return try flush(request)
        case .read: return try read(request, reply, &progress)
        case .write: return try write(request, reply, worker, &progress)
        case .readDirectory: return try readDirectory(request, reply, plus: false)
        case .readDirectoryPlus: return try readDirectory(request, reply, plus: true)
        case .statistics: return try statistics(request, reply)
        case .sync, .syncDirectory: return try sync(request, &progress)
        case .syncFileSystem: return try syncFileSystem(request, &progress)
        case .setExtendedAttribute:
            return try setExtendedAttribute(request, worker, &progress)
        case .getExtendedAttribute: return try getExtendedAttribute(request, reply)
        case .listExtendedAttributes: return try listExtendedAttributes(request, reply)
        case .removeExtendedAttribute: return try removeExtendedAttribute(request, worker)
        case .getLock, .setLock, .setLockWaiting: return try lock(request, reply)
        case .control: return try control(request, reply, worker)
        case .allocate: return try allocate(request, worker)
        case .seek: return try seek(request, reply, &progress)
        case .copyRange, .copyRange64: return try copyRange(request, reply, worker)
        case .initialize: return try initialize(request, reply)
        case .interrupt:
            parked.interrupt(request.arguments.u64(0))
            return .silent
        case .destroy: return .done
        case .notifyReply: return .silent
        // default_permissions: the kernel answers access(2) itself. Files have no block map, and
        // are always ready.
        case .access, .mapBlock, .poll: return .notImplemented
        }
    }

    private func initialize(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        do throws(Errno) {
            negotiated = try Negotiation.answer(request.arguments, options, into: reply)
            return .reply(Wire.initReplySize)
        } catch {
            isRefused = true
            throw .failed(error)
        }
    }

    // MARK: What requests have in common

    @inline(__always)
    func place(_ nodeID: UInt64) throws(Pause) -> Location {
        guard let place = nodes.place(nodeID) else { throw .failed(.ESTALE) }
        if place.mount.hasFailed { throw .failed(.EIO) }
        return place
    }

    /// The place, if it may be changed there.
    @inline(__always)
    func writable(_ nodeID: UInt64) throws(Pause) -> Location {
        let place = try place(nodeID)
        if place.mount.isReadOnly { throw .failed(.EROFS) }
        return place
    }

    /// Somebody read here. Nothing changes under a read-only mount.
    @inline(__always)
    func noteAccess(_ place: Location) {
        guard !place.mount.isReadOnly else { return }
        let inode = place.inode
        inode.noteAccess(place.mount.flags.accessTimePolicy(for: inode.kind))
    }

    /// st_ino as the kernel shows it. One device number stands for all filesystems of the
    /// namespace, so those of others than the root's get distinct upper bits.
    @inline(__always)
    func shownNumber(_ number: UInt64, of fileSystem: FileSystem) -> UInt64 {
        guard fileSystem !== rootFileSystem else { return number }
        return number ^ ((fileSystem.identity &- rootFileSystem.identity) << 48)
    }

    /// What stands at a name that was looked up: the mount over it, if there is one.
    @inline(__always)
    func crossed(_ inode: Inode, in directory: Location) -> Location {
        let place = namespace.crossed(Location(mount: directory.mount, inode: inode))
        if place.mount !== directory.mount { observed.add(place.mount.fileSystem) }
        return place
    }

    func attributeTimeout(of fileSystem: FileSystem) -> WireTimeout {
        fileSystem.dataIsCacheable ? options.attributeTimeout : .zero
    }

    /// struct fuse_entry_out. Counts the node as told; nothing may fail after it.
    ///
    /// The node is counted before its attributes are read: a change by another door that comes
    /// after the reading then finds the node in the table and is told to the kernel.
    func putEntry(_ place: Location, at offset: Int, in reply: ReplyBuffer) throws(Pause) {
        guard let reference = nodes.reference(place) else { throw .failed(.ENOENT) }
        let attributes: Attributes
        do throws(Pause) {
            if place.mount.hasFailed { throw .failed(.EIO) }
            attributes = try place.inode.attributes()
        } catch {
            nodes.forget(reference.nodeID, count: 1)
            // A lookup may have crossed to a mount that the request does not name.
            guard case .wait(let wait) = error else { throw error }
            throw .wait(place.mount.registered(wait))
        }
        let fileSystem = place.mount.fileSystem
        let entry = fileSystem.namesAreCacheable ? options.entryTimeout : .zero
        let attribute = attributeTimeout(of: fileSystem)
        reply.put(reference.nodeID, at: offset)
        reply.put(reference.generation, at: offset + 8)
        reply.put(entry.seconds, at: offset + 16)
        reply.put(attribute.seconds, at: offset + 24)
        reply.put(entry.nanoseconds, at: offset + 32)
        reply.put(attribute.nanoseconds, at: offset + 36)
        Wire.putAttributes(
            attributes, number: shownNumber(attributes.number, of: fileSystem), at: offset + 40,
            in: reply)
    }

    /// struct fuse_attr_out.
    func attributesReply(
        _ place: Location, _ attributes: Attributes, _ reply: ReplyBuffer
    ) -> Outcome {
        let timeout = attributeTimeout(of: place.mount.fileSystem)
        reply.put(timeout.seconds, at: 0)
        reply.put(timeout.nanoseconds, at: 8)
        reply.put(UInt32(0), at: 12)
        Wire.putAttributes(
            attributes, number: shownNumber(attributes.number, of: place.mount.fileSystem),
            at: 16, in: reply)
        return .reply(Wire.attributesReplySize)
    }

    /// Who asks. The kernel has checked what they may do, and has taken away what they may not
    /// keep (set-group-id), so to the filesystem they may do everything but use its reserve.
    func caller(_ request: Request, _ worker: Worker) -> Caller {
        let mount = nodes.mountIdentity(of: request.changedNode)
        if request.extensions.isEmpty, let cached = worker.caller,
            cached.credentials.user == request.user, cached.credentials.group == request.group,
            cached.originMount == mount
        {
            return cached
        }
        let capabilities: Capabilities =
            request.user == 0 ? .all : Capabilities.all.subtracting(.useReserve)
        let caller = Caller(
            Credentials(
                user: request.user, group: request.group, groups: request.supplementaryGroups,
                capabilities: capabilities),
            origin: origin, through: mount)
        if request.extensions.isEmpty { worker.caller = caller }
        return caller
    }
}

/// What a thread keeps from one request to the next. Used by one thread at a time.
final class Worker {
    var caller: Caller?
}
