// Session: data, extended attributes, and the whole tree as text.

import CairnBase
import CairnTree
import CairnVFS

extension Session {
    // MARK: Data

    @discardableResult
    public func write(
        _ inode: Inode, _ bytes: [UInt8], at position: WritePosition = .offset(0),
        options: WriteOptions = []
    ) throws(Errno) -> Int {
        var done = 0
        // A store may take a part and want to be asked again.
        repeat {
            var place = position
            if case .offset(let offset) = position { place = .offset(offset + UInt64(done)) }
            var result: Result<Written, Errno>?
            bytes.withUnsafeBytes { buffer in
                do throws(Errno) {
                    result = .success(
                        try blocking { () throws(Pause) in
                            try vfs.write(
                                UnsafeRawBufferPointer(rebasing: buffer[done...]), to: inode,
                                at: place, options: options, by: caller)
                        })
                } catch {
                    result = .failure(error)
                }
            }
            switch result {
            case .success(let written)?: done += written.count
            case .failure(let error)?:
                if done > 0 { return done }
                throw error
            case nil: break
            }
        } while done < bytes.count
        return done
    }

    public func write(
        _ inode: Inode, _ text: String, at position: WritePosition = .offset(0)
    ) throws(Errno) {
        try write(inode, Array(text.utf8), at: position)
    }

    public func write(
        _ path: String, _ text: String, at position: WritePosition = .offset(0)
    ) throws(Errno) {
        try write(try inode(path), text, at: position)
    }

    public func read(
        _ inode: Inode, at offset: UInt64 = 0, count: Int = 1 << 16
    ) throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: count)
        var result: Result<Int, Errno>?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(Errno) {
                result = .success(
                    try blocking { () throws(Pause) in try inode.read(into: buffer, at: offset) })
            } catch {
                result = .failure(error)
            }
        }
        let read = try result?.get() ?? 0
        return Array(bytes[..<read])
    }

    public func text(_ inode: Inode) throws(Errno) -> String {
        String(decoding: try read(inode), as: UTF8.self)
    }

    public func text(_ path: String) throws(Errno) -> String { try text(try inode(path)) }

    public func allocate(
        _ path: String, _ mode: AllocateMode, _ offset: UInt64, _ length: UInt64
    ) throws(Errno) {
        let inode = try inode(path)
        try blocking { () throws(Pause) in
            try vfs.allocate(
                mode, of: inode, offset: offset, length: length, options: [], by: caller)
        }
    }

    public func seek(
        _ path: String, _ target: SeekTarget, _ offset: UInt64
    ) throws(Errno) -> UInt64 {
        let inode = try inode(path)
        return try blocking { () throws(Pause) in try inode.seek(target, from: offset) }
    }

    public func copy(
        _ source: String, _ sourceOffset: UInt64, _ target: String, _ offset: UInt64,
        _ length: UInt64
    ) throws(Errno) -> Int {
        let source = try inode(source)
        let target = try inode(target)
        return try blocking { () throws(Pause) in
            try vfs.copyRange(
                from: source, at: sourceOffset, to: target, at: offset, length: length,
                options: [], by: caller)
        }
    }

    public func fsync(_ inode: Inode, dataOnly: Bool = false) throws(Errno) {
        var point = SyncPoint()
        try blocking { () throws(Pause) in try inode.sync(dataOnly: dataOnly, &point) }
    }

    public func statistics() throws(Errno) -> FileSystemStatistics {
        try blocking { () throws(Pause) in try tree.statistics() }
    }

    // MARK: Extended attributes

    public func setAttribute(
        _ inode: Inode, _ name: String, _ value: [UInt8]?, _ mode: ExtendedAttributeMode = .any
    ) throws(Errno) {
        let bytes = value ?? []
        var failure: Errno?
        bytes.withUnsafeBytes { buffer in
            do throws(Errno) {
                try FileName(name).withName { name throws(Errno) in
                    try blocking { () throws(Pause) in
                        try vfs.setExtendedAttribute(
                            name, of: inode, to: value == nil ? nil : buffer, mode: mode,
                            by: caller)
                    }
                }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    public func attribute(
        _ inode: Inode, _ name: String, room: Int = 65536
    ) throws(Errno) -> [UInt8] {
        try fill(room: room) { buffer throws(Errno) in
            try FileName(name).withName { name throws(Errno) in
                try blocking { () throws(Pause) in
                    try inode.extendedAttribute(name, into: buffer)
                }
            }
        }
    }

    public func attributeNames(_ inode: Inode, room: Int = 65536) throws(Errno) -> [String] {
        let bytes = try fill(room: room) { buffer throws(Errno) in
            try blocking { () throws(Pause) in try inode.extendedAttributeNames(into: buffer) }
        }
        return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    }

    private func fill(
        room: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Errno) -> Int
    ) throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: room)
        var result: Result<Int, Errno>?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(Errno) {
                result = .success(try body(buffer))
            } catch {
                result = .failure(error)
            }
        }
        return Array(bytes[..<(try result?.get() ?? 0)])
    }

    // MARK: The whole

    /// Everything that can be seen of the tree, a line for each name, sorted.
    public func dump() throws(Errno) -> String {
        var lines: [String] = []
        var pending: [(path: String, inode: Inode)] = [("/", tree.root)]
        while let (path, inode) = pending.popLast() {
            lines.append("\(path) \(try describe(inode))")
            guard inode.isDirectory else { continue }
            for entry in try entries(inode) {
                let child = try within(inode, entry.name) { name, directory throws(Pause) in
                    try directory.lookup(name)
                }
                guard let child else { throw .EIO }
                pending.append((path + entry.name + (child.isDirectory ? "/" : ""), child))
            }
        }
        return lines.sorted().joined(separator: "\n")
    }

    private func describe(_ inode: Inode) throws(Errno) -> String {
        var parts = ["\(try stat(inode))"]
        switch inode.kind {
        case .regular:
            var offset: UInt64 = 0
            var hash: UInt64 = 0
            while case let bytes = try read(inode, at: offset), !bytes.isEmpty {
                hash = bytes.withUnsafeBytes { hashBytes($0, seed: hash) }
                offset += UInt64(bytes.count)
            }
            parts.append("data \(hash)")
        case .symbolicLink:
            parts.append("target \(try blocking { () throws(Pause) in try inode.readLink() })")
        default:
            break
        }
        for name in try attributeNames(inode) {
            parts.append("\(name)=\(try attribute(inode, name))")
        }
        return parts.joined(separator: " ")
    }
}
