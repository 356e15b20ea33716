// Attempts that change where the process is, and its locks.

public import CairnBase

extension Process {
    // MARK: Root and working directory

    /// chdir(2).
    func attemptChangeDirectory(_ path: UnsafeRawBufferPointer) throws(Pause) {
        try walk(path, at: .workingDirectory, .follow) { (walk) throws(Pause) in
            let credentials = walk.credentials
            try moveTo(walk.place.retained, by: credentials) { (place) throws(Errno) in
                try setWorkingDirectory(place)
            }
        }
    }

    /// fchdir(2).
    func attemptChangeDirectory(_ file: OpenFile) throws(Pause) {
        try file.requireRight(.lookup)
        try moveTo(file.location, by: credentials) { (place) throws(Errno) in
            try setWorkingDirectory(place)
        }
    }

    /// chroot(2).
    func attemptChangeRoot(_ path: UnsafeRawBufferPointer) throws(Pause) {
        try walk(path, at: .workingDirectory, .follow) { (walk) throws(Pause) in
            let credentials = walk.credentials
            guard credentials.has(.administer) else { throw .failed(.EPERM) }
            try moveTo(walk.place.retained, by: credentials) { (place) throws(Errno) in
                try setRoot(place)
            }
        }
    }

    private func moveTo(
        _ place: Location, by credentials: Credentials, _ move: (Location) throws(Errno) -> Void
    ) throws(Pause) {
        guard place.inode.isDirectory else { throw .failed(.ENOTDIR) }
        try place.inode.requireAccess(.execute, by: credentials)
        do throws(Errno) {
            try move(place)
        } catch {
            throw .failed(error)
        }
    }

    /// getcwd(2), as seen from the process's root. ENOENT if the directory was removed; a path
    /// that cannot be reached from the root begins with "(unreachable)", as Linux shows it.
    public func currentDirectory() throws(Errno) -> [UInt8] {
        let place = workingLocation
        let attributes = try blocking { () throws(Pause) in try place.inode.attributes() }
        guard attributes.linkCount > 0 else { throw .ENOENT }
        if let path = namespace.path(of: place, from: rootLocation) { return path }
        guard let path = namespace.path(of: place) else { throw .ENOENT }
        return Array("(unreachable)".utf8) + path
    }

    /// The path of an open file, for people; nil if it has none that can be reached.
    public func path(of file: OpenFile) -> [UInt8]? {
        if file.inode.isDirectory {
            return namespace.path(of: file.location, from: rootLocation)
        }
        guard let (directory, name) = file.openedAs else { return nil }
        return namespace.path(
            of: Location(mount: file.location.mount, inode: directory), name: name,
            from: rootLocation)
    }

    // MARK: Locks

    /// flock(2).
    func attemptFlock(
        _ file: OpenFile, _ operation: FlockOperation, wait: Bool
    ) throws(Pause) {
        guard !file.isPathOnly else { throw .failed(.EBADF) }
        try file.requireRight(.lock)
        try file.inode.setFlock(
            operation, owner: .description(file.identity), processID: identifier, wait: wait)
        try requireOpen(file, owner: .description(file.identity))
    }

    /// A lock that was granted after the last close, which gave back what there was then, goes.
    private func requireOpen(_ file: OpenFile, owner: LockOwner) throws(Pause) {
        guard file.isClosed else { return }
        file.inode.releaseLocks(of: owner)
        throw .failed(.EBADF)
    }

    private func owner(of file: OpenFile, ofDescription: Bool) -> LockOwner {
        ofDescription ? .description(file.identity) : .process(descriptors.identity)
    }

    /// F_SETLK, F_SETLKW and the OFD forms. EBADF if the descriptor is not open for the kind of
    /// lock, or was closed by another thread meanwhile: that close gave back the POSIX locks of
    /// the file, and this one must not outlive it.
    func attemptSetLock(
        _ file: OpenFile, _ descriptor: Descriptor, _ kind: FileLock.Kind?, range: LockRange,
        ofDescription: Bool, wait: Bool
    ) throws(Pause) {
        guard !file.isPathOnly else { throw .failed(.EBADF) }
        try file.requireRight(.lock)
        let owner = owner(of: file, ofDescription: ofDescription)
        guard let kind else { return try file.inode.unlock(range, owner: owner) }
        guard kind == .read ? file.canRead : file.canWrite else { throw .failed(.EBADF) }
        let lock = FileLock(kind, range, processID: ofDescription ? -1 : identifier)
        try file.inode.setLock(lock, owner: owner, wait: wait)
        if !ofDescription, openFile(descriptor) !== file {
            try file.inode.unlock(range, owner: owner)
            throw .failed(.EBADF)
        }
        if ofDescription { try requireOpen(file, owner: owner) }
    }

    /// F_GETLK and F_OFD_GETLK.
    func attemptTestLock(
        _ file: OpenFile, _ kind: FileLock.Kind, range: LockRange, ofDescription: Bool
    ) throws(Pause) -> FileLock? {
        guard !file.isPathOnly else { throw .failed(.EBADF) }
        try file.requireRight(.lock)
        return file.inode.testLock(
            FileLock(kind, range, processID: identifier),
            owner: owner(of: file, ofDescription: ofDescription))
    }
}
