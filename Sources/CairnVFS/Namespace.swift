// Namespace: a tree of mounts, and the way across them.
//
// Crossing a mount is a lookup in a table that is read without locks, and only where the inode
// says that something is mounted on it; so a walk costs the same with one mount and with many.
// `lock` serialises changes of the table. It is held only to look and to enter: filesystems are
// opened before and closed after.

public import CairnBase
import Synchronization

/// A mount table of its own: what one set of processes, or one FUSE mount, sees as a whole.
public final class Namespace: @unchecked Sendable {
    // Sendable: `lock` guards the fields below it.
    public let vfs: VFS
    /// The mount that everything else stands on.
    public let rootMount: Mount

    let observers = MountObservers()

    /// (mount, inode that is covered) → the mount on it.
    private let covers = ConcurrentTable<Mount>(expected: 1 << 14)

    private let lock = Lock()
    private var mountsByIdentity: [UInt64: Mount] = [:]
    private var isClosed = false

    /// A namespace whose root is `fileSystem`'s root. EBUSY if the filesystem is being closed.
    public init(
        vfs: VFS, root fileSystem: FileSystem, source: String = "none", flags: MountFlags = []
    ) throws(Errno) {
        guard let mount = Mount(vfs: vfs, root: fileSystem.root, source: source, flags: flags)
        else {
            throw .EBUSY
        }
        self.vfs = vfs
        self.rootMount = mount
        fileSystem.noteMounted()
        mountsByIdentity[mount.identity] = mount
        vfs.add(self)
    }

    public var root: Location { Location(mount: rootMount, inode: rootMount.root) }

    /// All mounts, in the order they were made.
    public var mounts: [Mount] {
        lock.withLock { mountsByIdentity.values.sorted { $0.identity < $1.identity } }
    }

    /// What the mount covers; nil for the root and for a mount that is gone.
    public func cover(of mount: Mount) -> Location? { lock.withLock { mount.cover } }

    // MARK: Observers

    /// Whoever keeps copies of what is seen here and must hear when mounts come and go.
    public func addObserver(_ observer: any MountObserver) { observers.add(observer) }

    public func removeObserver(_ observer: any MountObserver) { observers.remove(observer) }

    // MARK: Changing the table

    /// Mounts a filesystem over a place (over what is mounted there already, if something is).
    /// ENOTDIR unless both are directories or neither is; EBUSY if the filesystem is being closed;
    /// ENOENT if the place is gone.
    @discardableResult
    public func mount(
        _ fileSystem: FileSystem, at place: Location, source: String = "none",
        flags: MountFlags = []
    ) throws(Errno) -> Mount {
        try mount(root: fileSystem.root, at: place, source: source, flags: flags)
    }

    /// Shows a place in a second place. Flags nil: as the first.
    @discardableResult
    public func bind(
        _ origin: Location, at place: Location, flags: MountFlags? = nil
    ) throws(Errno) -> Mount {
        try mount(
            root: origin.inode, at: place, source: origin.mount.source,
            flags: flags ?? origin.mount.flags)
    }

    private func mount(
        root: Inode, at place: Location, source: String, flags: MountFlags
    ) throws(Errno) -> Mount {
        guard root.isDirectory == place.inode.isDirectory else { throw .ENOTDIR }
        guard let mount = Mount(vfs: vfs, root: root, source: source, flags: flags) else {
            throw .EBUSY
        }
        do throws(Errno) {
            try lock.withLock { () throws(Errno) in
                guard !isClosed else { throw .ENOENT }
                try cover(place, with: mount)
                mountsByIdentity[mount.identity] = mount
                mount.fileSystem.noteMounted()
            }
        } catch {
            root.drop()
            mount.fileSystem.undoAttach()
            throw error
        }
        observers.tellCoverChanged(at: place)
        return mount
    }

    /// Moves a mount, with all that stands on it. EINVAL for the root, and for a place below the
    /// mount itself (ELOOP).
    public func move(_ mount: Mount, to place: Location) throws(Errno) {
        guard mount.root.isDirectory == place.inode.isDirectory else { throw .ENOTDIR }
        let uncovered = try lock.withLock { () throws(Errno) in
            let place = crossed(place)
            guard let old = mount.cover, mountsByIdentity[mount.identity] === mount else {
                throw .EINVAL
            }
            var above: Mount? = place.mount
            while let current = above {
                if current === mount { throw .ELOOP }
                above = current.cover?.mount
            }
            try cover(place, with: mount)
            uncover(old)
            return old
        }
        observers.tellCoverChanged(at: uncovered)
        observers.tellCoverChanged(at: place)
        letGo(of: uncovered)
    }

    /// Unmounts, and returns when all is durable and, if it was the last mount of its filesystem,
    /// closed. EBUSY while something uses it, unless `lazily`: then it and all that stands on it
    /// leave the namespace now, and close on last use. `force`: what is in flight fails with EIO
    /// first. EINVAL for what is not mounted here, and for the root.
    public func unmount(
        _ mount: Mount, lazily: Bool = false, force: Bool = false
    ) throws(Errno) {
        let unmounting = Unmounting(mount, in: self, lazily: lazily, force: force)
        try CairnBase.blocking { () throws(Pause) in try unmounting.attempt() }
    }

    /// Whether the mount is one of this namespace's, and not its root.
    func canUnmount(_ mount: Mount) -> Bool {
        lock.withLock { mount.cover != nil && isListed(mount) }
    }

    /// The step of unmounting that takes the mount out of the table. Gives what finishes when its
    /// filesystem is closed; nil: nobody waits for that.
    func takeOut(_ mount: Mount, lazily: Bool) throws(Errno) -> Wait? {
        var detached: [Mount] = []
        var uncovered: [Location] = []
        try lock.withLock { () throws(Errno) in
            guard mount.cover != nil, isListed(mount) else { throw .EINVAL }
            if !lazily {
                guard mount.closeIfUnused() else { throw .EBUSY }
            }
            detached = lazily ? subtree(of: mount) : [mount]
            uncovered = detached.compactMap { take($0) }
        }
        tellObservers(detached, left: uncovered)
        uncovered.forEach { letGo(of: $0) }
        guard lazily else { return MountClosing(mount, in: vfs).start() }
        for mount in detached {
            mount.detachLazily()
        }
        return nil
    }

    private func blocking(_ wait: Wait) throws(Errno) {
        var hasWaited = false
        try CairnBase.blocking { () throws(Pause) in
            if hasWaited { return }
            hasWaited = true
            throw .wait(wait)
        }
    }

    /// The end of the namespace: every mount goes, the topmost first. The caller has ended its
    /// processes; what they left open keeps its filesystem until it is closed (as `lazily` does).
    /// Throws the first error, and goes on.
    public func close() throws(Errno) {
        var uncovered: [Location] = []
        let all: [Mount] = lock.withLock {
            guard !isClosed else { return [] }
            isClosed = true
            let all = mountsByIdentity.values.sorted { $0.identity > $1.identity }
            uncovered = all.compactMap { take($0) }
            return all
        }
        tellObservers(all.filter { $0 !== rootMount }, left: uncovered)
        uncovered.forEach { letGo(of: $0) }
        vfs.remove(self)
        var failure: Errno?
        for mount in all {
            if mount.closeIfUnused() {
                do throws(Errno) {
                    try blocking(MountClosing(mount, in: vfs).start())
                } catch {
                    failure = failure ?? error
                }
            } else {
                mount.detachLazily()
            }
        }
        if let failure { throw failure }
    }

    /// A namespace of its own with the same mounts (CLONE_NEWNS).
    public func copy() throws(Errno) -> Namespace {
        let originals = lock.withLock { subtree(of: rootMount).reversed().map { ($0, $0.cover) } }
        let result = try Namespace(
            vfs: vfs, root: rootMount.root.fileSystem, source: rootMount.source,
            flags: rootMount.flags)
        var copies: [UInt64: Mount] = [rootMount.identity: result.rootMount]
        // What stands below comes first, however late it was made.
        for (original, cover) in originals {
            guard let cover, let below = copies[cover.mount.identity] else { continue }
            do throws(Errno) {
                copies[original.identity] = try result.mount(
                    root: original.root, at: Location(mount: below, inode: cover.inode),
                    source: original.source, flags: original.flags)
            } catch {
                try? result.close()
                throw error
            }
        }
        return result
    }

    // MARK: Under the lock

    private func isListed(_ mount: Mount) -> Bool { mountsByIdentity[mount.identity] === mount }

    /// Covers the place, or what is mounted on it already. EINVAL where the place is not in this
    /// namespace.
    private func cover(_ place: Location, with mount: Mount) throws(Errno) {
        let place = crossed(place)
        guard isListed(place.mount) else { throw .EINVAL }
        guard place.mount.hold() else { throw .ENOENT }
        guard place.inode.hold() else {
            place.mount.drop()
            throw .ENOENT
        }
        mount.cover = place
        place.inode.mountsHere.add(1, ordering: .sequentiallyConsistent)
        withKey(place.inode) { covers.insert(owner: place.mount.identity, $0, mount) { true } }
    }

    /// Takes the mount out of the table; gives what it covered, to be let go of outside the lock.
    private func take(_ mount: Mount) -> Location? {
        mountsByIdentity[mount.identity] = nil
        guard let place = mount.cover else { return nil }
        mount.cover = nil
        uncover(place)
        return place
    }

    private func uncover(_ place: Location) {
        withKey(place.inode) { _ = covers.remove(owner: place.mount.identity, $0) }
        place.inode.mountsHere.subtract(1, ordering: .sequentiallyConsistent)
    }

    /// Outside the lock. The mounts have covered these places.
    private func tellObservers(_ mounts: [Mount], left places: [Location]) {
        for (mount, place) in zip(mounts, places) {
            observers.tellCoverChanged(at: place)
            observers.tell(mount, left: place)
        }
    }

    /// Drops the holds of a place that is not covered any more. Outside the lock: it may be the
    /// last use of a mount or a file.
    private func letGo(of place: Location) {
        place.inode.drop()
        place.mount.drop()
    }

    /// The mount and all that stand on it, the topmost first.
    private func subtree(of mount: Mount) -> [Mount] {
        var result: [Mount] = []
        for child in mountsByIdentity.values where child.cover?.mount === mount {
            result += subtree(of: child)
        }
        return result + [mount]
    }

    // MARK: Crossing

    @inline(__always)
    private func withKey<Value>(_ inode: Inode, _ body: (Name) -> Value) -> Value {
        withUnsafeBytes(of: inode.identity) { body(Name($0)) }
    }

    /// Where a lookup that arrived at `place` really stands: the root of the topmost mount over
    /// it, or the place itself.
    @inlinable
    public func crossed(_ place: Location) -> Location {
        place.inode.isMountPoint ? crossedSlowly(place) : place
    }

    @usableFromInline
    func crossedSlowly(_ place: Location) -> Location {
        Epoch.section {
            var place = place
            while let mount = mountInSection(on: place.mount.identity, place.inode) {
                place = mount._withUnsafeGuaranteedRef { Location(mount: $0, inode: $0.root) }
            }
            return place
        }
    }

    /// The mount that covers an inode of a mount. To be called in an epoch section.
    func mountInSection(on mount: UInt64, _ inode: Inode) -> Unmanaged<Mount>? {
        guard inode.isMountPoint else { return nil }
        if case .object(let found) = withKey(inode, { covers.find(owner: mount, $0) }) {
            return found
        }
        return nil
    }

    /// The directory above, across mounts. A namespace's root, and the root of what is detached,
    /// give themselves.
    public func parent(of place: Location) throws(Pause) -> Location {
        var place = place
        while place.inode === place.mount.root {
            guard let below = cover(of: place.mount) else { return place }
            place = below
        }
        guard let above = try place.inode.parentDirectory() ?? place.inode.place?.parent else {
            return place
        }
        guard try isBelow(place.mount, above) else { throw .failed(.ENOENT) }
        return crossed(Location(mount: place.mount, inode: above))
    }

    /// Whether a directory is still in the part that the mount shows: a rename may have moved it out
    /// of what is bound (Linux's path_connected).
    private func isBelow(_ mount: Mount, _ directory: Inode) throws(Pause) -> Bool {
        guard mount.root !== mount.fileSystem.root else { return true }
        var current = directory
        for _ in 0..<Path.maximumLength {
            if current === mount.root { return true }
            guard let above = try current.parentDirectory() ?? current.place?.parent,
                above !== current
            else { return false }
            current = above
        }
        return false
    }

    /// The name by which a place is reached, and the directory that has it; nil for the namespace's
    /// root and for a file, which may have many.
    public func entry(of place: Location) -> (directory: Location, name: FileName)? {
        var place = place
        while place.inode === place.mount.root {
            guard let below = cover(of: place.mount) else { return nil }
            place = below
        }
        guard place.inode.isDirectory, let step = place.inode.place else { return nil }
        return (Location(mount: place.mount, inode: step.parent), step.name)
    }

    /// The path from `root` (the namespace's, if nil) to a directory, or to a name in one; nil if
    /// it cannot be reached from there.
    public func path(
        of place: Location, name: FileName? = nil, from root: Location? = nil
    ) -> [UInt8]? {
        let top = root ?? self.root
        var parts: [[UInt8]] = name.map { [$0.bytes] } ?? []
        var place = place
        while !(place == top) {
            if place.inode === place.mount.root {
                guard let below = cover(of: place.mount) else { return nil }
                place = below
                continue
            }
            guard let step = place.inode.place else { return nil }
            parts.append(step.name.bytes)
            place.inode = step.parent
            guard parts.count < 4096 else { return nil }
        }
        if parts.isEmpty { return [UInt8(ascii: "/")] }
        return parts.reversed().reduce(into: []) { path, part in
            path.append(UInt8(ascii: "/"))
            path += part
        }
    }
}

extension Inode {
    /// Whether some mount, in some namespace, stands on this inode.
    @inlinable public final var isMountPoint: Bool { mountCount != 0 }
    @usableFromInline final var mountCount: Int { mountsHere.load(ordering: .relaxed) }
}
