// Namespace: a tree of mounts, and the way across them.

public import CairnBase
public import Synchronization

/// A mount table of its own: what one set of processes, or one FUSE mount, sees as a whole.
public final class Namespace: @unchecked Sendable {
    // Sendable: `lock` guards the table.
    public let vfs: VFS
    private let lock = Lock()
    private var table: [Key: Mount] = [:]

    private struct Key: Hashable {
        var mount: UInt64
        var inode: UInt64
    }

    /// The mount that everything else stands on.
    public let rootMount: Mount

    /// A namespace whose root is `fileSystem`'s root.
    public init(
        vfs: VFS, root fileSystem: FileSystem, source: String = "none", flags: MountFlags = []
    ) {
        self.vfs = vfs
        self.rootMount = Mount(root: fileSystem.root, source: source, flags: flags)
    }

    public var root: Location { Location(mount: rootMount, inode: rootMount.root) }

    /// Mounts a filesystem over a directory.
    @discardableResult
    public func mount(
        _ fileSystem: FileSystem, at place: Location, source: String = "none",
        flags: MountFlags = []
    ) throws(Errno) -> Mount {
        let mount = Mount(root: fileSystem.root, source: source, flags: flags)
        lock.withLock {
            mount.cover = place
            place.inode.mountsHere.add(1, ordering: .releasing)
            table[Key(mount: place.mount.identity, inode: place.inode.identity)] = mount
        }
        return mount
    }

    /// Where a lookup that arrived at `place` really stands: the root of the topmost mount over
    /// it, or the place itself.
    @inlinable
    public func crossed(_ place: Location) -> Location {
        place.inode.isMountPoint ? crossedSlowly(place) : place
    }

    @usableFromInline
    func crossedSlowly(_ place: Location) -> Location {
        lock.withLock {
            var place = place
            while let mount = table[
                Key(mount: place.mount.identity, inode: place.inode.identity)]
            {
                place = Location(mount: mount, inode: mount.root)
            }
            return place
        }
    }

    /// The directory above, across mounts; the namespace's root gives itself.
    public func parent(of place: Location) throws(Pause) -> Location { place }

    /// The topmost mounts and what they cover, the root first.
    public var mounts: [Mount] { lock.withLock { [rootMount] + table.values } }

    /// The path of a place, for people and for procfs; nil if it is not reachable any more.
    public func path(of place: Location) -> [UInt8]? { nil }
}

extension Inode {
    /// Whether some mount, in some namespace, stands on this inode.
    @inlinable public final var isMountPoint: Bool { mountCount != 0 }
    @usableFromInline final var mountCount: Int { mountsHere.load(ordering: .acquiring) }
}
