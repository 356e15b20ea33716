// Attempts: mkdir, mknod, symlink, link, unlink, rmdir, rename, readlink.

import CairnBase

extension Process {
    /// mkdir(2), mknod(2) and symlink(2): one new name.
    func attemptMake(
        _ path: UnsafeRawBufferPointer, at base: Descriptor, _ node: NewNode
    ) throws(Pause) -> UnsyncedChange {
        try walk(path, at: base, .parent) { (walk) throws(Pause) in
            let credentials = walk.credentials
            guard walk.lastPart == .name else { throw .failed(.EEXIST) }
            let directory = walk.place.inode.takeUnretainedValue()
            let name = Name(walk.lastName)
            if try vfs.lookup(name, in: directory) != nil { throw .failed(.EEXIST) }
            if walk.hasTrailingSlash, node.kind != .directory { throw .failed(.ENOENT) }
            try walk.requireWritable()
            try directory.requireAccess([.write, .execute], by: credentials)
            if node.kind.isDevice, !credentials.has(.makeDevices) { throw .failed(.EPERM) }
            var node = node
            node.permissions.formIntersection(.all)
            node.umask = currentUmask
            _ = try vfs.create(name, in: directory, node, by: Caller(credentials))
            return UnsyncedChange(of: walk.place.retained)
        }
    }

    /// The node that mknod(2) makes. EINVAL for what it cannot make, EPERM for a directory.
    func nodeToMake(
        _ kind: FileKind, _ permissions: Permissions, _ device: UInt64
    ) throws(Pause) -> NewNode {
        switch kind {
        case .directory: throw .failed(.EPERM)
        case .symbolicLink: throw .failed(.EINVAL)
        default: return NewNode(kind: kind, permissions: permissions, device: device)
        }
    }

    /// The node that symlink(2) makes. ENOENT for an empty target, ENAMETOOLONG over 4095 bytes.
    func linkToMake(_ target: Path) throws(Pause) -> NewNode {
        let bytes = target.bytes
        guard !bytes.isEmpty else { throw .failed(.ENOENT) }
        guard bytes.count <= Path.maximumLength else { throw .failed(.ENAMETOOLONG) }
        guard !bytes.contains(0) else { throw .failed(.EINVAL) }
        return NewNode(
            kind: .symbolicLink, permissions: Permissions(rawValue: 0o777), target: bytes)
    }

    /// linkat(2). An empty `source` is the descriptor itself (AT_EMPTY_PATH).
    func attemptLink(
        _ source: UnsafeRawBufferPointer, at sourceDirectory: Descriptor, follow: Bool,
        emptyIsBase: Bool, to path: UnsafeRawBufferPointer, at directory: Descriptor
    ) throws(Pause) -> UnsyncedChange {
        var options: WalkOptions = follow ? .follow : []
        if emptyIsBase { options.insert(.emptyIsBase) }
        return try walk(source, at: sourceDirectory, options) { (first) throws(Pause) in
            let credentials = first.credentials
            let origin = first.place.retained
            return try walk(path, at: directory, .parent) { (walk) throws(Pause) in
                guard walk.lastPart == .name else { throw .failed(.EEXIST) }
                let place = walk.place.retained
                let name = Name(walk.lastName)
                if try vfs.lookup(name, in: place.inode) != nil { throw .failed(.EEXIST) }
                if walk.hasTrailingSlash { throw .failed(.ENOENT) }
                guard origin.mount === place.mount else { throw .failed(.EXDEV) }
                try requireWritable(place.mount)
                try place.inode.requireAccess([.write, .execute], by: credentials)
                if origin.inode.isDirectory { throw .failed(.EPERM) }
                let attributes = try origin.inode.attributes()
                if !attributes.flags.isDisjoint(with: [.immutable, .appendOnly]) {
                    throw .failed(.EPERM)
                }
                try vfs.link(origin.inode, as: name, in: place.inode, by: Caller(credentials))
                return UnsyncedChange(of: place)
            }
        }
    }

    /// unlink(2), or rmdir(2) when `directory`.
    func attemptRemove(
        _ path: UnsafeRawBufferPointer, at base: Descriptor, directory isDirectory: Bool
    ) throws(Pause) -> UnsyncedChange {
        try walk(path, at: base, .parent) { (walk) throws(Pause) in
            let credentials = walk.credentials
            switch walk.lastPart {
            case .name: break
            case .dot: throw .failed(isDirectory ? .EINVAL : .EISDIR)
            case .dotDot: throw .failed(isDirectory ? .ENOTEMPTY : .EISDIR)
            case .root: throw .failed(isDirectory ? .EBUSY : .EISDIR)
            }
            let directory = walk.place.inode.takeUnretainedValue()
            let name = Name(walk.lastName)
            guard let victim = try vfs.lookup(name, in: directory) else {
                throw .failed(.ENOENT)
            }
            if walk.hasTrailingSlash, !victim.isDirectory { throw .failed(.ENOTDIR) }
            try walk.requireWritable()
            try directory.requireRemoval(of: victim, by: credentials)
            if victim.isDirectory != isDirectory {
                throw .failed(isDirectory ? .ENOTDIR : .EISDIR)
            }
            try vfs.remove(
                name, in: directory, directory: isDirectory, expecting: victim,
                by: Caller(credentials))
            return UnsyncedChange(of: walk.place.retained)
        }
    }

    /// renameat2(2).
    func attemptRename(
        _ path: UnsafeRawBufferPointer, at base: Descriptor, to newPath: UnsafeRawBufferPointer,
        at newBase: Descriptor, flags: RenameFlags
    ) throws(Pause) -> UnsyncedChange {
        guard flags.isSubset(of: [.noReplace, .exchange]),
            flags != [.noReplace, .exchange]
        else { throw .failed(.EINVAL) }
        return try walk(path, at: base, .parent) { (first) throws(Pause) in
            let credentials = first.credentials
            let source = first.place.retained
            return try walk(newPath, at: newBase, .parent) { (second) throws(Pause) in
                let target = second.place.retained
                guard source.mount === target.mount else { throw .failed(.EXDEV) }
                guard first.lastPart == .name else { throw .failed(.EBUSY) }
                guard second.lastPart == .name else {
                    throw .failed(flags.contains(.noReplace) ? .EEXIST : .EBUSY)
                }
                try requireWritable(source.mount)
                try rename(first, source.inode, second, target.inode, flags, credentials)
                return UnsyncedChange(of: source, and: target)
            }
        }
    }

    private func rename(
        _ first: borrowing PathWalk, _ source: Inode, _ second: borrowing PathWalk,
        _ target: Inode, _ flags: RenameFlags, _ credentials: Credentials
    ) throws(Pause) {
        let name = Name(first.lastName)
        let newName = Name(second.lastName)
        guard let moved = try vfs.lookup(name, in: source) else { throw .failed(.ENOENT) }
        let replaced = try vfs.lookup(newName, in: target)
        if replaced != nil, flags.contains(.noReplace) { throw .failed(.EEXIST) }
        if replaced == nil, flags.contains(.exchange) { throw .failed(.ENOENT) }
        if !moved.isDirectory {
            if first.hasTrailingSlash { throw .failed(.ENOTDIR) }
            if second.hasTrailingSlash, !flags.contains(.exchange) { throw .failed(.ENOTDIR) }
        }
        if flags.contains(.exchange), second.hasTrailingSlash, replaced?.isDirectory == false {
            throw .failed(.ENOTDIR)
        }
        try source.requireRemoval(of: moved, by: credentials)
        if let replaced {
            try target.requireRemoval(of: replaced, by: credentials)
            if !flags.contains(.exchange) {
                if moved.isDirectory, !replaced.isDirectory { throw .failed(.ENOTDIR) }
                if !moved.isDirectory, replaced.isDirectory { throw .failed(.EISDIR) }
            }
        } else {
            try target.requireAccess([.write, .execute], by: credentials)
        }
        if source !== target {
            // Its `..` changes, which is a write to the directory itself.
            if moved.isDirectory { try moved.requireAccess(.write, by: credentials) }
            if let replaced, replaced.isDirectory, flags.contains(.exchange) {
                try replaced.requireAccess(.write, by: credentials)
            }
        }
        try vfs.rename(
            name, in: source, to: newName, in: target, flags: flags,
            expecting: (moved, replaced), by: Caller(credentials))
    }

    /// readlink(2).
    func attemptReadLink(
        _ path: UnsafeRawBufferPointer, at directory: Descriptor
    ) throws(Pause) -> [UInt8] {
        try walk(path, at: directory, .emptyIsBase) { (walk) throws(Pause) in
            let inode = walk.place.inode.takeUnretainedValue()
            guard inode.kind == .symbolicLink else {
                throw .failed(path.isEmpty ? .ENOENT : .EINVAL)
            }
            return try inode.readLink()
        }
    }
}
