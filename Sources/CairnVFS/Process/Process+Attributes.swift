// Attempts: stat, access, chmod, chown, utimens, flags, statfs and extended attributes.

import CairnBase

extension Process {
    /// The file that an attribute call is about.
    enum Subject {
        case path(UnsafeRawBufferPointer, at: Descriptor, followingLinks: Bool)
        case file(OpenFile)
    }

    /// Calls `body` with the inode and its mount.
    @inline(__always)
    func withSubject<Value>(
        _ subject: Subject, _ body: (Location, Credentials) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        switch subject {
        case .file(let file):
            return try body(file.location, credentials)
        case .path(let path, let directory, let follow):
            var options: WalkOptions = .emptyIsBase
            if follow { options.insert(.follow) }
            return try walk(path, at: directory, options) { (walk) throws(Pause) in
                try body(walk.place.retained, walk.credentials)
            }
        }
    }

    // MARK: Asking

    /// stat(2), lstat(2), fstatat(2).
    func attemptStat(
        _ path: UnsafeRawBufferPointer, at directory: Descriptor, _ options: WalkOptions
    ) throws(Pause) -> Attributes {
        try walk(path, at: directory, options) { (walk) throws(Pause) in
            try walk.place.inode.takeUnretainedValue().attributes()
        }
    }

    /// faccessat(2).
    func attemptAccess(
        _ path: UnsafeRawBufferPointer, at directory: Descriptor, _ wanted: Access, follow: Bool
    ) throws(Pause) {
        guard wanted.isSubset(of: [.read, .write, .execute]) else { throw .failed(.EINVAL) }
        let options: WalkOptions = follow ? [.follow, .emptyIsBase] : .emptyIsBase
        try walk(path, at: directory, options) { (walk) throws(Pause) in
            let credentials = walk.credentials
            let place = walk.place.retained
            guard !wanted.isEmpty else { return }
            if wanted.contains(.execute), place.inode.kind == .regular,
                place.mount.flags.contains(.noExecute)
            {
                throw .failed(.EACCES)
            }
            try place.inode.requireAccess(wanted, by: credentials)
            let kind = place.inode.kind
            if wanted.contains(.write),
                kind == .regular || kind == .directory || kind == .symbolicLink
            {
                try requireWritable(place.mount)
            }
        }
    }

    /// statfs(2).
    func attemptFileSystemStatistics(
        _ subject: Subject
    ) throws(Pause) -> FileSystemStatistics {
        try withSubject(subject) { (place, _) throws(Pause) in
            try place.inode.fileSystem.statistics()
        }
    }

    // MARK: Changing

    /// EACCES if the handle that is the subject, by its number or by an empty path, may not be
    /// used for changing attributes; EBADF for a number that was opened with O_PATH.
    private func requireChanging(_ subject: Subject) throws(Pause) {
        switch subject {
        case .file(let file):
            guard !file.isPathOnly else { throw .failed(.EBADF) }
            try file.requireRight(.changeAttributes)
        case .path(let path, let directory, _):
            guard path.isEmpty else { return }
            if !rights(of: path, at: directory).contains(.changeAttributes) {
                throw .failed(.EACCES)
            }
        }
    }

    /// chmod, chown, utimensat and flags.
    func attemptChange(
        _ subject: Subject, _ change: AttributeChange
    ) throws(Pause) -> UnsyncedChange {
        try requireChanging(subject)
        return try withSubject(subject) { (place, credentials) throws(Pause) in
            try requireWritable(place.mount)
            if change.permissions != nil, place.inode.kind == .symbolicLink {
                throw .failed(.EOPNOTSUPP)
            }
            var change = change
            try place.inode.requireChange(&change, by: credentials)
            try vfs.setAttributes(of: place.inode, change, by: Caller(credentials))
            return UnsyncedChange(of: place)
        }
    }

    // MARK: Extended attributes

    /// All of a value.
    func attemptExtendedAttribute(
        _ subject: Subject, _ name: [UInt8]
    ) throws(Pause) -> [UInt8] {
        let space = try AttributeSpace(name)
        return try withSubject(subject) { (place, credentials) throws(Pause) in
            try space.requireReading(of: place.inode, by: credentials)
            return try withName(name) { (name) throws(Pause) in
                try whole { (buffer) throws(Pause) in
                    try place.inode.extendedAttribute(name, into: buffer)
                }
            }
        }
    }

    /// Names; those of trusted. only for who may read them.
    func attemptExtendedAttributeList(_ subject: Subject) throws(Pause) -> [FileName] {
        try withSubject(subject) { (place, credentials) throws(Pause) in
            let list = try whole { (buffer) throws(Pause) in
                try place.inode.extendedAttributeNames(into: buffer)
            }
            return list.split(separator: 0)
                .filter { credentials.has(.administer) || !$0.starts(with: "trusted.".utf8) }
                .map { FileName(Array($0)) }
        }
    }

    /// All that `read` gives: it tells the size when its buffer is empty, and ERANGE when what
    /// it would give has grown since.
    private func whole(
        _ read: (UnsafeMutableRawBufferPointer) throws(Pause) -> Int
    ) throws(Pause) -> [UInt8] {
        while true {
            let size = try read(UnsafeMutableRawBufferPointer(start: nil, count: 0))
            guard size > 0 else { return [] }
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
            defer { buffer.deallocate() }
            do throws(Pause) {
                let count = try read(buffer)
                return Array(buffer[..<count])
            } catch {
                guard case .failed(.ERANGE) = error else { throw error }
            }
        }
    }

    func attemptSetExtendedAttribute(
        _ subject: Subject, _ name: [UInt8], to value: [UInt8], _ mode: ExtendedAttributeMode
    ) throws(Pause) -> UnsyncedChange {
        // The standard library's closure is not typed; the outcome is carried out by hand.
        let outcome: Result<UnsyncedChange, Pause> = value.withUnsafeBytes { bytes in
            do throws(Pause) {
                return .success(try attemptSetExtendedAttribute(subject, name, to: bytes, mode))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }

    func attemptRemoveExtendedAttribute(
        _ subject: Subject, _ name: [UInt8]
    ) throws(Pause) -> UnsyncedChange {
        try attemptSetExtendedAttribute(subject, name, to: nil, .replace)
    }

    /// setxattr(2); nil removes.
    private func attemptSetExtendedAttribute(
        _ subject: Subject, _ name: [UInt8], to value: UnsafeRawBufferPointer?,
        _ mode: ExtendedAttributeMode
    ) throws(Pause) -> UnsyncedChange {
        try requireChanging(subject)
        let space = try AttributeSpace(name)
        if let value, value.count > 65536 { throw .failed(.E2BIG) }
        return try withSubject(subject) { (place, credentials) throws(Pause) in
            try requireWritable(place.mount)
            let flags = try place.inode.attributes().flags
            if !flags.isDisjoint(with: [.immutable, .appendOnly]) { throw .failed(.EPERM) }
            try space.requireWriting(of: place.inode, by: credentials)
            try withName(name) { (name) throws(Pause) in
                try vfs.setExtendedAttribute(
                    name, of: place.inode, to: value, mode: mode, by: Caller(credentials))
            }
            return UnsyncedChange(of: place)
        }
    }

    private func withName<Value>(
        _ bytes: [UInt8], _ body: (Name) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        try FileName(bytes).withName(body)
    }
}

/// The part of an attribute's name before the dot, with its rules (xattr(7)).
enum AttributeSpace {
    case user
    case trusted
    case security
    case accessControl

    /// ERANGE for a name that is empty or too long, EOPNOTSUPP for a space that is not known.
    init(_ name: [UInt8]) throws(Pause) {
        guard !name.isEmpty, name.count <= 255 else { throw .failed(.ERANGE) }
        func has(_ prefix: String) -> Bool {
            name.count > prefix.utf8.count && name.starts(with: prefix.utf8)
        }
        if has("user.") {
            self = .user
        } else if has("trusted.") {
            self = .trusted
        } else if has("security.") {
            self = .security
        } else if has("system.posix_acl_") {
            self = .accessControl
        } else {
            throw .failed(.EOPNOTSUPP)
        }
    }

    func requireReading(of inode: Inode, by credentials: Credentials) throws(Pause) {
        switch self {
        case .user:
            guard inode.kind == .regular || inode.isDirectory else { throw .failed(.ENODATA) }
            try inode.requireAccess(.read, by: credentials)
        case .trusted:
            if !credentials.has(.administer) { throw .failed(.ENODATA) }
        case .security, .accessControl:
            break
        }
    }

    func requireWriting(of inode: Inode, by credentials: Credentials) throws(Pause) {
        let attributes = try inode.attributes()
        switch self {
        case .user:
            guard inode.kind == .regular || inode.isDirectory else { throw .failed(.EPERM) }
            if inode.isDirectory, attributes.permissions.contains(.sticky),
                !inode.isOwned(attributes, by: credentials)
            {
                throw .failed(.EPERM)
            }
            try inode.requireAccess(.write, by: credentials)
        case .trusted, .security:
            if !credentials.has(.administer) { throw .failed(.EPERM) }
        case .accessControl:
            if inode.kind == .symbolicLink { throw .failed(.EOPNOTSUPP) }
            if !inode.isOwned(attributes, by: credentials) { throw .failed(.EPERM) }
        }
    }
}

extension AttributeChange {
    static func permissions(_ permissions: Permissions) -> AttributeChange {
        var change = AttributeChange()
        change.permissions = permissions.intersection(.all)
        return change
    }

    static func owner(_ user: UInt32?, _ group: UInt32?) -> AttributeChange {
        var change = AttributeChange()
        change.user = user
        change.group = group
        return change
    }

    static func times(_ access: TimeChange, _ modification: TimeChange) -> AttributeChange {
        var change = AttributeChange()
        change.accessTime = access
        change.modificationTime = modification
        return change
    }

    static func flags(_ flags: FileFlags) -> AttributeChange {
        var change = AttributeChange()
        change.flags = flags
        return change
    }
}
