// procfs: what goes on in a VFS, as files (requirement A2).
//
//     /mounts /mountinfo /filesystems /locks        as in Linux's /proc
//     /caches /commits /queues /operations /memory  figures, each also as NAME.json
//     /<pid>/                                       one for each process (ProcProcess.swift)
//
// Everything is made up from what is in memory at the moment of the open (files) or of the lookup
// (names). Nothing here asks another filesystem for anything that it might have to wait for, so
// procfs answers while any other filesystem is held up.
//
// Threading: nodes are immutable, but for the directories of processes, which the root keeps
// under `ProcRoot.lock`.

import CairnBase
public import CairnVFS

public struct ProcFileSystemType: FileSystemType {
    public let name = "procfs"

    public init() {}

    public func open(
        source: String, options: inout MountOptionList, in vfs: VFS
    ) throws(MountFailure) -> FileSystem {
        ProcFileSystem(vfs: vfs)
    }
}

public final class ProcFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: `rootStorage` is set once, before anybody else sees the object.
    let vfs: VFS
    private let chosenNamespace: Namespace?
    private var rootStorage: ProcRoot?

    /// `namespace`: whose mounts are shown at the top; nil: the first one that this filesystem is
    /// mounted in.
    public init(vfs: VFS, namespace: Namespace? = nil) {
        self.vfs = vfs
        self.chosenNamespace = namespace
        super.init(typeName: "procfs", time: vfs.time)
        rootStorage = ProcRoot(in: self)
    }

    public override var root: Inode {
        guard let rootStorage else { preconditionFailure("procfs is used after it was closed") }
        return rootStorage
    }

    public override var namesAreCacheable: Bool { false }
    public override var dataIsCacheable: Bool { false }

    /// Breaks the circle between the nodes and the filesystem.
    public override func close() throws(Pause) {
        rootStorage?.forgetNodes()
        rootStorage = nil
    }

    /// Whose mounts are shown at the top; nil while this is mounted nowhere.
    var namespace: Namespace? {
        if let chosenNamespace { return chosenNamespace }
        return namespaces.first { $0.mounts.contains { $0.fileSystem === self } }
    }

    /// In the order in which they were made.
    private var namespaces: [Namespace] {
        vfs.namespaces.sorted { $0.rootMount.identity < $1.rootMount.identity }
    }

    /// Filesystems that are mounted in any namespace, each once, in the order of their making.
    var fileSystems: [FileSystem] {
        var seen: [UInt64: FileSystem] = [:]
        for namespace in namespaces {
            for mount in namespace.mounts {
                seen[mount.fileSystem.identity] = mount.fileSystem
            }
        }
        return seen.values.sorted { $0.identity < $1.identity }
    }
}
