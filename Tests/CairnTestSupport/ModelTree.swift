// ModelTree: what a POSIX tree does, in the plainest way: the yardstick for random tests.
//
// Names, links, kinds and data; no times, owners and permissions. The error of a wrong use is
// decided in the order in which `Session` finds it.

import CairnBase
import CairnVFS

public struct ModelTree {
    public final class Node {
        public let kind: FileKind
        public var children: [String: Node] = [:]
        public var bytes: [UInt8] = []
        public var linkCount = 1

        init(_ kind: FileKind) { self.kind = kind }

        var isDirectory: Bool { kind == .directory }
    }

    public let root = Node(.directory)

    public init() {}

    public func node(_ path: String) throws(Errno) -> Node {
        var current = root
        for part in path.split(separator: "/") {
            guard current.isDirectory else { throw .ENOTDIR }
            guard let next = current.children[String(part)] else { throw .ENOENT }
            current = next
        }
        return current
    }

    private func place(_ path: String) throws(Errno) -> (directory: Node, name: String) {
        let parts = path.split(separator: "/")
        return (try node(parts.dropLast().joined(separator: "/")), String(parts.last ?? ""))
    }

    public func make(_ kind: FileKind, _ path: String) throws(Errno) {
        let (directory, name) = try place(path)
        guard directory.isDirectory else { throw .ENOTDIR }
        guard directory.children[name] == nil else { throw .EEXIST }
        directory.children[name] = Node(kind)
    }

    public func link(_ old: String, _ new: String) throws(Errno) {
        let node = try node(old)
        let (directory, name) = try place(new)
        guard !node.isDirectory else { throw .EPERM }
        guard directory.isDirectory else { throw .ENOTDIR }
        guard directory.children[name] == nil else { throw .EEXIST }
        directory.children[name] = node
        node.linkCount += 1
    }

    public func remove(_ path: String, directory wantsDirectory: Bool) throws(Errno) {
        let (directory, name) = try place(path)
        guard directory.isDirectory else { throw .ENOTDIR }
        guard let node = directory.children[name] else { throw .ENOENT }
        guard node.isDirectory == wantsDirectory else {
            throw wantsDirectory ? .ENOTDIR : .EISDIR
        }
        guard node.children.isEmpty else { throw .ENOTEMPTY }
        directory.children[name] = nil
        node.linkCount -= 1
    }

    public func rename(_ old: String, _ new: String, _ flags: RenameFlags) throws(Errno) {
        let (target, newName) = try place(new)
        let (source, name) = try place(old)
        guard source.isDirectory else { throw .ENOTDIR }
        guard let moved = source.children[name] else { throw .ENOENT }
        guard target.isDirectory else { throw .ENOTDIR }
        let replaced = target.children[newName]
        if replaced != nil, flags.contains(.noReplace) { throw .EEXIST }
        if replaced == nil, flags.contains(.exchange) { throw .ENOENT }
        if source !== target {
            if contains(moved, target) { throw .EINVAL }
            if let replaced, contains(replaced, source) {
                throw flags.contains(.exchange) ? .EINVAL : .ENOTEMPTY
            }
        }
        if moved === replaced { return }
        if flags.contains(.exchange) {
            source.children[name] = replaced
            target.children[newName] = moved
            return
        }
        if let replaced {
            if moved.isDirectory, !replaced.isDirectory { throw .ENOTDIR }
            if !moved.isDirectory, replaced.isDirectory { throw .EISDIR }
            guard replaced.children.isEmpty else { throw .ENOTEMPTY }
            replaced.linkCount -= 1
        }
        source.children[name] = nil
        target.children[newName] = moved
    }

    /// Whether `inner` is `outer` or somewhere below it.
    private func contains(_ outer: Node, _ inner: Node) -> Bool {
        outer === inner || outer.children.values.contains { $0.isDirectory && contains($0, inner) }
    }

    // MARK: Data

    private func file(_ path: String) throws(Errno) -> Node {
        let node = try node(path)
        guard node.kind == .regular else { throw node.isDirectory ? .EISDIR : .EINVAL }
        return node
    }

    /// Nil offset: at the end.
    public func write(_ path: String, _ bytes: [UInt8], at offset: Int?) throws(Errno) {
        let file = try file(path)
        let start = offset ?? file.bytes.count
        if bytes.isEmpty { return }
        if file.bytes.count < start + bytes.count {
            file.bytes += [UInt8](repeating: 0, count: start + bytes.count - file.bytes.count)
        }
        file.bytes.replaceSubrange(start..<start + bytes.count, with: bytes)
    }

    public func truncate(_ path: String, _ size: Int) throws(Errno) {
        let file = try file(path)
        file.bytes = Array(file.bytes.prefix(size))
        file.bytes += [UInt8](repeating: 0, count: size - file.bytes.count)
    }

    public func zero(_ path: String, _ range: Range<Int>) throws(Errno) {
        let file = try file(path)
        let present = range.clamped(to: 0..<file.bytes.count)
        file.bytes.replaceSubrange(present, with: [UInt8](repeating: 0, count: present.count))
    }

    // MARK: Comparison

    /// What differs between the model and what a session shows; nil: nothing.
    public func difference(from session: Session) throws(Errno) -> String? {
        try difference(root, session.tree.root, "/", session)
    }

    private func difference(
        _ node: Node, _ inode: Inode, _ path: String, _ session: Session
    ) throws(Errno) -> String? {
        let attributes = try session.stat(inode)
        guard attributes.kind == node.kind else { return "\(path) is \(attributes.kind)" }
        switch node.kind {
        case .directory:
            let names = try session.names(inode)
            guard names.sorted() == node.children.keys.sorted() else {
                return "\(path) lists \(names.sorted()), not \(node.children.keys.sorted())"
            }
            for (name, child) in node.children {
                let found = try session.within(inode, name) { name, directory throws(Pause) in
                    try directory.lookup(name)
                }
                guard let found else { return "\(path)\(name) is not found" }
                if let text = try difference(child, found, "\(path)\(name)/", session) {
                    return text
                }
            }
        case .regular:
            guard attributes.linkCount == node.linkCount else {
                return "\(path) has \(attributes.linkCount) links, not \(node.linkCount)"
            }
            let bytes = try session.read(inode, count: node.bytes.count + 100)
            guard bytes == node.bytes else {
                let place = zip(bytes, node.bytes).enumerated().first { $1.0 != $1.1 }
                let other = place.map { "\($0): \($1.0) instead of \($1.1)" } ?? "the end"
                return "\(path) has other data: \(bytes.count) bytes of \(node.bytes.count), "
                    + "the first other one at \(other)"
            }
        default:
            break
        }
        return nil
    }
}
