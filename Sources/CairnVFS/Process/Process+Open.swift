// Attempts: open, close, dup, fcntl.

public import CairnBase

extension Process {
    /// open(2) up to the descriptor. A filesystem that has to wait as the file is opened may have made
    /// or cut it before: then it is kept in `reached`, and the attempts that follow only open it.
    func attemptOpen(
        _ path: UnsafeRawBufferPointer, at directory: Descriptor, _ flags: OpenFlags,
        _ permissions: Permissions, _ reached: inout ReachedFile?
    ) throws(Pause) -> Descriptor {
        // The number comes first: nothing may fail for want of one after a file was made or cut.
        let target = try OpenTarget(
            number: act { () throws(Errno) in try descriptors.reserve() },
            rights: rights(of: path, at: directory))
        do throws(Pause) {
            if let reached { return try install(reached, flags, target) }
            return try attemptOpen(path, at: directory, flags, permissions, target, &reached)
        } catch {
            descriptors.giveBack(target.number)
            throw error
        }
    }

    /// What a call of open has before it starts.
    private struct OpenTarget {
        var number: Descriptor
        /// Of the handle that the path starts at: the new one has no more.
        var rights: Rights
    }

    private func attemptOpen(
        _ path: UnsafeRawBufferPointer, at directory: Descriptor, _ flags: OpenFlags,
        _ permissions: Permissions, _ target: OpenTarget, _ reached: inout ReachedFile?
    ) throws(Pause) -> Descriptor {
        if flags.accessMode != 1, !flags.contains(.path), !target.rights.contains(.read) {
            throw .failed(.EACCES)
        }
        if flags.accessMode != 0 || flags.contains(.truncate), !target.rights.contains(.write) {
            throw .failed(.EACCES)
        }
        if flags.contains(.temporary) {
            guard target.rights.contains(.changeNames) else { throw .failed(.EACCES) }
            return try attemptOpenTemporary(
                path, at: directory, flags, permissions, target, &reached)
        }
        guard flags.accessMode != 3 else { throw .failed(.EINVAL) }
        guard !flags.contains(.create) || !flags.contains(.directory) || flags.contains(.path)
        else { throw .failed(.EINVAL) }
        var options: WalkOptions = []
        let creates = flags.contains(.create) && !flags.contains(.path)
        if creates { options.insert(.mayBeMissing) }
        let isExclusive = creates && flags.contains(.exclusive)
        if !flags.contains(.noFollow), !isExclusive { options.insert(.follow) }
        return try walk(path, at: directory, options) { (walk) throws(Pause) in
            let credentials = walk.credentials
            if walk.isMissing {
                return try openNew(walk, flags, permissions, credentials, target, &reached)
            }
            if isExclusive { throw .failed(.EEXIST) }
            let place = walk.place.retained
            if creates, place.inode.isDirectory { throw .failed(.EISDIR) }
            let name =
                place.inode.isDirectory || walk.lastPart != .name
                ? nil : walk.openedName
            return try openExisting(place, openedAs: name, flags, credentials, target, &reached)
        }
    }

    private func openNew(
        _ walk: borrowing PathWalk, _ flags: OpenFlags, _ permissions: Permissions,
        _ credentials: Credentials, _ target: OpenTarget, _ reached: inout ReachedFile?
    ) throws(Pause) -> Descriptor {
        if walk.hasTrailingSlash { throw .failed(.EISDIR) }
        try walk.requireWritable()
        let directory = walk.place.retained
        try directory.inode.requireAccess([.write, .execute], by: credentials)
        let name = Name(walk.lastName)
        let node = NewNode(
            kind: .regular, permissions: permissions.intersection(.all), umask: currentUmask)
        let inode: Inode
        do throws(Pause) {
            inode = try vfs.create(name, in: directory.inode, node, by: Caller(credentials))
        } catch {
            // Somebody else was faster: open that one, unless it had to be new.
            if case .failed(.EEXIST) = error, !flags.contains(.exclusive) {
                throw .failed(.ESTALE)
            }
            throw error
        }
        // A new file is open to its maker whatever its mode says.
        return try install(
            Location(mount: directory.mount, inode: inode),
            openedAs: (directory.inode, name.owned), flags, credentials, target,
            after: UnsyncedChange(of: directory), &reached)
    }

    private func openExisting(
        _ place: Location, openedAs name: (directory: Inode, name: FileName)?, _ flags: OpenFlags,
        _ credentials: Credentials, _ target: OpenTarget, _ reached: inout ReachedFile?
    ) throws(Pause) -> Descriptor {
        let inode = place.inode
        if flags.contains(.directory), !inode.isDirectory { throw .failed(.ENOTDIR) }
        if flags.contains(.path) {
            return try install(place, openedAs: name, flags, credentials, target, &reached)
        }
        if inode.kind == .symbolicLink { throw .failed(.ELOOP) }
        let writes = flags.accessMode != 0
        if inode.isDirectory, writes || flags.contains(.truncate) { throw .failed(.EISDIR) }
        if inode.kind.isDevice, place.mount.flags.contains(.noDevices) { throw .failed(.EACCES) }
        var wanted: Access = []
        if flags.accessMode != 1 { wanted.insert(.read) }
        if writes || flags.contains(.truncate) { wanted.insert(.write) }
        try inode.requireAccess(wanted, by: credentials)
        if writes || flags.contains(.truncate), inode.kind == .regular {
            try requireWritable(place.mount)
        }
        // Devices, FIFOs and sockets are nodes here; there is no driver behind them.
        guard inode.kind == .regular || inode.isDirectory else { throw .failed(.ENXIO) }
        try requireFlags(of: inode, allow: flags, by: credentials)
        if flags.contains(.truncate), inode.kind == .regular {
            var change = AttributeChange()
            change.size = 0
            try inode.requireChange(&change, by: credentials)
            try vfs.setAttributes(of: inode, change, by: Caller(credentials))
            return try install(
                place, openedAs: name, flags, credentials, target, after: UnsyncedChange(of: place),
                &reached)
        }
        return try install(place, openedAs: name, flags, credentials, target, &reached)
    }

    /// may_open: append-only files and O_NOATIME.
    private func requireFlags(
        of inode: Inode, allow flags: OpenFlags, by credentials: Credentials
    ) throws(Pause) {
        guard flags.accessMode != 0 || flags.contains(.noAccessTime) || flags.contains(.truncate)
        else { return }
        let attributes = try inode.attributes()
        if attributes.flags.contains(.appendOnly) {
            if flags.accessMode != 0, !flags.contains(.append) { throw .failed(.EPERM) }
            if flags.contains(.truncate) { throw .failed(.EPERM) }
        }
        if flags.contains(.noAccessTime), !inode.isOwned(attributes, by: credentials) {
            throw .failed(.EPERM)
        }
    }

    private func attemptOpenTemporary(
        _ path: UnsafeRawBufferPointer, at directory: Descriptor, _ flags: OpenFlags,
        _ permissions: Permissions, _ target: OpenTarget, _ reached: inout ReachedFile?
    ) throws(Pause) -> Descriptor {
        guard flags.accessMode == 1 || flags.accessMode == 2 else { throw .failed(.EINVAL) }
        return try walk(path, at: directory, .follow) { (walk) throws(Pause) in
            let credentials = walk.credentials
            let place = walk.place.retained
            guard place.inode.isDirectory else { throw .failed(.ENOTDIR) }
            try requireWritable(place.mount)
            try place.inode.requireAccess([.write, .execute], by: credentials)
            var node = NewNode(
                kind: .regular, permissions: permissions.intersection(.all), umask: currentUmask)
            node.mayBeNamed = !flags.contains(.exclusive)
            let inode = try vfs.createTemporary(in: place.inode, node, by: Caller(credentials))
            defer { inode.drop() }
            return try install(
                Location(mount: place.mount, inode: inode), openedAs: nil, flags, credentials,
                target, &reached)
        }
    }

    /// Opens a file that was made or cut, once that is durable.
    private func install(
        _ place: Location, openedAs name: (directory: Inode, name: FileName)?, _ flags: OpenFlags,
        _ credentials: Credentials, _ target: OpenTarget, after change: UnsyncedChange,
        _ reached: inout ReachedFile?
    ) throws(Pause) -> Descriptor {
        if change.isDurable {
            return try install(place, openedAs: name, flags, credentials, target, &reached)
        }
        let made = try act { () throws(Errno) in try ReachedFile(place, name, credentials, change) }
        reached = made
        return try install(made, flags, target)
    }

    /// Opens what an attempt before this one came to.
    private func install(
        _ reached: ReachedFile, _ flags: OpenFlags, _ target: OpenTarget
    ) throws(Pause) -> Descriptor {
        var again: ReachedFile? = reached
        do throws(Pause) {
            try reached.change.makeDurable()
            return try install(
                reached.held.location, openedAs: reached.name, flags, reached.credentials, target,
                &again)
        } catch {
            guard case .wait(let wait) = error else { throw error }
            throw .wait(reached.held.location.mount.registered(wait))
        }
    }

    /// Makes the description and enters it at its number.
    private func install(
        _ place: Location, openedAs name: (directory: Inode, name: FileName)?, _ flags: OpenFlags,
        _ credentials: Credentials, _ target: OpenTarget, _ reached: inout ReachedFile?
    ) throws(Pause) -> Descriptor {
        guard place.mount.hold() else { throw .failed(.ESTALE) }
        guard place.inode.hold() else {
            place.mount.drop()
            throw .failed(.ESTALE)
        }
        do throws(Pause) {
            let opening =
                flags.contains(.path)
                ? nil : try place.inode.open(writing: flags.accessMode != 0, by: credentials)
            let file = OpenFile(
                holding: place, flags: flags, opening: opening, openedAs: name,
                rights: target.rights)
            do throws(Errno) {
                try descriptors.fill(
                    target.number, with: file, closeOnExec: flags.contains(.closeOnExec))
                if !flags.contains(.path) { file.tellWatchers(.open) }
                return target.number
            } catch {
                opening?.close()
                throw .failed(error)
            }
        } catch {
            if case .wait = error, reached == nil {
                reached = try? ReachedFile(place, name, credentials)
            }
            place.inode.drop()
            place.mount.drop()
            throw error
        }
    }

    func requireWritable(_ mount: Mount) throws(Pause) {
        if mount.isReadOnly { throw .failed(.EROFS) }
    }

    // MARK: Descriptors

    /// close(2). EBADF.
    public func close(_ descriptor: Descriptor) throws(Errno) {
        closed(try descriptors.remove(descriptor))
    }

    /// dup(2), or F_DUPFD and F_DUPFD_CLOEXEC: the lowest free number from `minimum` on.
    public func duplicate(
        _ descriptor: Descriptor, from minimum: Int32 = 0, closeOnExec: Bool = false
    ) throws(Errno) -> Descriptor {
        let file = try descriptors.get(descriptor)
        try file.retain()
        do throws(Errno) {
            return try descriptors.insert(file, from: Int(minimum), closeOnExec: closeOnExec)
        } catch {
            file.release()
            throw error
        }
    }

    /// dup2(2) and dup3(2): onto a number, which is closed first. The same number twice gives it
    /// back.
    @discardableResult
    public func duplicate(
        _ descriptor: Descriptor, onto target: Descriptor, closeOnExec: Bool = false
    ) throws(Errno) -> Descriptor {
        let file = try descriptors.get(descriptor)
        if descriptor == target { return target }
        try file.retain()
        do throws(Errno) {
            if let old = try descriptors.replace(target, with: file, closeOnExec: closeOnExec) {
                closed(old)
            }
        } catch {
            file.release()
            throw error
        }
        return target
    }

    /// A further descriptor of the same description that allows less (requirement V15): what its
    /// rights do not cover gives EACCES. Rights that the first does not have are not gained.
    public func duplicate(
        _ descriptor: Descriptor, limitingTo rights: Rights
    ) throws(Errno) -> Descriptor {
        let limited = try OpenFile(try descriptors.get(descriptor), rights: rights)
        do throws(Errno) {
            return try descriptors.insert(limited, closeOnExec: false)
        } catch {
            limited.release()
            throw error
        }
    }

    /// Hands a descriptor on to another process of the same VFS, with fewer rights if wanted.
    public func send(
        _ descriptor: Descriptor, to receiver: Process, limitingTo rights: Rights = .all
    ) throws(Errno) -> Descriptor {
        let limited = try OpenFile(try descriptors.get(descriptor), rights: rights)
        do throws(Errno) {
            return try receiver.descriptors.insert(limited, closeOnExec: false)
        } catch {
            limited.release()
            throw error
        }
    }

    /// F_GETFD's FD_CLOEXEC.
    public func closesOnExec(_ descriptor: Descriptor) throws(Errno) -> Bool {
        try descriptors.closesOnExec(descriptor)
    }

    /// F_SETFD.
    public func setClosesOnExec(_ descriptor: Descriptor, _ value: Bool) throws(Errno) {
        try descriptors.setClosesOnExec(descriptor, value)
    }

    /// F_GETFL.
    public func status(_ descriptor: Descriptor) throws(Errno) -> OpenFlags {
        try descriptors.get(descriptor).status
    }

    /// F_SETFL: O_APPEND, O_NONBLOCK and O_NOATIME; other flags stay. EPERM for taking O_APPEND
    /// from an append-only file.
    public func setStatus(_ descriptor: Descriptor, _ flags: OpenFlags) throws(Errno) {
        let file = try descriptors.get(descriptor)
        let credentials = credentials
        try blocking { () throws(Pause) in
            let attributes = try file.inode.attributes()
            if attributes.flags.contains(.appendOnly), file.canWrite, !flags.contains(.append) {
                throw .failed(.EPERM)
            }
            if flags.contains(.noAccessTime), !file.status.contains(.noAccessTime),
                !file.inode.isOwned(attributes, by: credentials)
            {
                throw .failed(.EPERM)
            }
            file.setStatus(flags)
        }
    }

    /// What is open, in order of numbers.
    public var openFiles: [(descriptor: Descriptor, file: OpenFile)] { descriptors.entries }
}

/// A file that a call of open has made, cut, or only been allowed to open, before it had to wait.
final class ReachedFile {
    let held: HeldLocation
    let name: (directory: Inode, name: FileName)?
    let credentials: Credentials
    /// What was done, until it is durable where it has to be.
    var change: UnsyncedChange

    /// ENOENT if it is gone.
    init(
        _ place: Location, _ name: (directory: Inode, name: FileName)?, _ credentials: Credentials,
        _ change: UnsyncedChange = .none
    ) throws(Errno) {
        held = try HeldLocation(place)
        self.name = name
        self.credentials = credentials
        self.change = change
    }

    deinit {
        let held = held
        Epoch.afterSection { held.letGo() }
    }
}

extension PathWalk {
    /// The last name and its directory, for a file that is opened. The directory is known only
    /// while the walk ends in a name; a link's target counts, not the link.
    var openedName: (directory: Inode, name: FileName)? {
        guard let directory = lastDirectory else { return nil }
        return (directory.takeUnretainedValue(), FileName(Array(lastName)))
    }
}
