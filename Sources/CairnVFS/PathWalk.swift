// PathWalk: from a path to an inode (path_resolution(7)).
//
// A walk runs in one epoch section. What it passes through is borrowed, not retained: resident
// names cost no lock, no allocation and no reference count. Only what a filesystem had to be asked
// for is kept in `kept` until the section ends. The walk is iterative: the target of a symbolic
// link is put before what is left of the path.

import CairnBase
import Glibc

/// Where a walk stands: valid in the epoch section of the walk.
struct BorrowedLocation {
    var mount: Unmanaged<Mount>
    var inode: Unmanaged<Inode>

    var retained: Location {
        Location(mount: mount.takeUnretainedValue(), inode: inode.takeUnretainedValue())
    }
}

struct WalkOptions: OptionSet {
    var rawValue: UInt8
    /// A symbolic link as the last part is followed.
    static let follow = WalkOptions(rawValue: 1)
    /// Stop before the last part and give its directory and name.
    static let parent = WalkOptions(rawValue: 2)
    /// The last part may be missing (open with O_CREAT).
    static let mayBeMissing = WalkOptions(rawValue: 4)
    /// An empty path is the base itself (AT_EMPTY_PATH), if that is a descriptor.
    static let emptyIsBase = WalkOptions(rawValue: 8)
}

/// What the last part of a path is.
enum LastPart {
    case name
    case dot
    case dotDot
    /// The path had no part: `/`.
    case root
}

/// What every walk in a namespace starts with, borrowed: made once, so that no walk counts
/// references on what all share.
struct WalkGround {
    let namespace: Unmanaged<Namespace>
    let dentries: ConcurrentTable<Inode>.Reader
    let dentryCache: Unmanaged<DentryCache>

    /// Valid while the namespace lives.
    init(_ namespace: Namespace) {
        self.namespace = .passUnretained(namespace)
        dentries = namespace.vfs.dentries.reader
        dentryCache = .passUnretained(namespace.vfs.dentries)
    }
}

struct PathWalk {
    // Borrowed like everything that a walk passes through: copying the walk counts no references.
    private let ground: WalkGround
    private let credentialsReader: EpochCell<Credentials>.Reader
    let root: BorrowedLocation
    let options: WalkOptions

    /// Where the walk stands; at its end, the result.
    private(set) var place: BorrowedLocation
    /// With `.parent`, or when the last part is missing: `place` is its directory.
    private(set) var isMissing = false
    private(set) var lastPart = LastPart.root
    /// The last part; points into the path or into `kept`.
    private(set) var lastName = UnsafeRawBufferPointer(start: nil, count: 0)
    /// The directory that the last name was looked up in.
    private(set) var lastDirectory: Unmanaged<Inode>?
    private(set) var hasTrailingSlash = false
    private(set) var kept: [AnyObject] = []
    private var linksFollowed = 0
    private var dentryHits = 0

    /// MAXSYMLINKS
    private static var maximumLinks: Int { 40 }

    init(
        _ ground: WalkGround, credentials: EpochCell<Credentials>.Reader, root: BorrowedLocation,
        base: BorrowedLocation, options: WalkOptions
    ) {
        self.ground = ground
        self.credentialsReader = credentials
        self.root = root
        self.place = base
        self.options = options
    }

    var namespace: Namespace { ground.namespace.takeUnretainedValue() }
    var credentials: Credentials { credentialsReader.borrowed.takeUnretainedValue() }

    /// EROFS if the place stands on a mount that is read-only.
    func requireWritable() throws(Pause) {
        if place.mount._withUnsafeGuaranteedRef({ $0.isReadOnly }) { throw .failed(.EROFS) }
    }

    /// Walks the path. ENOENT for an empty one, ENAMETOOLONG over 4095 bytes, EINVAL with a NUL.
    mutating func run(_ path: UnsafeRawBufferPointer) throws(Pause) {
        defer {
            if dentryHits > 0 {
                ground.dentryCache._withUnsafeGuaranteedRef { $0.countHits(dentryHits) }
            }
        }
        if path.isEmpty {
            guard options.contains(.emptyIsBase) else { throw .failed(.ENOENT) }
            return
        }
        guard path.count <= Path.maximumLength else { throw .failed(.ENAMETOOLONG) }
        guard !hasNUL(path) else { throw .failed(.EINVAL) }
        var rest = path
        while let link = try follow(&rest) {
            rest = try expand(link, before: rest)
        }
    }

    /// Goes along the parts of `rest` to the end, or to a symbolic link that is to be followed:
    /// gives the link, with `rest` what stands after it.
    private mutating func follow(
        _ rest: inout UnsafeRawBufferPointer
    ) throws(Pause) -> Unmanaged<Inode>? {
        if rest.first == slash {
            place = root
            lastPart = .root
        }
        while let part = nextPart(&rest) {
            let isLast = rest.isEmpty
            let directory = place.inode
            guard directory._withUnsafeGuaranteedRef({ $0.isDirectory }) else {
                throw .failed(.ENOTDIR)
            }
            try requireSearch(directory)
            lastName = part
            lastDirectory = directory
            if part.count <= 2, part[0] == dot, part.count == 1 || part[1] == dot {
                lastPart = part.count == 1 ? .dot : .dotDot
                if isLast, options.contains(.parent) { return nil }
                if part.count == 2 { try goUp() }
                continue
            }
            lastPart = .name
            if isLast, options.contains(.parent) {
                guard part.count <= Name.maximumLength else { throw .failed(.ENAMETOOLONG) }
                return nil
            }
            guard part.count <= Name.maximumLength else { throw .failed(.ENAMETOOLONG) }
            guard let found = try look(up: Name(part), in: directory) else {
                guard isLast, options.contains(.mayBeMissing) else { throw .failed(.ENOENT) }
                isMissing = true
                return nil
            }
            let isLink = found._withUnsafeGuaranteedRef { $0.kind == .symbolicLink }
            if isLink, !isLast || hasTrailingSlash || options.contains(.follow) {
                return found
            }
            place.inode = found
            cross()
        }
        if hasTrailingSlash, place.inode._withUnsafeGuaranteedRef({ !$0.isDirectory }) {
            throw .failed(.ENOTDIR)
        }
        return nil
    }

    /// The next part of the path, with `rest` what stands after it and after the slashes behind.
    @inline(__always)
    private mutating func nextPart(
        _ rest: inout UnsafeRawBufferPointer
    ) -> UnsafeRawBufferPointer? {
        var start = 0
        let count = rest.count
        while start < count, rest[start] == slash { start &+= 1 }
        if start == count {
            rest = UnsafeRawBufferPointer(start: nil, count: 0)
            return nil
        }
        var end = start &+ 1
        while end < count, rest[end] != slash { end &+= 1 }
        let part = UnsafeRawBufferPointer(rebasing: rest[start..<end])
        var next = end
        while next < count, rest[next] == slash { next &+= 1 }
        if next == count {
            hasTrailingSlash = next > end
            rest = UnsafeRawBufferPointer(start: nil, count: 0)
        } else {
            rest = UnsafeRawBufferPointer(rebasing: rest[next...])
        }
        return part
    }

    @inline(__always)
    private func requireSearch(_ directory: Unmanaged<Inode>) throws(Pause) {
        let isOpen = directory._withUnsafeGuaranteedRef {
            $0.isSearchableByAll.load(ordering: .acquiring)
        }
        if !isOpen {
            try directory.takeUnretainedValue().requireAccess(.execute, by: credentials)
        }
    }

    @inline(__always)
    private mutating func look(
        up name: Name, in directory: Unmanaged<Inode>
    ) throws(Pause) -> Unmanaged<Inode>? {
        let identity = directory._withUnsafeGuaranteedRef { $0.identity }
        switch ground.dentries.find(owner: identity, name) {
        case .object(let inode):
            dentryHits &+= 1
            return inode
        case .absent:
            dentryHits &+= 1
            return nil
        case .unknown:
            return try lookUpSlowly(name, in: directory)
        }
    }

    @inline(never)
    private mutating func lookUpSlowly(
        _ name: Name, in directory: Unmanaged<Inode>
    ) throws(Pause) -> Unmanaged<Inode>? {
        namespace.vfs.dentries.countMiss()
        guard let inode = try namespace.vfs.lookup(name, in: directory.takeUnretainedValue())
        else { return nil }
        kept.append(inode)
        return Unmanaged.passUnretained(inode)
    }

    /// Where the walk ended in a file of a filesystem that is watched: those who watch its directory
    /// are told the name by which it was reached.
    @inline(__always)
    func noteNameIfWatched() {
        if place.inode._withUnsafeGuaranteedRef({ $0.isWatched }) { noteName() }
    }

    @inline(never)
    private func noteName() {
        guard lastPart == .name, !isMissing, !options.contains(.parent), let lastDirectory,
            place.inode.toOpaque() != lastDirectory.toOpaque(),
            !place.inode._withUnsafeGuaranteedRef({ $0.isDirectory })
        else { return }
        place.inode.takeUnretainedValue().noteFound(
            in: lastDirectory.takeUnretainedValue(), as: Name(lastName))
    }

    /// From a place that mounts cover to the root of the topmost.
    @inline(__always)
    private mutating func cross() {
        while place.inode._withUnsafeGuaranteedRef({ $0.isMountPoint }) {
            let identity = place.mount._withUnsafeGuaranteedRef { $0.identity }
            let inode = place.inode.takeUnretainedValue()
            guard let mount = namespace.mountInSection(on: identity, inode) else { return }
            place.mount = mount
            place.inode = mount._withUnsafeGuaranteedRef { Unmanaged.passUnretained($0.root) }
        }
    }

    /// `..`: not above the process's root.
    private mutating func goUp() throws(Pause) {
        if place.inode.toOpaque() == root.inode.toOpaque(),
            place.mount.toOpaque() == root.mount.toOpaque()
        {
            return
        }
        let above = try namespace.parent(of: place.retained)
        kept.append(above.inode)
        kept.append(above.mount)
        place = BorrowedLocation(
            mount: Unmanaged.passUnretained(above.mount),
            inode: Unmanaged.passUnretained(above.inode))
    }

    /// What is left to walk after a link: its target, then the rest.
    private mutating func expand(
        _ link: Unmanaged<Inode>, before rest: UnsafeRawBufferPointer
    ) throws(Pause) -> UnsafeRawBufferPointer {
        linksFollowed += 1
        guard linksFollowed <= Self.maximumLinks else { throw .failed(.ELOOP) }
        var path = try link.takeUnretainedValue().readLink()
        guard !path.isEmpty else { throw .failed(.ENOENT) }
        if !rest.isEmpty {
            path.append(slash)
            path.append(contentsOf: rest)
        }
        if hasTrailingSlash { path.append(slash) }
        let bytes = KeptBytes(path)
        kept.append(bytes)
        hasTrailingSlash = false
        return bytes.buffer
    }
}

private let slash = UInt8(ascii: "/")
private let dot = UInt8(ascii: ".")

private func hasNUL(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress else { return false }
    return memchr(start, 0, bytes.count) != nil
}

/// Bytes at a fixed address for the length of a walk.
private final class KeptBytes {
    let buffer: UnsafeRawBufferPointer

    init(_ bytes: [UInt8]) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        memory.copyBytes(from: bytes)
        buffer = UnsafeRawBufferPointer(memory)
    }

    deinit { buffer.deallocate() }
}
