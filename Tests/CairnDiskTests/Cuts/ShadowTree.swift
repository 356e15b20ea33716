// ShadowTree: what a filesystem must hold after operations that were acknowledged: the model that a
// cut of the power is judged by (design: after a cut the state is that after a prefix of them).
//
// A value. Each state has a digest, kept up to date with each operation, so that a state that was
// found can be looked up among hundreds. In a loose one, files that are overwritten in place count
// with their size only: what a cut leaves of them is judged byte by byte.

import CairnBase
import CairnTestSupport
import CairnVFS

struct ShadowTree {
    struct Node {
        var kind: FileKind
        var permissions: UInt32 = 0o644
        /// Of a file, or a link's target.
        var content: [UInt8] = []
        var attributes: [String: [UInt8]] = [:]
        var names: Set<String> = []
        /// cow=off, or chattr +C.
        var isInPlace = false

        /// Of all but its names.
        func digest(isLoose: Bool = false) -> UInt64 {
            var digest = Digest()
            digest.add(UInt64(kind.rawValue) << 32 | UInt64(permissions))
            if isLoose, isInPlace {
                digest.add(UInt64(content.count))
            } else {
                digest.add(content)
            }
            for (name, value) in attributes.sorted(by: { $0.key < $1.key }) {
                digest.add(Array(name.utf8))
                digest.add(value)
            }
            // A directory's links are its subdirectories: they follow from the names.
            if kind != .directory { digest.add(UInt64(names.count)) }
            return digest.value
        }
    }

    /// What every operation does.
    enum Operation: Sendable {
        case make(String, FileKind, permissions: UInt32, content: [UInt8])
        case write(String, offset: Int, [UInt8])
        case truncate(String, Int)
        case punch(String, Range<Int>)
        case grow(String, Int)
        case remove(String)
        case rename(String, String)
        case exchange(String, String)
        case link(String, String)
        case permissions(String, UInt32)
        case overwriteInPlace(String)
        case attribute(String, String, [UInt8]?)
    }

    private(set) var nodes: [Int: Node] = [:]
    private(set) var numbers: [String: Int] = [:]
    private var last = 0
    private var digests: [String: UInt64] = [:]
    /// Of all of it.
    private(set) var digest: UInt64 = 0
    let isLoose: Bool
    /// New files are overwritten in place.
    private let makesInPlace: Bool

    init(isLoose: Bool = false, makesInPlace: Bool = false) {
        self.isLoose = isLoose
        self.makesInPlace = makesInPlace
    }

    /// What was found.
    init(_ found: [String: Node]) {
        self.init()
        var seen: [Set<String>: Int] = [:]
        for (path, node) in found.sorted(by: { $0.key < $1.key }) {
            if let number = seen[node.names] {
                numbers[path] = number
                continue
            }
            last += 1
            seen[node.names] = last
            nodes[last] = node
            numbers[path] = last
        }
        for number in nodes.keys { note(number) }
    }

    subscript(path: String) -> Node? { numbers[path].flatMap { nodes[$0] } }

    func paths(_ kind: FileKind) -> [String] {
        numbers.filter { nodes[$0.value]?.kind == kind }.map(\.key).sorted()
    }

    mutating func apply(_ operation: Operation) {
        switch operation {
        case .make(let path, let kind, let permissions, let content):
            last += 1
            nodes[last] = Node(
                kind: kind, permissions: permissions, content: content, names: [path],
                isInPlace: kind == .regular && makesInPlace)
            numbers[path] = last
            note(last)
        case .write(let path, let offset, let bytes):
            change(path) { node in
                if node.content.count < offset + bytes.count {
                    node.content += [UInt8](
                        repeating: 0, count: offset + bytes.count - node.content.count)
                }
                node.content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            }
        case .truncate(let path, let size):
            change(path) { node in
                if node.content.count > size {
                    node.content.removeLast(node.content.count - size)
                } else {
                    node.content += [UInt8](repeating: 0, count: size - node.content.count)
                }
            }
        case .punch(let path, let range):
            change(path) { node in
                let part = range.clamped(to: 0..<node.content.count)
                node.content.replaceSubrange(
                    part, with: [UInt8](repeating: 0, count: part.count))
            }
        case .grow(let path, let size):
            change(path) { node in
                node.content += [UInt8](repeating: 0, count: max(0, size - node.content.count))
            }
        case .remove(let path):
            forget(path)
        case .rename(let path, let other):
            guard let number = numbers[path] else { return }
            if numbers[other] == number { return }
            if numbers[other] != nil { forget(other) }
            move([(path, other)])
        case .exchange(let path, let other):
            move([(path, other), (other, path)])
        case .link(let path, let other):
            guard let number = numbers[path] else { return }
            numbers[other] = number
            nodes[number]?.names.insert(other)
            note(number)
        case .permissions(let path, let permissions):
            change(path) { $0.permissions = permissions }
        case .overwriteInPlace(let path):
            change(path) { $0.isInPlace = true }
        case .attribute(let path, let name, let value):
            change(path) { $0.attributes[name] = value }
        }
    }

    private mutating func change(_ path: String, _ body: (inout Node) -> Void) {
        guard let number = numbers[path], var node = nodes[number] else { return }
        // In place, without a copy of the content.
        nodes[number] = nil
        body(&node)
        nodes[number] = node
        note(number)
    }

    private mutating func forget(_ path: String) {
        guard let number = numbers.removeValue(forKey: path) else { return }
        setDigest(nil, of: path)
        nodes[number]?.names.remove(path)
        if nodes[number]?.names.isEmpty == true { nodes[number] = nil } else { note(number) }
    }

    /// Moves names, and what is below them.
    private mutating func move(_ pairs: [(String, String)]) {
        var moved: [(from: String, to: String, number: Int)] = []
        for (path, other) in pairs {
            for (name, number) in numbers where name == path || name.hasPrefix(path + "/") {
                moved.append((name, other + name.dropFirst(path.count), number))
            }
        }
        for (from, _, number) in moved {
            numbers[from] = nil
            setDigest(nil, of: from)
            nodes[number]?.names.remove(from)
        }
        for (_, to, number) in moved {
            numbers[to] = number
            nodes[number]?.names.insert(to)
        }
        for (_, _, number) in moved { note(number) }
    }

    private mutating func note(_ number: Int) {
        guard let node = nodes[number] else { return }
        let digest = node.digest(isLoose: isLoose)
        for name in node.names { setDigest(digest, of: name) }
    }

    private mutating func setDigest(_ value: UInt64?, of path: String) {
        if let old = digests[path] { digest ^= ShadowTree.mixed(path, old) }
        digests[path] = value
        if let value { digest ^= ShadowTree.mixed(path, value) }
    }

    static func mixed(_ path: String, _ value: UInt64) -> UInt64 {
        var digest = Digest()
        digest.add(Array(path.utf8))
        digest.add(value)
        return digest.value
    }

    // MARK: What was found

    /// A tree as it was found, to be compared.
    struct Found {
        var nodes: [String: Node] = [:]

        var digest: UInt64 { digest(isLoose: false) }

        func digest(isLoose: Bool) -> UInt64 {
            nodes.reduce(0) { $0 ^ ShadowTree.mixed($1.key, $1.value.digest(isLoose: isLoose)) }
        }
    }

    /// How what was found differs from this, in a few lines.
    func difference(_ found: Found) -> String {
        var lines: [String] = []
        for path in Set(numbers.keys).union(found.nodes.keys).sorted() {
            switch (self[path], found.nodes[path]) {
            case (nil, _?): lines.append("\(path) should not be there")
            case (_?, nil): lines.append("\(path) is missing")
            case (let node?, let other?) where node.digest() != other.digest():
                lines.append(path + ": " + ShadowTree.difference(node, other))
            default: break
            }
        }
        return lines.prefix(6).joined(separator: "; ") + (lines.count > 6 ? " …" : "")
    }

    private static func difference(_ node: Node, _ other: Node) -> String {
        if node.content != other.content {
            let place = zip(node.content, other.content).enumerated().first {
                $0.element.0 != $0.element.1
            }
            return "\(other.content.count) bytes instead of \(node.content.count), first other one "
                + "at \(place.map { "\($0.offset): \($0.element)" } ?? "the end")"
        }
        if node.permissions != other.permissions {
            return "mode \(other.permissions) instead of \(node.permissions)"
        }
        if node.attributes != other.attributes { return "extended attributes" }
        return "\(other.names.count) links instead of \(node.names.count)"
    }
}

/// 64 bits that differ where bytes differ.
struct Digest {
    private(set) var value: UInt64 = 0x9E37_79B9_7F4A_7C15

    mutating func add(_ number: UInt64) {
        value = (value ^ number) &* 0xD6E8_FEB8_6659_FD93
        value ^= value >> 32
    }

    mutating func add(_ bytes: [UInt8]) {
        add(UInt64(bytes.count))
        bytes.withUnsafeBytes { bytes in
            add(
                UInt64(CRC32C.checksum(bytes, continuing: 1)) << 32
                    | UInt64(CRC32C.checksum(bytes, continuing: 0x1234_5678)))
        }
    }
}
