// Session: a filesystem under test, by path, through the operations of the VFS.
//
// Each call is one VFS operation, driven to its end by `blocking`. There are no permission checks:
// those are `Process`'s.

import CairnBase
import CairnTree
import CairnVFS

public final class Session: Sendable {
    public let vfs: VFS
    public let tree: TreeFileSystem
    public let time: ManualTime
    public let caller: Caller

    public init(
        _ ground: Ground = .memory, seed: UInt64 = 1, credentials: Credentials = .root
    ) throws(Errno) {
        time = ManualTime()
        vfs = VFS(time: time)
        tree = try ground.make(seed: seed, time: time)
        caller = Caller(credentials)
    }

    /// Over a store of the test's own.
    public init(store: any NodeStore, time: ManualTime, nodeLimit: Int = 4) throws(Errno) {
        self.time = time
        // The dentry cache keeps what its names lead to in memory.
        vfs = VFS(time: time, dentryLimit: nodeLimit)
        let tree = TreeFileSystem(typeName: "test", time: time, store: store, nodeLimit: nodeLimit)
        self.tree = tree
        caller = Caller(.root)
        try blocking { () throws(Pause) in try tree.start() }
    }

    private init(_ other: Session, _ credentials: Credentials) {
        time = other.time
        vfs = other.vfs
        tree = other.tree
        caller = Caller(credentials)
    }

    /// The same filesystem, used by somebody else.
    public func `as`(_ credentials: Credentials) -> Session { Session(self, credentials) }

    /// Ends the circle of references, as an unmount does.
    public func close() throws(Errno) {
        try blocking { () throws(Pause) in try tree.close() }
    }

    // MARK: Walking

    /// The inode at a path: names between slashes, without links, dots and mounts.
    public func inode(_ path: String) throws(Errno) -> Inode {
        var current = tree.root
        for part in path.split(separator: "/") {
            let name = FileName(String(part))
            let directory = current
            let found = try name.withName { name throws(Errno) in
                try blocking { () throws(Pause) in try vfs.lookup(name, in: directory) }
            }
            guard let found else { throw .ENOENT }
            current = found
        }
        return current
    }

    private func at<Value>(
        _ path: String, _ body: (Name, Inode) throws(Pause) -> Value
    ) throws(Errno) -> Value {
        let parts = path.split(separator: "/")
        let directory = try inode(parts.dropLast().joined(separator: "/"))
        return try within(directory, String(parts.last ?? ""), body)
    }

    /// One operation on a name in a directory that is at hand.
    public func within<Value>(
        _ directory: Inode, _ name: String, _ body: (Name, Inode) throws(Pause) -> Value
    ) throws(Errno) -> Value {
        try FileName(name).withName { name throws(Errno) in
            try blocking { () throws(Pause) in try body(name, directory) }
        }
    }

    // MARK: Names

    @discardableResult
    public func make(
        _ kind: FileKind, _ path: String, mode: UInt32 = 0o644, umask: UInt32 = 0,
        device: UInt64 = 0, target: String = ""
    ) throws(Errno) -> Inode {
        let node = NewNode(
            kind: kind, permissions: Permissions(rawValue: mode),
            umask: Permissions(rawValue: umask), device: device, target: Array(target.utf8))
        return try at(path) { name, directory throws(Pause) in
            try vfs.create(name, in: directory, node, by: caller)
        }
    }

    @discardableResult
    public func file(
        _ path: String, _ text: String = "", mode: UInt32 = 0o644, umask: UInt32 = 0
    ) throws(Errno) -> Inode {
        let inode = try make(.regular, path, mode: mode, umask: umask)
        if !text.isEmpty { try write(inode, text) }
        return inode
    }

    @discardableResult
    public func directory(
        _ path: String, mode: UInt32 = 0o755, umask: UInt32 = 0
    ) throws(Errno) -> Inode {
        try make(.directory, path, mode: mode, umask: umask)
    }

    /// Held once, for the caller.
    public func temporary(in path: String, mode: UInt32 = 0o600) throws(Errno) -> Inode {
        let directory = try inode(path)
        let node = NewNode(kind: .regular, permissions: Permissions(rawValue: mode))
        return try blocking { () throws(Pause) in
            try vfs.createTemporary(in: directory, node, by: caller)
        }
    }

    public func link(_ inode: Inode, _ path: String) throws(Errno) {
        try at(path) { name, directory throws(Pause) in
            try vfs.link(inode, as: name, in: directory, by: caller)
        }
    }

    public func link(_ old: String, _ path: String) throws(Errno) {
        try link(try inode(old), path)
    }

    public func unlink(_ path: String) throws(Errno) {
        try at(path) { name, directory throws(Pause) in
            try vfs.remove(name, in: directory, directory: false, by: caller)
        }
    }

    public func rmdir(_ path: String) throws(Errno) {
        try at(path) { name, directory throws(Pause) in
            try vfs.remove(name, in: directory, directory: true, by: caller)
        }
    }

    public func rename(_ old: String, _ new: String, _ flags: RenameFlags = []) throws(Errno) {
        let parts = new.split(separator: "/")
        let target = try inode(parts.dropLast().joined(separator: "/"))
        try FileName(String(parts.last ?? "")).withName { newName throws(Errno) in
            try at(old) { name, directory throws(Pause) in
                try vfs.rename(
                    name, in: directory, to: newName, in: target, flags: flags, by: caller)
            }
        }
    }

    public func names(_ inode: Inode, after cookie: UInt64 = 0) throws(Errno) -> [String] {
        try entries(inode, after: cookie).map(\.name)
    }

    public func names(_ path: String) throws(Errno) -> [String] { try names(try inode(path)) }

    public func entries(
        _ inode: Inode, after cookie: UInt64 = 0, atMost limit: Int = .max
    ) throws(Errno) -> [(name: String, number: UInt64, kind: FileKind, cookie: UInt64)] {
        var result: [(name: String, number: UInt64, kind: FileKind, cookie: UInt64)] = []
        try blocking { () throws(Pause) in
            result = []
            try inode.readDirectory(after: cookie) { entry in
                if result.count == limit { return false }
                result.append(
                    (entry.name.owned.description, entry.number, entry.kind, entry.cookie))
                return true
            }
        }
        return result
    }

    public func target(_ path: String) throws(Errno) -> String {
        let inode = try inode(path)
        return String(
            decoding: try blocking { () throws(Pause) in try inode.readLink() }, as: UTF8.self)
    }

    // MARK: Attributes

    public func stat(_ inode: Inode) throws(Errno) -> Attributes {
        try blocking { () throws(Pause) in try inode.attributes() }
    }

    public func stat(_ path: String) throws(Errno) -> Attributes { try stat(try inode(path)) }

    @discardableResult
    public func set(
        _ inode: Inode, _ body: (inout AttributeChange) -> Void
    ) throws(Errno) -> Attributes {
        var change = AttributeChange()
        body(&change)
        return try blocking { () throws(Pause) in
            try vfs.setAttributes(of: inode, change, by: caller)
        }
    }

    @discardableResult
    public func set(
        _ path: String, _ body: (inout AttributeChange) -> Void
    ) throws(Errno) -> Attributes { try set(try inode(path), body) }

    public func truncate(_ path: String, _ size: UInt64) throws(Errno) {
        try set(path) { $0.size = size }
    }
}
