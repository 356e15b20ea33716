// Opening sources: from a type, a source and options to a filesystem, and from several to one
// namespace.

import Cairn
import CairnBase
import CairnVFS

/// A VFS that knows all types of filesystem that are built in.
func makeVFS() -> VFS {
    let vfs = VFS()
    for type in builtInTypes { vfs.register(type) }
    return vfs
}

/// A filesystem that was opened, with what its mount allows.
struct OpenedFileSystem {
    let fileSystem: FileSystem
    let type: String
    let source: String
    let flags: MountFlags
    let door: DoorOptions
}

extension VFS {
    /// Opens what the plan names, as a mount's root or as a further part of it. An option that
    /// nobody knows is an error.
    func open(
        _ planned: PlannedFileSystem, asPart isPart: Bool = false
    ) throws(Failure) -> OpenedFileSystem {
        let known = typeNames.joined(separator: ", ")
        let name: String
        if let type = planned.type {
            name = type
        } else {
            name = try found(in: planned.source, known)
        }
        guard let type = type(named: name) else {
            throw Failure("type \(name)", "unknown", wayOut: "known types: \(known)")
        }
        do throws(MountFailure) {
            var options = MountOptionList(planned.options)
            if isPart { try DoorOptions.refuse(in: options) }
            let flags = try MountFlags.take(from: &options)
            let door = isPart ? DoorOptions() : try DoorOptions(taking: &options)
            let fileSystem = try type.open(
                source: planned.source, isReadOnly: flags.contains(.readOnly), options: &options,
                in: self)
            if let unknown = options.firstUnknown {
                try? blocking { () throws(Pause) in try fileSystem.close() }
                throw MountFailure(
                    .EINVAL, "option \(unknown)", "unknown to mount and to \(name)")
            }
            return OpenedFileSystem(
                fileSystem: fileSystem, type: name, source: planned.source, flags: flags,
                door: door)
        } catch {
            throw Failure(error)
        }
    }

    /// The type of what stands at a source.
    private func found(in source: String, _ known: String) throws(Failure) -> String {
        if source != "none" {
            switch SourceLook(at: source) {
            case .disk: return "mfs_disk"
            case .foreign(let name):
                throw Failure(source, "holds \(name)", wayOut: "cairn mounts mfs_disk")
            case .nothing("is empty"):
                throw Failure(source, "is empty", wayOut: "cairn mkfs makes a filesystem on it")
            case .nothing(let why):
                throw Failure(source, why)
            }
        }
        throw Failure(
            source, "its type cannot be found from the source",
            wayOut: "name it with -t; known types: \(known)")
    }
}

/// A namespace that stands, and what it was made from.
struct Composition {
    let namespace: Namespace
    /// The root first; each with its path.
    let parts: [(path: FilePath, opened: OpenedFileSystem)]

    /// Opens all filesystems of a plan and mounts one over the other. If one fails, those before
    /// it are closed again.
    init(_ fileSystems: [PlannedFileSystem], in vfs: VFS) throws(Failure) {
        guard let first = fileSystems.first else {
            preconditionFailure("a plan has a root")
        }
        let root = try vfs.open(first)
        let namespace: Namespace
        do throws(Errno) {
            namespace = try Namespace(
                vfs: vfs, root: root.fileSystem, source: root.source, flags: root.flags)
        } catch {
            throw Failure(root.source, error)
        }
        var parts = [(first.path, root)]
        do throws(Failure) {
            for planned in fileSystems.dropFirst() {
                let opened = try vfs.open(planned, asPart: true)
                try namespace.attach(opened, at: planned.path)
                parts.append((planned.path, opened))
            }
        } catch {
            try? namespace.close()
            throw error
        }
        self.namespace = namespace
        self.parts = parts
    }
}
